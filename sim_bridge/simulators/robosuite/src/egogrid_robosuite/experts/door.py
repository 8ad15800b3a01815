"""Door: the hand points at the door, takes the handle between its fingers, turns it about its spindle, and pulls the door around its hinge.

Both turns are the hand's own, by the same angle as the handle's and the door's: what is held does not slip. From above the handle
cannot be held: the palm is too wide for the gap to the door.
"""

from collections.abc import Iterator

import numpy as np

from egogrid_robosuite.experts.hand import CLOSED, OPEN, Hand, Move, turned, yaw_of
from egogrid_robosuite.world import World

HANDLE_RAD, DOOR_RAD = 1.6, 0.5
"""How far each is turned: the latch is free of the frame at 1.25, and the door counts as open at 0.3."""
_ON_HANDLE_M = np.array([0.09, -0.1, 0.0])
"""Where it is held, in the axes of the handle: near its free end."""
_TILT_RAD = np.pi / 2
"""From pointing down to pointing at the door."""
_TURN_STEPS, _LAG_STEPS, _PULL_STEPS = 20, 10, 30


def open_door(world: World, hand: Hand) -> Iterator[Move]:
    spindle_m, door = world.body("Door_latch")
    held_m = door @ _ON_HANDLE_M
    along, inwards = door[:, 0], door[:, 1]
    pointing = turned(_TILT_RAD * along) @ hand.turned_to(yaw_of(door), np.pi)
    yield from hand.reach(spindle_m + held_m - 0.1 * inwards, pointing, OPEN, within_m=0.015)
    yield from hand.reach(spindle_m + held_m, pointing, OPEN)
    yield from hand.stay(CLOSED, 8)
    for share in np.minimum(np.arange(_TURN_STEPS + _LAG_STEPS) / _TURN_STEPS, 1.0):
        turn = turned(share * HANDLE_RAD * inwards)
        yield hand.towards(spindle_m + turn @ held_m, turn @ pointing, CLOSED)
    # From where the hand should be, not from where it is: the handle's spring keeps it back, and must not win.
    low_m, low = spindle_m + turn @ held_m, turn @ pointing
    hinge_m = world.data.joint("Door_hinge").xanchor - world.base_m
    for share in np.minimum(np.arange(_PULL_STEPS + _LAG_STEPS) / _PULL_STEPS, 1.0):
        swing = turned(np.array([0.0, 0.0, share * DOOR_RAD]))
        yield hand.towards(hinge_m + swing @ (low_m - hinge_m), swing @ low, CLOSED)
    yield from hand.stay(OPEN, 6)
    yield from hand.reach(hand.position_m - 0.1 * inwards, pointing, OPEN, within_m=0.03)
