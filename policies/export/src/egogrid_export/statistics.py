"""Statistics of actions: checked as they are read, and the way back from normalized to physical actions, float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from egogrid_export.errors import CheckpointError
from egogrid_export.fields import Fields

ACTION_DIMS_MAX = 64


def checked_statistics(statistics: Fields, dims: int | None = None) -> dict[str, Any]:
    """All keys, unchanged but for a missing mask, which is written out. `dims`: of every action; None where each key has its own."""
    for key in statistics.values:
        action = statistics.child(key).child("action")
        count = dims if dims is not None else _count(action)
        low, high = action.vector("q01", count), action.vector("q99", count)
        for dim in range(count):
            if high[dim] < low[dim]:
                raise CheckpointError(
                    f"{action.where} q99[{dim}] = {high[dim]} is below q01[{dim}] = {low[dim]}",
                    "q01 <= q99",
                    "compute the statistics again",
                )
        # What the official code takes where a file has no mask; written down, so that readers need no default.
        mask = action.values.setdefault("mask", [True] * count)
        if not (isinstance(mask, list) and len(mask) == count and all(isinstance(flag, bool) for flag in mask)):
            action.refuse("mask", f"{count} booleans", "compute the statistics again")
    return statistics.values


def _count(action: Fields) -> int:
    low = action.values.get("q01")
    if isinstance(low, list) and not 1 <= len(low) <= ACTION_DIMS_MAX:
        action.refuse("q01", f"1..={ACTION_DIMS_MAX} numbers", "compute the statistics again")
    return len(low) if isinstance(low, list) else 1


def physical_actions(normalized: np.ndarray, statistics: dict[str, Any]) -> np.ndarray:
    """Where the mask says so, -1..1 becomes q01..q99; other dimensions pass unchanged."""
    low, high = np.array(statistics["q01"], dtype=np.float64), np.array(statistics["q99"], dtype=np.float64)
    mask = np.array(statistics["mask"])
    return np.where(mask, 0.5 * (normalized + 1) * (high - low) + low, normalized)
