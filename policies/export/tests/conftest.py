"""Fixtures: the golden checkpoint of the repository, and small random checkpoints of any size in the released file format."""

from __future__ import annotations

import os
from pathlib import Path

# The networks of the tests are tiny: threads of numpy's BLAS only wait for each other. Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import openvla_variants
import pytest
from openvla_official import Official
from variants import Variant, write_checkpoint

FIXTURES = Path(__file__).parents[3] / "tests" / "fixtures"
GOLDEN = FIXTURES / "spatialvla_golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def official() -> Official:
    """The golden OpenVLA checkpoint, read once, and what the official code computed with it."""
    return Official(FIXTURES / "openvla_golden")


@pytest.fixture
def variant(tmp_path: Path):
    """Writes a random checkpoint and returns its directory: `variant(heads=2, patches_px=16, …)`."""

    def write(**changes: object) -> Path:
        directory = tmp_path / "checkpoint"
        directory.mkdir()
        write_checkpoint(directory, Variant(**changes))
        return directory

    return write


@pytest.fixture
def openvla_variant(tmp_path: Path):
    """As `variant`, of family `openvla`; `name` is the directory's."""

    def write(name: str = "checkpoint", **changes: object) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        openvla_variants.write_checkpoint(directory, openvla_variants.Variant(**changes))
        return directory

    return write
