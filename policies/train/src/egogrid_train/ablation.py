"""Does Ego3D earn its place? `python -m egogrid_train.ablation DATA_DIR WORK_DIR --grid GRID --steps 1500`.

From: one fixed data set. To: `WORK_DIR/ablation.json`: three training seeds with the position encoding and three
without, the same steps, data, grid and evaluation seeds. Finished arms are kept, so it resumes.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from egogrid_train.expert import MT5
from egogrid_train.statistics import wilson

SEEDS = (1, 2, 3)
ARMS = {"with Ego3D": [], "without Ego3D": ["--no-ego3d"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--grid", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--episodes", type=int, default=50, help="per task")
    args = parser.parse_args()
    python = [sys.executable, "-m"]
    for seed in SEEDS:
        for arm, options in ARMS.items():
            run = args.work_dir / f"{arm.replace(' ', '_').lower()}_{seed}"
            if not (run / "summary.json").exists():
                subprocess.run([*python, "egogrid_train.train", args.data_dir, run, "--steps", str(args.steps), "--batch", "32",
                                "--lr", "1.5e-3", "--seed", str(seed), "--grid", args.grid, "--tasks", *MT5, *options], check=True)
            if not (run / "validation.json").exists():
                subprocess.run([*python, "egogrid_train.evaluate", run / "checkpoint", "--episodes", str(args.episodes),
                                "--tasks", *MT5, "--json", run / "validation.json"], check=True)
    table = {}
    for arm in ARMS:
        runs = [args.work_dir / f"{arm.replace(' ', '_').lower()}_{seed}" for seed in SEEDS]
        rows = [json.loads((run / "validation.json").read_text())["tasks"] for run in runs]
        pooled = {}
        for name in (*MT5, "all"):
            won, played = (sum(row[name][key] for row in rows) for key in ("successes", "episodes"))
            pooled[name] = {"successes": won, "episodes": played, "wilson95": [round(x, 3) for x in wilson(won, played)]}
        table[arm] = {"pooled": pooled, "by_seed": [row["all"]["successes"] for row in rows],
                      "runs": [json.loads((run / "summary.json").read_text()) for run in runs]}
    (args.work_dir / "ablation.json").write_text(json.dumps(table, indent=1))
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
