"""What is wrong is refused with the right exit code and words, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from egogrid_export.cli import main
from egogrid_export.spatialvla import export as spatialvla_export

WRONG, CHECK, MISSING = 2, 3, 4


def export(checkpoint: Path, bundle: Path, *more: str) -> int:
    return main([str(checkpoint), str(bundle), "--quiet", "--skip-check", *more])


def edit(path: Path, *keys: object, value: object) -> None:
    """Sets one value deep in a JSON file."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


def edges(*values: object) -> list[object]:
    return list(values)


STATISTICS = ("statistics", "random/1.0.0", "action")
# name: (file, keys, value, exit code, words of the message)
EDITS = {
    "wrong width": ("config.json", ("text_config", "hidden_size"), 48, WRONG, "projection_dim"),
    "wrong layers": ("config.json", ("text_config", "num_hidden_layers"), 3, MISSING, "layers.2"),
    "wrong heads": ("config.json", ("text_config", "num_attention_heads"), 8, WRONG, "q_proj.weight has shape"),
    "wrong mlp": ("config.json", ("vision_config", "intermediate_size"), 64, WRONG, "fc1.weight has shape"),
    "wrong frequencies": ("config.json", ("n_freqs",), 5, WRONG, "position_embedding_head.0.weight"),
    "samples that do not divide the patch": ("config.json", ("ego3d_patch_reso",), 4, WRONG, "divisor of patch_size 14"),
    "boolean for a number": ("config.json", ("n_freqs",), True, WRONG, "n_freqs is True"),
    "other activation": ("config.json", ("text_config", "hidden_activation"), "relu", WRONG, "hidden_activation"),
    "other family": ("config.json", ("model_type",), "pi0", WRONG, "model_type"),
    "no estimator": ("config.json", ("egogrid",), {}, MISSING, "vision_zoe_config"),
    "short window": ("config.json", ("text_config", "sliding_window"), 16, WRONG, "sliding_window"),
    "unknown extension": ("config.json", ("egogrid",), {"control_herz": 5}, WRONG, "control_herz"),
    "wrong extension": ("config.json", ("egogrid",), {"ego3d_scale_m": 0}, WRONG, "ego3d_scale_m"),
    "too fast": ("config.json", ("egogrid",), {"control_hz": 1001, "depth_source": "sensor"}, WRONG, "at most 1000"),
    "two end tokens": ("generation_config.json", ("eos_token_id",), [1, 2], WRONG, "eos_token_id"),
    "too many steps": ("config.json", ("egogrid",), {"steps_executed": 3, "depth_source": "sensor"}, WRONG, "steps_executed"),
    "table of another grid": ("config.json", ("spatial_token_num",), 33, WRONG, "spatial_token_num is 33"),
    "shifted token table": ("config.json", ("action_token_begin_idx",), 32, WRONG, "tokenizer.json gives <ACTION00000>"),
    "action ids beyond the vocabulary": ("config.json", ("action_token_begin_idx",), 99, WRONG, "vocabulary size"),
    "wrong image token": ("config.json", ("image_token_index",), 5, WRONG, "<image>"),
    "other picture size": ("preprocessor_config.json", ("size", "width"), 224, WRONG, "image_size 56"),
    "other filter": ("preprocessor_config.json", ("resample",), 2, WRONG, "resample"),
    "normalized pixels": ("preprocessor_config.json", ("do_normalize",), True, WRONG, "do_normalize"),
    "unsorted edges": ("processor_config.json", ("bin_policy", "translation", "r_bins"), edges(0, 1, 0.5), WRONG, "r_bins"),
    "edges of one point": ("processor_config.json", ("bin_policy", "translation", "r_bins"), edges(1, 1, 1), WRONG, "r_bins"),
    "NaN edge": ("processor_config.json", ("bin_policy", "rotation", "yaw_bins"), edges(-1, float("nan"), 1), WRONG, "NaN"),
    "too few edges": ("processor_config.json", ("bin_policy", "rotation", "yaw_bins"), edges(-1, 1), WRONG, "yaw_bins"),
    "no edges of one axis": ("processor_config.json", ("bin_policy", "rotation", "yaw_bins"), None, MISSING, "yaw_bins"),
    "other total": ("processor_config.json", ("action_config", "num_bins", "total"), 35, WRONG, "total"),
    "three gripper cells": ("processor_config.json", ("action_config", "num_bins", "gripper"), 3, WRONG, "gripper"),
    "cartesian grid": ("processor_config.json", ("action_config", "use_spherical"), False, WRONG, "use_spherical"),
    "q99 below q01": ("processor_config.json", (*STATISTICS, "q99"), [-1.0] * 7, WRONG, "q99[0] = -1.0 is below q01[0]"),
    "short q01": ("processor_config.json", (*STATISTICS, "q01"), [0.0] * 6, WRONG, "q01"),
    "wrong mask": ("processor_config.json", (*STATISTICS, "mask"), [1] * 7, WRONG, "mask"),
    "no statistics": ("processor_config.json", ("statistics",), {}, WRONG, "statistics"),
    "no chunk": ("processor_config.json", ("action_chunk_size",), 0, WRONG, "action_chunk_size"),
    "two pictures": ("processor_config.json", ("num_obs_steps",), 2, WRONG, "num_obs_steps"),
    "focal length 0": ("processor_config.json", ("intrinsic_config", "default", "intrinsic", 0, 0), 0, WRONG, "fx"),
    "no intrinsics": ("processor_config.json", ("intrinsic_config",), {}, MISSING, "default"),
    "cell points of another grid": (
        "processor_config.json",
        ("egogrid",),
        {"cell_points": {"translation": [[0, 0, 0]]}},
        WRONG,
        "24 points",
    ),
    "cell point outside": (
        "processor_config.json",
        ("egogrid",),
        {"cell_points": {"translation": [[0, 0, 2]] * 24}},
        WRONG,
        "-1..=1",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_wrong_field_is_named_and_nothing_is_left_behind(variant, tmp_path: Path, capsys, name: str) -> None:
    checkpoint = variant()
    file, keys, value, code, words = EDITS[name]
    edit(checkpoint / file, *keys, value=value)
    assert export(checkpoint, tmp_path / "bundle") == code
    message = capsys.readouterr().err
    assert words in message and "expected" in message
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "preprocessor_config.json", "tokenizer.json"])
def test_a_missing_file_is_named(variant, tmp_path: Path, capsys, file: str) -> None:
    checkpoint = variant()
    (checkpoint / file).unlink()
    assert export(checkpoint, tmp_path / "bundle") == MISSING
    assert file in capsys.readouterr().err


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_a_damaged_file_is_named(variant, tmp_path: Path, capsys, file: str) -> None:
    checkpoint = variant()
    (checkpoint / file).write_text('{"a": ')
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert file in capsys.readouterr().err


