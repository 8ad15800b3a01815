"""What the wire asks for, in the numbers of robosuite's controller; what it would clip is refused."""

import itertools

import numpy as np
import pytest
from egogrid_worker.osc_pose import ROTATION_RAD, RPY_RAD_MAX, TRANSLATION_M, ActionOutOfRange, controller_input
from scipy.spatial.transform import Rotation

STILL = np.zeros(3)


def rpy_rad(rotation_vector: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec(ROTATION_RAD * rotation_vector).as_euler("xyz")


def test_a_models_numbers_come_back_from_the_wire():
    said = np.random.default_rng(0).uniform(-1, 1, (2000, 7))
    for numbers in said:
        found = controller_input(TRANSLATION_M * numbers[:3], rpy_rad(numbers[3:6]), float(numbers[6] > 0))
        assert np.abs(found[:6] - numbers[:6]).max() < 1e-12
        assert found[6] == (-1 if numbers[6] > 0 else 1)


def test_every_rotation_vector_of_the_controller_fits_into_the_limit_of_the_wire_which_is_not_far_too_large():
    corners = [rpy_rad(np.array(vector)) for vector in itertools.product(np.linspace(-1, 1, 21), repeat=3)]
    largest = np.abs(corners).max()
    assert RPY_RAD_MAX - 0.01 < largest <= RPY_RAD_MAX
    for corner in itertools.product([-1.0, 1.0], repeat=3):
        assert np.allclose(controller_input(TRANSLATION_M * np.array(corner), rpy_rad(np.array(corner)), 0.0)[:6], [*corner, *corner])


def test_roll_pitch_yaw_are_one_rotation_about_static_axes():
    roll, pitch, yaw = 0.3, -0.2, 0.4
    x, y, z = np.eye(3)
    expected = Rotation.from_rotvec(yaw * z) * Rotation.from_rotvec(pitch * y) * Rotation.from_rotvec(roll * x)
    assert np.allclose(controller_input(STILL, np.array([roll, pitch, yaw]), 0.0)[3:6] * ROTATION_RAD, expected.as_rotvec())


@pytest.mark.parametrize("opening, executed", [(1.0, -1), (0.996, -1), (0.51, -1), (0.5, 0), (0.49, 1), (0.0, 1)])
def test_the_gripper_is_the_official_sign(opening, executed):
    assert controller_input(STILL, STILL, opening)[6] == executed == -np.sign(2 * opening - 1)


@pytest.mark.parametrize(
    "translation_m, rotation_rad, gripper",
    [
        ([0.0500001, 0, 0], STILL, 1.0), ([0, 0, -0.06], STILL, 1.0), (STILL, [0, 0, 0.500001], 1.0), (STILL, [-0.6, 0, 0], 1.0),
        (STILL, [0.55, 0.55, 0.55], 1.0), (STILL, STILL, 1.1), (STILL, STILL, -0.1), ([np.nan, 0, 0], STILL, 1.0),
        (STILL, [0, np.inf, 0], 0.0), ([0, 0], STILL, 1.0),
    ],
)
def test_an_action_out_of_range_is_refused_not_clipped(translation_m, rotation_rad, gripper):
    with pytest.raises(ActionOutOfRange):
        controller_input(np.array(translation_m), np.array(rotation_rad), gripper)


def test_a_share_of_a_millionth_above_the_limit_is_rounding():
    assert controller_input(np.array([0.05 * (1 + 5e-7), 0, 0]), np.array([0, 0, 0.5 * (1 + 5e-7)]), 1.0)[0] > 1
