"""Bundles of every small random checkpoint that the tests know, for the runtime's own tests: `python export_variants.py FAMILY DIR`.

Sizes, layouts and fields that the golden checkpoints do not have. The graphs are not run here; the runtime does that.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import openvla_variants
import variants
from test_openvla_variants import VARIANTS as OPENVLA
from test_variants import VARIANTS as SPATIALVLA
from zoe_variants import ZOE_VARIANTS

from egogrid_export.cli import main

FAMILIES = {
    "spatialvla": (variants, SPATIALVLA),
    "estimated": (variants, ZOE_VARIANTS),
    "openvla": (openvla_variants, OPENVLA),
}


def export_all(family: str, out: Path) -> None:
    maker, named = FAMILIES[family]
    for name, sizes in named.items():
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint = Path(scratch)
            maker.write_checkpoint(checkpoint, maker.Variant(**sizes))
            if main([str(checkpoint), str(out / name), "--skip-check", "--quiet"]) != 0:
                raise SystemExit(f"{family}, {name}: export failed")


if __name__ == "__main__":
    export_all(sys.argv[1], Path(sys.argv[2]))
