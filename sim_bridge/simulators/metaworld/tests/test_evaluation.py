"""What an evaluation may ask of Meta-World: sets of tasks, an expert that acts, other cameras, light and colours."""

import argparse
import tomllib
from pathlib import Path

import numpy as np
import pytest
from egogrid_metaworld.camera import NEAR_CAMERA
from egogrid_metaworld.env import MetaWorldEnv
from egogrid_metaworld.looks import is_robot
from egogrid_metaworld.suites import suites
from egogrid_metaworld.tasks import task_names
from egogrid_metaworld.worker import MetaWorldSimulator
from egogrid_worker import stress
from egogrid_worker.stress import Stress

PX = 64
TASK, SEED = "drawer-close", 7


def test_the_sets_of_tasks_are_the_benchmarks_own():
    stored = tomllib.loads((Path(__file__).parents[1] / "simulator.toml").read_text())
    assert stored["suites"] == suites()
    assert {name: len(tasks) for name, tasks in suites().items()} == {"mt5": 5, "mt10": 10, "mt25": 25, "mt50": 50, "ml45-test": 5}
    assert all(set(tasks) <= set(task_names()) for tasks in suites().values())


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    stress.add_arguments(parser)
    parser.add_argument("--image-px", type=int, default=PX)
    return parser.parse_args(given)


def test_the_expert_acts_whatever_is_asked_for_and_solves_the_task():
    for given, solved in ((("--expert",), True), ((), False)):
        simulator = MetaWorldSimulator(arguments(*given))
        simulator.reset(TASK, SEED)
        assert any(simulator.step(np.zeros(3), np.zeros(3), 1.0) for _ in range(150)) == solved
    assert "expert" in MetaWorldSimulator(arguments("--expert")).capabilities().simulator


def test_the_same_seed_is_the_same_episode_of_the_expert():
    def played() -> list[np.ndarray]:
        simulator = MetaWorldSimulator(arguments("--expert"))
        for seed in (SEED + 1, SEED):  # what was before does not matter
            simulator.reset(TASK, seed)
            path = [simulator.step(np.zeros(3), np.zeros(3), 1.0) or simulator.observe().base_from_ee[:3, 3] for _ in range(20)]
        return path

    assert np.array_equal(played(), played())


def looked(asked: Stress):
    env = MetaWorldEnv(PX, stress=asked)
    env.reset(TASK, SEED)
    return env.observe()


def test_a_moved_camera_sees_another_picture_and_tells_where_it_is_or_was():
    plain = looked(Stress())
    moved, untold = looked(Stress(camera_shift_m=(0.05, 0.0, 0.02))), looked(Stress(camera_shift_m=(0.05, 0.0, 0.02), camera_untold=True))
    assert not np.array_equal(moved.rgb, plain.rgb) and np.array_equal(moved.rgb, untold.rgb)
    assert np.allclose(moved.base_from_camera[:3, 3] - plain.base_from_camera[:3, 3], [0.05, 0.0, 0.02])
    assert np.array_equal(untold.base_from_camera, plain.base_from_camera)


def test_a_turned_camera_turns_around_itself_by_the_angle():
    turned = NEAR_CAMERA.moved((0.0, 0.0, 0.0), 5.0, 0.0).base_from_camera()
    up = NEAR_CAMERA.moved((0.0, 0.0, 0.0), 0.0, 5.0).base_from_camera()
    plain = NEAR_CAMERA.base_from_camera()
    assert np.allclose(turned[:3, 3], plain[:3, 3]) and np.allclose(up[:3, 3], plain[:3, 3])
    assert np.degrees(np.arccos(plain[:3, 2] @ up[:3, 2])) == pytest.approx(5.0)
    assert up[2, 2] > plain[2, 2], "up is up"
    assert np.cross(plain[:3, 2], turned[:3, 2])[2] > 0, "left is left, seen from above"


def test_light_and_colours_change_the_picture_and_nothing_else():
    plain, dark, tinted = looked(Stress()), looked(Stress(light=0.4)), looked(Stress(colours_seed=3))
    assert dark.rgb.mean() < 0.6 * plain.rgb.mean()
    assert np.abs(tinted.rgb.astype(int) - plain.rgb).mean() > 2
    assert np.array_equal(tinted.rgb, looked(Stress(colours_seed=3)).rgb)
    assert not np.array_equal(tinted.rgb, looked(Stress(colours_seed=4)).rgb)
    for look in (dark, tinted):
        assert np.array_equal(look.depth_m, plain.depth_m)
        assert np.array_equal(look.ee_position_m, plain.ee_position_m)


def test_what_the_hand_works_on_is_recoloured_too():
    env = MetaWorldEnv(PX)
    env.reset("handle-press", SEED)
    model = env._current.env.model
    robot = {model.body(int(model.geom_bodyid[geom])).name for geom in range(model.ngeom) if is_robot(model, geom)}
    assert {"hand", "leftpad", "right_l6"} <= robot and "handle_link" not in robot


@pytest.mark.parametrize("given", [("--light", "-1"), ("--camera-shift-m", "1,2"), ("--camera-shift-m", "nan,0,0"), ("--camera-turn-deg", "90,0")])
def test_what_cannot_be_done_is_refused(given: tuple[str, str]):
    with pytest.raises(SystemExit):
        arguments(*given)


def test_a_seed_of_colours_is_no_negative_number():
    with pytest.raises(SystemExit):
        arguments("--colours-seed=-1")
