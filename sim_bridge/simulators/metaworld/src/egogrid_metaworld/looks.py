"""What of Meta-World keeps its colours when an evaluation asks for others (`egogrid_worker.mujoco_looks`)."""

import mujoco

ROBOT_BODIES = ("base", "right", "left", "head", "torso", "pedestal", "controller", "hand", "rail", "mocap", "screen")
"""Bodies of the arm and its stand."""


def is_robot(model: mujoco.MjModel, geom: int) -> bool:
    """Whether it belongs to the arm, by the name of its body."""
    name = model.body(int(model.geom_bodyid[geom])).name
    return name.startswith(ROBOT_BODIES) and not name.startswith("handle")  # the hand's; not the handle of a task
