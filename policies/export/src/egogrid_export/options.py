"""What the command line asks for, as a checked type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from egogrid_export.precision import Precision

# Where a bundle's depth may come from: with every frame, from the picture, or whichever the frame allows.
DEPTH_CHOICES = {"sensor": ("sensor",), "estimated": ("estimated",), "both": ("sensor", "estimated")}


@dataclass(frozen=True)
class Options:
    """None where nothing was asked for. `depth`, a key of `DEPTH_CHOICES`, is for family `spatialvla`, and is then what the checkpoint was
    trained with; `prompt` and `preprocessing` are for family `openvla`.

    `observations`: on how many a precision is measured; `action_bound`: how much it may change normalized actions; `references`: where
    the reference's answers to them are kept for the next export. `grid`, for family `spatialvla`: the grids to adapt it to; `grid_head`:
    `adapt` or `keep` the head's rows.
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
