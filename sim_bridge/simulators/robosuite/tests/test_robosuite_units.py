"""What the wire asks for, in the numbers of robosuite's controller; what it cannot do is refused."""

import itertools

import numpy as np
import pytest
from egogrid_robosuite.units import ROTATION_RAD, RPY_RAD_MAX, TRANSLATION_M, ActionOutOfRange, controller_input
from egogrid_robosuite.world import World
from scipy.spatial.transform import Rotation

STILL = np.zeros(3)


def test_the_scales_are_the_controllers_own():
    controller = World("lift", 0).env.robots[0].composite_controller.part_controllers["right"]
    assert controller.output_max.tolist() == [TRANSLATION_M] * 3 + [ROTATION_RAD] * 3 == (-controller.output_min).tolist()
    assert (controller.input_max.tolist(), controller.input_min.tolist()) == ([1] * 6, [-1] * 6)


def test_the_largest_step_is_accepted():
    found = controller_input(np.array([0.05, -0.05, 0.05]), np.array([0.0, 0.0, RPY_RAD_MAX]), 1.0)
    assert np.allclose(found, [1, -1, 1, 0, 0, RPY_RAD_MAX / ROTATION_RAD, -1])


def test_roll_pitch_yaw_are_one_rotation_about_static_axes():
    roll, pitch, yaw = 0.3, -0.2, 0.4
    x, y, z = np.eye(3)
    expected = Rotation.from_rotvec(yaw * z) * Rotation.from_rotvec(pitch * y) * Rotation.from_rotvec(roll * x)
    found = controller_input(STILL, np.array([roll, pitch, yaw]), 0.0)
    assert np.allclose(found[3:6] * ROTATION_RAD, expected.as_rotvec()) and found[6] == 1


def test_every_rotation_inside_the_limit_is_accepted_and_the_limit_is_not_far_too_small():
    values = np.linspace(-RPY_RAD_MAX, RPY_RAD_MAX, 13)
    for angles in itertools.product(values, repeat=3):
        controller_input(STILL, np.array(angles), 0.5)
    with pytest.raises(ActionOutOfRange):
        for signs in itertools.product([-1, 1], repeat=3):
            controller_input(STILL, (RPY_RAD_MAX + 0.01) * np.array(signs), 0.5)


@pytest.mark.parametrize(
    "translation_m, rotation_rad, gripper",
    [
        ([0.0501, 0, 0], STILL, 1.0), ([0, 0, -0.06], STILL, 1.0), (STILL, [0, 0, 0.51], 1.0), (STILL, [-0.6, 0, 0], 1.0),
        (STILL, STILL, 1.1), (STILL, STILL, -0.1), ([np.nan, 0, 0], STILL, 1.0), (STILL, [0, np.inf, 0], 0.0), ([0, 0], STILL, 1.0),
    ],
)
def test_an_action_out_of_range_is_refused_not_clipped(translation_m, rotation_rad, gripper):
    with pytest.raises(ActionOutOfRange):
        controller_input(np.array(translation_m), np.array(rotation_rad), gripper)
