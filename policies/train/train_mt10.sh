#!/usr/bin/env bash
# The ten tasks of MT10, beginning from the shipped five: data, then rounds of training, evaluation and DAgger, for as long
# as one lets it run.
# Usage: policies/train/train_mt10.sh WORK_DIR        Stop it at any point (kill -9 too); the same command goes on.
#        ROUNDS=N … until round N has finished (default 40)      QUICK=1 … every step once with almost no data
#        to go on elsewhere: python -m egogrid_train.pack WORK_DIR OUT, there: python -m egogrid_train.pack --unpack OUT WORK_DIR
# Needs: a Python with policies/train/requirements.lock installed (PYTHON=... to choose it), EGL, two cores: one trains, the
# other evaluates the round before and collects what the policy of that round meets. WORK_DIR/curves.json grows by a row a round.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
work="${1:?usage: train_mt10.sh WORK_DIR}"
python="${PYTHON:-python3}"
export PYTHONPATH="$here/src:$here/../../sim_bridge/simulators/metaworld/src:$here/../../sim_bridge/sim_worker/src${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS=1
mkdir -p "$work/data" "$work/runs"
exec 9> "$work/lock"
flock -n 9 || { echo "$work is in use by another run (or by what is left of a killed one): wait for it, or end it" >&2; exit 4; }

tasks=(drawer-close drawer-open door-open button-press-topdown window-open window-close reach push pick-place peg-insert-side)
if [ "${QUICK:-0}" = 1 ]; then
    demos=8 more_demos=8 steps=20 rollouts=2 weak_rollouts=2 episodes=1 rounds="${ROUNDS:-2}"
else
    demos=64 more_demos=256 steps=2500 rollouts=8 weak_rollouts=16 episodes=10 rounds="${ROUNDS:-40}"
fi
view=(--size-px 128 --patch-px 16 --reso 4)
options=(--tasks "${tasks[@]}" --key metaworld_mt10/1.0.0 "${view[@]}" --batch 32 --fp32 --gripper-weight 0.3)

round() { printf '%s/runs/round%02d' "$work" "$1"; }
once() { # once FILE COMMAND...: its output, decided once, so that a resumed run does what the stopped one would have done
    local file="$1"; shift
    [ -e "$file" ] || { "$@" > "$file.partial" && mv "$file.partial" "$file"; }
    cat "$file"
}
judge() { # a finished round: a row of the curves
    [ -e "$1/evaluation.json" ] || "$python" -m egogrid_train.evaluate "$1/checkpoint" \
        --tasks "${tasks[@]}" --episodes "$episodes" --json "$1/evaluation.json"
    "$python" -m egogrid_train.curves "$work" >&2
}
collect() { # collect RUN FIRST_SEED: what the policy of a finished round meets, more of it where it fails
    local run="$1" seed="$2" weak
    [ ! -e "$run/collected" ] || return 0
    "$python" -m egogrid_train.dagger "$run/checkpoint" "$work/data" --tasks "${tasks[@]}" --first-seed "$seed" --episodes "$rollouts"
    read -ra weak <<< "$(once "$run/weak" "$python" -m egogrid_train.curves "$work" --weak)"
    [ "${#weak[@]}" = 0 ] || "$python" -m egogrid_train.dagger "$run/checkpoint" "$work/data" --tasks "${weak[@]}" \
        --first-seed $((seed + 16)) --episodes "$weak_rollouts"
    touch "$run/collected"
}
beside_training() { # the rounds before this one, those that a stopped run left over too; many starts and goals of the new tasks, few states of each
    local m
    for ((m = 0; m < $1; m++)); do
        [ ! -e "$(round "$m")/summary.json" ] || judge "$(round "$m")"
    done
    "$python" -m egogrid_train.collect "$work/data" --tasks "${tasks[@]:5}" --first-seed "$demos" --episodes "$more_demos" --every 8
    for ((m = 0; m < $1; m++)); do
        [ ! -e "$(round "$m")/summary.json" ] || collect "$(round "$m")" $((1000 + 32 * m))
    done
}

"$python" -m egogrid_train.collect "$work/data" --tasks "${tasks[@]}" --episodes "$demos" --every 4
[ -e "$work/grown/state.pt" ] || "$python" -m egogrid_train.grow "$here/../shipped/metaworld/metaworld-mt5" "$work/grown" "${view[@]}"
first=0
for run in "$work"/runs/round??; do # unpacked ones begin later than 0
    [ ! -e "$run/summary.json" ] || first=$((10#${run##*round} + 1))
done
for ((n = first; n < rounds; n++)); do
    beside_training "$n" &
    collecting=$!
    from="$work/grown" lr=1.5e-3
    [ "$n" = 0 ] || { from="$(round $((n - 1)))"; lr=1.2e-3; }
    start=(--lr "$lr" --grid "$from/grid.npz" --start-from "$from/state.pt")
    mkdir -p "$(round "$n")"
    read -ra weights <<< "$(once "$(round "$n")/weights" "$python" -m egogrid_train.curves "$work" --weights)"
    "$python" -m egogrid_train.train "$work/data" "$(round "$n")" --steps "$steps" "${options[@]}" "${start[@]}" --weight "${weights[@]}"
    wait "$collecting"
done
beside_training "$rounds"
