"""One Meta-World task at a time, in the units of Egogrid.

From: a task name, a seed and physical actions. To: `Observation`s and the benchmark's own success signal.
Base frame = Meta-World's world frame, metres. One step is 1/80 s. The same task and seed give the same goal, start
and episode, whatever this object did before.
"""

import copy
from dataclasses import dataclass

import numpy as np
from egogrid_worker.mujoco_camera import CameraPose, RgbdCamera
from egogrid_worker.mujoco_looks import recolour, relight
from egogrid_worker.stress import Stress

from egogrid_metaworld.camera import NEAR_CAMERA
from egogrid_metaworld.looks import is_robot
from egogrid_metaworld.tasks import UnknownTask, instruction, task_names

import mujoco
from metaworld.env_dict import ENV_CLS_MAP

STEP_M_MAX = 0.01
"""The benchmark moves the end effector at most this far per step and axis."""
CONTROL_HZ = 80.0
STEPS_MAX = 500
"""The benchmark's own episode limit."""
_ROUNDING = 1e-6
_MODEL_ARRAYS = ("body_pos", "body_quat", "geom_pos", "geom_quat", "site_pos", "site_quat", "geom_rgba", "site_rgba")


class ActionOutOfRange(ValueError):
    """An action that the robot cannot execute as asked. It is refused, never clipped."""


@dataclass(frozen=True)
class Observation:
    """What the robot sees and feels at one instant. See `egogrid_worker.mujoco_camera` for the conventions of the pictures."""

    rgb: np.ndarray
    """u8 `[height, width, 3]`"""
    depth_m: np.ndarray
    """f32 `[height, width]`, along the optical axis; 0 = no measurement"""
    intrinsics_px: np.ndarray
    """f64 `[3, 3]`"""
    base_from_camera: np.ndarray
    """f64 `[4, 4]`"""
    ee_position_m: np.ndarray
    """f64 `[3]`, base frame: the hand body, which is what the benchmark observes and moves"""
    gripper_open: float
    """0 closed to 1 open, measured"""
    sim_time_s: float
    """Simulated time since `reset`"""


class MetaWorldEnv:
    """`reset`, then any mix of `step` and `observe`."""

    def __init__(self, image_px: int = 224, pose: CameraPose = NEAR_CAMERA, stress: Stress = Stress()) -> None:
        self.image_px = image_px
        self.pose = pose.moved(stress.camera_shift_m, *stress.camera_turn_deg)
        self._told_pose = pose if stress.camera_untold else self.pose
        self._stress = stress
        self._loaded: dict[str, _LoadedTask] = {}
        self._current: _LoadedTask | None = None
        self._steps = 0

    @staticmethod
    def task_names() -> tuple[str, ...]:
        return task_names()

    @staticmethod
    def instruction(task: str) -> str:
        return instruction(task)

    def reset(self, task: str, seed: int) -> None:
        """Begin the episode that `task` and `seed` name."""
        if task not in self._loaded:
            self._loaded[task] = _LoadedTask(task, self.image_px, self.pose, self._stress)
        self._current = self._loaded[task]
        self._current.reset(seed)
        self._steps = 0

    def step(self, action: np.ndarray) -> bool:
        """Execute `[dx, dy, dz]` in metres (base frame) and a gripper command (1 open, 0 closed) for one step.

        Returns the benchmark's success at the state reached. Does not render.
        """
        return self.step_benchmark(benchmark_action(action))[1]

    def step_benchmark(self, action: np.ndarray) -> tuple[np.ndarray, bool]:
        """The same with the benchmark's own action, and its 39-number observation (privileged: for experts only)."""
        loaded = self._started()
        if self._steps >= STEPS_MAX:
            raise RuntimeError(f"the episode is over: {STEPS_MAX} steps is the benchmark's limit; call reset")
        loaded.obs, _, _, _, info = loaded.env.step(np.asarray(action, np.float32))
        self._steps += 1
        return loaded.obs.copy(), bool(info["success"])

    def observe(self) -> Observation:
        """Render the present state."""
        loaded = self._started()
        rgb, depth_m = loaded.camera().render(loaded.env.data)
        return Observation(
            rgb=rgb,
            depth_m=depth_m,
            intrinsics_px=self._told_pose.intrinsics_px(self.image_px),
            base_from_camera=self._told_pose.base_from_camera(),
            ee_position_m=loaded.env.get_endeff_pos().copy(),
            gripper_open=float(np.clip(loaded.obs[3], 0.0, 1.0)),
            sim_time_s=self._steps / CONTROL_HZ,
        )

    def privileged(self) -> "_LoadedTask":
        """The simulator itself, for experts and tests. A policy never sees it."""
        return self._started()

    def _started(self) -> "_LoadedTask":
        if self._current is None:
            raise RuntimeError("no episode: call reset(task, seed) first")
        return self._current


