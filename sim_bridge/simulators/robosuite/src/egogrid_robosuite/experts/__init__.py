"""Scripted experts: what the best policy could be compared with. They know where things are and move by the same steps as a policy.

From: a `World` at the start of an episode. To: one `Move` per control step, without end. An attempt that did not solve the task begins again
from where the hand is.
"""

from collections.abc import Callable, Iterator

from egogrid_robosuite.experts.can import place_can
from egogrid_robosuite.experts.cubes import lift, stack
from egogrid_robosuite.experts.door import open_door
from egogrid_robosuite.experts.hand import OPEN, Hand, Move
from egogrid_robosuite.experts.nuts import place_round_nut, place_square_nut
from egogrid_robosuite.world import World

__all__ = ["ATTEMPTS", "Move", "expert"]

ATTEMPTS: dict[str, Callable[[World, Hand], Iterator[Move]]] = {
    "door": open_door,
    "lift": lift,
    "nut-assembly-round": place_round_nut,
    "nut-assembly-square": place_square_nut,
    "pick-place-can": place_can,
    "stack": stack,
}
"""By task: the moves of one attempt."""

SETTLE_STEPS = 4
"""robosuite lets things fall onto the table at the start."""


def expert(world: World) -> Iterator[Move]:
    """The moves of an episode."""
    hand = Hand(world)
    yield from hand.stay(OPEN, SETTLE_STEPS)
    while True:
        yield from ATTEMPTS[world.task](world, hand)
