"""What the command line asks for, as a checked type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from egogrid_export.precision import Precision

# Where a bundle's depth may come from: with every frame, from the picture, or whichever the frame allows.
DEPTH_CHOICES = {"sensor": ("sensor",), "estimated": ("estimated",), "both": ("sensor", "estimated")}


# Observations that one set of graphs takes at once: more memory each, and little gain beyond.
BATCH_MAX = 64


@dataclass(frozen=True)
class Options:
    """None where nothing was asked for. `depth`, a key of `DEPTH_CHOICES`, is for family `spatialvla`, and is then what the checkpoint was
    trained with; `prompt` and `preprocessing` are for family `openvla`.

    `observations`: on how many a precision is measured; `action_bound`: how much it may change normalized actions; `references`: where
    the reference's answers to them are kept for the next export. `grid`, for family `spatialvla`: the grids to adapt it to; `grid_head`:
    `adapt` or `keep` the head's rows. `batch`, for family `spatialvla` in a float precision: how many observations a further set of graphs
    takes at once.
    """

    checkpoint: Path
    bundle: Path
    precision: Precision
    depth: str | None
    cases: Path | None
    lora: Path | None
    prompt: str | None
    preprocessing: str | None
    replace: bool
    check: bool
    quiet: bool
    observations: int
    action_bound: float
    references: Path | None = None
    grid: Path | None = None
    grid_head: str | None = None
    batch: int | None = None
