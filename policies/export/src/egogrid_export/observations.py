"""Observations that a precision is measured on: small pictures, depth and instructions, made with integer arithmetic only.

From: a number. To: the same bytes on every machine. Scenes differ in what lies where, in colours, in light and in texture, so that the
network's logits differ; they are no photographs, and a checkpoint's own domain may be easier or harder for a precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WIDTH_PX, HEIGHT_PX = 64, 48
OBSERVATIONS_DEFAULT, OBSERVATIONS_MAX = 200, 4096
DEPTH_MAX_M = 3.0
INSTRUCTIONS = (
    "pick up the red cup",
    "close the drawer",
    "put the block on the plate",
    "open the window",
    "push the button",
    "move the spoon to the left",
    "stack the green cube on the blue one",
    "turn on the stove",
)
# Numerical Recipes' generator: the next state is the last one times this plus that, in 32 bits.
FACTOR, ADDEND, BITS = 1664525, 1013904223, 32
SHAPES = 5


@dataclass(frozen=True)
class Observation:
    """`picture` `[48, 64, 3]` u8; `depth_mm` `[48, 64]` u16, every pixel valid; `instruction` is an index of `INSTRUCTIONS`."""

    number: int
    picture: np.ndarray
    depth_mm: np.ndarray
    instruction: int

    @property
    def depth_m(self) -> np.ndarray:
        """float32: the nearest to thousandths."""
        return self.depth_mm.astype(np.float32) / np.float32(1000)


class _Integers:
    """A stream of integers that depends on its seed only."""

    def __init__(self, seed: int) -> None:
        self._state = seed
        for _ in range(3):  # neighbouring seeds start close to each other
            self.below(1)

    def below(self, end: int) -> int:
        self._state = (self._state * FACTOR + ADDEND) % (1 << BITS)
        # The high bits are the better ones.
        return (self._state >> 8) % end


def observations(count: int) -> list[Observation]:
    return [_observation(number) for number in range(count)]


def _observation(number: int) -> Observation:
    draw = _Integers(number)
    y, x = np.indices((HEIGHT_PX, WIDTH_PX))
    ground, light = [draw.below(200) for _ in range(3)], [1 + draw.below(3) for _ in range(3)]
    picture = np.stack([ground[c] + x * light[c] // 2 + y * light[2 - c] // 3 for c in range(3)], axis=-1)
    depth = 2400 - 1200 * y // HEIGHT_PX + (draw.below(300) * x) // WIDTH_PX
    for _ in range(SHAPES):
        column, row, size = draw.below(WIDTH_PX), draw.below(HEIGHT_PX), 3 + draw.below(10)
        if draw.below(2):
            inside = (x - column) ** 2 + (y - row) ** 2 < size * size
        else:
            inside = (abs(x - column) < size) & (abs(y - row) < 1 + size // 2)
        picture[inside] = [draw.below(256) for _ in range(3)]
        depth[inside] = 600 + draw.below(900)
    picture += ((x * (3 + draw.below(9)) + y * (5 + draw.below(9)) + x * y * draw.below(4)) % (1 + draw.below(40)))[..., None]
    return Observation(number, np.clip(picture, 0, 255).astype(np.uint8), depth.astype(np.uint16), number % len(INSTRUCTIONS))
