"""Lift and Stack: a cube is grasped across two of its faces, so the hand turns to them first."""

from collections.abc import Iterator

import numpy as np

from egogrid_robosuite.experts.hand import CLOSED, OPEN, Hand, Move, yaw_of
from egogrid_robosuite.world import World

QUARTER = np.pi / 2
"""A cube looks the same after it."""
_UP = np.array([0.0, 0.0, 1.0])
_CLOSE_M = 0.09
"""Between the centres of two cubes: less leaves too little room for a finger."""


def lift(world: World, hand: Hand) -> Iterator[Move]:
    cube_m, cube = world.body("cube_main")
    across = hand.turned_to(yaw_of(cube), QUARTER)
    yield from hand.grasp(cube_m, across)
    yield from hand.reach(hand.position_m + 0.12 * _UP, across, CLOSED)


def stack(world: World, hand: Hand) -> Iterator[Move]:
    red_m, red = world.body("cubeA_main")
    beside_m = world.body("cubeB_main")[0] - red_m
    if np.linalg.norm(beside_m) < _CLOSE_M:
        # The two faces that no finger reaches through the other cube.
        aside = np.arctan2(beside_m[1], beside_m[0])
        across = hand.turned_to(yaw_of(red) + np.round((aside - yaw_of(red)) / QUARTER) * QUARTER, np.pi)
    else:
        across = hand.turned_to(yaw_of(red), QUARTER)
    yield from hand.grasp(red_m, across)
    yield from hand.reach(hand.position_m + 0.12 * _UP, across, CLOSED, within_m=0.02)
    green_m, green = world.body("cubeB_main")
    # Face on face: the hand turns with the cube that it holds.
    across = hand.turned_to(yaw_of(green), QUARTER)
    held_m = world.body("cubeA_main")[0] - hand.position_m
    yield from hand.reach(green_m + 0.12 * _UP - held_m, across, CLOSED)
    held_m = world.body("cubeA_main")[0] - hand.position_m
    yield from hand.reach(green_m + 0.046 * _UP - held_m, across, CLOSED)
    yield from hand.stay(OPEN, 6)
    yield from hand.reach(hand.position_m + 0.12 * _UP, across, OPEN, within_m=0.02)
