"""One DAgger round: `python -m egogrid_train.dagger CHECKPOINT DATA_DIR --first-seed 1000 --episodes 16`.

From: a checkpoint that plays training seeds. To: shards of the states it met, labelled by the clean expert.
Half of the episodes begin shaken, half are disturbed by noise. Shards that exist are kept, so a stopped round resumes.
"""

import argparse
from pathlib import Path

import torch
from egogrid_train.episodes import TRAINING_SEEDS, Frames
from egogrid_train.expert import MT5, TASKS
from egogrid_train.play import play
from egogrid_train.policy import TorchPolicy
from tqdm import tqdm

SEEDS_PER_SHARD = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--first-seed", type=int, required=True)
    parser.add_argument("--episodes", type=int, default=16, help="per task")
    parser.add_argument("--steps-executed", type=int, default=4)
    parser.add_argument("--tasks", nargs="+", default=list(MT5), choices=TASKS)
    args = parser.parse_args()
    last = args.first_seed + args.episodes - 1
    if args.first_seed not in TRAINING_SEEDS or last not in TRAINING_SEEDS:
        parser.error(f"seeds {args.first_seed}..{last} are not all in the training range {TRAINING_SEEDS}")
    torch.set_num_threads(1)
    policy = TorchPolicy(args.checkpoint)
    won: dict[str, list[bool]] = {task: [] for task in args.tasks}
    with tqdm(total=args.episodes * len(args.tasks), unit="episode") as bar:

        def played(episode) -> None:
            won[episode.task].append(episode.success)
            bar.update()
            bar.set_postfix(success=f"{sum(map(sum, won.values()))}/{sum(map(len, won.values()))}")

        for first in range(args.first_seed, last + 1, SEEDS_PER_SHARD):
            path = args.data_dir / f"policy_{first:05}_{'+'.join(args.tasks) if tuple(args.tasks) != MT5 else 'all'}.npz"
            if path.exists():
                bar.update(SEEDS_PER_SHARD * len(args.tasks))
                continue
            frames = Frames()
            seeds = range(first, min(first + SEEDS_PER_SHARD, last + 1))
            play(policy, {task: seeds for task in args.tasks}, args.steps_executed, frames=frames, on_played=played)
            frames.save(path)
    print({task: f"{sum(successes)}/{len(successes)}" for task, successes in won.items()})


if __name__ == "__main__":
    main()
