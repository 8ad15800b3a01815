"""The picture as the official evaluation scripts hand it to the processor: JPEG round trip, TensorFlow's lanczos3, centre crop.

From: a native RGB picture, `[height, width, 3]` u8. To: `[size, size, 3]` u8. Arithmetic is TensorFlow's own, float32, one product and one
sum at a time in its order, so that results are equal bit for bit. Source: `experiments/robot` of the official code, which calls
`tf.io.encode_jpeg`, `tf.image.resize(lanczos3, antialias)` and, where the checkpoint was trained with crops, `tf.image.crop_and_resize`.
"""

from __future__ import annotations

import math

import numpy as np

from egogrid_export.openvla.jpeg import round_trip

LANCZOS_RADIUS = 3
CROP_AREA = 0.9
F32 = np.float32
# Polynomials of glibc's sinf and cosf, by rising even power.
SINE = [float.fromhex(value) for value in ("-0x1.555545995a603p-3", "0x1.1107605230bc4p-7", "-0x1.994eb3774cf24p-13")]
COSINE = [
    float.fromhex(value)
    for value in ("0x1p0", "-0x1.ffffffd0c621cp-2", "0x1.55553e1068f19p-5", "-0x1.6c087e89a359dp-10", "0x1.99343027bf8c3p-16")
]


def evaluation_picture(picture: np.ndarray, size_px: int, center_crop: bool) -> np.ndarray:
    """Every picture goes the whole way, one of the right size too."""
    values = lanczos3(round_trip(picture), size_px)
    resized = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return cropped(resized) if center_crop else resized


def lanczos3(picture: np.ndarray, size_px: int) -> np.ndarray:
    """`[height, width, 3]` u8 to `[size, size, 3]` f32, not rounded; rows first, as in TensorFlow's ScaleAndTranslate."""
    tall = _gathered(picture.astype(F32), size_px)
    return np.ascontiguousarray(_gathered(np.ascontiguousarray(tall.swapaxes(0, 1)), size_px).swapaxes(0, 1))


def _gathered(image: np.ndarray, size: int) -> np.ndarray:
    """The first axis to `size`: one weighted row is added after the other."""
    out = np.zeros((size, *image.shape[1:]), dtype=F32)
    for index, (first, weights) in enumerate(_spans(len(image), size)):
        for offset, weight in enumerate(weights):
            out[index] += weight * image[first + offset]
    return out


def _spans(source: int, size: int) -> list[tuple[int, np.ndarray]]:
    """`(first input, its weights and those that follow)` of every output."""
    inverse = F32(1.0 / float(F32(size) / F32(source)))
    stretch = max(inverse, F32(1))
    spans = []
    for index in range(size):
        center = F32(index + 0.5) * inverse
        reach = F32(LANCZOS_RADIUS) * stretch
        first = min(max(math.ceil(center - reach - F32(0.5)), 0), source - 1)
        end = min(max(math.floor(center + reach - F32(0.5)), 0), source - 1) + 1
        distances = np.abs((np.arange(first, end, dtype=F32) + F32(0.5) - center) * (F32(1) / stretch))
        weights = _lanczos(distances)
        spans.append((first, weights * (F32(1) / np.add.accumulate(weights)[-1])))
    return spans


def _lanczos(x: np.ndarray) -> np.ndarray:
    """The kernel at distances `x` >= 0."""
    pi, safe = F32(math.pi), np.maximum(x, F32(1e-3))
    angles = pi * safe
    values = F32(LANCZOS_RADIUS) * _sine(angles) * _sine(angles / F32(LANCZOS_RADIUS)) / (pi * pi * safe * safe)
    return np.where(x <= F32(1e-3), F32(1), np.where(x > LANCZOS_RADIUS, F32(0), values))


def _sine(angles: np.ndarray) -> np.ndarray:
    """f32 sines as glibc's `sinf` rounds them, for 2^-12 <= angle < 120: a float64 polynomial, not always the nearest f32.

    A correctly rounded sine gives weights that differ in the last bit, and one resized value in some 50,000 that differs by 1.
    """
    x = angles.astype(np.float64)
    quadrant = np.where(x < math.pi / 4, 0, np.floor(x * (2 / math.pi) + 0.5)).astype(np.int64)
    x = x - quadrant * (math.pi / 2)
    square = x * x
    sine = x + x * square * SINE[0] + x * square * square * (SINE[1] + square * SINE[2])
    cosine = COSINE[0] + square * COSINE[1] + square * square * COSINE[2] + square**3 * (COSINE[3] + square * COSINE[4])
    values = np.where(quadrant % 2 == 0, sine, cosine)
    return np.where(quadrant % 4 < 2, values, -values).astype(F32)


def cropped(picture: np.ndarray) -> np.ndarray:
    """The middle 90 % of the area, back at the size of the square `picture`: bilinear, corners on corners."""
    return np.clip(np.trunc(crop_values(picture) * F32(255.5)), 0, 255).astype(np.uint8)


def crop_values(picture: np.ndarray) -> np.ndarray:
    """`cropped` before it is made u8: f32 in 0..=1."""
    size = len(picture)
    side = np.sqrt(F32(CROP_AREA))
    low = (F32(1) - side) / F32(2)
    high = low + side
    image = picture.astype(F32) * F32(1 / 255)
    step = (high - low) * F32(size - 1) / F32(size - 1)
    places = low * F32(size - 1) + np.arange(size, dtype=F32) * step
    near, far = np.floor(places).astype(int), np.ceil(places).astype(int)
    part = places - np.floor(places)
    top, bottom = image[near], image[far]
    column = part[None, :, None]
    top = top[:, near] + (top[:, far] - top[:, near]) * column
    bottom = bottom[:, near] + (bottom[:, far] - bottom[:, near]) * column
    return np.clip(top + (bottom - top) * part[:, None, None], F32(0), F32(1))
