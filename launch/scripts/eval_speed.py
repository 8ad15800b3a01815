"""Episodes per minute: `egogrid eval` against the plain loop that one would write in Python. `./launch/eval-speed` runs it.

Both have the same simulator, tasks, seeds, step limit and network (the shipped checkpoint in PyTorch, the bundle made of it in ONNX Runtime), on the
same machine in turn. The plain loop is one process: look, forward pass with as many threads as PyTorch chooses, four steps, look again.
Episodes are those of both: the same tasks and seeds; starting Python and loading the network is in neither figure.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

SEED = 200_000
STEPS_MAX = 200
STEPS_EXECUTED = 4
ROOT = Path(__file__).parents[2]


def plain(checkpoint: Path, tasks: list[str], episodes: int) -> dict:
    """Runs in the training environment, which has PyTorch."""
    from egogrid_metaworld import MetaWorldEnv
    from egogrid_train.episodes import NATIVE_PX
    from egogrid_train.policy import TorchPolicy

    import torch

    policy, env, solved, begun = TorchPolicy(checkpoint), MetaWorldEnv(NATIVE_PX), 0, 0.0
    for number in range(-1, episodes):  # the first round is for warming up and not timed
        for task in tasks if number >= 0 else tasks[:1]:
            env.reset(task, SEED + max(number, 0))
            success, steps = False, 0
            while not success and steps < STEPS_MAX:
                look = env.observe()
                rgb, depth_m = policy.view.of(look.rgb, look.depth_m)
                actions = policy.actions(policy.tokens([task], rgb[None], depth_m[None]))[0]
                for action in actions[:STEPS_EXECUTED]:
                    success, steps = bool(env.step(action)), steps + 1
                    if success or steps >= STEPS_MAX:
                        break
            solved += success and number >= 0
        if number < 0:
            begun = time.monotonic()
    return {"seconds": time.monotonic() - begun, "solved": int(solved), "threads": torch.get_num_threads()}


def egogrid(program: Path, tasks: list[str], episodes: int, out: Path) -> dict:
    """From the first episode's begin to the last one's end, as the run's own report has it."""
    plan = out / "eval.toml"
    plan.write_text(f'simulator = "metaworld"\ntasks = {json.dumps(tasks)}\nepisodes = {episodes}\nseed = {SEED}\nsteps_max = {STEPS_MAX}\n'
                    f'policy = {{ bundle = "{ROOT}/policies/shipped/metaworld/bundle" }}\nrun = {{ record_failures = 0 }}\n')
    run = out / f"run{time.monotonic_ns()}"
    begun, first = time.monotonic(), None
    process = subprocess.Popen([program, "eval", plan, "--out", run, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    rows = run / "episodes.jsonl"
    while process.poll() is None:
        if first is None and rows.exists() and rows.stat().st_size:
            first = time.monotonic()
        time.sleep(0.01)
    seconds = time.monotonic() - begun
    report = json.loads(process.stdout.read())
    records = [json.loads(line) for line in rows.read_text().splitlines()]
    # Begins when the first episode does: its record says how long it took.
    starting = (first or begun) - begun - records[0]["wall_s"]
    return {"seconds": seconds - max(starting, 0.0), "with_start": seconds, "solved": report["suite"]["successes"], "time": report["time"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true", help="the plain loop alone, as JSON: what this script runs in the training environment")
    parser.add_argument("--train-python", type=Path, help="Python with PyTorch and egogrid_train")
    parser.add_argument("--egogrid", type=Path, default=ROOT / "target/release/egogrid")
    parser.add_argument("--tasks", nargs="+", default=["drawer-close", "drawer-open", "door-open", "button-press-topdown", "window-open"])
    parser.add_argument("--episodes", type=int, default=30, help="per task: the more, the less the start of workers counts")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "out/eval-speed")
    args = parser.parse_args()
    checkpoint = ROOT / "policies/shipped/metaworld/metaworld-mt5"
    if args.plain:
        print(json.dumps(plain(checkpoint, args.tasks, args.episodes)))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    count, rows = args.episodes * len(args.tasks), []
    for turn in range(args.turns):
        loop = subprocess.run([args.train_python, "-W", "ignore", __file__, "--plain", "--episodes", str(args.episodes), "--tasks", *args.tasks],
                              check=True, capture_output=True, text=True)
        of_loop, of_egogrid = json.loads(loop.stdout.splitlines()[-1]), egogrid(args.egogrid, args.tasks, args.episodes, args.out)
        rates = [60 * count / some["seconds"] for some in (of_loop, of_egogrid)]
        rows.append({"plain": of_loop, "egogrid": of_egogrid, "per_minute": rates, "ratio": rates[1] / rates[0]})
        print(f"turn {turn + 1}: plain loop {rates[0]:.0f} episodes a minute ({of_loop['solved']} of {count} solved, {of_loop['threads']} threads), "
              f"egogrid eval {rates[1]:.0f} ({of_egogrid['solved']} of {count}): {rates[1] / rates[0]:.2f} times", file=sys.stderr)
    ratios = [row["ratio"] for row in rows]
    (args.out / "eval-speed.json").write_text(json.dumps(rows, indent=1))
    print(f"egogrid eval runs {statistics.median(ratios):.2f} times as many episodes a minute (median of {len(ratios)} turns, {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
