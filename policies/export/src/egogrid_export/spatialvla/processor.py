"""What `processor_config.json` and `tokenizer.json` say: action grid, statistics, intrinsics, chunk length, token table.

Source: the official processor and action tokenizer. A missing `bin_policy` means uniform edges, as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.errors import CheckpointError
from egogrid_export.fields import Fields
from egogrid_export.spatialvla.config import ModelConfig
from egogrid_export.statistics import checked_statistics
from egogrid_export.tokenizer import load_tokenizer, refuse_larger_vocabulary, refuse_special_tokens, special_ids

ACTION_DIMS = 7
GRIPPER_CELLS = 2
TOKENS_PER_STEP = 3
CHUNK_STEPS_MAX = 64
ACTION_TOKEN = "<ACTION{:05d}>"
# Axis order of the cell number, slowest first, with the range that official uniform edges cover.
AXES = {
    "translation": {"theta": (0.0, math.pi), "phi": (-math.pi, math.pi), "r": (0.0, math.sqrt(3))},
    "rotation": {"roll": (-1.0, 1.0), "pitch": (-1.0, 1.0), "yaw": (-1.0, 1.0)},
}
# How grid.json calls the axes.
GRID_NAMES = {"theta": "theta_rad", "phi": "phi_rad"}


@dataclass(frozen=True)
class ActionGrid:
    """`edges[part][axis]` float64, ascending; equal neighbours make an empty cell. `cell_points[part]`: normalized values per cell."""

    edges: dict[str, dict[str, list[float]]]
    cell_points: dict[str, list[list[float]]]

    def cells(self, part: str) -> int:
        return math.prod(len(edges) - 1 for edges in self.edges[part].values())

    @property
    def tokens(self) -> int:
        return self.cells("translation") + self.cells("rotation") + GRIPPER_CELLS

    def to_json(self) -> dict[str, Any]:
        """The object of grid.json."""
        value: dict[str, Any] = {
            part: {GRID_NAMES.get(axis, axis): edges for axis, edges in axes.items()} for part, axes in self.edges.items()
        }
        if self.cell_points:
            value["cell_points"] = self.cell_points
        return value


@dataclass(frozen=True)
class ProcessorConfig:
    grid: ActionGrid
    chunk_length: int
    statistics: dict[str, Any]
    intrinsics: dict[str, Any]


def read_processor(checkpoint: Checkpoint, model: ModelConfig) -> ProcessorConfig:
    top = Fields(checkpoint.json("processor_config.json"), "processor_config.json")
    if top.integer("num_obs_steps", 1) != 1:
        top.refuse("num_obs_steps", "1", "the official code runs with one picture only")
    grid = _grid(top)
    if model.spatial_tokens != grid.tokens and model.use_spatial_tokens:
        raise CheckpointError(
            f"config.json spatial_token_num is {model.spatial_tokens}",
            f"{grid.tokens}, the cells of the action grid",
            "use config.json and processor_config.json of one checkpoint",
        )
    if model.action_begin_id + grid.tokens > model.text.vocabulary:
        raise CheckpointError(
            f"action tokens {model.action_begin_id}..{model.action_begin_id + grid.tokens}",
            f"ids below the vocabulary size {model.text.vocabulary}",
            "use config.json and processor_config.json of one checkpoint",
        )
    chunk_length = top.integer("action_chunk_size", 1, high=CHUNK_STEPS_MAX)
    if model.steps_executed is not None and model.steps_executed > chunk_length:
        raise CheckpointError(
            f"config.json egogrid steps_executed is {model.steps_executed}",
            f"1..={chunk_length}, the chunk length",
            "correct it",
        )
    return ProcessorConfig(grid, chunk_length, _statistics(top), _intrinsics(top))


def _grid(top: Fields) -> ActionGrid:
    action = top.child("action_config")
    if not action.boolean("use_spherical"):
        action.refuse("use_spherical", "true", "Cartesian translation grids are not supported")
    bins = action.child("num_bins")
    if bins.integer("gripper") != GRIPPER_CELLS:
        bins.refuse("gripper", "2 (closed, open)", "other grippers are not supported")
    policy = top.child("bin_policy") if top.values.get("bin_policy") else None
    edges = {
        part: {axis: _edges(bins.child(part), policy.child(part) if policy else None, axis, ends) for axis, ends in axes.items()}
        for part, axes in AXES.items()
    }
    grid = ActionGrid(edges, _cell_points(top, edges))
    if bins.has("total") and bins.integer("total") != grid.tokens:
        bins.refuse("total", f"{grid.tokens}, the sum of the cells", "repair processor_config.json")
    return grid


def _edges(bins: Fields, policy: Fields | None, axis: str, ends: tuple[float, float]) -> list[float]:
    name = f"{axis}_bins"
    count = bins.integer(name, high=1 << 16)
    if policy is None:
        return [float(edge) for edge in np.linspace(*ends, count + 1)]
    edges = policy.vector(name, count + 1)
    for index, (low, high) in enumerate(pairwise(edges)):
        if low > high or edges[0] == edges[-1]:
            raise CheckpointError(
                f"{policy.where} {name} goes from {low} to {high} at index {index}", "ascending edges", "fit the grid again"
            )
    return edges


def _cell_points(top: Fields, edges: dict[str, dict[str, list[float]]]) -> dict[str, list[list[float]]]:
    extension = Fields(top.values.get("egogrid", {}), "processor_config.json egogrid")
    extension.only({"cell_points"})
    if not extension.has("cell_points"):
        return {}
    parts = extension.child("cell_points")
    parts.only(set(AXES))
    return {part: _points(parts, part, ActionGrid(edges, {}).cells(part)) for part in AXES if parts.has(part)}


def _points(parts: Fields, part: str, cells: int) -> list[list[float]]:
    points = parts.values[part]
    if not isinstance(points, list) or len(points) != cells:
        parts.refuse(part, f"{cells} points, one per cell", "write the points again for this grid")
    rows = Fields({str(cell): point for cell, point in enumerate(points)}, f"{parts.where} {part}")
    checked = [rows.vector(str(cell), 3) for cell in range(cells)]
    for cell, point in enumerate(checked):
        if max(map(abs, point)) > 1:
            rows.refuse(str(cell), "normalized values in -1..=1", "write the points again for this grid")
    return checked


def _statistics(top: Fields) -> dict[str, Any]:
    statistics = top.child("statistics")
    if not statistics.values:
        top.refuse("statistics", "at least one dataset", "use the processor_config.json that was saved after training")
    return checked_statistics(statistics, ACTION_DIMS)


def _intrinsics(top: Fields) -> dict[str, Any]:
    intrinsics = top.child("intrinsic_config")
    for key in intrinsics.values:
        entry = intrinsics.child(key)
        entry.integer("width")
        entry.integer("height")
        rows = entry.values.get("intrinsic")
        if not isinstance(rows, list) or len(rows) != 3:
            entry.refuse("intrinsic", "3 rows of 3 numbers", "repair processor_config.json")
        matrix = Fields({str(row): values for row, values in enumerate(rows)}, f"{entry.where} intrinsic")
        first, second, third = (matrix.vector(str(row), 3) for row in range(3))
        if not (first[0] > 0 and second[1] > 0 and second[0] == 0 and third == [0, 0, 1]):
            entry.refuse("intrinsic", "[[fx, skew, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0", "calibrate again")
    return intrinsics.values


def read_tokenizer(checkpoint: Checkpoint, model: ModelConfig, grid: ActionGrid) -> Tokenizer:
    """The tokenizer, once its ids agree with the grid and the configuration."""
    tokenizer = load_tokenizer(checkpoint)
    expected = {ACTION_TOKEN.format(cell): model.action_begin_id + cell for cell in range(grid.tokens)}
    expected["<image>"] = model.image_token_id
    for token, token_id in expected.items():
        if tokenizer.token_to_id(token) != token_id:
            raise CheckpointError(
                f"tokenizer.json gives {token} the id {tokenizer.token_to_id(token)}",
                f"{token_id}, from config.json and the action grid",
                "use files of one checkpoint",
            )
    special = special_ids(tokenizer)
    for token_id in (model.bos_id, model.eos_id, *expected.values()):
        if token_id not in special:
            raise CheckpointError(
                f"tokenizer.json has {tokenizer.id_to_token(token_id)!r} (id {token_id}) as an ordinary token",
                "bos, eos, <image> and action tokens to be special ones",
                "save the tokenizer again with them added as special tokens",
            )
    refuse_larger_vocabulary(tokenizer, model.text.vocabulary)
    return tokenizer


def prompt_ids(tokenizer: Tokenizer, model: ModelConfig, instruction: str) -> np.ndarray:
    """`<bos>` instruction `\\n`, the text part of the prompt: i64 `[text_tokens]`. Image and action tokens in it are refused."""
    if not instruction.strip():
        raise CheckpointError("an empty instruction", "what the robot is to do", "write it")
    bos = tokenizer.id_to_token(model.bos_id)
    ids = tokenizer.encode(f"{bos}{instruction}\n", add_special_tokens=False).ids
    if ids[:1] != [model.bos_id]:
        raise CheckpointError(f"tokenizer.json reads {bos} as {ids[:1]}", f"[{model.bos_id}]", "make it a special token of the tokenizer")
    refuse_special_tokens(tokenizer, ids[1:], instruction)
    return np.array(ids, dtype=np.int64)