def test_a_missing_checkpoint_is_missing(tmp_path: Path, capsys) -> None:
    assert export(tmp_path / "nowhere", tmp_path / "bundle") == MISSING
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("shards", [1, 2])
def test_missing_weight_files_are_missing(variant, tmp_path: Path, capsys, shards: int) -> None:
    checkpoint = variant(shards=shards)
    sorted(checkpoint.glob("*.safetensors"))[-1].unlink()
    assert export(checkpoint, tmp_path / "bundle") == MISSING
    assert "safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.999])
def test_cut_weight_files_are_refused(variant, tmp_path: Path, capsys, kept: float) -> None:
    checkpoint = variant(shards=1)
    path = checkpoint / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept >= 5 else kept * len(content))])
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert "model.safetensors is cut short" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["spatial_embed_tokens.weight", "language_model.lm_head.weight", "multi_modal_projector.linear.bias"])
def test_a_missing_tensor_is_named(variant, tmp_path: Path, capsys, name: str) -> None:
    checkpoint = variant(shards=1)
    tensors = load_file(checkpoint / "model.safetensors")
    del tensors[name]
    save_file(tensors, checkpoint / "model.safetensors")
    assert export(checkpoint, tmp_path / "bundle") == MISSING
    assert name in capsys.readouterr().err


def test_quantized_tensors_are_refused(variant, tmp_path: Path, capsys) -> None:
    checkpoint = variant(shards=1)
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["language_model.lm_head.weight"] = np.zeros(tensors["language_model.lm_head.weight"].shape, dtype=np.int8)
    save_file(tensors, checkpoint / "model.safetensors")
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert "language_model.lm_head.weight is I8" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_refused(variant, tmp_path: Path, capsys) -> None:
    checkpoint = variant(shards=1, dtype="f32")
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["language_model.lm_head.weight"][3, 4] = np.nan
    save_file(tensors, checkpoint / "model.safetensors")
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert "language_model.lm_head.weight" in capsys.readouterr().err


def test_an_index_that_leaves_the_directory_is_refused(variant, tmp_path: Path, capsys) -> None:
    checkpoint = variant()
    edit(checkpoint / "model.safetensors.index.json", "weight_map", "language_model.lm_head.weight", value="../x.safetensors")
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert "plain file name" in capsys.readouterr().err


def test_an_existing_directory_is_never_overwritten_without_being_asked(variant, tmp_path: Path, capsys) -> None:
    checkpoint = variant()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("mine")
    assert export(checkpoint, tmp_path / "bundle", "--replace") == WRONG
    assert (tmp_path / "bundle" / "mine.txt").read_text() == "mine"
    assert export(checkpoint, tmp_path / "other") == 0
    assert export(checkpoint, tmp_path / "other") == WRONG
    assert "--replace" in capsys.readouterr().err
    assert export(checkpoint, tmp_path / "other", "--replace") == 0


@pytest.mark.parametrize(("argument", "value"), [("--precision", "fp8"), ("--depth", "guessed")])
def test_what_is_not_built_is_refused_with_what_is(variant, tmp_path: Path, capsys, argument: str, value: str) -> None:
    with pytest.raises(SystemExit) as stop:
        export(variant(), tmp_path / "bundle", argument, value)
    assert stop.value.code == WRONG
    assert "choose from" in capsys.readouterr().err


