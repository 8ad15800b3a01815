"""A SpatialVLA checkpoint for other action grids of the same shape: rows that belong to cells are interpolated while they are read.

From: a checkpoint, and a `grid.json` as `egogrid grid fit` writes it. To: `AdaptedCheckpoint`, which answers like a checkpoint that was
adapted and saved. What `egogrid grid adapt` does to a bundle, for checkpoints and every precision; the two are compared in
`policies/tests/adapt.rs`. Source: SpatialVLA, arXiv:2501.15830, but in axis order, trilinear, and of the head too (`action_grids/src/adapt.rs`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from egogrid_export.checkpoint import Checkpoint, read_json
from egogrid_export.errors import CheckpointError, UsageError
from egogrid_export.fields import Fields
from egogrid_export.spatialvla.config import read_config
from egogrid_export.spatialvla.processor import AXES, GRID_NAMES, ActionGrid, read_processor
from egogrid_export.spatialvla.tensor_names import EMBEDDINGS, HEAD, SPATIAL

PROCESSOR_FILE = "processor_config.json"
# Fits round the ends of an axis differently.
SLACK_SHARE = 1e-9


@dataclass(frozen=True)
class _Block:
    """Rows of cells in one tensor: those from `first` on."""

    first: int
    rows: np.ndarray


class AdaptedCheckpoint:
    """A checkpoint with another grid. Everything that the grid does not touch is the inner one's."""

    def __init__(self, inner: Checkpoint, grid_file: Path, adapt_head: bool) -> None:
        self._inner = inner
        config = read_config(inner, None)
        old = read_processor(inner, config).grid
        self._sha256 = hashlib.sha256(_bytes(grid_file)).hexdigest()
        new = _read_grid(grid_file, old)
        self._processor = _processor(inner.json(PROCESSOR_FILE), new)
        if config.text.tied_head and not adapt_head:
            raise UsageError("--grid-head keep for a checkpoint with tied embeddings", "adapt, because both are one table", "leave it out")
        tables = {SPATIAL: 0} if config.use_spatial_tokens else {EMBEDDINGS: config.action_begin_id}
        if adapt_head and not config.text.tied_head:
            tables[HEAD] = config.action_begin_id
        counts = [old.cells(part) for part in AXES]
        self._blocks = {}
        for name, first in tables.items():
            rows = inner.rows(name, np.arange(first, first + sum(counts)))
            parts = zip(AXES, np.split(rows, [counts[0]]), strict=True)
            self._blocks[name] = _Block(first, np.concatenate([interpolated(part, old, new, values) for part, values in parts]))
        heads = "interpolated" if adapt_head else "kept"
        self.table = {"from": _digest_of(inner), "embeddings": "interpolated", "head": heads}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __contains__(self, name: str) -> bool:
        return name in self._inner

    def json(self, name: str) -> dict[str, Any]:
        return self._processor if name == PROCESSOR_FILE else self._inner.json(name)

    def tensor(self, name: str) -> np.ndarray:
        return self._with_block(name, 0, self._inner.tensor(name))

    def row_chunks(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        for first, rows in self._inner.row_chunks(name):
            yield first, self._with_block(name, first, rows)

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        values = self._inner.rows(name, rows)
        if name in self._blocks:
            block = self._blocks[name]
            inside = (rows >= block.first) & (rows < block.first + len(block.rows))
            values[inside] = block.rows[rows[inside] - block.first]
        return values

    def sha256(self) -> dict[str, str]:
        """The grid is part of what was exported."""
        return self._inner.sha256() | {"grid.json": self._sha256}

    def _with_block(self, name: str, first: int, rows: np.ndarray) -> np.ndarray:
        if name in self._blocks:
            block = self._blocks[name]
            low, high = max(first, block.first), min(first + len(rows), block.first + len(block.rows))
            if low < high:
                rows[low - first : high - first] = block.rows[low - block.first : high - block.first]
        return rows


def interpolated(part: str, old: ActionGrid, new: ActionGrid, rows: np.ndarray) -> np.ndarray:
    """`[cells, width]` of the new grid: the old rows as a field over cell midpoints, the outermost repeated up to the ends of each axis."""
    field = np.pad(rows.reshape(*(len(edges) - 1 for edges in old.edges[part].values()), -1).astype(np.float64), [(1, 1)] * 3 + [(0, 0)], "edge")
    for axis, name in enumerate(AXES[part]):
        below, share = _places(name, old.edges[part][name], new.edges[part][name])
        share = np.expand_dims(share, [other for other in range(4) if other != axis])
        field = (1 - share) * field.take(below, axis) + share * field.take(below + 1, axis)
    return field.reshape(rows.shape).astype(np.float32)


def _places(axis: str, old: list[float], new: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """For each new midpoint the old node below it, and how far it is to the next one."""
    nodes = np.array([old[0], *(0.5 * (low + high) for low, high in pairwise(old)), old[-1]])
    values = np.array([0.5 * (low + high) for low, high in pairwise(new)])
    slack = SLACK_SHARE * (old[-1] - old[0])
    if values.min() < old[0] - slack or values.max() > old[-1] + slack:
        raise CheckpointError(
            f"the new {axis} axis has midpoints from {values.min()} to {values.max()}", f"{old[0]} to {old[-1]}, the old axis", "fit it again"
        )
    below = np.clip(np.searchsorted(nodes, values, side="right") - 1, 0, len(nodes) - 2)
    span = nodes[below + 1] - nodes[below]
    share = np.divide(values - nodes[below], span, out=np.zeros_like(span), where=span > 0)
    return below, np.clip(share, 0, 1)


def _bytes(grid_file: Path) -> bytes:
    try:
        return grid_file.read_bytes()
    except OSError as error:
        raise UsageError(f"{grid_file} cannot be read ({error})", "a file of `egogrid grid fit`", "check --grid") from None


def _read_grid(grid_file: Path, old: ActionGrid) -> ActionGrid:
    """With as many bins as `old` has."""
    top = Fields(read_json(grid_file), grid_file.name)
    top.only({*AXES, "cell_points"})
    edges = {}
    for part, axes in AXES.items():
        child = top.child(part)
        child.only({GRID_NAMES.get(axis, axis) for axis in axes})
        edges[part] = {axis: child.vector(GRID_NAMES.get(axis, axis), len(old.edges[part][axis])) for axis in axes}
    points = top.values.get("cell_points", {})
    return ActionGrid(edges, points)


def _processor(values: dict[str, Any], grid: ActionGrid) -> dict[str, Any]:
    """As it would be saved for `grid`; edges and points are checked where every processor_config.json is."""
    adapted = dict(values)
    adapted["bin_policy"] = {part: {f"{axis}_bins": edges for axis, edges in axes.items()} for part, axes in grid.edges.items()}
    adapted["egogrid"] = {key: value for key, value in values.get("egogrid", {}).items() if key != "cell_points"}
    if grid.cell_points:
        adapted["egogrid"]["cell_points"] = grid.cell_points
    return adapted


def _digest_of(checkpoint: Checkpoint) -> str:
    """Of the file that holds the old grids."""
    return hashlib.sha256((checkpoint.directory / PROCESSOR_FILE).read_bytes()).hexdigest()
