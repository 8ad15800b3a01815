"""Resizing to a fixed size as a matrix: PyTorch's `interpolate` along one axis is one product with weights that depend on the sizes only.

To: the depth estimator's packed weights and its reference. Positions are float32 as in PyTorch: at 384 pixels their rounding is 1e-5 of a
pixel, which the estimator's frequencies make visible. A picture is resized by `rows @ picture @ columns.T`.
Source: PyTorch's upsampling kernels (bicubic: a = -0.75, no antialiasing, edges repeated).
"""

from __future__ import annotations

import numpy as np

BICUBIC_A = np.float32(-0.75)
ONE = np.float32(1)


def bicubic(source: int, target: int) -> np.ndarray:
    """`[target, source]`, `align_corners=True`."""
    weights = np.zeros((target, source), dtype=np.float32)
    for row, position in enumerate(_aligned(source, target)):
        below = int(np.floor(position))
        t = position - np.float32(below)
        for tap, weight in enumerate((_far(t + ONE), _near(t), _near(ONE - t), _far(ONE - t + ONE)), start=below - 1):
            weights[row, min(max(tap, 0), source - 1)] += weight
    return weights


def bilinear(source: int, target: int, align_corners: bool = True) -> np.ndarray:
    """`[target, source]`."""
    weights = np.zeros((target, source), dtype=np.float32)
    for row, position in enumerate(_aligned(source, target) if align_corners else _half_pixel(source, target)):
        below = min(int(position), source - 1)
        share = min(max(position - np.float32(below), np.float32(0)), ONE)
        weights[row, below] += ONE - share
        weights[row, min(below + 1, source - 1)] += share
    return weights


def reflect_padding(source: int, pad: int) -> np.ndarray:
    """`[source + 2 * pad, source]`: ones that pick the mirrored pixel; the edge itself is not repeated."""
    places = np.abs(np.arange(-pad, source + pad))
    places = np.where(places >= source, 2 * (source - 1) - places, places)
    return np.eye(source, dtype=np.float32)[places]


def _aligned(source: int, target: int) -> np.ndarray:
    """First on first, last on last."""
    step = np.float32(source - 1) / np.float32(target - 1) if target > 1 else np.float32(0)
    return np.arange(target, dtype=np.float32) * step


def _half_pixel(source: int, target: int) -> np.ndarray:
    step = np.float32(source) / np.float32(target)
    return np.maximum((np.arange(target, dtype=np.float32) + np.float32(0.5)) * step - np.float32(0.5), np.float32(0))


def _near(x: np.float32) -> np.float32:
    return ((BICUBIC_A + 2) * x - (BICUBIC_A + 3)) * x * x + 1


def _far(x: np.float32) -> np.float32:
    return ((BICUBIC_A * x - 5 * BICUBIC_A) * x + 8 * BICUBIC_A) * x - 4 * BICUBIC_A
