"""One robosuite task at a time, in the units of Egogrid.

From: a task name, a seed and physical actions. To: looks, and robosuite's own success, which stays once it was reached.
Base frame: `world.py`. Units of a step: `egogrid_worker.osc_pose`. Pictures: `egogrid_worker.mujoco_camera`.
"""

import gc

import numpy as np
from egogrid_worker.mujoco_camera import RgbdCamera
from egogrid_worker.mujoco_looks import recolour, relight
from egogrid_worker.osc_pose import controller_input
from egogrid_worker.simulator import Observation
from egogrid_worker.stress import Stress

from egogrid_robosuite.camera import COLLISION_GROUP
from egogrid_robosuite.looks import is_robot
from egogrid_robosuite.tasks import named
from egogrid_robosuite.world import CONTROL_HZ, World


class RobosuiteEnv:
    """`reset`, then any mix of `step` and `observe`."""

    def __init__(self, image_px: int = 224, stress: Stress = Stress()) -> None:
        self.image_px = image_px
        self._stress = stress
        self._world: World | None = None
        self._camera: RgbdCamera | None = None
        self._steps = 0
        self._solved = False

    def reset(self, task: str, seed: int) -> None:
        """Begin the episode that `task` and `seed` name."""
        self._world, self._camera = None, None
        gc.collect()  # environments hold themselves in circles; without this a worker grows to twice its 0.9 GB
        self._world = World(task, seed)
        relight(self._world.model, self._stress.light)
        if self._stress.colours_seed is not None:
            recolour(self._world.model, self._stress.colours_seed, is_robot)
        self._steps, self._solved = 0, False

    def step(self, translation_m: np.ndarray, rotation_rad: np.ndarray, gripper: float) -> bool:
        """Execute one control step of 1/20 s (`egogrid_worker.osc_pose`); answers whether the task has been solved. Does not render."""
        self._solved |= self.world().step(controller_input(translation_m, rotation_rad, gripper))
        self._steps += 1
        return self._solved

    def observe(self) -> Observation:
        """Render the present state."""
        world, stress = self.world(), self._stress
        usual = named(world.task).camera
        pose = usual.moved(stress.camera_shift_m, *stress.camera_turn_deg)
        told = usual if stress.camera_untold else pose
        if self._camera is None:
            self._camera = RgbdCamera(world.model, self.image_px, pose, world.base_m, (COLLISION_GROUP,))
        rgb, depth_m = self._camera.render(world.data)
        base_from_ee = np.eye(4)
        base_from_ee[:3, 3], base_from_ee[:3, :3] = world.hand()
        return Observation(
            rgb=rgb,
            depth_m=depth_m,
            intrinsics_px=told.intrinsics_px(self.image_px),
            base_from_camera=told.base_from_camera(),
            base_from_ee=base_from_ee,
            gripper=world.opening(),
            sim_time_s=self._steps / CONTROL_HZ,
        )

    def world(self) -> World:
        """The simulator itself, for experts and tests. A policy never sees it."""
        if self._world is None:
            raise RuntimeError("no episode: call reset(task, seed) first")
        return self._world
