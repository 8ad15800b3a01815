"""The 130 tasks of LIBERO's five suites: names, instructions, files.

From: the benchmark's own lists, in its order. To: the wire, and `world.py`. A task's name is LIBERO's, which no other suite has; an instruction is
what the official evaluation tells a policy (`Task.language`, made of the name, not the sentence in the task's file).
"""

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

# No file of settings in anyone's home may say where the benchmark's files are.
os.environ["LIBERO_CONFIG_PATH"] = os.devnull

from libero.libero import get_libero_path  # noqa: E402
from libero.libero.benchmark import load_initial_states, task_maps  # noqa: E402

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
STATES = 50
"""Stored initial states of each task."""


class Task(NamedTuple):
    """One task of a suite."""

    name: str
    instruction: str
    bddl_file: str
    states_file: Path


class UnknownTask(ValueError):
    """A task name that the benchmark does not have."""

    def __init__(self, task: str) -> None:
        super().__init__(f"no task {task!r}; sim/info and simulator.toml list the {len(_tasks())} that there are")


class UnknownState(ValueError):
    """A seed without an initial state."""

    def __init__(self, seed: int) -> None:
        super().__init__(
            f"seed {seed} names an initial state, and LIBERO stores {STATES} of each task, 0 to {STATES - 1}; "
            f"plan at most {STATES} episodes of a task, from seed 0"
        )


def suites() -> dict[str, list[str]]:
    """Names of tasks, in the benchmark's order."""
    return {suite: list(task_maps[suite]) for suite in SUITES}


def task_names() -> tuple[str, ...]:
    """All tasks, suite after suite."""
    return tuple(_tasks())


def named(task: str) -> Task:
    if task not in _tasks():
        raise UnknownTask(task)
    return _tasks()[task]


def initial_states(task: Task) -> np.ndarray:
    """f64 `[50, numbers of a state]`: time, positions, velocities."""
    return load_initial_states(task.states_file)


@cache
def _tasks() -> dict[str, Task]:
    bddl, states = get_libero_path("bddl_files"), Path(get_libero_path("init_states"))
    return {
        task.name: Task(
            task.name, task.language,
            os.path.join(bddl, task.problem_folder, task.bddl_file),
            states / task.problem_folder / task.init_states_file,
        )
        for suite in SUITES for task in task_maps[suite].values()
    }
