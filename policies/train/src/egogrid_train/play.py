"""Plays a checkpoint in closed loop, several environments per forward pass.

From: a `TorchPolicy`, tasks and seeds. To: one `Played` per episode; with `frames`, every state that the policy
looked at is also labelled by the expert (DAgger).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from egogrid_metaworld import MetaWorldEnv, Observation
from egogrid_metaworld.env import STEP_M_MAX
from egogrid_train.episodes import EPISODE_STEPS_MAX, NATIVE_PX, Frames, chunk_label, start, where_m
from egogrid_train.expert import TASKS, expert_for
from egogrid_train.policy import TorchPolicy, WrongToken

DAGGER_NOISE_SIGMAS = (0.0, 0.0, 0.3, 0.6)
DAGGER_LABEL_EVERY = 2
"""States between two looks are worth labelling too: a picture is cheaper than an episode."""


@dataclass(frozen=True)
class Played:
    task: str
    seed: int
    success: bool
    steps: int
    wrong_token: bool = False


class _Seat:
    """One environment that plays its task's seeds one after another."""

    def __init__(self, task: str, seeds: list[int], dagger: bool) -> None:
        self.task, self.seeds, self.dagger = task, seeds, dagger
        self.env, self.expert = MetaWorldEnv(NATIVE_PX), expert_for(task)
        self.seed = -1

    def next_episode(self) -> bool:
        if not self.seeds:
            return False
        self.seed, self.steps = self.seeds.pop(0), 0
        self.rng = np.random.default_rng([self.seed, TASKS.index(self.task), 1])
        start(self.env, self.task, self.seed, self.rng, shaken=self.dagger and self.seed % 2 == 1)
        self.sigma = DAGGER_NOISE_SIGMAS[self.seed // 2 % len(DAGGER_NOISE_SIGMAS)] if self.dagger else 0.0
        return True

    def label(self, frames: Frames, look: Observation) -> None:
        frames.add(self.task, self.seed, look, chunk_label(self.env, self.expert), where_m(self.env))

    def execute(self, actions: np.ndarray, frames: Frames | None) -> bool | None:
        """True on success, False at the limit of steps, None while the episode goes on."""
        noise = self.rng.normal(0, 1, 3) * self.sigma if self.sigma else np.zeros(3)
        for index, action in enumerate(actions):
            if frames is not None and index and index % DAGGER_LABEL_EVERY == 0:
                self.label(frames, self.env.observe())
            move = action[:3]
            if self.sigma:
                move = np.clip(move + noise * STEP_M_MAX, -STEP_M_MAX, STEP_M_MAX)
            self.steps += 1
            if self.env.step(np.append(move, action[3])):
                return True
            if self.steps >= EPISODE_STEPS_MAX:
                return False
        return None


def play(
    policy: TorchPolicy, seeds: dict[str, Iterable[int]], steps_executed: int, seats_per_task: int = 2,
    frames: Frames | None = None, on_played=lambda played: None,
) -> list[Played]:
    """Plays every seed of every task once."""
    seats = [
        _Seat(task, list(task_seeds)[first::seats_per_task], frames is not None)
        for task, task_seeds in seeds.items() for first in range(seats_per_task)
    ]
    seats = [seat for seat in seats if seat.next_episode()]
    results: list[Played] = []

    def finish(seat: _Seat, played: Played) -> None:
        results.append(played)
        on_played(played)
        if not seat.next_episode():
            seats.remove(seat)

    while seats:
        looks = [seat.env.observe() for seat in seats]
        if frames is not None:
            for seat, look in zip(seats, looks, strict=True):
                seat.label(frames, look)
        views = [policy.view.of(look.rgb, look.depth_m) for look in looks]
        rgb, depth_m = (np.stack(part) for part in zip(*views, strict=True))
        tokens = policy.tokens([seat.task for seat in seats], rgb, depth_m)
        for seat, row in zip(list(seats), tokens, strict=True):
            try:
                actions = policy.actions(row[None])[0]
            except WrongToken:
                finish(seat, Played(seat.task, seat.seed, False, seat.steps, wrong_token=True))
                continue
            done = seat.execute(actions[:steps_executed], frames)
            if done is not None:
                finish(seat, Played(seat.task, seat.seed, done, seat.steps))
    return results
