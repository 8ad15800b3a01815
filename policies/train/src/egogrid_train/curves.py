"""Success over training: `python -m egogrid_train.curves WORK_DIR` writes `WORK_DIR/curves.json`.

From: `runs/roundNN/{summary,evaluation}.json` of `train_mt10.sh`. To: one row a round, tasks with Wilson intervals, in
the order of training; and, from its last row, what the next round does more of: `--weights` (for training) and `--weak`
(for DAgger).
"""

import argparse
import json
from pathlib import Path

from egogrid_train.expert import MT5, TASKS

WEAK_BELOW = 0.75
"""The bar of MT10's mean; a task below it gets twice the DAgger episodes again."""
WEIGHT_OF_SOLVED, WEIGHT_OF_FAILING = 0.6, 2.0


def rounds(work_dir: Path) -> list[dict]:
    """Finished and evaluated rounds; `steps` counts from random weights."""
    rows, steps = [], 0
    for run in sorted((work_dir / "runs").glob("round*")):
        if not (run / "summary.json").exists():
            continue
        summary = json.loads((run / "summary.json").read_text())
        steps += summary["steps"]
        if (run / "evaluation.json").exists():
            evaluation = json.loads((run / "evaluation.json").read_text())
            rows.append({"round": int(run.name.removeprefix("round")), "steps": steps, "processor_s": summary["elapsed_s"],
                         "frames": summary["frames"], "episodes": summary["episodes"], "excess_nats": summary["excess_nats"],
                         "first_seed": evaluation["first_seed"], "tasks": evaluation["tasks"]})
    return rows


def rates(rows: list[dict]) -> dict[str, float]:
    """Success rate of each task in the last row that has it; (n + 1) / (N + 2), so that ten of ten is not certainty."""
    last = {}
    for row in rows:
        for task, one in row["tasks"].items():
            if task in TASKS:
                last[task] = (one["successes"] + 1) / (one["episodes"] + 2)
    return last


def weights(rows: list[dict]) -> dict[str, float]:
    """How often training draws a task: falls linearly with its success. Before the first evaluation the five tasks of
    the policy that one begins with count as solved."""
    known = {task: float(task in MT5) for task in TASKS} | rates(rows)
    return {task: round(WEIGHT_OF_FAILING - (WEIGHT_OF_FAILING - WEIGHT_OF_SOLVED) * known[task], 2) for task in TASKS}


def weak(rows: list[dict]) -> list[str]:
    """Tasks below the bar; those never evaluated count."""
    known = rates(rows)
    return [task for task in TASKS if known.get(task, 0.0) < WEAK_BELOW]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", type=Path)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--weights", action="store_true", help="print TASK=WEIGHT of every task")
    what.add_argument("--weak", action="store_true", help="print the tasks below the bar")
    args = parser.parse_args()
    rows = rounds(args.work_dir)
    if args.weights:
        print(*(f"{task}={weight}" for task, weight in weights(rows).items()))
    elif args.weak:
        print(*weak(rows))
    else:
        partial = args.work_dir / "curves.partial"
        partial.write_text(json.dumps({"rounds": rows}, indent=1))
        partial.rename(args.work_dir / "curves.json")
        for row in rows:
            shown = [f"{task} {one['successes']}/{one['episodes']}" for task, one in row["tasks"].items()]
            print(f"round {row['round']:2} {row['steps']:6} steps {row['frames']:6} frames:", ", ".join(shown))


if __name__ == "__main__":
    main()
