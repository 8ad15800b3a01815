"""Promises of the LIBERO environment. Need MuJoCo and a headless GL (EGL or OSMesa)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from egogrid_libero.camera import IMAGE_PX
from egogrid_libero.env import LiberoEnv
from egogrid_libero.tasks import UnknownState, UnknownTask, named, suites, task_names
from egogrid_libero.world import World
from played import played

import mujoco

BOWL = "pick_up_the_black_bowl_on_the_stove_and_place_it_on_the_plate"
DRAWER = "pick_up_the_black_bowl_in_the_top_drawer_of_the_wooden_cabinet_and_place_it_on_the_plate"
BASKET = "pick_up_the_milk_and_place_it_in_the_basket"
STOVE = "turn_on_the_stove"
STILL = np.zeros(3)


@pytest.fixture(scope="module")
def env():
    return LiberoEnv(fast=True)


@pytest.fixture(scope="module")
def deep():
    """One look with depth at the second initial state."""
    env = LiberoEnv(rgbd=True, fast=True)
    env.reset(BOWL, 1)
    return env, env.observe()


def test_a_seed_names_one_episode_whatever_ran_before_and_in_another_process():
    env = LiberoEnv()
    first = played(env, DRAWER, 3)
    assert first != played(env, DRAWER, 4), "another initial state is another episode"
    env.reset(BASKET, 0)
    assert first == played(env, DRAWER, 3)
    program = [sys.executable, str(Path(__file__).with_name("played.py")), DRAWER, "3"]
    assert subprocess.run(program, check=True, capture_output=True, text=True).stdout.split() == [first]


def test_what_earlier_resets_would_have_drawn_is_drawn():
    """Furniture stands where it stands in the third episode of the official order, not where it stands in the first."""

    def drawn(world: World) -> np.ndarray:
        return np.append(world.model.body("wooden_cabinet_1_main").pos, np.random.get_state()[1])

    world = World(named(DRAWER))
    world._env.seed(0)
    official = []
    for _ in range(3):
        world._env.reset()
        official.append(drawn(world))
    for seed in (2, 0, 1, 2):
        world._env.seed(0)
        world._draws.skip(seed)
        world._env.reset()
        assert np.array_equal(drawn(world), official[seed])
    assert np.linalg.norm(official[2][:3] - official[0][:3]) > 1e-3


@pytest.mark.parametrize("seed", [50, 2**32 - 1])
def test_a_seed_without_an_initial_state_is_refused(env, seed):
    with pytest.raises(UnknownState, match="0 to 49"):
        env.reset(BOWL, seed)


def test_the_suites_hold_all_tasks_each_once():
    assert {name: len(tasks) for name, tasks in suites().items()} == {
        "libero_spatial": 10, "libero_object": 10, "libero_goal": 10, "libero_10": 10, "libero_90": 90,
    }
    assert len(task_names()) == len(set(task_names())) == 130
    with pytest.raises(UnknownTask):
        LiberoEnv().reset("libero_spatial", 0)


def test_the_instruction_is_the_official_one(env):
    assert env.reset(BOWL, 0) == "pick up the black bowl on the stove and place it on the plate"


def test_depth_and_pose_say_where_each_pixel_is(deep):
    """Along the ray of a pixel, MuJoCo's own ray meets something at the depth of the picture."""
    env, look = deep
    model, data, base_m = env.world().model, env.world().present().data, env.world().base_m()
    groups = np.array([0, 1, 0, 0, 0, 0], np.uint8)  # what one sees
    errors_m = []
    for v in range(8, IMAGE_PX, 16):
        for u in range(8, IMAGE_PX, 16):
            in_camera = np.linalg.inv(look.intrinsics_px) @ [u, v, 1.0]
            ray = look.base_from_camera[:3, :3] @ in_camera
            length = np.linalg.norm(ray)
            start_m = look.base_from_camera[:3, 3] + base_m
            hit_m = mujoco.mj_ray(model, data, start_m, ray / length, groups, 1, -1, np.zeros(1, np.int32))
            errors_m.append(abs(hit_m / length - look.depth_m[v, u]))
    assert np.median(errors_m) < 2e-4
    assert np.mean(np.array(errors_m) < 2e-3) > 0.95, "the others lie on edges"


