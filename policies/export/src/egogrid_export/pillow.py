"""Pillow's 8-bit resizing, in numpy and bit for bit as Pillow 10 and 11 do it.

From: `[height, width, 3]` u8. To: the same at another size. The installed Pillow is not used for it: since version 13 it goes through the
rows first where a picture becomes wider and lower, which changes results by up to 13 grey levels; the official processors ran on 10 and 11.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

WEIGHT_BITS = 22


def bicubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.5, of support 2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resized(
    picture: np.ndarray, height: int, width: int, kernel: Callable[[np.ndarray], np.ndarray] = bicubic, support: float = 2.0
) -> np.ndarray:
    """Antialiased. Columns first, rounded to u8, then rows; an axis that keeps its size is left alone."""
    if picture.shape[1] != width:
        picture = _along(picture.swapaxes(0, 1), width, kernel, support).swapaxes(0, 1)
    if picture.shape[0] != height:
        picture = _along(picture, height, kernel, support)
    return np.ascontiguousarray(picture)


def _along(picture: np.ndarray, size: int, kernel: Callable[[np.ndarray], np.ndarray], support: float) -> np.ndarray:
    """The first axis to `size`. Sums are whole numbers below 2^53, so float64 products are exact."""
    weights = _weights(picture.shape[0], size, kernel, support)
    sums = weights @ picture.reshape(len(picture), -1).astype(np.float64)
    rounded = np.floor((sums + (1 << (WEIGHT_BITS - 1))) / (1 << WEIGHT_BITS))
    return np.clip(rounded, 0, 255).astype(np.uint8).reshape(size, *picture.shape[1:])


def _weights(source: int, size: int, kernel: Callable[[np.ndarray], np.ndarray], support: float) -> np.ndarray:
    """`[size, source]`: whole numbers, 2^22 is one."""
    scale = source / size
    stretch = max(scale, 1.0)
    reach = support * stretch
    weights = np.zeros((size, source))
    for index in range(size):
        center = (index + 0.5) * scale
        first, end = max(int(center - reach + 0.5), 0), min(int(center + reach + 0.5), source)
        row = kernel((np.arange(first, end) - center + 0.5) * (1.0 / stretch))
        row = row / np.add.accumulate(row)[-1]
        weights[index, first:end] = np.trunc(row * (1 << WEIGHT_BITS) + np.where(row < 0, -0.5, 0.5))
    return weights
