"""Pictures of golden cases: from files, and made up with integer arithmetic only, so that every machine makes the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from egogrid_export.errors import MissingError


def read_picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise MissingError(f"the picture {path.name} cannot be read ({error})", "a PNG file", "check --cases") from None


def synthetic_picture(height: int, width: int, number: int) -> np.ndarray:
    """`[height, width, 3]` u8: a ramp, a disc and a fine texture."""
    y, x = np.indices((height, width))
    disc = (x - width // 3) ** 2 + (y - height // 2) ** 2 < (min(height, width) // 5) ** 2
    texture = (x * x * 7 + y * y * 13 + x * y * (3 + number)) % 61
    red = np.where(disc, 210, 40 + 120 * x // width)
    green = np.where(disc, 30 + 60 * number, 60 + 100 * y // height)
    blue = 50 + 90 * (x + y) // (width + height)
    return (np.stack([red, green, blue], axis=-1) + texture[..., None]).astype(np.uint8)
