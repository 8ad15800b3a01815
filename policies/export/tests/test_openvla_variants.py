"""OpenVLA checkpoints of other sizes and layouts export; their graphs compute what the reference computes (the exporter's own check)."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from openvla_variants import DINO, DROP, SIGLIP
from safetensors.numpy import load_file

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.cli import main
from egogrid_export.openvla.config import read_config
from egogrid_export.openvla.selfcheck import check_graphs
from egogrid_export.precision import PRECISIONS

VARIANTS = {
    "as released, small": {},
    "as many kv heads as heads": {"sizes": (32, 48, 2, 4, 4)},
    "one kv head": {"sizes": (32, 48, 2, 4, 1)},
    "narrow heads, odd widths": {"sizes": (36, 52, 2, 6, 2)},
    "heads of 8 and one layer": {"sizes": (64, 20, 1, 8, 4)},
    "heads of 64": {"sizes": (128, 40, 3, 2, 1)},
    "tied head": {"tied": True},
    "other norm and positions": {"text": {"rms_norm_eps": 1e-2, "rope_theta": 500.0}},
    "one tower without prefix": {"towers": [SIGLIP], "strategy": "letterbox"},
    "one tower with a class token in its positions": {"towers": [{**SIGLIP, "class_token": True, "global_pool": "token"}]},
    "one tower with registers and LayerScale": {"towers": [DINO], "strategy": "resize-crop"},
    "registers without class token": {"towers": [{**DINO, "class_token": False, "global_pool": "avg"}, SIGLIP]},
    "prefix in the positions": {"towers": [{**DINO, "no_embed_class": False}, SIGLIP]},
    "no registers, no LayerScale": {"towers": [{**DINO, "reg_tokens": 0, "init_values": None}, SIGLIP]},
    "towers the other way round": {"towers": [SIGLIP, DINO]},
    "deep and shallow": {"towers": [{**DINO, "depth": 6}, {**SIGLIP, "depth": 2}]},
    "heads of 72": {"towers": [{**DINO, "embed_dim": 144, "num_heads": 2}, SIGLIP]},
    "odd MLP ratios": {"towers": [{**DINO, "mlp_ratio": 1.37}, {**SIGLIP, "mlp_ratio": 5.01}], "sizes": (32, 37, 2, 4, 2)},
    "patches that do not fill the picture": {"image_px": 60},
    "patches of 16, fewer": {"image_px": 64, "towers": [{**DINO, "patch_size": 16}, {**SIGLIP, "patch_size": 16}]},
    "patch size left out": {"image_px": 48, "towers": [{key: value for key, value in SIGLIP.items() if key != "patch_size"}]},
    "other vocabulary": {"vocabulary": 31000, "padded": 0},
    "few bins": {"bins": 16, "padded": 8},
    "actions of 5 and 14 numbers": {"dims": {"arm": 5, "two arms": 14}},
    "one number": {"dims": {"gripper": 1}},
    "letterbox of two towers": {"strategy": "letterbox"},
    "f32": {"dtype": "f32"},
    "three shards of f16": {"shards": 3, "dtype": "f16"},
    "four shards": {"shards": 4},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_any_size_and_layout_exports_with_right_graphs(openvla_variant, tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxruntime")
    assert main([str(openvla_variant(**VARIANTS[name])), str(tmp_path / "bundle"), "--quiet"]) == 0
    golden = load_file(tmp_path / "bundle" / "golden.safetensors")
    whole = [number for number in range(2) if f"case{number}.actions" in golden]
    assert whole, "action ids win, so that decoding is checked too"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_precisions_of_16_bits_export(openvla_variant, tmp_path: Path, precision: str, dtype: str) -> None:
    pytest.importorskip("onnxruntime")
    assert main([str(openvla_variant(dtype=dtype)), str(tmp_path / "bundle"), "--precision", precision, "--quiet"]) == 0


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("layout", ["as released, small", "odd MLP ratios", "one tower without prefix", "narrow heads, odd widths"])
def test_integer_weights_export_and_their_graphs_run(openvla_variant, tmp_path: Path, precision: str, layout: str) -> None:
    """Random networks this small amplify rounding: their logits are compared by direction only, in the export itself and here again."""
    pytest.importorskip("onnxruntime")
    checkpoint = openvla_variant(**VARIANTS[layout])
    assert main([str(checkpoint), str(tmp_path / "bundle"), "--precision", precision, "--quiet", "--observations", "0"]) == 0
    golden = load_file(tmp_path / "bundle" / "golden.safetensors")
    case = {name.removeprefix("case0."): tensor for name, tensor in golden.items() if name.startswith("case0.")}
    worst = check_graphs(tmp_path / "bundle", VARIANTS[layout].get("sizes", (0, 0, 2))[2], [case], PRECISIONS[precision])
    assert worst["patch_features"] < 0.02 and set(worst) >= {"image_features", "step0_logits"}


def test_missing_fields_have_the_defaults_of_transformers_4_40_and_of_the_official_classes(openvla_variant) -> None:
    """The released text_config says little more than the vocabulary size."""
    text = ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    top = (
        "use_fused_vision_backbone",
        "n_action_bins",
        "pad_to_multiple_of",
        "timm_override_act_layers",
        "timm_model_args",
        "timm_model_ids",
    )
    changes = {"text": dict.fromkeys((*text, "tie_word_embeddings"), DROP), "top": dict.fromkeys((*top, "image_sizes"), DROP)}
    config = read_config(Checkpoint(openvla_variant(**changes)))
    assert (config.text.width, config.text.mlp_width, config.text.layers, config.text.heads) == (4096, 11008, 32, 32)
    assert (config.text.kv_heads, config.text.head_dim, config.text.vocabulary) == (32, 128, 30080)
    assert (config.text.norm_eps, config.text.rope_theta, config.text.tied_head) == (1e-6, 10000.0, False)
    assert (config.bins, config.action_end_id) == (256, 30080 - 64)
    dino, siglip = config.towers
    assert (dino.width, dino.depth, dino.heads, dino.mlp_width, dino.prefix_tokens, dino.positions) == (1024, 24, 16, 4096, 5, 256)
    assert (siglip.width, siglip.depth, siglip.heads, siglip.mlp_width, siglip.prefix_tokens) == (1152, 27, 16, 4304, 0)
    assert dino.layer_scale and not siglip.layer_scale and (dino.blocks, siglip.blocks) == (23, 26)


def test_backbones_of_384_pixels_see_27_by_27_patches(openvla_variant) -> None:
    dropped = dict.fromkeys(("timm_model_args", "timm_model_ids", "image_sizes"), DROP)
    config = read_config(Checkpoint(openvla_variant(top={**dropped, "vision_backbone_id": "dinosiglip-vit-so-384px"})))
    assert (config.image_size_px, config.patches) == (384, 729)


@pytest.mark.parametrize(
    ("name", "changes", "arguments", "expected"),
    [
        ("checkpoint", {}, [], "openvla"),
        ("checkpoint", {}, ["--prompt", "v01"], "v01"),
        ("my-robot", {"towers": [SIGLIP]}, [], "v01"),
        ("openvla-v01-7b", {"towers": [SIGLIP]}, [], "v01"),
        ("openvla-v01-7b", {"towers": [SIGLIP], "top": {"llm_backbone_id": "llama2-7b-pure"}}, [], "v01"),
        ("openvla-v01-7b", {"towers": [SIGLIP]}, ["--prompt", "openvla"], "openvla"),
        ("run-v01", {}, ["--prompt", "openvla"], "openvla"),
        ("checkpoint", {"towers": [SIGLIP], "top": {"llm_backbone_id": "llama2-7b-pure"}}, [], "openvla"),
    ],
)
def test_the_prompt_is_what_the_files_say_and_the_option_wins(
    openvla_variant, tmp_path: Path, capsys, name: str, changes: dict, arguments: list[str], expected: str
) -> None:
    assert main([str(openvla_variant(name, **changes)), str(tmp_path / "bundle"), "--skip-check", *arguments]) == 0
    assert f"prompt of {expected}: " in capsys.readouterr().err, "the choice and its reason are printed"
    prompt = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())["prompt"]
    assert (prompt["suffix"] == "? ASSISTANT:") == (expected == "v01")
    assert prompt["prefix"].startswith("A chat between a curious user" if expected == "v01" else "In: What action")


@pytest.mark.parametrize("preprocessing", [None, "processor", "evaluation", "evaluation_center_crop"])
def test_the_named_preprocessing_reaches_the_manifest_and_the_golden_pixels(
    openvla_variant, tmp_path: Path, preprocessing: str | None
) -> None:
    checkpoint, chosen = openvla_variant(), [] if preprocessing is None else ["--preprocessing", preprocessing]
    assert main([str(checkpoint), str(tmp_path / "plain"), "--skip-check", "--quiet"]) == 0
    assert main([str(checkpoint), str(tmp_path / "bundle"), "--skip-check", "--quiet", *chosen]) == 0
    manifest = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    assert manifest["image"]["preprocessing"] == (preprocessing or "processor")
    plain, found = (load_file(tmp_path / name / "golden.safetensors")["case0.pixel_values"] for name in ("plain", "bundle"))
    assert np.array_equal(plain, found) == (preprocessing in (None, "processor"))


def test_statistics_beside_the_weights_replace_those_of_the_configuration(openvla_variant, tmp_path: Path, capsys) -> None:
    checkpoint = openvla_variant()
    numbers = {"q01": [-1.0, -2.0], "q99": [1.0, 2.0]}
    (checkpoint / "dataset_statistics.json").write_text(json.dumps({"mine": {"action": numbers}}))
    assert main([str(checkpoint), str(tmp_path / "bundle"), "--skip-check"]) == 0
    assert "1 statistics keys from dataset_statistics.json of checkpoint" in capsys.readouterr().err
    assert json.loads((tmp_path / "bundle" / "statistics.json").read_text()) == {"mine": {"action": {**numbers, "mask": [True, True]}}}
    manifest = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    assert manifest["cache"]["capacity"] == 16 + manifest["prompt"]["text_tokens_max"] + 2


def test_a_generation_that_ends_early_is_stored_up_to_its_end_and_said(openvla_variant, tmp_path: Path, capsys) -> None:
    assert main([str(openvla_variant(favoured_id=2)), str(tmp_path / "bundle"), "--skip-check"]) == 0
    assert "makes no action (early_end" in capsys.readouterr().err
    golden = load_file(tmp_path / "bundle" / "golden.safetensors")
    for number in range(2):
        ids = golden[f"case{number}.token_ids"].tolist()
        if ids[-1] == 2:
            assert f"case{number}.actions" not in golden and f"case{number}.step{len(ids)}_logits" not in golden
    assert any(golden[f"case{number}.token_ids"][-1] == 2 for number in range(2))


def test_pictures_of_synthetic_cases_have_the_shape_where_resizers_differ(openvla_variant, tmp_path: Path) -> None:
    assert main([str(openvla_variant()), str(tmp_path / "bundle"), "--skip-check", "--quiet"]) == 0
    golden = load_file(tmp_path / "bundle" / "golden.safetensors")
    shapes = [golden[f"case{number}.image_u8"].shape[:2] for number in range(2)]
    assert shapes[0][0] > 56 > shapes[0][1] and shapes[1] == (56, 56)


def test_two_exports_of_one_checkpoint_are_the_same_bytes(openvla_variant, tmp_path: Path) -> None:
    checkpoint = openvla_variant()
    for name in ("first", "second"):
        assert main([str(checkpoint), str(tmp_path / name), "--skip-check", "--quiet"]) == 0
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_a_rate_that_the_checkpoint_says_reaches_the_manifest(openvla_variant, tmp_path: Path) -> None:
    checkpoint = openvla_variant(top={"egogrid": {"control_hz": 5}})
    assert main([str(checkpoint), str(tmp_path / "bundle"), "--skip-check", "--quiet"]) == 0
    chunk = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())["chunk"]
    assert chunk == {"length": 1, "steps_executed": 1, "control_hz": 5.0}
