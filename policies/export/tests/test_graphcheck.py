"""What the self-check of an export lets pass and what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from egogrid_export.errors import CheckError
from egogrid_export.graphcheck import compare
from egogrid_export.precision import PRECISIONS

RNG = np.random.default_rng(3)
EXPECTED = RNG.standard_normal(4096).astype(np.float32)


def differs(found: np.ndarray, precision: str) -> bool:
    try:
        compare({}, "decode", "step1_logits", found, EXPECTED, PRECISIONS[precision].tolerance)
    except CheckError:
        return True
    return False


@pytest.mark.parametrize("precision", list(PRECISIONS))
def test_what_has_nothing_to_do_with_the_reference_is_refused_in_every_precision(precision: str) -> None:
    for found in (np.roll(EXPECTED, 1), -EXPECTED, np.zeros_like(EXPECTED), np.full_like(EXPECTED, np.nan), RNG.permutation(EXPECTED)):
        assert differs(found.astype(np.float32), precision)
    assert not differs(EXPECTED, precision)


def test_one_value_far_off_is_refused_where_numbers_are_float_and_passes_where_they_are_integers() -> None:
    found = EXPECTED.copy()
    found[7] = EXPECTED.max() * 1.9
    assert [name for name in PRECISIONS if differs(found, name)] == ["fp32", "fp16", "bf16"]
