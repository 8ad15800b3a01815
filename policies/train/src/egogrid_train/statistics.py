"""Intervals of success rates. Needs nothing but Python, so that data work runs without torch."""

import math


def wilson(successes: int, episodes: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a success rate."""
    rate, z2 = successes / episodes, z * z
    middle = rate + z2 / (2 * episodes)
    half = z * math.sqrt(rate * (1 - rate) / episodes + z2 / (4 * episodes**2))
    return (middle - half) / (1 + z2 / episodes), (middle + half) / (1 + z2 / episodes)
