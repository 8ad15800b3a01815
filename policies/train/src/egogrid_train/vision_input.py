"""A camera's picture and depth to what the model sees.

From: `egogrid_metaworld.Observation` at the camera's own size. To: u8 pixels `[size, size, 3]` and points
`[patches, reso * reso * 3]`. It is what the Rust runtime computes: Pillow's bicubic resize on u8; the depth of a sub-cell is the
mean of the valid depth pixels in its box, pixels on the border weighted by their overlap; `u, v` of a sub-cell is its
middle in the resized picture, `cell_px * (i + 0.5)`, with the rows of K scaled by the resize.
Source: SpatialVLA, arXiv:2501.15830, section 3.2; the frame, centre and scale are the `egogrid` fields of config.json.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class View:
    """What the model makes of a camera's picture: side of the picture, of a patch, and depth cells a patch and axis."""

    size_px: int = 112
    patch_px: int = 14
    reso: int = 2

    def __post_init__(self) -> None:
        if self.size_px % self.patch_px or self.patch_px % self.reso:
            raise ValueError(f"{self}: patches must divide the picture, and depth cells (reso) the patch, as the runtime has it")

    @property
    def cells(self) -> int:
        """Depth cells along one side of the picture."""
        return self.size_px // self.patch_px * self.reso

    def of(self, rgb: np.ndarray, depth_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The camera's picture to u8 `[size, size, 3]` and f32 `[cells, cells]`."""
        return resize_rgb(rgb, self.size_px), cell_depth_m(depth_m, self.cells)


def resize_rgb(rgb: np.ndarray, size_px: int) -> np.ndarray:
    """u8 `[height, width, 3]` to u8 `[size, size, 3]`; the aspect ratio is not kept, as in SpatialVLA."""
    return np.asarray(Image.fromarray(rgb).resize((size_px, size_px), Image.Resampling.BICUBIC))


def overlap(pixel_count: int, cell_count: int) -> np.ndarray:
    """`[cells, pixels]`: how much of each pixel lies in each of `cell_count` equal boxes."""
    edges = np.arange(cell_count + 1) * (pixel_count / cell_count)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(pixel_count)[None]
    return np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0.0, None)


def cell_depth_m(depth_m: np.ndarray, cell_count: int) -> np.ndarray:
    """f32 `[height, width]` to f32 `[cells, cells]`. A box without one valid pixel is an error, never a guess."""
    valid = np.isfinite(depth_m) & (depth_m > 0)
    rows, columns = overlap(depth_m.shape[0], cell_count), overlap(depth_m.shape[1], cell_count)
    weight = rows @ valid @ columns.T
    if not (weight > 0).all():
        raise ValueError(f"{int((weight <= 0).sum())} sub-cells of {weight.size} have no valid depth; the model needs all")
    return (rows @ np.where(valid, depth_m, 0.0) @ columns.T / weight).astype(np.float32)


def points_m(
    depth_m: np.ndarray, intrinsics_px: np.ndarray, native_px: tuple[int, int], size_px: int, frame_from_camera: np.ndarray, reso: int = 2
) -> np.ndarray:
    """Cell depths `[..., cells, cells]` to f32 `[..., patches, reso * reso * 3]` in the frame of `frame_from_camera`.

    Patches are row-major; so are the cells within one: (row 0, column 0) xyz, (0, 1), ...
    """
    cell_count = depth_m.shape[-1]
    height_px, width_px = native_px
    k = intrinsics_px.astype(np.float64).copy()
    k[0] *= size_px / width_px
    k[1] *= size_px / height_px
    middle_px = (np.arange(cell_count) + 0.5) * (size_px / cell_count)
    u, v = np.meshgrid(middle_px, middle_px)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(k).T
    points = depth_m[..., None] * rays @ frame_from_camera[:3, :3].T + frame_from_camera[:3, 3]
    side = cell_count // reso
    lead = depth_m.shape[:-2]
    points = points.reshape(*lead, side, reso, side, reso, 3)
    points = np.moveaxis(points, -3, -4)  # [..., side, side, reso, reso, 3]
    return points.reshape(*lead, side * side, reso * reso * 3).astype(np.float32)
