"""What an evaluation may ask of robosuite: sets of tasks, an expert that acts, another camera, light and colours."""

import argparse
import tomllib
from pathlib import Path

import numpy as np
import pytest
from egogrid_robosuite.env import RobosuiteEnv
from egogrid_robosuite.experts import ATTEMPTS, expert
from egogrid_robosuite.looks import is_robot
from egogrid_robosuite.tasks import TASKS, task_names
from egogrid_robosuite.worker import RobosuiteSimulator
from egogrid_worker.osc_pose import RPY_RAD_MAX, TRANSLATION_M
from egogrid_worker import stress
from egogrid_worker.stress import Stress

PX = 64
TASK, SEED = "lift", 7
STORED = tomllib.loads((Path(__file__).parents[1] / "simulator.toml").read_text())


def test_the_suites_hold_tasks_that_there_are_and_one_of_them_all():
    assert STORED["suites"]["all"] == list(task_names()) == sorted(ATTEMPTS)
    assert all(set(tasks) <= set(task_names()) for tasks in STORED["suites"].values())


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    stress.add_arguments(parser)
    parser.add_argument("--image-px", type=int, default=PX)
    return parser.parse_args(given)


@pytest.mark.parametrize("task", ["lift", "stack", "door", "pick-place-can"])
def test_the_expert_solves_a_task_inside_the_limits_and_success_stays(task):
    env = RobosuiteEnv(PX)
    env.reset(task, SEED)
    turned = 0.0
    for step, move in zip(range(STORED["steps_max"]), expert(env.world())):
        assert np.abs(move.translation_m).max() <= TRANSLATION_M + 1e-9 and np.abs(move.rotation_rad).max() <= RPY_RAD_MAX
        turned += np.abs(move.rotation_rad).sum()
        if env.step(*move):
            break
    assert step < STORED["steps_max"] - 1 and turned > 0.1
    for _ in range(10):
        assert env.step(np.array([0.0, 0.0, -0.05]), np.zeros(3), 1.0), "success stays"


def test_the_expert_acts_whatever_is_asked_for():
    for given, solved in ((("--expert",), True), ((), False)):
        simulator = RobosuiteSimulator(arguments(*given))
        assert ("expert" in simulator.capabilities().simulator) == solved
        assert simulator.reset(TASK, SEED) == TASKS[TASK].instruction
        assert any(simulator.step(np.zeros(3), np.zeros(3), 1.0) for _ in range(80)) == solved


def looked(asked: Stress):
    env = RobosuiteEnv(PX, asked)
    env.reset(TASK, SEED)
    return env.observe()


def test_a_moved_camera_sees_another_picture_and_tells_where_it_is_or_was():
    plain = looked(Stress())
    moved, untold = looked(Stress(camera_shift_m=(0.05, 0.0, 0.02))), looked(Stress(camera_shift_m=(0.05, 0.0, 0.02), camera_untold=True))
    assert not np.array_equal(moved.rgb, plain.rgb) and np.array_equal(moved.rgb, untold.rgb)
    assert np.allclose(moved.base_from_camera[:3, 3] - plain.base_from_camera[:3, 3], [0.05, 0.0, 0.02])
    assert np.array_equal(untold.base_from_camera, plain.base_from_camera)
    turned = looked(Stress(camera_turn_deg=(5.0, 0.0)))
    assert np.allclose(turned.base_from_camera[:3, 3], plain.base_from_camera[:3, 3]) and not np.array_equal(turned.rgb, plain.rgb)


def test_light_and_colours_change_the_picture_and_nothing_else():
    plain, dark, tinted = looked(Stress()), looked(Stress(light=0.4)), looked(Stress(colours_seed=3))
    assert dark.rgb.mean() < 0.6 * plain.rgb.mean()
    assert np.abs(tinted.rgb.astype(int) - plain.rgb).mean() > 2
    assert np.array_equal(tinted.rgb, looked(Stress(colours_seed=3)).rgb)
    assert not np.array_equal(tinted.rgb, looked(Stress(colours_seed=4)).rgb)
    for look in (dark, tinted):
        assert np.array_equal(look.depth_m, plain.depth_m) and np.array_equal(look.base_from_ee, plain.base_from_ee)


def test_the_arm_keeps_its_colours_and_the_cube_does_not():
    env = RobosuiteEnv(PX)
    env.reset(TASK, SEED)
    model = env.world().model
    bodies = {is_robot(model, geom): set() for geom in range(model.ngeom)}
    for geom in range(model.ngeom):
        bodies[is_robot(model, geom)].add(model.body(int(model.geom_bodyid[geom])).name)
    assert {"robot0_link3", "gripper0_right_leftfinger", "fixed_mount0_base"} & bodies[True] >= {"robot0_link3", "gripper0_right_leftfinger"}
    assert {"table", "cube_main"} <= bodies[False]
