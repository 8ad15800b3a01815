"""The pictures, joints and hand are those of the official OpenVLA evaluation, to the bit."""

import numpy as np
import pytest
from egogrid_libero.env import LiberoEnv
from egogrid_libero.tasks import suites
from egogrid_worker.osc_pose import ROTATION_RAD, TRANSLATION_M
from official import played
from scipy.spatial.transform import Rotation

MODEL = np.random.default_rng(1).uniform(-0.9, 0.9, (5, 7))
"""What a model says: translation, rotation vector, gripper above 0 open."""


def of_the_wire(said: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """As a runtime with `[action]` of launch/embodiments/libero.toml sends it."""
    rpy_rad = Rotation.from_rotvec(ROTATION_RAD * said[3:6]).as_euler("xyz")
    return TRANSLATION_M * said[:3], rpy_rad, float(said[6] > 0)


# The second episode of each: where cabinets stand is drawn anew in every reset.
@pytest.mark.parametrize("suite, task", [("libero_spatial", 4), ("libero_object", 0), ("libero_10", 2)])
def test_an_episode_is_the_official_one_to_the_bit(suite, task):
    executed = np.column_stack([MODEL[:, :6], -np.sign(MODEL[:, 6])])
    expected = played(suite, task, 2, executed)
    env = LiberoEnv()
    env.reset(suites()[suite][task], 1)
    for step, official in enumerate(expected):
        look = env.observe()
        world = env.world()
        assert np.array_equal(look.rgb, official["image"]), f"picture after {step} steps"
        assert np.array_equal(world.sight.data.site("gripper0_grip_site").xpos, official["hand_m"])
        assert look.gripper == pytest.approx((official["fingers"][0] - official["fingers"][1]) / 0.08)
        # A rotation that went through roll, pitch and yaw is the same to 1e-16, which the arm's path amplifies.
        assert np.allclose(world.data.qpos, official["joints"], rtol=0, atol=1e-12)
        if step == 0:
            assert np.array_equal(world.data.qpos, official["joints"])
        if step < len(MODEL):
            assert env.step(*of_the_wire(MODEL[step])) == expected[step + 1]["done"]
