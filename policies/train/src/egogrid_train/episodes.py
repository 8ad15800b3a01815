"""Labelled states: one state of the simulator, its picture, and what the expert would do for the next steps.

From: Meta-World and a driver (the noisy expert, or the policy for DAgger). To: `Frames`, saved as `.npz` shards.
The label of a state is rolled forward from it: the simulator is saved, the clean expert acts, the simulator is
restored. The recording's own noisy future would be the wrong label.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import mujoco
import numpy as np
from egogrid_metaworld import MetaWorldEnv, Observation
from egogrid_train.expert import TASKS, expert_for

CHUNK = 4
DEPTH_UNIT_M = 1e-4
"""Depth in shards is u16 in tenths of a millimetre; 0 = no measurement."""
NATIVE_PX = 224
EPISODE_STEPS_MAX = 200
NOISE_SIGMAS = (0.0, 0.3, 0.6, 1.0)
NOISE_HELD_STEPS = 4
RANDOM_START_STEPS_MAX = 14

TRAINING_SEEDS = range(0, 10_000)
VALIDATION_SEEDS = range(50_000, 51_000)
FINAL_SEEDS_FROM = 100_000
"""Seeds of the final evaluation; nothing here may use them."""


class Snapshot:
    """All that decides a simulator's future: MuJoCo's integration state (with the solver's warm start and the mocap
    body) and the environment's own attributes."""

    _SPEC = mujoco.mjtState.mjSTATE_INTEGRATION

    def __init__(self, env: MetaWorldEnv) -> None:
        self._env, loaded = env, env.privileged()
        self._state = np.empty(mujoco.mj_stateSize(loaded.env.model, self._SPEC))
        mujoco.mj_getState(loaded.env.model, loaded.env.data, self._state, self._SPEC)
        self._attributes = dict(vars(loaded.env))
        self._obs, self._steps = loaded.obs, env._steps

    def restore(self) -> None:
        """Derived quantities (positions of bodies) stay stale until the next step or `mj_forward`."""
        loaded = self._env.privileged()
        mujoco.mj_setState(loaded.env.model, loaded.env.data, self._state, self._SPEC)
        loaded.env.__dict__.clear()
        loaded.env.__dict__.update(self._attributes)
        loaded.obs, self._env._steps = self._obs, self._steps


def chunk_label(env: MetaWorldEnv, expert) -> np.ndarray:
    """f32 `[CHUNK, 4]`: what the clean expert does from here. The environment is left as it was."""
    before, actions = Snapshot(env), []
    obs = env.privileged().obs
    for step in range(CHUNK):
        actions.append(expert(obs))
        if step + 1 < CHUNK:
            obs, _ = env.step_benchmark(actions[-1])
    before.restore()
    return np.array(actions, np.float32)


@dataclass
class Frames:
    """Rows of a shard: the camera's own pictures, so that any `View` can be trained on it. `task` indexes `TASKS`;
    `label` is in the benchmark's units, `[-1, 1]`."""

    rgb: list = field(default_factory=list)
    depth: list = field(default_factory=list)
    task: list = field(default_factory=list)
    label: list = field(default_factory=list)
    seed: list = field(default_factory=list)
    where: list = field(default_factory=list)

    def add(self, task: str, seed: int, look: Observation, label: np.ndarray, where_m: np.ndarray) -> None:
        """`where_m` `[6]`: the object's and the goal's position, which a policy never sees but may be taught to find."""
        depth = np.round(look.depth_m / DEPTH_UNIT_M)
        if not (0 <= depth.min() and depth.max() <= np.iinfo(np.uint16).max):
            raise ValueError(f"depth {look.depth_m.min()} to {look.depth_m.max()} m does not fit a shard's u16 of {DEPTH_UNIT_M} m")
        self.rgb.append(look.rgb)
        self.depth.append(depth.astype(np.uint16))
        self.task.append(TASKS.index(task))
        self.label.append(label)
        self.seed.append(seed)
        self.where.append(where_m)

    def save(self, path: Path) -> None:
        """Appears under its name only when complete: a running trainer may read the folder at any time."""
        partial = path.with_name(f"{path.stem}.partial.{os.getpid()}.npz")
        np.savez(
            partial, rgb=np.array(self.rgb, np.uint8), depth=np.array(self.depth, np.uint16),
            task=np.array(self.task, np.uint8), label=np.array(self.label, np.float32), seed=np.array(self.seed, np.int64),
            where_m=np.array(self.where, np.float32),
        )
        partial.rename(path)


def where_m(env: MetaWorldEnv) -> np.ndarray:
    """f64 `[6]`: object and goal in the base frame, as the benchmark's privileged observation has them."""
    obs = env.privileged().obs
    return np.concatenate([obs[4:7], obs[-3:]])


def start(env: MetaWorldEnv, task: str, seed: int, rng: np.random.Generator, shaken: bool) -> None:
    """Reset; `shaken` adds up to 14 random steps, half of the time one direction held."""
    env.reset(task, seed)
    if not shaken:
        return
    held = rng.uniform(-1, 1, 4) if rng.random() < 0.5 else None
    for _ in range(int(rng.integers(1, RANDOM_START_STEPS_MAX + 1))):
        env.step_benchmark(rng.uniform(-1, 1, 4) if held is None else held)


def expert_episode(env: MetaWorldEnv, task: str, seed: int, frames: Frames, every: int) -> bool:
    """One noisy expert episode; every `every`-th state is labelled. Noise and start follow from the seed."""
    rng = np.random.default_rng([seed, TASKS.index(task)])
    expert, sigma = expert_for(task), NOISE_SIGMAS[seed % len(NOISE_SIGMAS)]
    start(env, task, seed, rng, shaken=bool(seed // len(NOISE_SIGMAS) % 2))
    offset = int(rng.integers(every))
    noise = np.zeros(3)
    for step in range(EPISODE_STEPS_MAX):
        if step % every == offset:
            frames.add(task, seed, env.observe(), chunk_label(env, expert), where_m(env))
        if step % NOISE_HELD_STEPS == 0:
            noise = rng.normal(0, 1, 3) * sigma
        action = expert(env.privileged().obs)
        action[:3] = np.clip(action[:3] + noise, -1, 1)
        if env.step_benchmark(action)[1]:
            return True
    return False
