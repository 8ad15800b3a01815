"""Actions of the experts, without pictures: what grids are measured on.

`python -m egogrid_train.actions actions.npy --episodes 10` plays each task of the shipped policy on seeds that were not trained on, the expert
without noise, and writes `[n, 7]` normalized actions (x, y, z; no rotation; gripper 0 closed to 1 open) for `egogrid grid show --data` and `grid fit`.
The benchmark's own units, `[-1, 1]`, are the shipped bundle's normalized ones.
"""

import argparse
from pathlib import Path

import numpy as np
from egogrid_metaworld import MetaWorldEnv
from egogrid_train.episodes import EPISODE_STEPS_MAX, NATIVE_PX, VALIDATION_SEEDS
from egogrid_train.expert import MT5, expert_for
from tqdm import tqdm


def rows(env: MetaWorldEnv, task: str, seed: int) -> list[np.ndarray]:
    """One episode, f64 `[7]` each; up to success or the limit of steps."""
    env.reset(task, seed)
    expert, found = expert_for(task), []
    for _ in range(EPISODE_STEPS_MAX):
        action = expert(env.privileged().obs)
        # The benchmark's last number is the fingers' effort: positive closes.
        found.append(np.concatenate([action[:3], np.zeros(3), [float(action[3] <= 0)]]))
        if env.step_benchmark(action)[1]:
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the .npy file")
    parser.add_argument("--episodes", type=int, default=10, help="of each task (default: %(default)s)")
    args = parser.parse_args()
    env = MetaWorldEnv(NATIVE_PX)
    episodes = [(task, seed) for task in MT5 for seed in VALIDATION_SEEDS[: args.episodes]]
    found = [row for task, seed in tqdm(episodes, unit="episode") for row in rows(env, task, seed)]
    np.save(args.out, np.array(found))
    print(f"{args.out}: {len(found)} actions of {len(episodes)} episodes")


if __name__ == "__main__":
    main()
