"""What a reset of LIBERO draws from NumPy's random numbers, without the reset.

The official evaluation seeds once for each task and resets before each episode. A stored initial state holds the joints; where cabinets, stoves and
racks stand is drawn in the reset, one or two centimetres apart from episode to episode. So episode 30 is the official one only after the draws
of 30 resets, each of which takes seconds. These take half a millisecond.
"""

import numpy as np
from robosuite.utils.errors import RandomizationError

_JOINTS = 7


def skip_reset(env) -> None:
    """Draws what `env.reset()` of LIBERO's problem would, places nothing."""
    while True:
        try:
            np.random.randn(_JOINTS)  # noise of the arm, of scale 0
            for initializer in env.object_property_initializers:
                initializer.sample()
            placed = env.placement_initializer.sample()
            placed = env.conditional_placement_initializer.sample(env.sim, placed)
            env.conditional_placement_on_objects_initializer.sample(placed)
            return
        except RandomizationError:
            continue  # as LIBERO does: from the beginning
