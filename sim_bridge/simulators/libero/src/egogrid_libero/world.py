"""One task of LIBERO, and its episodes as the official evaluation begins them; everything in the frame of the robot's base.

From: a task and the number of an initial state. To: `env.py`. **Base frame** = the foot of the arm (body `robot0_base`); its axes are those of the
world in every scene, x away from the robot, y to its left, z up. The hand is the grip site between the fingertips.
robosuite takes its observations one physics step (2 ms) before a control step ends: `sight` is the state at that moment.
"""

import copy
import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from egogrid_libero import bddl_reader
from egogrid_libero.tasks import STATES, Task, UnknownState, initial_states

import mujoco

bddl_reader.stand_in()
logging.disable(logging.WARNING)  # of a missing file of settings, on every import
from libero.libero.envs.env_wrapper import ControlEnv  # noqa: E402
from robosuite.utils.observables import Observable, sensor  # noqa: E402

logging.disable(logging.NOTSET)
logging.getLogger("robosuite_logs").setLevel(logging.ERROR)

from egogrid_libero.draws import Draws  # noqa: E402

CONTROL_HZ = 20.0
SETTLE_STEPS = 10
"""Things fall onto the table; the hand holds still and opens. Not counted as steps."""
STILL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SEED = 0
"""Of every task, in the official evaluation."""
_FINGER_M_MAX = 0.04
_BASE, _HAND = "robot0_base", "gripper0_grip_site"


class Sight(NamedTuple):
    """What a camera would have seen at one moment."""

    data: mujoco.MjData
    site_rgba: np.ndarray
    """A burner that is on is a site that shows; LIBERO changes it between steps."""


class World:
    """A task; compiled anew at every reset, as officially."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.sight: Sight | None = None
        self._states = initial_states(task)
        self._env = ControlEnv(task.bddl_file, control_freq=CONTROL_HZ, use_camera_obs=False, has_offscreen_renderer=False)
        _settle_as_with_a_renderer(self._env.env)
        for observable in self._env.env._observables.values():
            observable.set_enabled(False)  # nobody reads them
        self._draws = Draws(self._env.env)
        # Pictures of each step are not drawn, only what they would show is kept: whoever looks draws one.
        self._env.env.add_observable(Observable("sight", self._keep_sight(), sampling_rate=CONTROL_HZ))

    def reset(self, seed: int, prepare: Callable[[mujoco.MjModel], None]) -> None:
        """Begins the official episode number `seed`; `prepare` gets the new model before anything moves."""
        if not 0 <= seed < STATES:
            raise UnknownState(seed)
        self._env.seed(SEED)
        self._draws.skip(seed)
        self._env.reset()
        prepare(self.model)
        self._env.set_init_state(self._states[seed])
        for _ in range(SETTLE_STEPS):
            self.step(np.array(STILL))

    def step(self, controller_input: np.ndarray) -> bool:
        """One control step; answers with LIBERO's own success."""
        _, _, done, _ = self._env.step(controller_input)
        return bool(done)

    @property
    def model(self) -> mujoco.MjModel:
        return self._env.sim.model._model

    @property
    def data(self) -> mujoco.MjData:
        return self._env.sim.data._data

    def present(self) -> Sight:
        """The state as it is now, without a trace in the simulation."""
        data = copy.copy(self.data)
        mujoco.mj_forward(self.model, data)
        return Sight(data, self.model.site_rgba.copy())

    def base_m(self) -> np.ndarray:
        """Where the base stands in the world."""
        return self.data.body(_BASE).xpos.copy()

    def base_from_hand(self, data: mujoco.MjData) -> np.ndarray:
        """f64 `[4, 4]`."""
        hand, pose = data.site(_HAND), np.eye(4)
        pose[:3, :3] = hand.xmat.reshape(3, 3)
        pose[:3, 3] = hand.xpos - self.base_m()
        return pose

    @staticmethod
    def opening(data: mujoco.MjData) -> float:
        """Of the gripper, measured: 0 closed to 1 open."""
        left, right = (float(data.joint(f"gripper0_finger_joint{number}").qpos[0]) for number in (1, 2))
        return float(np.clip((left - right) / (2 * _FINGER_M_MAX), 0.0, 1.0))

    def _keep_sight(self) -> Callable[[dict], np.ndarray]:
        @sensor(modality="egogrid")
        def keep(_cache) -> np.ndarray:
            self.sight = Sight(copy.copy(self.data), self.model.site_rgba.copy())
            return np.zeros(2)

        return keep


def _settle_as_with_a_renderer(problem) -> None:
    """robosuite's renderer, which is not made here, computes the forces of a new model once more; the solver begins from them, so later joints would
    differ in their last bit."""
    initialize = problem._initialize_sim

    def initialized(*given) -> None:
        initialize(*given)
        problem.sim.forward()

    problem._initialize_sim = initialized
