"""Picture, depth and intrinsics to the inputs of the vision graph, in numpy: the reference for the Rust perception stages.

From: a native RGB picture, a depth map of any size (metres) and a pinhole matrix. To: `pixel_values [1, 3, H, W]`,
`patch_depth_m [rows * s, columns * s]`, `points_xyz [1, P, s * s * 3]`, `freq_encoding [1, P, F]`.
Axes: camera optical, metres: x right, y down, z forward. Source: the official processor, `backproject_patch` and
`Ego3DPositionEmbeddingMLP`; the depth rule for sensors is ours, because the official code has no sensor depth.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.errors import CheckpointError
from egogrid_export.pillow import resized
from egogrid_export.spatialvla.config import Ego3dConfig, VisionConfig


def pixel_values(picture: np.ndarray, size_px: int, rescale: float) -> np.ndarray:
    """`[height, width, 3]` u8 to `[1, 3, size, size]` f32 in 0..=1 by Pillow's 8-bit bicubic filter."""
    values = (resized(picture, size_px, size_px).astype(np.float64) * rescale).astype(np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def scaled_intrinsic(intrinsic: np.ndarray, size_px: tuple[int, int], target_px: int) -> np.ndarray:
    """The 3×3 matrix after resizing a `size_px` (width, height) picture to a square; f32 throughout, as in the official code."""
    scaled = intrinsic.astype(np.float32).copy()
    scaled[0] *= np.float32(target_px / size_px[0])
    scaled[1] *= np.float32(target_px / size_px[1])
    return scaled


def _box_weights(source: int, cells: int) -> np.ndarray:
    """`[cells, source]`: how much of each source pixel lies in each of `cells` equal boxes."""
    edges = np.arange(cells + 1, dtype=np.float64) * source / cells
    pixels = np.arange(source, dtype=np.float64)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.maximum(overlap, 0.0)


def patch_depth(depth_m: np.ndarray, cells: int, depth_max_m: float | None) -> np.ndarray:
    """Area average of `[height, width]` depth to `[cells, cells]`, straight from the native resolution.

    `depth_max_m` None: a dense map of an estimator, every pixel counts, negative ones too. Otherwise a sensor's: only pixels
    with 0 < depth <= `depth_max_m` count, and a cell without any is refused.
    """
    rows, columns = _box_weights(depth_m.shape[0], cells), _box_weights(depth_m.shape[1], cells)
    depth = depth_m.astype(np.float64)
    valid = np.isfinite(depth)
    if depth_max_m is None:
        if not valid.all():
            raise CheckpointError("a dense depth map holds NaN or infinity", "finite depth", "mark it as sensor depth")
    else:
        valid &= (depth > 0) & (depth <= depth_max_m)
    weight = rows @ valid.astype(np.float64) @ columns.T
    if not (weight > 0).all():
        row, column = np.argwhere(weight <= 0)[0]
        raise CheckpointError(
            f"depth cell (row {row}, column {column}) of {cells}×{cells} has no valid pixel",
            f"at least one pixel with 0 < depth <= {depth_max_m} m",
            "use a case with denser depth",
        )
    return (rows @ np.where(valid, depth, 0.0) @ columns.T / weight).astype(np.float32)


def points_xyz(
    depth_m: np.ndarray, intrinsic: np.ndarray, vision: VisionConfig, samples: int, base_from_camera: np.ndarray | None
) -> np.ndarray:
    """Back-projection of cell centres: `[1, P, s * s * 3]` f32, per patch (sub row, sub column, xyz).

    With `base_from_camera` (4×4, f64) the points are moved to the robot's base frame.
    """
    step = vision.patch_size_px // samples
    cells = vision.grid * samples
    centers = np.arange(cells, dtype=np.float32) * np.float32(step) + np.float32(vision.patch_size_px / samples / 2)
    v, u = np.meshgrid(centers, centers, indexing="ij")
    rays = np.linalg.inv(intrinsic.astype(np.float32)) @ np.stack([u, v, np.ones_like(u)]).reshape(3, -1)
    points = rays * depth_m.reshape(1, -1)
    if base_from_camera is not None:
        moved = base_from_camera[:3, :3] @ points.astype(np.float64) + base_from_camera[:3, 3:]
        points = moved.astype(np.float32)
    grid = points.reshape(3, vision.grid, samples, vision.grid, samples).transpose(1, 3, 2, 4, 0)
    return np.ascontiguousarray(grid.reshape(1, vision.patches, samples * samples * 3))


def freq_encoding(points: np.ndarray, ego3d: Ego3dConfig) -> np.ndarray:
    """Per number n = (p - center) / scale: n, then all sines of 2^k n, then all cosines; number-major. `[1, P, F]`."""
    center = np.tile(np.array(ego3d.center_m, dtype=np.float32), points.shape[-1] // 3)
    normalized = ((points - center) / np.float32(ego3d.scale_m))[..., None]
    angles = normalized * np.float32(2) ** np.arange(ego3d.frequency_count, dtype=np.float32)
    encoding = np.concatenate([normalized, np.sin(angles), np.cos(angles)], axis=-1)
    return np.ascontiguousarray(encoding.reshape(*points.shape[:2], -1), dtype=np.float32)
