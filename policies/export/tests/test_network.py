"""The reference's memory of weights changes how long it takes and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from egogrid_export import network
from egogrid_export.checkpoint import Checkpoint


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
@pytest.mark.parametrize("budget", [0, 5000, 1 << 30])
def test_every_weight_is_the_checkpoints_own_however_little_is_kept(variant, monkeypatch, dtype: str, budget: int) -> None:
    directory: Path = variant(dtype=dtype)
    checkpoint = Checkpoint(directory)
    monkeypatch.setattr(network, "cache_bytes", lambda: budget)
    found = network.Network(checkpoint)
    for _ in range(3):
        for name in checkpoint.names():
            assert np.array_equal(found.weight(name), checkpoint.tensor(name)), name
            assert found.weight(name).dtype == np.float32
    assert found._kept_bytes <= budget
    assert (found._kept_bytes > 0) == (budget > 0)


def test_only_numbers_that_lose_nothing_are_halved() -> None:
    exact = np.array([1.0, -0.15625, 2.0**127, 0.0, -0.0], dtype=np.float32)
    assert network._halved(exact).dtype == np.uint16
    assert network._widened(network._halved(exact)).tobytes() == exact.tobytes()
    inexact = np.array([1.0, 0.1], dtype=np.float32)
    assert network._halved(inexact) is inexact
