"""Token ids to normalized actions, float64: the reference for `action_grids`.

From: generated vocabulary ids, three per step. To: `normalized [T, 7]`. Source: the official action tokenizer and
`decode_actions`, but for what it clips and pads: a missing token or one of the wrong kind gives None here, never a guess.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.spatialvla.processor import ACTION_DIMS, TOKENS_PER_STEP, ActionGrid


def whole_prefix(grid: ActionGrid, token_ids: list[int], begin_id: int) -> int:
    """How many ids from the start are of the kind that their slot asks for: translation, rotation, gripper, and again."""
    firsts = [begin_id, begin_id + grid.cells("translation"), begin_id + grid.cells("translation") + grid.cells("rotation")]
    ends = [*firsts[1:], begin_id + grid.tokens]
    for position, token_id in enumerate(token_ids):
        slot = position % TOKENS_PER_STEP
        if not firsts[slot] <= token_id < ends[slot]:
            return position
    return len(token_ids)


def normalized_actions(grid: ActionGrid, token_ids: list[int], begin_id: int, steps: int) -> np.ndarray | None:
    """`[steps, 7]`, or None where the ids are not `steps` whole triples of translation, rotation, gripper."""
    if len(token_ids) != steps * TOKENS_PER_STEP or whole_prefix(grid, token_ids, begin_id) != len(token_ids):
        return None
    cells = np.array(token_ids).reshape(steps, TOKENS_PER_STEP) - begin_id
    cells -= [0, grid.cells("translation"), grid.cells("translation") + grid.cells("rotation")]
    rows = [[*_translation(grid, t), *_rotation(grid, r), float(g)] for t, r, g in cells.tolist()]
    return np.array(rows, dtype=np.float64).reshape(steps, ACTION_DIMS)


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
