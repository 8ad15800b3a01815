"""Records noisy expert episodes: `python -m egogrid_train.collect DATA_DIR --episodes 60`.

From: training seeds. To: one shard per ten seeds in `DATA_DIR`; shards that exist are kept, so a stopped run resumes.
"""

import argparse
from pathlib import Path

from egogrid_metaworld import MetaWorldEnv
from egogrid_train.episodes import NATIVE_PX, Frames, expert_episode
from egogrid_train.expert import MT5, TASKS
from tqdm import tqdm

SEEDS_PER_SHARD = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--episodes", type=int, default=64, help="per task")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=3, help="label every n-th state")
    parser.add_argument("--tasks", nargs="+", default=list(MT5), choices=TASKS)
    args = parser.parse_args()
    args.data_dir.mkdir(parents=True, exist_ok=True)
    env, won, played = MetaWorldEnv(NATIVE_PX), 0, 0
    with tqdm(total=args.episodes * len(args.tasks), unit="episode") as bar:
        for first in range(args.first_seed, args.first_seed + args.episodes, SEEDS_PER_SHARD):
            for task in args.tasks:
                path = args.data_dir / f"expert_{task}_{first:05}.npz"
                if not path.exists():
                    frames = Frames()
                    for seed in range(first, first + SEEDS_PER_SHARD):
                        won += expert_episode(env, task, seed, frames, args.every)
                        played += 1
                    frames.save(path)
                    bar.set_postfix(success=f"{won}/{played}")
                bar.update(SEEDS_PER_SHARD)


if __name__ == "__main__":
    main()
