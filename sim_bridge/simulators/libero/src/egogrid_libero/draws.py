"""What the resets of earlier episodes draw from NumPy's random numbers, without those resets.

The official evaluation seeds once for each task and resets before each episode. A stored initial state holds the joints; where cabinets, stoves and
racks stand is drawn in the reset, one or two centimetres apart from episode to episode. So episode 30 is the official one only after the draws
of 30 resets, each of which takes seconds. These take half a millisecond.
"""

import numpy as np
from robosuite.utils.errors import RandomizationError

_JOINTS = 7


class Draws:
    """Of one LIBERO problem, made before its first reset.

    Drawers and knobs that begin open or on are drawn once more in each reset than in the one before: LIBERO adds its samplers to a list
    in every reset and never empties it. Only the last draw counts, but all move what is drawn afterwards.
    """

    def __init__(self, env) -> None:
        self._env = env
        self._samplers = list(env.object_property_initializers)

    def skip(self, episodes: int) -> None:
        """Draws what so many resets after the seed would; leaves the problem as they would have, ready for the next."""
        resets = 1  # LIBERO's constructor has done one
        for _ in range(episodes):
            resets += 1
            while not self._draw(resets):
                resets += 1  # LIBERO begins again, with another reset
        self._list(resets)  # the next one adds its own

    def _list(self, resets: int) -> None:
        self._env.object_property_initializers[:] = self._samplers * resets

    def _draw(self, resets: int) -> bool:
        """All that is drawn in one reset, in LIBERO's order; false when there was no place for something."""
        env = self._env
        self._list(resets)
        np.random.randn(_JOINTS)  # noise of the arm, of scale 0
        for initializer in env.object_property_initializers:
            initializer.sample()
        try:
            placed = env.placement_initializer.sample()
            placed = env.conditional_placement_initializer.sample(env.sim, placed)
            env.conditional_placement_on_objects_initializer.sample(placed)
        except RandomizationError:
            return False
        return True
