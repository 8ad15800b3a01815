"""What a policy could reach at best: `python -m egogrid_train.ceiling --episodes 20 --json ceiling.json`.

From: validation seeds. To: successes per task of Meta-World's own expert, as it is and with a gripper that is open or
closed; of our expert; of its chunks, executed whole, through the action
grid with a gripper that is open or closed; and of the same told positions that are wrong by 1 and 2.5 cm (standard
deviation per axis, objects and goal alike, new every chunk), which is how a policy reads a small picture.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from egogrid_metaworld import MetaWorldEnv
from egogrid_train import grid as grids
from egogrid_train.episodes import CHUNK, EPISODE_STEPS_MAX, NATIVE_PX, VALIDATION_SEEDS, chunk_label
from egogrid_train.expert import TASKS, benchmark_expert_for, expert_for
from egogrid_train.statistics import wilson
from tqdm import tqdm

TOLD_WRONG_M = (0.0, 0.01, 0.025)


def misled(expert, sigma_m: float, rng: np.random.Generator):
    """The expert with one error of the positions it is told; the hand's own position stays true."""
    error_m = rng.normal(0.0, 1.0, 6) * sigma_m

    def act(obs: np.ndarray) -> np.ndarray:
        told = obs.copy()
        told[4:7] += error_m[:3]
        told[-3:] += error_m[3:]
        return expert(told)

    return act


def two_valued(expert):
    """The expert with a gripper as a policy has it; its effort 0, which holds nothing, becomes open."""

    def act(obs: np.ndarray) -> np.ndarray:
        action = expert(obs)
        return np.append(action[:3], 1.0 if action[3] > 0 else -1.0)

    return act


def exact_episode(env: MetaWorldEnv, task: str, seed: int, expert=None) -> tuple[bool, int, list[np.ndarray]]:
    """An expert (ours, unless given) asked at every step: success, steps, moves."""
    env.reset(task, seed)
    expert, moves = expert or expert_for(task), []
    for step in range(EPISODE_STEPS_MAX):
        moves.append(expert(env.privileged().obs))
        if env.step_benchmark(moves[-1])[1]:
            return True, step + 1, moves
    return False, EPISODE_STEPS_MAX, moves


def gridded_episode(env: MetaWorldEnv, task: str, seed: int, grid: grids.Grid, sigma_m: float) -> tuple[bool, int]:
    """Its chunks through the grid, all steps of each: what a policy without error would do."""
    env.reset(task, seed)
    expert, rng = expert_for(task), np.random.default_rng([seed, TASKS.index(task), 2])
    for first in range(0, EPISODE_STEPS_MAX, CHUNK):
        label = chunk_label(env, misled(expert, sigma_m, rng))
        moves = grid.points[grid.locate(label[:, :3])]
        for index, (move, effort) in enumerate(zip(moves, label[:, 3], strict=True)):
            if env.step_benchmark(np.append(move, -1.0 if effort < 0 else 1.0))[1]:
                return True, first + index + 1
    return False, EPISODE_STEPS_MAX


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20, help="per task")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--grid", type=Path, help="grid.npz of a run; without it, one fitted to these experts")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    env, seeds = MetaWorldEnv(NATIVE_PX), VALIDATION_SEEDS[: args.episodes]
    exact = {task: [exact_episode(env, task, seed) for seed in seeds] for task in tqdm(args.tasks, desc="expert")}
    moves = np.array([move[:3] for runs in exact.values() for _, _, moves in runs for move in moves])
    grid = grids.load(args.grid) if args.grid else grids.fit(moves)
    rows = {}
    for task in tqdm(args.tasks, desc="through the grid"):
        theirs = benchmark_expert_for(task)
        columns = {
            "benchmark's expert": [exact_episode(env, task, seed, theirs)[:2] for seed in seeds],
            "it, two-valued gripper": [exact_episode(env, task, seed, two_valued(theirs))[:2] for seed in seeds],
            "expert": [run[:2] for run in exact[task]],
        }
        for sigma_m in TOLD_WRONG_M:
            name = f"grid, told {100 * sigma_m:g} cm off" if sigma_m else "grid"
            columns[name] = [gridded_episode(env, task, seed, grid, sigma_m) for seed in seeds]
        rows[task] = {
            name: {"episodes": len(runs), "successes": sum(won for won, _ in runs),
                   "wilson95": [round(x, 3) for x in wilson(sum(won for won, _ in runs), len(runs))],
                   "mean_steps": round(float(np.mean([steps for _, steps in runs])), 1)}
            for name, runs in columns.items()
        }
    if args.json:
        args.json.write_text(json.dumps({"first_seed": seeds[0], "grid_error_mean": round(float(grid.error(moves).mean()), 4),
                                         "tasks": rows}, indent=1))
    for task, columns in rows.items():
        print(f"{task:22}", "   ".join(f"{name}: {c['successes']}/{c['episodes']} in {c['mean_steps']:g}" for name, c in columns.items()))


if __name__ == "__main__":
    main()
