"""Metres, radians and an opening to the seven numbers of robosuite's OSC_POSE controller and gripper.

From: one step of the wire, base frame, rotation as roll, pitch, yaw about static x, y, z. To: `[-1, 1]^7`.
The controller takes a step in the axes of the robot's base: it adds the translation to where the hand is, and multiplies its orientation
**from the left** with a rotation vector, so both turn about the base's axes, not the hand's. An input of 1 is `TRANSLATION_M` or
`ROTATION_RAD`. A runtime with `[action]` of such a robot turns what a model said into a step of the wire; this is the way back, to 1e-12.
The gripper takes only a sign: -1 opens, +1 closes, at its own speed; 0, an opening of one half, holds it where it is.
"""

import numpy as np
from scipy.spatial.transform import Rotation

TRANSLATION_M = 0.05
"""An input of 1; the limit on each axis."""
ROTATION_RAD = 0.5
"""An input of 1; the limit of the rotation vector on each axis."""
RPY_RAD_MAX = 0.63
"""No rotation vector inside `ROTATION_RAD` has a larger roll, pitch or yaw: the largest is 0.62935, of (0.5, 0.5, 0.5) and its mirror images."""
_ROUNDING = 1e-6


class ActionOutOfRange(ValueError):
    """An action that the robot cannot execute as asked. It is refused, never clipped."""


def controller_input(translation_m: np.ndarray, rotation_rad: np.ndarray, gripper: float) -> np.ndarray:
    """f64 `[7]`: translation, rotation vector, gripper; refuses what the controller would clip."""
    given = np.concatenate([translation_m, rotation_rad, [gripper]]).astype(np.float64)
    if given.shape != (7,) or not np.isfinite(given).all():
        raise ActionOutOfRange(f"expected 7 finite numbers [x, y, z (m), roll, pitch, yaw (rad), gripper], found {given.tolist()}")
    move = given[:3] / TRANSLATION_M
    if np.abs(move).max() > 1 + _ROUNDING:
        raise ActionOutOfRange(f"a step of {given[:3].tolist()} m is more than {TRANSLATION_M} m on an axis; send smaller steps")
    turn = Rotation.from_euler("xyz", given[3:6]).as_rotvec() / ROTATION_RAD
    if np.abs(turn).max() > 1 + _ROUNDING:
        raise ActionOutOfRange(
            f"roll, pitch, yaw of {given[3:6].tolist()} rad are the rotation vector {(turn * ROTATION_RAD).tolist()}, "
            f"of which no component may be above {ROTATION_RAD} rad"
        )
    if not -_ROUNDING <= gripper <= 1 + _ROUNDING:
        raise ActionOutOfRange(f"gripper {gripper} is outside 0 (closed) to 1 (open)")
    # As the official evaluation of OpenVLA has it: sign(2g - 1), then negated.
    return np.concatenate([move, turn, [-np.sign(2 * given[6] - 1)]])
