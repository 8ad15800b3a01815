"""The sensor depth rule: exact area average over valid pixels, straight from the native resolution."""

from __future__ import annotations

import numpy as np
import pytest

from egogrid_export.errors import CheckpointError
from egogrid_export.spatialvla.perception import patch_depth


def test_boxes_with_fractional_edges_average_by_area() -> None:
    depth = np.array([[1, 2, 4], [1, 2, 4], [1, 2, 4]], dtype=np.float32)
    # Two cells over three pixels: 1.5 pixels each.
    assert np.allclose(patch_depth(depth, 2, 10.0), [[4 / 3, 10 / 3]] * 2)
    # More cells than pixels: a cell lies within one pixel.
    assert np.array_equal(patch_depth(depth, 6, 10.0)[0], [1, 1, 2, 2, 4, 4])


@pytest.mark.parametrize("invalid", [0.0, -1.0, np.nan, np.inf, -np.inf, 10.5])
def test_invalid_pixels_of_a_sensor_do_not_count(invalid: float) -> None:
    depth = np.full((4, 4), 2.0, dtype=np.float32)
    depth[0, 0] = invalid
    depth[0, 1] = 10.0
    assert np.allclose(patch_depth(depth, 2, 10.0), [[(10 + 2 + 2) / 3, 2], [2, 2]])


def test_a_cell_without_valid_pixels_is_refused_and_named() -> None:
    depth = np.full((4, 4), 2.0, dtype=np.float32)
    depth[2:, :2] = 0
    with pytest.raises(CheckpointError, match=r"row 1, column 0"):
        patch_depth(depth, 2, 10.0)


def test_a_dense_map_is_used_as_it_is_but_for_nan() -> None:
    depth = np.array([[-1, 3], [0, 2]], dtype=np.float32)
    assert patch_depth(depth, 1, None)[0, 0] == 1.0
    depth[0, 0] = np.nan
    with pytest.raises(CheckpointError, match="NaN"):
        patch_depth(depth, 1, None)
