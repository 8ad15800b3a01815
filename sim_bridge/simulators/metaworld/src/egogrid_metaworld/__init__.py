"""Meta-World as Egogrid sees it: one RGB-D camera, metres in the base frame, the benchmark's own success.

From: the `metaworld` package (MuJoCo). To: `worker.py` here (the wire) and `egogrid_train` (data, evaluation).
"""

from egogrid_worker.mujoco_camera import CameraPose

from egogrid_metaworld.camera import NEAR_CAMERA
from egogrid_metaworld.env import ActionOutOfRange, MetaWorldEnv, Observation, UnknownTask
from egogrid_metaworld.tasks import instruction, task_names

__all__ = [
    "NEAR_CAMERA",
    "ActionOutOfRange",
    "CameraPose",
    "MetaWorldEnv",
    "Observation",
    "UnknownTask",
    "instruction",
    "task_names",
]
