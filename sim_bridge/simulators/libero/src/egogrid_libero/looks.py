"""What of LIBERO keeps its colours when an evaluation asks for others (`egogrid_worker.mujoco_looks`)."""

import mujoco

ROBOT_BODIES = ("robot0_", "gripper0_", "mount0_")
"""Bodies of the arm, its hand and its stand."""


def is_robot(model: mujoco.MjModel, geom: int) -> bool:
    """Whether it belongs to the arm, by the name of its body."""
    return model.body(int(model.geom_bodyid[geom])).name.startswith(ROBOT_BODIES)