def benchmark_action(action: np.ndarray) -> np.ndarray:
    """Metres and gripper opening to the benchmark's `[-1, 1]^4`; refuses what it cannot express."""
    action = np.asarray(action, np.float64)
    if action.shape != (4,) or not np.isfinite(action).all():
        raise ActionOutOfRange(f"expected 4 finite numbers [dx, dy, dz (m), gripper], found {action!r}")
    move = action[:3] / STEP_M_MAX
    if np.abs(move).max() > 1 + _ROUNDING:
        raise ActionOutOfRange(
            f"a step of {action[:3].tolist()} m is more than {STEP_M_MAX} m on an axis; "
            "send smaller steps (set the safety limit of the embodiment to this)"
        )
    if not -_ROUNDING <= action[3] <= 1 + _ROUNDING:
        raise ActionOutOfRange(f"gripper {action[3]} is outside 0 (closed) to 1 (open)")
    return np.append(move, 1 - 2 * action[3])


class _LoadedTask:
    """A compiled task. Kept between episodes; `reset` undoes everything that an episode changes."""

    def __init__(self, task: str, image_px: int, pose: CameraPose, stress: Stress) -> None:
        if task not in task_names():
            raise UnknownTask(task)
        self.task = task
        self.env = ENV_CLS_MAP[f"{task}-v3"]()
        self.obs = np.zeros(39)
        # Otherwise the space that clips observations keeps the zero goal bounds of its first use: the goal reads 0.
        self.env.__dict__.pop("sawyer_observation_space", None)
        self.env._partially_observable = False
        self.env._freeze_rand_vec = False
        self.env.seeded_rand_vec = True
        self.env._set_task_called = True
        self._image_px, self._pose = image_px, pose
        relight(self.env.model, stress.light)
        if stress.colours_seed is not None:
            recolour(self.env.model, stress.colours_seed, is_robot)
        self._camera: RgbdCamera | None = None
        self._model_at_load = {name: getattr(self.env.model, name).copy() for name in _MODEL_ARRAYS}
        self._attributes_at_load = {
            name: copy.deepcopy(value) for name, value in vars(self.env).items()
            if isinstance(value, (bool, int, float, str, np.ndarray, tuple, type(None)))
        }

    def reset(self, seed: int) -> None:
        for name, value in self._model_at_load.items():
            getattr(self.env.model, name)[:] = value
        for name in [name for name in vars(self.env) if isinstance(vars(self.env)[name], np.ndarray)]:
            del self.env.__dict__[name]
        self.env.__dict__.update(copy.deepcopy(self._attributes_at_load))
        mujoco.mj_resetData(self.env.model, self.env.data)
        self.env.seed(seed)  # `reset(seed=...)` is ignored by the benchmark
        self.env.reset()
        # Some tasks move their object after the last forward pass; without this, the first picture shows the old place.
        mujoco.mj_forward(self.env.model, self.env.data)
        self.obs = self._clipped_observation()

    def camera(self) -> RgbdCamera:
        """Made on first use: an environment that only steps needs no GL."""
        if self._camera is None:
            self._camera = RgbdCamera(self.env.model, self._image_px, self._pose)
        return self._camera

    def _clipped_observation(self) -> np.ndarray:
        space = self.env.sawyer_observation_space
        self.env._prev_obs = self.env._get_curr_obs_combined_no_goal()
        return np.clip(self.env._get_obs(), space.low, space.high)
