"""One episode of robosuite, built from its task and seed; everything in the frame of the robot's base.

From: a task and a seed. To: `env.py`, and experts, which may know where things are. **Base frame** = the foot of the arm
(body `robot0_base`); its axes are those of the world in every task here, x away from the robot, y to its left, z up.
The hand is the grip site between the fingertips, which is what the controller moves.
An episode is a new environment with a seeded generator: robosuite draws sizes, places and joints from that one, and nothing is
left over from the episode before. `hard_reset` is off because the model is new anyway.
"""

import logging

import numpy as np

from egogrid_robosuite.tasks import named

import mujoco

logging.disable(logging.WARNING)  # of optional robots and of a missing file of settings, on every import
import robosuite  # noqa: E402
from robosuite.controllers import load_composite_controller_config  # noqa: E402

logging.disable(logging.NOTSET)
logging.getLogger("robosuite_logs").setLevel(logging.ERROR)

CONTROL_HZ = 20.0
_FINGER_M_MAX = 0.04
"""Each finger of the Panda moves so far."""
_BASE, _HAND = "robot0_base", "gripper0_right_grip_site"


class World:
    """A compiled task in one episode of it."""

    def __init__(self, task: str, seed: int) -> None:
        self.task = task
        self.env = robosuite.make(
            named(task).environment,
            robots="Panda",
            controller_configs=load_composite_controller_config(controller="BASIC", robot="Panda"),
            control_freq=CONTROL_HZ,
            seed=seed,
            hard_reset=False,
            ignore_done=True,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            renderer="mujoco",
        )
        self.env.reset()
        self.base_m = self.data.body(_BASE).xpos.copy()
        self._fingers = [self.model.joint(f"gripper0_right_finger_joint{number}").qposadr[0] for number in (1, 2)]

    @property
    def model(self) -> mujoco.MjModel:
        return self.env.sim.model._model

    @property
    def data(self) -> mujoco.MjData:
        return self.env.sim.data._data

    def step(self, controller_input: np.ndarray) -> bool:
        """One control step; answers with robosuite's own success."""
        self.env.step(controller_input)
        return bool(self.env._check_success())

    def hand(self) -> tuple[np.ndarray, np.ndarray]:
        """Position f64 `[3]` in metres and rotation f64 `[3, 3]` of the grip site."""
        return self.site(_HAND)

    def opening(self) -> float:
        """Of the gripper, measured: 0 closed to 1 open."""
        left, right = (self.data.qpos[address] for address in self._fingers)
        return float(np.clip((left - right) / (2 * _FINGER_M_MAX), 0.0, 1.0))

    def body(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Where a body is: position in metres and rotation."""
        return self._placed(self.data.body(name))

    def site(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self._placed(self.data.site(name))

    def _placed(self, thing) -> tuple[np.ndarray, np.ndarray]:
        return thing.xpos - self.base_m, thing.xmat.reshape(3, 3).copy()
