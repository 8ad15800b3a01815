"""Promises of the Meta-World environment. Need MuJoCo and a headless GL (EGL or OSMesa); about 10 s."""

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="install sim_bridge/simulators/metaworld to run these")

from egogrid_metaworld import ActionOutOfRange, MetaWorldEnv, UnknownTask, instruction, task_names
from egogrid_metaworld.env import benchmark_action

MOVE = np.array([0.004, -0.002, -0.003, 0.0])


@pytest.fixture(scope="module")
def env():
    return MetaWorldEnv(112)


def episode(env, task, seed, steps=6):
    env.reset(task, seed)
    states = [env.privileged().obs.copy(), env.privileged().env.data.qpos.copy()]
    for _ in range(steps):
        env.step(MOVE)
        states.append(env.privileged().obs.copy())
    return np.concatenate(states)


@pytest.mark.parametrize("task", ["door-open", "drawer-open", "pick-place", "peg-insert-side"])
def test_a_seed_names_one_episode_whatever_ran_before(env, task):
    first = episode(env, task, 5)
    other = episode(env, task, 6)
    assert not np.array_equal(first, other), "another seed is another episode"
    assert np.array_equal(first, episode(env, task, 5))
    assert np.array_equal(first, episode(MetaWorldEnv(112), task, 5))


def test_the_goal_is_not_clipped_to_zero(env):
    env.reset("reach", 3)
    assert np.abs(env.privileged().obs[-3:]).max() > 0.1


def test_two_environments_stepped_in_turn_show_different_pictures(env):
    other = MetaWorldEnv(112)
    env.reset("door-open", 1)
    other.reset("drawer-close", 1)
    seen = []
    for _ in range(3):
        for each in (env, other):
            for _ in range(4):
                each.step(MOVE)
            seen.append(each.observe().rgb)
    pairs = [(a, b) for a in range(len(seen)) for b in range(a)]
    assert all((seen[a] != seen[b]).any() for a, b in pairs)
    assert all(picture.std() > 10 for picture in seen), "no black frame"


def test_intrinsics_and_pose_put_a_known_point_where_the_picture_shows_it(env):
    env.reset("reach", 2)
    seen = env.observe()
    camera, data = env.privileged().camera(), env.privileged().env.data
    for point_m in ([0.1, 0.55, 0.3], [-0.2, 0.5, 0.25], [0.25, 0.75, 0.1]):
        _, with_marker_m = camera.render(data, markers_m=(point_m,))
        rows, columns = np.nonzero(with_marker_m != seen.depth_m)
        in_camera = np.linalg.inv(seen.base_from_camera) @ np.append(point_m, 1)
        u, v, w = seen.intrinsics_px @ in_camera[:3]
        assert abs(columns.mean() - u / w) < 0.6 and abs(rows.mean() - v / w) < 0.6
        nearest_m = with_marker_m[rows, columns].min()
        assert nearest_m == pytest.approx(in_camera[2] - 0.01, abs=2e-3), "depth runs along the optical axis"


def test_every_task_has_an_instruction_and_only_those():
    assert len(task_names()) == 50
    assert instruction("drawer-open") == "open the drawer"
    assert len({instruction(task) for task in task_names()}) == 50
    with pytest.raises(UnknownTask):
        instruction("drawer-open-v3")


def test_the_end_effector_moves_by_what_was_asked(env):
    env.reset("drawer-open", 4)
    start_m = env.observe().ee_position_m
    for _ in range(20):
        env.step(np.array([0.005, 0.0, 0.0, 1.0]))
    moved_m = env.observe().ee_position_m - start_m
    assert 0.07 < moved_m[0] < 0.13 and np.abs(moved_m[1:]).max() < 0.03


def test_a_gripper_command_of_one_opens_and_zero_closes(env):
    env.reset("drawer-open", 4)
    openings = []
    for command in (0.0, 1.0):
        for _ in range(30):
            env.step(np.array([0, 0, 0, command]))
        openings.append(env.observe().gripper_open)
    assert openings[0] < openings[1] - 0.2


@pytest.mark.parametrize("action", [[0.0101, 0, 0, 0], [0, 0, -0.02, 1], [0, 0, 0, 1.5], [np.nan, 0, 0, 0], [0, 0, 0]])
def test_an_action_out_of_range_is_refused_not_clipped(action):
    with pytest.raises(ActionOutOfRange):
        benchmark_action(np.array(action))


def test_the_largest_action_is_accepted():
    assert benchmark_action(np.array([0.01, -0.01, 0.01, 1.0])).tolist() == [1, -1, 1, -1]


def test_the_time_and_the_depth_are_those_of_the_state(env):
    env.reset("window-open", 4)
    assert env.observe().sim_time_s == 0
    for _ in range(8):
        env.step(MOVE)
    seen = env.observe()
    assert seen.sim_time_s == pytest.approx(0.1)
    assert seen.depth_m.dtype == np.float32 and seen.depth_m.shape == (112, 112) and seen.rgb.shape == (112, 112, 3)
    assert seen.depth_m.min() > 0.3, "this camera has a depth everywhere"
