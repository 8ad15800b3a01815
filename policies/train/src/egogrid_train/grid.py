"""The adaptive action grid of one data set: 10 x 20 x 8 translation cells, one rotation cell, two gripper cells.

From: labels in `[-1, 1]`. To: edges (`bin_policy`) and one decoded point per translation cell (`cell_points`).
Axes as in SpatialVLA (arXiv:2501.15830): theta from +z, phi from +x, r. Cells are row-major, r fastest. Meta-World's
actions pile up on the faces of their cube, so edges are quantiles of the data and a cell decodes to the mean of its
data; a cell without data decodes to the middle of its edges, and training never aims at it.
"""

from dataclasses import dataclass

import numpy as np

BINS = (10, 20, 8)
RANGES = ((0.0, np.pi), (-np.pi, np.pi), (0.0, float(np.sqrt(3.0))))
ROTATION_CELLS, GRIPPER_CELLS = 1, 2
CELLS = int(np.prod(BINS))
ACTION_TOKENS = CELLS + ROTATION_CELLS + GRIPPER_CELLS
_GAP_MIN = 0.02


def spherical(xyz: np.ndarray) -> np.ndarray:
    """`[..., 3]` Cartesian to theta, phi, r."""
    x, y, z = np.moveaxis(np.asarray(xyz, np.float64), -1, 0)
    return np.stack([np.arctan2(np.hypot(x, y), z), np.arctan2(y, x), np.sqrt(x * x + y * y + z * z)], axis=-1)


def cartesian(theta_phi_r: np.ndarray) -> np.ndarray:
    """Theta, phi, r to Cartesian, clipped to the cube as SpatialVLA's decoder does."""
    theta, phi, r = np.moveaxis(theta_phi_r, -1, 0)
    xyz = np.stack([r * np.sin(theta) * np.cos(phi), r * np.sin(theta) * np.sin(phi), r * np.cos(theta)], axis=-1)
    return np.clip(xyz, -1.0, 1.0)


@dataclass(frozen=True)
class Grid:
    """`edges`: three sorted f64 arrays; `points`: f64 `[cells, 3]`; `counts`: how many labels each point is made of."""

    edges: tuple[np.ndarray, np.ndarray, np.ndarray]
    points: np.ndarray
    counts: np.ndarray

    def locate(self, xyz: np.ndarray) -> np.ndarray:
        """Cells of `[..., 3]`: bins are closed on the left."""
        axes = spherical(xyz)
        bins = [np.searchsorted(edges[1:-1], axes[..., axis], side="right") for axis, edges in enumerate(self.edges)]
        return (bins[0] * BINS[1] + bins[1]) * BINS[2] + bins[2]

    def error(self, xyz: np.ndarray) -> np.ndarray:
        """Distance of each action to the point that its cell decodes to."""
        return np.linalg.norm(self.points[self.locate(xyz)] - xyz, axis=-1)


def midpoints(edges: tuple[np.ndarray, ...]) -> np.ndarray:
    """`[cells, 3]`: the official decoding of every cell."""
    middle = [(axis[:-1] + axis[1:]) / 2 for axis in edges]
    return cartesian(np.stack(np.meshgrid(*middle, indexing="ij"), axis=-1).reshape(-1, 3))


def _quantile_edges(values: np.ndarray, bins: int, low: float, high: float) -> np.ndarray:
    edges = np.quantile(values, np.linspace(0, 1, bins + 1))
    edges[0], edges[-1] = low, high
    for index in range(1, bins):  # repeated values would make empty bins
        edges[index] = min(max(edges[index], edges[index - 1] + _GAP_MIN), high - _GAP_MIN * (bins - index))
    return edges


def fit(xyz: np.ndarray) -> Grid:
    """Edges and points from `[n, 3]` actions in `[-1, 1]`."""
    axes = spherical(xyz)
    edges = tuple(_quantile_edges(axes[:, i], BINS[i], *RANGES[i]) for i in range(3))
    return with_points(edges, xyz)


def with_points(edges: tuple[np.ndarray, ...], xyz: np.ndarray) -> Grid:
    """The same cells, decoded at the means of other data."""
    grid = Grid(edges, midpoints(edges), np.zeros(CELLS, int))
    cells = grid.locate(xyz)
    counts = np.bincount(cells, minlength=CELLS)
    sums = np.stack([np.bincount(cells, xyz[:, axis].astype(np.float64), CELLS) for axis in range(3)], axis=1)
    means = sums / np.maximum(counts, 1)[:, None]
    return Grid(edges, np.where(counts[:, None] > 0, means, grid.points), counts)


def save(grid: Grid, path) -> None:
    np.savez(path, theta=grid.edges[0], phi=grid.edges[1], r=grid.edges[2], points=grid.points, counts=grid.counts)


def load(path) -> Grid:
    file = np.load(path)
    return Grid((file["theta"], file["phi"], file["r"]), file["points"], file["counts"])