def test_a_graph_that_differs_from_the_reference_stops_the_export(variant, tmp_path: Path, capsys, monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    built = spatialvla_export.build_decode

    def wrong(language, weights):
        graph = built(language, weights)
        for node in graph.nodes:
            for attribute in node.attribute:
                if attribute.name == "softcap":
                    attribute.f = 1.0
        return graph

    monkeypatch.setattr(spatialvla_export, "build_decode", wrong)
    assert main([str(variant()), str(tmp_path / "bundle"), "--quiet"]) == CHECK
    message = capsys.readouterr().err
    assert "graph decode: step1_logits differs" in message
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_the_manifest_lists_every_file_with_size_and_digest(variant, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert export(variant(), bundle) == 0
    manifest = tomllib.loads((bundle / "bundle.toml").read_text())
    listed = {entry["path"]: entry for entry in manifest["files"]}
    assert sorted(listed) == list(listed) == sorted(path.name for path in bundle.iterdir() if path.name != "bundle.toml")
    for name, entry in listed.items():
        content = (bundle / name).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    text = (bundle / "bundle.toml").read_text()
    first, body = text.split("\n", 1)
    assert first == f"# sha256 {hashlib.sha256(body.encode()).hexdigest()}", "the manifest vouches for itself"
    assert str(tmp_path) not in text, "no path of this machine"
    assert [graph["name"] for graph in manifest["graphs"]] == ["vision", "prefill", "decode"] * 2


def test_two_exports_of_one_checkpoint_are_the_same_bytes(variant, tmp_path: Path) -> None:
    checkpoint = variant()
    for name in ("first", "second"):
        assert export(checkpoint, tmp_path / name) == 0
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_an_interrupted_export_leaves_nothing_behind(variant, tmp_path: Path, capsys, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(spatialvla_export, "golden_tensors", interrupted)
    assert export(variant(), tmp_path / "bundle") == 130
    assert "nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("word", ["<image>", "<eos>", "<bos>", "<ACTION00003>"])
def test_special_tokens_in_an_instruction_are_refused(variant, tmp_path: Path, capsys, word: str) -> None:
    assert export(variant(), tmp_path / "bundle", "--cases", str(case_directory(tmp_path, instruction=f"pick {word}"))) == WRONG
    assert word in capsys.readouterr().err


def test_ordinary_action_tokens_are_refused(variant, tmp_path: Path, capsys) -> None:
    checkpoint = variant()
    edit(checkpoint / "tokenizer.json", "added_tokens", -1, "special", value=False)
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert "<ACTION00033>" in capsys.readouterr().err


@pytest.mark.parametrize(
    "extra",
    [
        {
            "padding": {
                "strategy": {"Fixed": 40},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "<pad>",
            }
        },
        {"truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}},
    ],
)
def test_padding_and_truncation_of_a_saved_tokenizer_do_not_reach_the_prompt(variant, tmp_path: Path, extra: dict) -> None:
    checkpoint = variant()
    assert export(checkpoint, tmp_path / "plain") == 0
    for key, value in extra.items():
        edit(checkpoint / "tokenizer.json", key, value=value)
    assert export(checkpoint, tmp_path / "other") == 0
    plain, other = (load_file(tmp_path / name / "golden.safetensors")["case0.text_ids"] for name in ("plain", "other"))
    assert plain.tolist() == other.tolist()


def test_an_instruction_beyond_the_limit_is_refused(variant, tmp_path: Path, capsys) -> None:
    assert export(variant(), tmp_path / "bundle", "--cases", str(case_directory(tmp_path, instruction="pick " * 60))) == WRONG
    assert "at most 128" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code"),
    [({"stats_key": "other"}, WRONG), ({"depth_kind": "guess"}, WRONG), ({"typo": 1}, WRONG), ({"image": "no.png"}, MISSING)],
)
def test_wrong_cases_are_refused(variant, tmp_path: Path, capsys, change: dict, code: int) -> None:
    assert export(variant(), tmp_path / "bundle", "--cases", str(case_directory(tmp_path, **change))) == code
    assert "expected" in capsys.readouterr().err


def test_one_case_is_not_enough(variant, tmp_path: Path, capsys) -> None:
    directory = case_directory(tmp_path)
    checkpoint = variant()
    assert export(checkpoint, tmp_path / "bundle", "--cases", str(directory)) == 0
    (directory / "b.json").unlink()
    assert export(checkpoint, tmp_path / "other", "--cases", str(directory)) == MISSING
    assert "at least 2" in capsys.readouterr().err


def case_directory(tmp_path: Path, **changes: object) -> Path:
    """Two whole cases, but for `changes`."""
    directory = tmp_path / "cases"
    directory.mkdir()
    Image.fromarray(np.full((40, 50, 3), 90, dtype=np.uint8)).save(directory / "a.png")
    np.save(directory / "a.npy", np.full((20, 30), 0.7, dtype=np.float32))
    case = {
        "image": "a.png",
        "depth": "a.npy",
        "depth_kind": "sensor",
        "depth_max_m": 2.0,
        "instruction": "pick",
        "stats_key": "random/1.0.0",
    }
    for name in ("a", "b"):
        (directory / f"{name}.json").write_text(json.dumps(case | changes))
    return directory
