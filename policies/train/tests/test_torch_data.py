"""Promises of the batches. Collected only where torch can be imported."""

import numpy as np
from egogrid_train.data import shifted
from egogrid_train.vision_input import View


def test_a_shifted_point_stays_with_the_pixels_that_it_was_measured_at():
    """Each point holds the middle of its cell in the unmoved picture, as the picture's pixels do."""
    view = View(32, 16, 4)
    pixel = np.arange(32, dtype=np.uint8)
    rgb = np.stack(np.broadcast_arrays(pixel[:, None], pixel[None], 0), -1)[None].repeat(3, 0)
    middle = 4 * np.arange(8) + 1.5
    cells = np.stack(np.broadcast_arrays(middle[:, None], middle[None], 0.0), -1)
    points = cells.reshape(2, 4, 2, 4, 3).swapaxes(1, 2).reshape(1, 4, 48).repeat(3, 0).astype(np.float32)
    by = np.array([[0, 0], [1, -2], [-3, 0]])
    moved_rgb, moved = shifted(rgb, points, view, by)
    assert (moved_rgb[0] == rgb[0]).all() and (moved[0] == points[0]).all()
    for index, (down, right) in enumerate(by):
        grid = moved[index].reshape(2, 2, 4, 4, 3).swapaxes(1, 2).reshape(8, 8, 3)
        for row, column in ((3, 3), (3, 4), (4, 5)):  # away from the repeated border
            seen = moved_rgb[index, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4, :2].astype(float).mean((0, 1))
            assert (seen == grid[row, column, :2]).all(), (index, row, column)
            assert (grid[row, column, :2] == [middle[row - down], middle[column - right]]).all()
