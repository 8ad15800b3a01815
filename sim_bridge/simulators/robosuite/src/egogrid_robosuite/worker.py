"""Serves robosuite: `python -m egogrid_robosuite.worker --connect tcp/127.0.0.1:PORT`.

From: steps in metres and radians (base frame) and a gripper opening. To: one near RGB-D camera, the hand's pose, robosuite's
own success. With `--expert` the scripted expert of `experts/` acts, whatever the step asks for, through the same controller and limits.
"""

import argparse
import sys
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
from egogrid_worker import Capabilities, Observation, main, stress
from egogrid_worker.cli import parser
from egogrid_worker.osc_pose import RPY_RAD_MAX, TRANSLATION_M

from egogrid_robosuite.env import RobosuiteEnv
from egogrid_robosuite.experts import Move, expert
from egogrid_robosuite.tasks import instruction, task_names
from egogrid_robosuite.world import CONTROL_HZ


class RobosuiteSimulator:
    """`RobosuiteEnv` in the shape that `egogrid_worker` serves."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._stress = stress.of(args)
        self._env = RobosuiteEnv(args.image_px, self._stress)
        self._moves: Iterator[Move] | None = None

    def capabilities(self) -> Capabilities:
        size = (self._env.image_px, self._env.image_px)
        acting = ", its scripted expert acts" if self._stress.expert else ""
        return Capabilities(f"robosuite {version('robosuite')}{acting}", task_names(), CONTROL_HZ, TRANSLATION_M, RPY_RAD_MAX, size, True)

    def reset(self, task: str, seed: int) -> str:
        self._env.reset(task, seed)
        self._moves = expert(self._env.world()) if self._stress.expert else None
        return instruction(task)

    def step(self, translation_m: np.ndarray, rotation_rad: np.ndarray, gripper: float) -> bool:
        if self._moves is None:
            return self._env.step(translation_m, rotation_rad, gripper)
        return self._env.step(*next(self._moves))

    def observe(self) -> Observation:
        return self._env.observe()


def run() -> int:
    args = parser(__doc__)
    stress.add_arguments(args)
    args.add_argument("--image-px", type=int, default=224, help="side of the square picture (default: %(default)s)")
    return main(RobosuiteSimulator, args.parse_args())


if __name__ == "__main__":
    sys.exit(run())
