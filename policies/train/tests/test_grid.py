"""Promises of the action grid and the tokenizer. Needs numpy, tokenizers and the Meta-World package, not torch."""

import json

import numpy as np
import pytest
from egogrid_metaworld import instruction, task_names
from egogrid_train import grid, text
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def moves():
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(0, 0.8, (20_000, 3)), -1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(moves):
    return grid.fit(moves)


def test_edges_are_sorted_and_cover_the_whole_range(fitted):
    for edges, bins, (low, high) in zip(fitted.edges, grid.BINS, grid.RANGES, strict=True):
        assert len(edges) == bins + 1 and (np.diff(edges) > 0).all()
        assert edges[0] == low and edges[-1] == high


def test_every_cell_has_a_point_inside_the_cube_and_data_decides_it(fitted, moves):
    assert np.isfinite(fitted.points).all() and np.abs(fitted.points).max() <= 1
    cells = fitted.locate(moves)
    busiest = np.bincount(cells, minlength=grid.CELLS).argmax()
    assert fitted.points[busiest] == pytest.approx(moves[cells == busiest].mean(0), abs=1e-6)
    unused = np.flatnonzero(fitted.counts == 0)
    assert (fitted.points[unused] == grid.midpoints(fitted.edges)[unused]).all()


def test_every_midpoint_inside_the_cube_locates_its_own_cell(fitted):
    middle = [(edges[:-1] + edges[1:]) / 2 for edges in fitted.edges]
    theta, phi, r = (axis.ravel() for axis in np.meshgrid(*middle, indexing="ij"))
    xyz = np.stack([r * np.sin(theta) * np.cos(phi), r * np.sin(theta) * np.sin(phi), r * np.cos(theta)], 1)
    assert (fitted.locate(xyz) == np.arange(grid.CELLS)).all()


def test_heaps_of_equal_values_do_not_make_empty_bins():
    heaped = np.tile(np.array([[1.0, 1.0, 1.0], [-1.0, 0.0, 0.0]]), (500, 1))
    for edges in grid.fit(heaped).edges:
        assert (np.diff(edges) > 0.019).all()


def test_the_vocabulary_ends_with_the_action_tokens():
    content, vocabulary = text.tokenizer_json()
    tokenizer = Tokenizer.from_str(json.dumps(content))
    assert tokenizer.get_vocab_size() == vocabulary.size == vocabulary.action_begin + grid.ACTION_TOKENS
    assert tokenizer.token_to_id("<ACTION00000>") == vocabulary.action_begin
    assert tokenizer.token_to_id(f"<ACTION{grid.ACTION_TOKENS - 1:05}>") == vocabulary.size - 1
    assert [tokenizer.token_to_id(t) for t in ("<pad>", "<eos>", "<bos>", "<unk>")] == [0, 1, 2, 3]
    assert tokenizer.token_to_id("<image>") == vocabulary.image == vocabulary.action_begin - 1


def test_every_instruction_survives_the_tokenizer_and_unknown_text_falls_back_to_bytes():
    content, vocabulary = text.tokenizer_json()
    tokenizer = Tokenizer.from_str(json.dumps(content))
    for sentence in [*map(instruction, task_names()), "zürich: 7 \N{SNOWMAN}"]:
        ids = tokenizer.encode(sentence, add_special_tokens=False).ids
        assert 3 not in ids and max(ids) < vocabulary.newline
        assert tokenizer.decode(ids) == sentence


def test_a_prompt_is_images_then_bos_then_text_then_newline():
    _, vocabulary = text.tokenizer_json()
    ids = text.prompt_ids("open the drawer", 64)
    assert ids[:64] == [vocabulary.image] * 64 and ids[64] == vocabulary.bos and ids[-1] == vocabulary.newline
