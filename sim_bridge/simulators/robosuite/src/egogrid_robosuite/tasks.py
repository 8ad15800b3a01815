"""The tasks of robosuite that have a scripted expert here: its name for each, what a policy is told, where the camera stands.

From: names on the wire. To: `world.py`, which builds them. Instructions are lower case, as in Meta-World's folder.
"""

from dataclasses import dataclass

from egogrid_worker.mujoco_camera import CameraPose

from egogrid_robosuite.camera import BINS, DOOR, TABLE


@dataclass(frozen=True)
class Task:
    """One environment of robosuite."""

    environment: str
    """robosuite's name"""
    instruction: str
    camera: CameraPose


TASKS = {
    "door": Task("Door", "turn the handle and open the door", DOOR),
    "lift": Task("Lift", "lift the red cube", TABLE),
    "nut-assembly-round": Task("NutAssemblyRound", "put the round nut on the round peg", TABLE),
    "nut-assembly-square": Task("NutAssemblySquare", "put the square nut on the square peg", TABLE),
    "pick-place-can": Task("PickPlaceCan", "put the can into its place in the other bin", BINS),
    "stack": Task("Stack", "put the red cube on the green cube", TABLE),
}


class UnknownTask(ValueError):
    """A task name that is not served."""

    def __init__(self, task: str) -> None:
        super().__init__(f"no task {task!r}; use one of {', '.join(TASKS)}")


def named(task: str) -> Task:
    if task not in TASKS:
        raise UnknownTask(task)
    return TASKS[task]


def task_names() -> tuple[str, ...]:
    """All tasks, in alphabetical order."""
    return tuple(TASKS)


def instruction(task: str) -> str:
    """What the policy is told for `task`."""
    return named(task).instruction
