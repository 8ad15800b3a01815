"""A native picture to `pixel_values`, as the official processor does it, bit for bit; in numpy, the reference for the Rust side.

From: `[height, width, 3]` u8 RGB of any size. To: `[1, 3 * towers, size, size]` f32: the same picture once per tower, each with its own
mean and std. Source: the official `PrismaticImageProcessor` with torchvision 0.17 and Pillow 10. What comes before it in the official
evaluation scripts (`PREPROCESSINGS`) is part of the bundle too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egogrid_export.openvla.evaluation import evaluation_picture
from egogrid_export.pillow import resized

# What comes before the processor: nothing (`deploy.py`), or what the evaluation scripts do, without or with the centre crop.
PREPROCESSINGS = ("processor", "evaluation", "evaluation_center_crop")
STRATEGIES = ("resize_naive", "letterbox", "resize_crop")


@dataclass(frozen=True)
class ImageConfig:
    """`towers`: `(mean, std)` of each, red, green, blue. `fill`: colour of the letterbox's borders."""

    size_px: int
    strategy: str
    fill: tuple[int, int, int] | None
    towers: tuple[tuple[list[float], list[float]], ...]
    preprocessing: str


def pixel_values(picture: np.ndarray, image: ImageConfig) -> np.ndarray:
    """All of it."""
    if image.preprocessing != "processor":
        picture = evaluation_picture(picture, image.size_px, center_crop=image.preprocessing == "evaluation_center_crop")
    return normalized(squared(picture, image), image)


def squared(picture: np.ndarray, image: ImageConfig) -> np.ndarray:
    """To `[size, size, 3]` u8 by the processor's strategy."""
    size = image.size_px
    if image.strategy == "resize_naive":
        return resized(picture, size, size)
    if image.strategy == "letterbox":
        picture = _letterboxed(picture, image.fill)
    height, width = picture.shape[:2]
    short = min(height, width)
    # torchvision: the short side to `size`, the long one cut to a whole number.
    height, width = (size if side == short else int(size * side / short) for side in (height, width))
    top, left = (round((side - size) / 2) for side in (height, width))
    return resized(picture, height, width)[top : top + size, left : left + size]


def _letterboxed(picture: np.ndarray, fill: tuple[int, int, int] | None) -> np.ndarray:
    """Borders of equal width on both sides: an odd difference leaves the picture one pixel short of square, as in the official code."""
    height, width = picture.shape[:2]
    rows, columns = ((max(height, width) - side) // 2 for side in (height, width))
    padded = np.empty((height + 2 * rows, width + 2 * columns, 3), dtype=np.uint8)
    padded[:] = fill
    padded[rows : rows + height, columns : columns + width] = picture
    return padded


def normalized(square: np.ndarray, image: ImageConfig) -> np.ndarray:
    """`[size, size, 3]` u8 to `[1, 3 * towers, size, size]`, all in f32: u8 / 255, then (x - mean) / std per tower."""
    values = (square.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)
    parts = []
    for mean, std in image.towers:
        mean, std = (np.array(numbers, dtype=np.float32)[:, None, None] for numbers in (mean, std))
        parts.append((values - mean) / std)
    return np.ascontiguousarray(np.concatenate(parts)[None])
