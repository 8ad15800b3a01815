"""Serves Meta-World: `python -m egogrid_metaworld.worker --connect tcp/127.0.0.1:PORT`.

From: steps in metres (base frame) and a gripper opening. To: one near RGB-D camera, the hand's pose, the benchmark's own
success. The robot does not rotate its hand, so a step that asks for rotation is refused. With `--expert` the benchmark's own scripted expert
acts, whatever the step asks for.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from metaworld.policies import ENV_POLICY_MAP
from egogrid_worker import Capabilities, Observation, main, stress
from egogrid_worker.cli import parser

from egogrid_metaworld.env import CONTROL_HZ, STEP_M_MAX, MetaWorldEnv
from egogrid_metaworld.tasks import instruction, task_names


class MetaWorldSimulator:
    """`MetaWorldEnv` in the shape that `egogrid_worker` serves."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._stress = stress.of(args)
        self._env = MetaWorldEnv(image_px=args.image_px, stress=self._stress)
        self._expert: Callable[[np.ndarray], np.ndarray] | None = None

    def capabilities(self) -> Capabilities:
        size = (self._env.image_px, self._env.image_px)
        expert = ", its scripted expert acts" if self._stress.expert else ""
        name = f"metaworld {version('metaworld')}{expert}"
        return Capabilities(name, task_names(), CONTROL_HZ, STEP_M_MAX, 0.0, size, True)

    def reset(self, task: str, seed: int) -> str:
        self._env.reset(task, seed)
        # Experts remember where they are in a task: a new one for each episode.
        self._expert = ENV_POLICY_MAP[f"{task}-v3"]().get_action if self._stress.expert else None
        return instruction(task)

    def step(self, translation_m: np.ndarray, rotation_rad: np.ndarray, gripper: float) -> bool:
        if self._expert is None:
            return self._env.step(np.append(translation_m, gripper))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "constant too high": the experts rely on the clipping
            # A copy: one of them writes into what it is given.
            action = self._expert(self._env.privileged().obs.copy())
        return self._env.step_benchmark(np.clip(action, -1.0, 1.0))[1]

    def observe(self) -> Observation:
        look = self._env.observe()
        base_from_ee = np.eye(4)
        base_from_ee[:3, :3] = self._env.privileged().env.data.body("hand").xmat.reshape(3, 3)
        base_from_ee[:3, 3] = look.ee_position_m
        return Observation(
            rgb=look.rgb,
            depth_m=look.depth_m,
            intrinsics_px=look.intrinsics_px,
            base_from_camera=look.base_from_camera,
            base_from_ee=base_from_ee,
            gripper=look.gripper_open,
            sim_time_s=look.sim_time_s,
        )


def run() -> int:
    args = parser(__doc__)
    stress.add_arguments(args)
    args.add_argument("--image-px", type=int, default=224, help="side of the square picture (default: %(default)s)")
    return main(MetaWorldSimulator, args.parse_args())


if __name__ == "__main__":
    sys.exit(run())
