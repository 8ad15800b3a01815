"""Promises of the network and its file. Collected only where torch can be imported."""

import json
from dataclasses import replace

import numpy as np
import torch
from egogrid_metaworld import instruction
from egogrid_train import checkpoint, grid, policy, train
from egogrid_train.data import nearest_cells, soft_targets
from egogrid_train.expert import MT5
from egogrid_train.model import frequency_encoding, prefix_mask
from egogrid_train.text import prompt_ids
from safetensors.torch import load_file


def trainee():
    torch.manual_seed(0)
    return train.Trainee(train.model_config(), made_grid())


def saved(path, made):
    labels = np.zeros((3, 4, 4), np.float32)
    checkpoint.save(path, made.materialized(), made_grid(), checkpoint.Ego3d(), checkpoint.statistics_of(labels, 1), 4, "made/1.0.0")


def made_grid():
    return grid.fit(np.clip(np.random.default_rng(0).normal(0, 0.8, (5000, 3)), -1, 1))


def test_the_file_gives_back_the_same_network(tmp_path):
    made = trainee()
    saved(tmp_path / "ckpt", made)
    model, ego3d, cells = checkpoint.load(tmp_path / "ckpt")
    for name, tensor in made.materialized().state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert ego3d == checkpoint.Ego3d() and np.array_equal(cells.points, made_grid().points)


def test_the_file_has_the_released_names_and_the_action_rows_at_the_end(tmp_path):
    made = trainee()
    saved(tmp_path / "ckpt", made)
    tensors = load_file(tmp_path / "ckpt" / "model.safetensors")
    config = json.loads((tmp_path / "ckpt" / "config.json").read_text())
    begin = config["action_token_begin_idx"]
    embed = tensors["language_model.model.embed_tokens.weight"]
    assert torch.equal(embed[begin:], tensors["spatial_embed_tokens.weight"])
    assert len(embed) == config["text_config"]["vocab_size"] == begin + config["spatial_token_num"]
    assert {name.split(".")[0] for name in tensors} == {
        "language_model", "multi_modal_projector", "position_embedding_3d", "spatial_embed_tokens", "vision_tower"}


def test_greedy_decoding_with_a_cache_agrees_with_one_pass_without(tmp_path):
    """And with training's shortcut, which computes only the kept rows of the last layer; padding is never seen."""
    saved(tmp_path / "ckpt", trainee())
    runner = policy.TorchPolicy(tmp_path / "ckpt")
    model, config = runner.model, runner.model.config
    rng = np.random.default_rng(1)
    rgb, depth_m = rng.integers(0, 256, (5, 112, 112, 3), np.uint8), rng.uniform(1, 2, (5, 16, 16)).astype(np.float32)
    together = runner.tokens(list(MT5), rgb, depth_m)
    for index, task in enumerate(MT5):
        text_ids = torch.tensor([prompt_ids(instruction(task), 0)])
        pixels = torch.from_numpy((rgb[index : index + 1].transpose(0, 3, 1, 2) / 255).astype(np.float32)) * 2 - 1
        fed = torch.from_numpy(together[index, :-1])[None] - config.action_begin
        embeds = [model.image_features(pixels, runner.normalized_points(depth_m[index : index + 1])),
                  model.language_model["model"]["embed_tokens"](text_ids), model.spatial_embed_tokens(fed.clamp(min=0))]
        prompt = config.patches + text_ids.shape[1]
        length = prompt + fed.shape[1]
        mask = prefix_mask(torch.ones(1, prompt, dtype=torch.bool), fed.shape[1])
        keep = torch.arange(prompt - 1, length)[None]
        with torch.no_grad():
            states = [model.decode_states(torch.cat(embeds, 1), torch.arange(length)[None], mask, keep=rows) for rows in (None, keep)]
        assert torch.allclose(states[0][:, prompt - 1 :], states[1], atol=1e-5)
        ids = model.language_model["lm_head"](states[1]).argmax(-1)[0].numpy()
        assert (ids == together[index]).all(), task


def test_a_token_of_the_wrong_kind_is_refused(tmp_path):
    saved(tmp_path / "ckpt", trainee())
    runner = policy.TorchPolicy(tmp_path / "ckpt")
    begin = runner.model.config.action_begin
    good = np.tile([begin, begin + grid.CELLS, begin + grid.CELLS + 1], 4)[None]
    assert runner.actions(good).shape == (1, 4, 4)
    for slot, token in ((0, begin + grid.CELLS), (1, begin), (2, begin + grid.CELLS), (0, 1), (3, begin - 1)):
        wrong = good.copy()
        wrong[0, slot] = token
        try:
            runner.actions(wrong)
        except policy.WrongToken:
            continue
        raise AssertionError(f"token {token} in slot {slot} was accepted")


def test_sines_come_before_cosines_and_numbers_stay_together():
    encoded = frequency_encoding(torch.tensor([[0.5, -1.0]]), 2)[0]
    one = lambda n: [n, np.sin(n), np.sin(2 * n), np.cos(n), np.cos(2 * n)]  # noqa: E731
    assert np.allclose(encoded, [*one(0.5), *one(-1.0)], atol=1e-6)


def test_soft_targets_sum_to_one_peak_at_the_nearest_cell_and_skip_cells_without_data():
    cells = made_grid()
    points, usable = torch.from_numpy(cells.points).float(), torch.from_numpy(cells.counts > 0)
    moves = torch.from_numpy(cells.points[cells.counts > 0][:50]).float()
    targets = soft_targets(moves, points, usable)
    assert torch.allclose(targets.sum(-1), torch.ones(50)) and (targets[:, ~usable] == 0).all()
    assert torch.equal(targets.argmax(-1), nearest_cells(moves, points, usable))


def test_the_ablation_has_no_position_encoding():
    made = trainee()
    blind = type(made.model)(replace(made.model.config, ego3d=False))
    blind.load_state_dict(made.model.state_dict())
    pixels, points = torch.zeros(1, 3, 112, 112), torch.randn(1, 64, 12)
    with torch.no_grad():
        assert torch.equal(blind.image_features(pixels, points), blind.image_features(pixels, points + 1))
        assert not torch.equal(made.model.image_features(pixels, points), made.model.image_features(pixels, points + 1))