def test_a_known_object_is_where_the_picture_shows_it(deep):
    """The plate: its place in the picture by its pose, the depth there by its surface."""
    env, look = deep
    plate_m = env.world().present().data.body("plate_1_main").xpos - env.world().base_m()
    x, y, z = (np.linalg.inv(look.base_from_camera) @ np.append(plate_m, 1))[:3]
    u, v, _ = look.intrinsics_px @ [x / z, y / z, 1.0]
    seen_m = look.depth_m[round(v), round(u)]
    assert abs(seen_m - z) < 0.02, "the middle of a plate is thin"
    red = look.rgb[round(v) - 12:round(v) + 12, round(u) - 20:round(u) + 20].astype(int)
    assert (red[..., 0] > red[..., 2] + 30).any(), "its rim is red"


def test_the_official_picture_is_the_mirror_image_of_the_true_one():
    official, true = LiberoEnv(fast=True), LiberoEnv(rgbd=True, fast=True)
    for each in (official, true):
        each.reset(BOWL, 1)
    seen, deep = official.observe(), true.observe()
    assert seen.depth_m is None and deep.depth_m.shape == (IMAGE_PX, IMAGE_PX) and deep.depth_m.dtype == np.float32
    difference = np.abs(seen.rgb.astype(int) - deep.rgb[:, ::-1])
    assert (difference.max(axis=2) > 30).mean() < 0.005, "2 ms apart"
    assert (np.abs(seen.rgb.astype(int) - deep.rgb).max(axis=2) > 30).mean() > 0.2


def test_a_look_leaves_no_trace(env):
    def end(looks: bool) -> np.ndarray:
        each.reset(BOWL, 0)
        for _ in range(3):
            each.step(np.array([0.02, 0.0, -0.02]), STILL, 1.0)
            if looks:
                each.observe()
        return each.world().data.qpos.copy()

    for each in (env, LiberoEnv(rgbd=True, fast=True)):
        assert np.array_equal(end(True), end(False))


def test_a_burner_that_is_on_shows(env):
    env.reset(STOVE, 0)
    before = env.observe().rgb
    world = env.world()
    world.data.joint("flat_stove_1_button").qpos[0] = 1.0
    for _ in range(2):
        solved = env.step(STILL, STILL, 1.0)
    red = env.observe().rgb.astype(int)
    assert solved and env.step(np.array([0.0, 0.0, 0.05]), STILL, 1.0), "success stays"
    assert (np.abs(red - before).max(axis=2) > 60).sum() > 50


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_translation_moves_the_hand_along_the_axis_of_the_base(env, axis):
    env.reset(BOWL, 2)
    start_m = env.observe().base_from_ee[:3, 3]
    asked_m = np.zeros(3)
    asked_m[axis] = 0.03
    for _ in range(5):
        env.step(asked_m, STILL, 1.0)
    moved_m = env.observe().base_from_ee[:3, 3] - start_m
    assert 0.02 < moved_m[axis] < 0.16 and np.abs(np.delete(moved_m, axis)).max() < 0.25 * moved_m[axis]


@pytest.mark.parametrize("suite", list(suites()))
def test_the_base_has_the_axes_of_the_world_in_every_suite(env, suite):
    env.reset(suites()[suite][-1], 0)
    world = env.world()
    assert np.allclose(world.data.body("robot0_base").xmat.reshape(3, 3), np.eye(3), atol=1e-9)
    assert world.model.cam_bodyid[world.model.camera("agentview").id] == 0, "the camera is fixed to the world"
    look = env.observe()
    assert look.rgb.std() > 10 and look.sim_time_s == 0 and look.gripper > 0.9
    assert 0.3 < look.base_from_ee[0, 3] < 0.6 and 0.1 < look.base_from_ee[2, 3] < 0.4
