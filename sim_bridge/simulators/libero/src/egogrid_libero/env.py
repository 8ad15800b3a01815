"""LIBERO in the units of Egogrid: one task at a time.

From: a task name, a seed (the number of a stored initial state, 0 to 49) and physical actions. To: looks, and LIBERO's own success, which stays once
it was reached. Base frame: `world.py`. Units of a step: `egogrid_worker.osc_pose`. Pictures: `camera.py`.
"""

import numpy as np
from egogrid_worker.mujoco_looks import recolour, relight
from egogrid_worker.osc_pose import controller_input
from egogrid_worker.simulator import Observation
from egogrid_worker.stress import Stress

from egogrid_libero import camera
from egogrid_libero.looks import is_robot
from egogrid_libero.tasks import named
from egogrid_libero.world import CONTROL_HZ, Sight, World

import mujoco


class LiberoEnv:
    """`reset`, then any mix of `step` and `observe`.

    `rgbd`: the picture as a camera has it, not mirrored, of the present state, with depth and a pose that fits; otherwise the official picture.
    `fast`: without shadows and multisampling.
    """

    def __init__(self, rgbd: bool = False, fast: bool = False, stress: Stress = Stress()) -> None:
        self.rgbd = rgbd
        self._fast = fast
        self._stress = stress
        self._world: World | None = None
        self._renderer: camera.Renderer | None = None
        self._told_pose = np.eye(4)
        self._steps = 0
        self._solved = False

    def reset(self, task: str, seed: int) -> str:
        """Begin the official episode of that number; answers with the instruction."""
        wanted = named(task)
        self._close_renderer()
        if self._world is None or self._world.task != wanted:
            self._world = None  # the old one's memory before the new one is built
            self._world = World(wanted)
        self._world.reset(seed, self._prepare)
        self._renderer = camera.Renderer(self._world.model, self._fast)
        self._steps, self._solved = 0, False
        return wanted.instruction

    def step(self, translation_m: np.ndarray, rotation_rad: np.ndarray, gripper: float) -> bool:
        """Execute one control step of 1/20 s (`egogrid_worker.osc_pose`); answers whether the task has been solved. Does not render."""
        self._solved |= self.world().step(controller_input(translation_m, rotation_rad, gripper))
        self._steps += 1
        return self._solved

    def observe(self) -> Observation:
        """Render what the robot sees."""
        world = self.world()
        sight = world.present() if self.rgbd else world.sight
        rgb, depth_m = self._rendered(sight)
        return Observation(
            rgb=rgb[::-1].copy() if self.rgbd else rgb[::-1, ::-1].copy(),
            depth_m=depth_m[::-1].copy() if self.rgbd else None,
            intrinsics_px=camera.intrinsics_px(world.model),
            base_from_camera=self._told_pose,
            base_from_ee=world.base_from_hand(sight.data),
            gripper=world.opening(sight.data),
            sim_time_s=self._steps / CONTROL_HZ,
        )

    def world(self) -> World:
        """The simulator itself, for tests. A policy never sees it."""
        if self._world is None or self._renderer is None:
            raise RuntimeError("no episode: call reset(task, seed) first")
        return self._world

    def _prepare(self, model: mujoco.MjModel) -> None:
        usual = camera.base_from_camera(model, self._world.base_m())
        camera.move(model, self._stress)
        self._told_pose = usual if self._stress.camera_untold else camera.base_from_camera(model, self._world.base_m())
        if self._stress.light != 1.0:
            relight(model, self._stress.light)
        if self._stress.colours_seed is not None:
            recolour(model, self._stress.colours_seed, is_robot)

    def _rendered(self, sight: Sight) -> tuple[np.ndarray, np.ndarray]:
        """With the sites that showed at that moment; afterwards the model is as it was."""
        model = self.world().model
        now = model.site_rgba.copy()
        model.site_rgba[:] = sight.site_rgba
        try:
            return self._renderer.render(sight.data)
        finally:
            model.site_rgba[:] = now

    def _close_renderer(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
