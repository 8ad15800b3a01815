"""Promises of beginning from a trained checkpoint. Collected only where torch can be imported."""

import numpy as np
import pytest
import torch
from egogrid_train import checkpoint, grid, train
from egogrid_train.grow import grow, grown_filter, grown_points
from egogrid_train.model import frequency_encoding
from egogrid_train.vision_input import View


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    torch.manual_seed(0)
    cells = grid.fit(np.clip(np.random.default_rng(0).normal(0, 0.8, (5000, 3)), -1, 1))
    made = train.Trainee(train.model_config(), cells)
    path = tmp_path_factory.mktemp("source") / "ckpt"
    statistics = checkpoint.statistics_of(np.zeros((3, 4, 4), np.float32), 1)
    checkpoint.save(path, made.materialized(), cells, checkpoint.Ego3d(), statistics, 4, "made/1.0.0")
    return path


def test_growing_to_the_same_view_changes_nothing(source):
    model, _, cells = checkpoint.load(source)
    trainee, kept = grow(source, View(112, 14, 2))
    for name, tensor in trainee.materialized().state_dict().items():
        assert torch.allclose(tensor, model.state_dict()[name], atol=1e-6), name
    assert np.array_equal(kept.points, cells.points)


def test_a_patch_of_one_colour_gets_the_same_response_at_any_size():
    weight = torch.randn(7, 3, 14, 14)
    for size in (14, 16, 28):
        assert torch.allclose(grown_filter(weight, size).sum((2, 3)), weight.sum((2, 3)), rtol=1e-4, atol=1e-4)


def test_depth_cells_that_agree_give_what_their_one_cell_gave():
    weight, points = torch.randn(5, 12 * 5), torch.randn(1, 2, 2, 3)
    finer = points.repeat_interleave(2, 1).repeat_interleave(2, 2)
    old = frequency_encoding(points.flatten(1), 2) @ weight.T
    assert torch.allclose(frequency_encoding(finer.flatten(1), 2) @ grown_points(weight, 2, 4).T, old, atol=1e-4)


def test_other_numbers_of_patches_or_cells_are_refused(source):
    with pytest.raises(ValueError, match="100 patches"):
        grow(source, View(160, 16, 4))
    with pytest.raises(ValueError, match="choose a multiple"):
        grown_points(torch.zeros(1, 12), 2, 3)
