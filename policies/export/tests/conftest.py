"""Fixtures: the golden checkpoint of the repository, and small random checkpoints of any size in the released file format."""

from __future__ import annotations

from pathlib import Path

import pytest
from variants import Variant, write_checkpoint

GOLDEN = Path(__file__).parents[3] / "tests" / "fixtures" / "spatialvla_golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture
def variant(tmp_path: Path):
    """Writes a random checkpoint and returns its directory: `variant(heads=2, patches_px=16, …)`."""

    def write(**changes: object) -> Path:
        directory = tmp_path / "checkpoint"
        directory.mkdir()
        write_checkpoint(directory, Variant(**changes))
        return directory

    return write
