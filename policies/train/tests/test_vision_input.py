"""Promises of resizing, depth averaging and back-projection. No torch."""

import numpy as np
import pytest
from egogrid_train.vision_input import cell_depth_m, points_m


def test_the_depth_of_a_cell_is_the_weighted_mean_of_its_valid_pixels():
    depth_m = np.array([[1.0, 2.0, 4.0]] * 3, np.float32)
    cells = cell_depth_m(depth_m, 2)  # boxes of 1.5 pixels
    assert cells[0] == pytest.approx([(1.0 + 0.5 * 2.0) / 1.5, (0.5 * 2.0 + 4.0) / 1.5])
    depth_m[:, 0] = 0  # no measurement
    assert cell_depth_m(depth_m, 2)[0, 0] == pytest.approx(2.0)
    depth_m[:, 0] = np.nan
    assert cell_depth_m(depth_m, 2)[0, 0] == pytest.approx(2.0)


def test_a_cell_without_any_depth_is_an_error_not_a_guess():
    depth_m = np.ones((4, 4), np.float32)
    depth_m[:2, :2] = 0
    with pytest.raises(ValueError, match="no valid depth"):
        cell_depth_m(depth_m, 2)


def test_points_follow_the_official_pixel_centres_and_order():
    k = np.array([[100.0, 0, 56], [0, 200.0, 40], [0, 0, 1]])
    depth_m = np.arange(1, 257, dtype=np.float64).reshape(16, 16)
    points = points_m(depth_m, k, (112, 112), 112, np.eye(4))
    assert points.shape == (64, 12)
    for patch, sub_row, sub_column in ((0, 0, 0), (9, 1, 0), (63, 1, 1)):
        row, column = patch // 8 * 2 + sub_row, patch % 8 * 2 + sub_column
        u, v, d = 3.5 + 7 * column, 3.5 + 7 * row, depth_m[row, column]
        expected = [(u - 56) / 100 * d, (v - 40) / 200 * d, d]
        at = (sub_row * 2 + sub_column) * 3
        assert points[patch, at : at + 3] == pytest.approx(expected, rel=1e-6)


def test_intrinsics_scale_with_the_picture():
    k = np.array([[100.0, 0, 56], [0, 100.0, 56], [0, 0, 1]])
    doubled = k.copy()
    doubled[:2] *= 2
    depth_m = np.full((16, 16), 1.5)
    assert points_m(depth_m, k, (112, 112), 112, np.eye(4)) == pytest.approx(
        points_m(depth_m, doubled, (224, 224), 112, np.eye(4)))


def test_the_frame_is_applied():
    frame = np.eye(4)
    frame[:3, 3] = [1, 2, 3]
    k = np.array([[100.0, 0, 56], [0, 100.0, 56], [0, 0, 1]])
    depth_m = np.ones((16, 16))
    moved = points_m(depth_m, k, (112, 112), 112, frame) - points_m(depth_m, k, (112, 112), 112, np.eye(4))
    assert moved == pytest.approx(np.tile([1, 2, 3], (64, 4)), abs=1e-6)


def test_more_depth_cells_a_patch_are_row_major_too():
    depth_m = np.arange(1, 1025, dtype=np.float64).reshape(32, 32)
    k = np.array([[100.0, 0, 64], [0, 100.0, 64], [0, 0, 1]])
    points = points_m(depth_m, k, (128, 128), 128, np.eye(4), 4)
    assert points.shape == (64, 48)
    assert points[9, 2::3] == pytest.approx(depth_m[4:8, 4:8].ravel())
