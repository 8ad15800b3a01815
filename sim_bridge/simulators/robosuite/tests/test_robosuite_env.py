"""Promises of the robosuite environment. Need MuJoCo and a headless GL (EGL or OSMesa)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from egogrid_robosuite.env import RobosuiteEnv
from egogrid_robosuite.tasks import TASKS, UnknownTask, instruction, task_names
from played import played
from scipy.spatial.transform import Rotation

PX = 112
STILL = np.zeros(3)
COUPLED = 0.2
"""Share of a motion that robosuite's controller, which treats position and rotation apart, also makes along another axis."""


@pytest.fixture(scope="module")
def env():
    return RobosuiteEnv(64)


@pytest.mark.parametrize("task", task_names())
def test_a_seed_names_one_episode_whatever_ran_before(env, task):
    first = played(env, task, 5)
    assert first != played(env, task, 6), "another seed is another episode"
    assert first == played(env, task, 5)


def test_a_seed_names_one_episode_in_another_process_too(env):
    program = [sys.executable, str(Path(__file__).with_name("played.py")), "stack", "7"]
    assert subprocess.run(program, check=True, capture_output=True, text=True).stdout.split() == [played(env, "stack", 7)]


def test_two_environments_stepped_in_turn_show_different_pictures(env):
    other = RobosuiteEnv(64)
    env.reset("lift", 1)
    other.reset("door", 1)
    seen = []
    for _ in range(3):
        for each in (env, other):
            for _ in range(3):
                each.step(np.array([0.03, 0.0, -0.02]), STILL, 1.0)
            seen.append(each.observe().rgb)
    assert all((seen[a] != seen[b]).any() for a in range(len(seen)) for b in range(a))
    assert all(picture.std() > 10 for picture in seen), "no black frame"


def pixel(look, point_m: np.ndarray) -> np.ndarray:
    """u, v and depth of a point of the base frame."""
    in_camera = np.linalg.inv(look.base_from_camera) @ np.append(point_m, 1)
    u, v, w = look.intrinsics_px @ in_camera[:3]
    return np.array([u / w, v / w, w])


@pytest.mark.parametrize("task", ["lift", "door", "pick-place-can"])
def test_intrinsics_and_pose_put_a_known_point_where_the_picture_shows_it(task):
    env = RobosuiteEnv(PX)
    env.reset(task, 2)
    look = env.observe()
    for point_m in ([0.6, 0.15, 0.1], [0.65, -0.1, 0.15], [0.55, 0.1, 0.2]):
        _, with_marker_m = env._camera.render(env.world().data, markers_m=(point_m,))
        rows, columns = np.nonzero(with_marker_m < look.depth_m - 1e-4)
        u, v, depth_m = pixel(look, np.array(point_m))
        assert abs(columns.mean() - u) < 0.7 and abs(rows.mean() - v) < 0.7
        assert with_marker_m[rows, columns].min() == pytest.approx(depth_m - 0.01, abs=2e-3), "depth runs along the optical axis"


def test_the_depth_of_the_cube_is_where_the_cube_is():
    env = RobosuiteEnv(224)
    env.reset("lift", 4)
    for _ in range(6):  # it falls onto the table
        env.step(STILL, STILL, 1.0)
    look = env.observe()
    red = (look.rgb[..., 0] > 2.0 * look.rgb[..., 1]) & (look.rgb[..., 0] > 60)
    rows, columns = np.nonzero(red)
    assert rows.size > 60, "the cube is seen"
    rays = np.linalg.inv(look.intrinsics_px) @ np.stack([columns, rows, np.ones_like(rows)])
    in_camera_m = rays * look.depth_m[rows, columns]
    in_base_m = (look.base_from_camera[:3, :3] @ in_camera_m).T + look.base_from_camera[:3, 3]
    cube_m, cube = env.world().body("cube_main")
    half_m = env.world().model.geom("cube_g0").size
    on_cube_m = (in_base_m - cube_m) @ cube
    assert (np.abs(on_cube_m) <= half_m + 1.5e-3).mean() > 0.97, "every red point lies on or in the cube"
    nearest_face_m = np.min(half_m - np.abs(on_cube_m), axis=1)
    assert np.median(np.abs(nearest_face_m)) < 1e-3, "on its surface"


def test_every_task_has_an_instruction_of_its_own():
    assert len({instruction(task) for task in task_names()}) == len(TASKS) == 6
    with pytest.raises(UnknownTask):
        instruction("Lift")


@pytest.mark.parametrize("task", task_names())
def test_the_base_the_controllers_origin_and_the_world_have_the_same_axes(env, task):
    env.reset(task, 1)
    world = env.world()
    controller = world.env.robots[0].composite_controller.part_controllers["right"]
    assert (controller.name, controller.input_ref_frame) == ("OSC_POSE", "base")
    for axes in (world.data.body("robot0_base").xmat.reshape(3, 3), controller.origin_ori):
        assert np.allclose(axes, np.eye(3), atol=1e-9)
    assert np.allclose(world.hand()[0] + world.base_m, controller.ref_pos) and np.allclose(world.hand()[1], controller.ref_ori_mat)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_translation_moves_the_hand_along_the_axis_of_the_base(env, axis, sign):
    env.reset("lift", 3)
    start_m, start = env.world().hand()
    asked_m = np.zeros(3)
    asked_m[axis] = 0.02 * sign
    for _ in range(6):
        env.step(asked_m, STILL, 1.0)
    end_m, end = env.world().hand()
    moved_m = end_m - start_m
    assert 0.02 < moved_m[axis] * sign < 0.12
    assert np.abs(np.delete(moved_m, axis)).max() < COUPLED * abs(moved_m[axis])
    assert Rotation.from_matrix(end @ start.T).magnitude() < 0.05


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_rotation_turns_the_hand_about_the_axis_of_the_base(env, axis, sign):
    env.reset("lift", 3)
    start_m, start = env.world().hand()
    asked_rad = np.zeros(3)
    asked_rad[axis] = 0.1 * sign
    for _ in range(6):
        env.step(STILL, asked_rad, 1.0)
    end_m, end = env.world().hand()
    turned_rad = Rotation.from_matrix(end @ start.T).as_rotvec()
    assert 0.1 < turned_rad[axis] * sign < 0.6
    assert np.abs(np.delete(turned_rad, axis)).max() < 2 * COUPLED * abs(turned_rad[axis])
    assert np.linalg.norm(end_m - start_m) < 0.04, "it turns about where it is, not about the base"


def test_a_gripper_command_of_one_opens_zero_closes_and_a_half_holds(env):
    env.reset("lift", 4)
    openings = []
    for command in (0.0, 1.0, 0.5):
        for _ in range(20):
            env.step(STILL, STILL, command)
        openings.append(env.observe().gripper)
    assert openings[0] < 0.05 and openings[1] > 0.95 and openings[2] > 0.95


def test_the_time_and_the_depth_are_those_of_the_state(env):
    env.reset("stack", 4)
    assert env.observe().sim_time_s == 0
    for _ in range(3):
        env.step(STILL, STILL, 1.0)
    look = env.observe()
    assert look.sim_time_s == pytest.approx(0.15) == env.world().data.time
    assert look.depth_m.dtype == np.float32 and look.depth_m.shape == (64, 64) and look.rgb.shape == (64, 64, 3)
    assert look.depth_m.min() > 0.3, "walls and floor: this camera has a depth everywhere"
