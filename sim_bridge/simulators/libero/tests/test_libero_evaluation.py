"""What an evaluation may ask of LIBERO: suites with their limits, another camera, light and colours, and no expert."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from egogrid_libero.bddl_reader import package_predicates, scan_tokens
from egogrid_libero.env import LiberoEnv
from egogrid_libero.looks import is_robot
from egogrid_libero.tasks import STATES, initial_states, named, suites, task_names
from egogrid_libero.worker import arguments
from egogrid_worker.stress import Stress

STORED = tomllib.loads((Path(__file__).parents[1] / "simulator.toml").read_text())
TASK, SEED = "put_the_bowl_on_the_plate", 7


def test_the_suites_and_their_limits_are_the_official_ones():
    assert STORED["suites"] == suites()
    assert STORED["suite_steps_max"] == {
        "libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400,
    }
    assert STORED["seeds"] == STATES and STORED["args"] == [], "official pictures unless somebody asks for others"


def test_every_task_has_its_files():
    for task in task_names():
        assert initial_states(named(task)).shape[0] == STATES
        assert scan_tokens(named(task).bddl_file)[0] == "define"


def test_a_task_file_is_read_as_bddl_reads_it(tmp_path):
    file = tmp_path / "task.bddl"
    file.write_text("(Define (problem A) ; a comment)\n  (:goal (And (On x_1 y-2)\n (in z (a)))))")
    tokens = scan_tokens(str(file))
    assert tokens == ["define", ["problem", "a"], [":goal", ["and", ["on", "x_1", "y-2"], ["in", "z", ["a"]]]]]
    goals = []
    package_predicates(tokens[2][1], goals, "", "goals")
    package_predicates(["on", "a", "b"], goals, "", "goals")
    assert goals == [["on", "x_1", "y-2"], ["in", "z", ["a"]], ["on", "a", "b"]]
    for broken in ("(a (b)", "(a))", "(a) (b)", ""):
        file.write_text(broken)
        with pytest.raises(ValueError, match="task.bddl"):
            scan_tokens(str(file))


def looked(asked: Stress, rgbd: bool = False):
    env = LiberoEnv(rgbd=rgbd, fast=True, stress=asked)
    env.reset(TASK, SEED)
    return env.observe()


def test_a_moved_camera_sees_another_picture_and_tells_where_it_is_or_was():
    plain = looked(Stress())
    moved = looked(Stress(camera_shift_m=(0.05, 0.0, 0.02), camera_turn_deg=(3.0, 0.0)))
    untold = looked(Stress(camera_shift_m=(0.05, 0.0, 0.02), camera_turn_deg=(3.0, 0.0), camera_untold=True))
    assert not np.array_equal(moved.rgb, plain.rgb) and np.array_equal(moved.rgb, untold.rgb)
    assert np.allclose(moved.base_from_camera[:3, 3] - plain.base_from_camera[:3, 3], [0.05, 0.0, 0.02])
    assert np.array_equal(untold.base_from_camera, plain.base_from_camera)
    forward, turned = plain.base_from_camera[:3, 2], moved.base_from_camera[:3, 2]
    assert np.cross(forward, turned)[2] > 0, "to the left, seen from above"


def test_light_and_colours_change_the_picture_and_nothing_else():
    plain, dark, tinted = looked(Stress(), True), looked(Stress(light=0.4), True), looked(Stress(colours_seed=3), True)
    assert dark.rgb.mean() < 0.7 * plain.rgb.mean()
    assert np.abs(tinted.rgb.astype(int) - plain.rgb).mean() > 2
    for look in (dark, tinted):
        assert np.array_equal(look.depth_m, plain.depth_m) and np.array_equal(look.base_from_ee, plain.base_from_ee)


def test_the_arm_keeps_its_colours_and_the_bowl_does_not():
    env = LiberoEnv(fast=True)
    env.reset(TASK, SEED)
    model = env.world().model
    bodies = {is_robot(model, geom): set() for geom in range(model.ngeom)}
    for geom in range(model.ngeom):
        bodies[is_robot(model, geom)].add(model.body(int(model.geom_bodyid[geom])).name)
    assert {"robot0_link3", "gripper0_leftfinger", "mount0_controller_box"} <= bodies[True]
    assert {"akita_black_bowl_1_main", "plate_1_main"} <= bodies[False]


def test_there_is_no_expert_and_asking_for_one_is_an_error(capsys):
    with pytest.raises(SystemExit) as ended:
        arguments(["--connect", "tcp/127.0.0.1:1", "--expert"])
    assert ended.value.code == 2 and "no scripted experts" in capsys.readouterr().err
