"""What the command line asks for, as a checked type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from egogrid_export.precision import Precision

DEPTH_SOURCES = ("sensor",)


@dataclass(frozen=True)
class Options:
    checkpoint: Path
    bundle: Path
    precision: Precision
    depth: str
    cases: Path | None
    replace: bool
    check: bool
    quiet: bool
