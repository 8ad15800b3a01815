"""NutAssembly: the nut is held by its handle, turned to the peg, and let down on it."""

from collections.abc import Iterator

import numpy as np

from egogrid_robosuite.experts.hand import CLOSED, OPEN, Hand, Move, turned, yaw_of
from egogrid_robosuite.world import World

_UP = np.array([0.0, 0.0, 1.0])


def place_square_nut(world: World, hand: Hand) -> Iterator[Move]:
    return _place(world, hand, "SquareNut", "peg1")


def place_round_nut(world: World, hand: Hand) -> Iterator[Move]:
    return _place(world, hand, "RoundNut", "peg2")


def _place(world: World, hand: Hand, nut: str, peg: str) -> Iterator[Move]:
    handle_m, lying = world.site(f"{nut}_handle_site")
    # Not with the handle away from the robot: the peg is at the end of the arm's reach.
    turn_rad = min((_between(yaw_of(lying), yaw) for yaw in (-np.pi / 2, np.pi / 2, np.pi)), key=abs)
    # The fingers may hold it either way round: so that half of the turn is to each side of where they are now.
    across = hand.turned_to(yaw_of(lying), np.pi, near_rad=hand.yaw_rad - turn_rad / 2)
    yield from hand.grasp(handle_m, across)
    yield from hand.reach(hand.position_m + 0.2 * _UP, across, CLOSED, within_m=0.02)
    square = turned(turn_rad * _UP) @ across
    yield from hand.reach(hand.position_m, square, CLOSED, within_m=0.02, within_rad=0.02)
    peg_m, _ = world.body(peg)
    for over_m, within_m in ((0.15, 0.004), (0.1, 0.003), (0.02, 0.005)):
        held_m = world.body(f"{nut}_main")[0] - hand.position_m
        yield from hand.reach(peg_m + over_m * _UP - held_m, square, CLOSED, within_m=within_m, within_rad=0.03)
    yield from hand.stay(OPEN, 6)
    yield from hand.reach(hand.position_m + 0.15 * _UP, square, OPEN, within_m=0.02)


def _between(from_rad: float, to_rad: float) -> float:
    """The shorter way."""
    return (to_rad - from_rad + np.pi) % (2 * np.pi) - np.pi
