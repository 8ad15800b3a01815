"""PickPlaceCan: a can is round, so it is grasped as the hand is; its place is the compartment of the other bin that shows it."""

from collections.abc import Iterator

import numpy as np

from egogrid_robosuite.experts.hand import CLOSED, OPEN, Hand, Move
from egogrid_robosuite.world import World

_UP = np.array([0.0, 0.0, 1.0])
_OVER_WALLS_M = 0.2
"""How far the hand rises: the walls between the bins are lower than the can's foot then."""


def place_can(world: World, hand: Hand) -> Iterator[Move]:
    can_m, _ = world.body("Can_main")
    down = hand.turned_to(0.0, np.pi)
    yield from hand.grasp(can_m, down, above_m=0.12)
    yield from hand.reach(hand.position_m + _OVER_WALLS_M * _UP, down, CLOSED, within_m=0.03)
    place_m, _ = world.body("VisualCan_main")
    held_m = world.body("Can_main")[0] - hand.position_m
    yield from hand.reach(place_m + _OVER_WALLS_M * _UP - held_m, down, CLOSED, within_m=0.02)
    yield from hand.reach(place_m + 0.02 * _UP - held_m, down, CLOSED, within_m=0.01)
    yield from hand.stay(OPEN, 6)
    yield from hand.reach(hand.position_m + 0.15 * _UP, down, OPEN, within_m=0.02)
