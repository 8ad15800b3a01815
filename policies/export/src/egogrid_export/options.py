"""What the command line asks for, as a checked type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from egogrid_export.precision import Precision

DEPTH_SOURCES = ("sensor",)


@dataclass(frozen=True)
class Options:
    """`prompt` and `preprocessing` are None where nothing was asked for; only family `openvla` has them."""

    checkpoint: Path
    bundle: Path
    precision: Precision
    depth: str
    cases: Path | None
    lora: Path | None
    prompt: str | None
    preprocessing: str | None
    replace: bool
    check: bool
    quiet: bool
