"""Moves that bring the hand to a pose: what all experts are made of.

From: where the hand is and where it shall be, base frame. To: `Move`s inside the limits of `egogrid_worker.osc_pose`. A step asks for all that is missing,
up to a limit; the controller comes about a third of the way in a step, so this slows down by itself.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from egogrid_worker.osc_pose import TRANSLATION_M

from egogrid_robosuite.world import World

OPEN, CLOSED = 1.0, 0.0
_TURN_RAD_MAX = 0.336
"""Length of a step's rotation vector: two thirds of what the controller takes about one axis."""
_FINGERS_ALONG_Y = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


class Move(NamedTuple):
    """One step, in the units of the wire."""

    translation_m: np.ndarray
    rotation_rad: np.ndarray
    gripper: float


class Hand:
    """Of one episode."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def position_m(self) -> np.ndarray:
        return self._world.hand()[0]

    @property
    def yaw_rad(self) -> float:
        """Of the fingers: 0 when they open along the base's y axis."""
        fingers = self._world.hand()[1][:, 0]
        return float(np.arctan2(-fingers[0], fingers[1]))

    def turned_to(self, yaw_rad: float, symmetry_rad: float, near_rad: float | None = None) -> np.ndarray:
        """The rotation of a hand that points down, its fingers turned to `yaw_rad` or, as that is the same for what it
        grasps, to a multiple of `symmetry_rad` away from it: whichever is nearest to `near_rad`, or to where they are."""
        near_rad = self.yaw_rad if near_rad is None else near_rad
        turns = np.round((near_rad - yaw_rad) / symmetry_rad)
        return turned(np.array([0.0, 0.0, yaw_rad + turns * symmetry_rad])) @ _FINGERS_ALONG_Y

    def towards(self, position_m: np.ndarray, rotation: np.ndarray, gripper: float) -> Move:
        """One step."""
        present_m, present = self._world.hand()
        missing_m = position_m - present_m
        missing_rad = Rotation.from_matrix(rotation @ present.T).as_rotvec()
        step_m = missing_m * min(1.0, TRANSLATION_M / max(np.abs(missing_m).max(), 1e-9))
        turn = missing_rad * min(1.0, _TURN_RAD_MAX / max(np.linalg.norm(missing_rad), 1e-9))
        return Move(step_m, Rotation.from_rotvec(turn).as_euler("xyz"), gripper)

    def reach(
        self, position_m: np.ndarray, rotation: np.ndarray, gripper: float,
        within_m: float = 0.006, within_rad: float = 0.05, steps_max: int = 50,
    ) -> Iterator[Move]:
        """Steps until it is there, or `steps_max`: what is in the way must not hold an attempt up for ever."""
        for _ in range(steps_max):
            present_m, present = self._world.hand()
            angle = Rotation.from_matrix(rotation @ present.T).magnitude()
            if np.linalg.norm(position_m - present_m) <= within_m and angle <= within_rad:
                return
            yield self.towards(position_m, rotation, gripper)

    def stay(self, gripper: float, steps: int) -> Iterator[Move]:
        """Time for the fingers."""
        position_m, rotation = self._world.hand()
        for _ in range(steps):
            yield self.towards(position_m, rotation, gripper)

    def grasp(self, position_m: np.ndarray, rotation: np.ndarray, above_m: float = 0.1) -> Iterator[Move]:
        """From above: over it, down, close."""
        over = np.array([0.0, 0.0, above_m])
        yield from self.reach(position_m + over, rotation, OPEN, within_m=0.015)
        yield from self.reach(position_m, rotation, OPEN, steps_max=20)
        yield from self.stay(CLOSED, 8)


def turned(rotation_vector: np.ndarray) -> np.ndarray:
    """f64 `[3, 3]`"""
    return Rotation.from_rotvec(rotation_vector).as_matrix()


def yaw_of(rotation: np.ndarray) -> float:
    """Of a thing that lies on the table."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))
