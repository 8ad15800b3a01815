"""Promises of the labels. Needs MuJoCo, no pictures and no torch."""

import numpy as np
import pytest
from egogrid_metaworld import MetaWorldEnv
from egogrid_train import grid
from egogrid_train.ceiling import exact_episode, gridded_episode
from egogrid_train.episodes import CHUNK, FINAL_SEEDS_FROM, TRAINING_SEEDS, VALIDATION_SEEDS, chunk_label
from egogrid_train.expert import TASKS, door_open, expert_for


@pytest.mark.parametrize("task", TASKS)
def test_a_label_is_exactly_what_the_expert_does_next_and_leaves_no_trace(task):
    env, expert = MetaWorldEnv(112), expert_for(task)
    runs = []
    for labelled in (True, False):
        env.reset(task, 3)
        labels, actions = [], []
        for _ in range(60):
            if labelled:
                labels.append(chunk_label(env, expert))
            actions.append(expert(env.privileged().obs))
            env.step_benchmark(actions[-1])
        runs.append(np.array(actions, np.float32))
        for step, label in enumerate(labels[: -CHUNK]):
            assert (label == runs[0][step : step + CHUNK]).all(), f"step {step}"
    assert (runs[0] == runs[1]).all()


@pytest.mark.parametrize("task", TASKS)
def test_asking_the_expert_twice_gives_the_same_answer(task):
    env, expert = MetaWorldEnv(112), expert_for(task)
    env.reset(task, 1)
    obs = env.privileged().obs
    before = obs.copy()
    assert (expert(obs) == expert(obs)).all() and (obs == before).all()


def test_the_corrected_door_expert_opens_the_doors_on_which_the_original_hangs():
    env = MetaWorldEnv(112)
    for seed in (11, 28, 79):
        env.reset("door-open", seed)
        assert any(env.step_benchmark(np.clip(door_open(env.privileged().obs), -1, 1))[1] for _ in range(200)), seed


def test_no_seed_serves_two_purposes():
    assert set(TRAINING_SEEDS).isdisjoint(VALIDATION_SEEDS)
    assert max(max(TRAINING_SEEDS), max(VALIDATION_SEEDS)) < FINAL_SEEDS_FROM


@pytest.mark.parametrize("task", ("window-close", "reach", "push", "pick-place", "peg-insert-side"))
def test_experts_of_mt10_succeed_in_chunks_through_a_grid_with_a_gripper_that_is_open_or_closed(task):
    """And forgive positions that are told 1 cm wrong, new every chunk."""
    env = MetaWorldEnv(112)
    seeds = VALIDATION_SEEDS[:3]
    cells = grid.fit(np.array([move[:3] for seed in seeds for move in exact_episode(env, task, seed)[2]]))
    for seed in seeds:
        for sigma_m in (0.0, 0.01):
            assert gridded_episode(env, task, seed, cells, sigma_m)[0], (seed, sigma_m)
