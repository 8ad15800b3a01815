"""Token ids to normalized and physical actions, float64: the reference for `action_grids`.

From: generated vocabulary ids, three per step. To: `normalized [T, 7]` and `actions [T, 7]`. Source: the official action tokenizer and
`decode_actions`, but for what it clips and pads: a missing token or one of the wrong kind gives None here, never a guess.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from egogrid_export.spatialvla.processor import ACTION_DIMS, TOKENS_PER_STEP, ActionGrid


def normalized_actions(grid: ActionGrid, token_ids: list[int], begin_id: int, steps: int) -> np.ndarray | None:
    """`[steps, 7]`, or None where the ids are not `steps` whole triples of translation, rotation, gripper."""
    counts = [grid.cells("translation"), grid.cells("rotation"), 2]
    if len(token_ids) != steps * TOKENS_PER_STEP:
        return None
    rows = []
    for step in range(steps):
        first, cells = begin_id, []
        for token_id, count in zip(token_ids[step * TOKENS_PER_STEP :], counts, strict=False):
            if not first <= token_id < first + count:
                return None
            cells.append(token_id - first)
            first += count
        rows.append([*_translation(grid, cells[0]), *_rotation(grid, cells[1]), float(cells[2])])
    return np.array(rows, dtype=np.float64).reshape(steps, ACTION_DIMS)


def physical_actions(normalized: np.ndarray, statistics: dict[str, Any]) -> np.ndarray:
    """Where the mask says so, -1..1 becomes q01..q99; other dimensions pass unchanged."""
    low, high = np.array(statistics["q01"], dtype=np.float64), np.array(statistics["q99"], dtype=np.float64)
    mask = np.array(statistics["mask"])
    return np.where(mask, 0.5 * (normalized + 1) * (high - low) + low, normalized)


def _translation(grid: ActionGrid, cell: int) -> list[float]:
    if "translation" in grid.cell_points:
        return grid.cell_points["translation"][cell]
    theta, phi, r = _centers(grid, "translation", cell)
    point = [r * np.sin(theta) * np.cos(phi), r * np.sin(theta) * np.sin(phi), r * np.cos(theta)]
    # The grid covers the sphere around the cube of normalized actions; its corners are cut as in the official code.
    return [float(value) for value in np.clip(point, -1.0, 1.0)]


def _rotation(grid: ActionGrid, cell: int) -> list[float]:
    return grid.cell_points["rotation"][cell] if "rotation" in grid.cell_points else _centers(grid, "rotation", cell)


def _centers(grid: ActionGrid, part: str, cell: int) -> list[float]:
    axes = list(grid.edges[part].values())
    bins = np.unravel_index(cell, [len(edges) - 1 for edges in axes])
    return [0.5 * (edges[index] + edges[index + 1]) for edges, index in zip(axes, bins, strict=True)]
