"""Closed-loop success on validation seeds: `python -m egogrid_train.evaluate CHECKPOINT --episodes 20 --json OUT`.

From: a checkpoint directory. To: per task and overall successes with 95 % Wilson intervals, at most 200 steps an
episode. This is for choosing between checkpoints; the figures of the card come from the Rust runtime on other seeds.
"""

import argparse
import json
from pathlib import Path

import torch
from egogrid_train.episodes import VALIDATION_SEEDS
from egogrid_train.expert import MT5, TASKS
from egogrid_train.play import Played, play
from egogrid_train.policy import TorchPolicy
from egogrid_train.statistics import wilson
from tqdm import tqdm


def summary(played: list[Played]) -> dict:
    """Rows per task, and `all`."""
    rows = {}
    for name in (*TASKS, "all"):
        some = [p for p in played if name in (p.task, "all")]
        if some:
            won = sum(p.success for p in some)
            low, high = wilson(won, len(some))
            rows[name] = {
                "episodes": len(some), "successes": won, "wilson95": [round(low, 3), round(high, 3)],
                "mean_steps": round(sum(p.steps for p in some) / len(some), 1),
                "wrong_tokens": sum(p.wrong_token for p in some),
                "failed_seeds": [p.seed for p in some if not p.success] if name != "all" else [],
            }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--episodes", type=int, default=20, help="per task")
    parser.add_argument("--first-seed", type=int, default=VALIDATION_SEEDS.start)
    parser.add_argument("--steps-executed", type=int, default=4)
    parser.add_argument("--tasks", nargs="+", default=list(MT5), choices=TASKS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.episodes)
    if seeds[0] not in VALIDATION_SEEDS or seeds[-1] not in VALIDATION_SEEDS:
        parser.error(f"seeds {seeds} are not all in the validation range {VALIDATION_SEEDS}")
    torch.set_num_threads(1)
    with tqdm(total=args.episodes * len(args.tasks), unit="episode") as bar:
        results = play(TorchPolicy(args.checkpoint), {task: seeds for task in args.tasks}, args.steps_executed,
                       on_played=lambda _: bar.update())
    rows = summary(results)
    if args.json:
        args.json.write_text(json.dumps({"steps_executed": args.steps_executed, "first_seed": seeds[0], "tasks": rows}, indent=1))
    for name, row in rows.items():
        print(f"{name:22} {row['successes']:3}/{row['episodes']:<3} {row['wilson95']} steps {row['mean_steps']} "
              f"wrong tokens {row['wrong_tokens']} failed {row['failed_seeds']}")


if __name__ == "__main__":
    main()
