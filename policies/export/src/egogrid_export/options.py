"""What the command line asks for, as a checked type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PRECISIONS = ("fp32",)
DEPTH_SOURCES = ("sensor",)


@dataclass(frozen=True)
class Options:
    checkpoint: Path
    bundle: Path
    precision: str
    depth: str
    cases: Path | None
    replace: bool
    check: bool
    quiet: bool
