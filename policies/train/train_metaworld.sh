#!/usr/bin/env bash
# From nothing to a checkpoint like the shipped one: data, cloning, DAgger rounds, validation, the ablation.
# Usage: policies/train/train_metaworld.sh WORK_DIR      (resumes: what exists is not made again)
# Needs: a Python with policies/train/requirements.lock installed (PYTHON=... to choose it), EGL. One core, about 2 h.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
work="${1:?usage: train_metaworld.sh WORK_DIR}"
python="${PYTHON:-python3}"
export PYTHONPATH="$here/src:$here/../../sim_bridge/simulators/metaworld/src${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS=1
mkdir -p "$work/data" "$work/runs"

stage() { # stage NAME MINUTES [options]: one training run, skipped when it has finished
    local name="$1" minutes="$2"; shift 2
    [ -e "$work/runs/$name/summary.json" ] || "$python" -m egogrid_train.train "$work/data" "$work/runs/$name" \
        --minutes "$minutes" --batch 32 --lr 1.5e-3 "$@"
}
dagger() { # dagger FROM_RUN FIRST_SEED EPISODES
    "$python" -m egogrid_train.dagger "$work/runs/$1/checkpoint" "$work/data" --first-seed "$2" --episodes "$3"
}

"$python" -m egogrid_train.collect "$work/data" --episodes 128 --every 5
stage clone 9
previous=clone
for round in 1 2 3 final; do
    seed=9000; minutes=14; [ "$round" = final ] || { seed="${round}000"; minutes=8; }
    dagger "$previous" "$seed" 16
    stage "$round" "$minutes" --weight button-press-topdown=1.2 window-open=1.2 drawer-close=0.6 \
        --grid "$work/runs/clone/grid.npz" --start-from "$work/runs/$previous/state.pt"
    previous="$round"
done
"$python" -m egogrid_train.evaluate "$work/runs/final/checkpoint" --episodes 50 --json "$work/validation.json"
"$python" -m egogrid_train.ablation "$work/data" "$work/ablation" --grid "$work/runs/clone/grid.npz" --episodes 40
echo "checkpoint: $work/runs/final/checkpoint" >&2
