#!/usr/bin/env bash
# From nothing to a checkpoint like the shipped one: data, cloning, DAgger rounds, validation, the ablation.
# Usage: policies/train/train_metaworld.sh WORK_DIR      (resumes: what exists is not made again)
#        QUICK=1 … runs every step once with almost no data, in minutes: a check of the machine, not a policy.
# Needs: a Python with policies/train/requirements.lock installed (PYTHON=... to choose it), EGL. One core, about 1.5 h of processor time.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
work="${1:?usage: train_metaworld.sh WORK_DIR}"
python="${PYTHON:-python3}"
export PYTHONPATH="$here/src:$here/../../sim_bridge/simulators/metaworld/src:$here/../../sim_bridge/sim_worker/src${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS=1
mkdir -p "$work/data" "$work/runs"

if [ "${QUICK:-0}" = 1 ]; then
    demos=8 clone=0.3 round=0.2 final=0.3 rollouts=2 episodes=2 steps=10
else
    demos=128 clone=9 round=8 final=14 rollouts=16 episodes=50 steps=1500
fi

stage() { # stage NAME MINUTES [options]: one training run, skipped when it has finished
    local name="$1" minutes="$2"; shift 2
    [ -e "$work/runs/$name/summary.json" ] || "$python" -m egogrid_train.train "$work/data" "$work/runs/$name" \
        --minutes "$minutes" --batch 32 --lr 1.5e-3 --weight button-press-topdown=1.2 window-open=1.2 drawer-close=0.6 "$@"
}
continued() { # continued NAME MINUTES FROM FIRST_SEED: DAgger with the policy FROM, then train on from its weights
    "$python" -m egogrid_train.dagger "$work/runs/$3/checkpoint" "$work/data" --first-seed "$4" --episodes "$rollouts"
    stage "$1" "$2" --grid "$work/runs/clone/grid.npz" --start-from "$work/runs/$3/state.pt"
}

"$python" -m egogrid_train.collect "$work/data" --episodes "$demos" --every 5
stage clone "$clone"
continued round1 "$round" clone 1000
continued round2 "$round" round1 2000
continued final "$final" round2 3000
[ -e "$work/validation.json" ] || "$python" -m egogrid_train.evaluate "$work/runs/final/checkpoint" \
    --episodes "$episodes" --json "$work/validation.json"
"$python" -m egogrid_train.ablation "$work/data" "$work/ablation" --grid "$work/runs/clone/grid.npz" \
    --steps "$steps" --episodes "$((episodes * 4 / 5))"
echo "checkpoint: $work/runs/final/checkpoint" >&2
