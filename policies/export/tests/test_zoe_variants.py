"""Depth estimators of other sizes and layouts: graph against reference, and both against what transformers made of the same weights."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_refusals import case_directory
from variants import DROP, Variant, zoe_config
from zoe_variants import EXPECTED, ZOE_VARIANTS, probe, probe_picture

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.cli import main
from egogrid_export.errors import ExportError
from egogrid_export.fields import Fields
from egogrid_export.spatialvla.config import read_config
from egogrid_export.spatialvla.zoe_config import read_zoe_config
from egogrid_export.spatialvla.zoe_reference import ZoeReference

WRONG, CHECK, MISSING = 2, 3, 4


@pytest.mark.parametrize("name", ZOE_VARIANTS)
def test_any_estimator_exports_with_a_right_graph_and_a_reference_like_the_official_code(variant, tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxruntime")
    checkpoint = variant(**ZOE_VARIANTS[name])
    assert main([str(checkpoint), str(tmp_path / "bundle"), "--quiet"]) == 0
    manifest = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    assert manifest["depth"] == {"sources": ["estimated"]}
    assert [graph["name"] for graph in manifest["graphs"]] == 2 * ["depth", "vision", "prefill", "decode"], "one set for each flavour"

    read = Checkpoint(checkpoint)
    config = read_config(read)
    found = ZoeReference(read, config.zoe).stages(probe_picture(config.vision.image_size_px))
    expected = json.loads(EXPECTED.read_text())[name]
    if config.zoe.router:
        assert np.abs(found["zoe_domain_logits"][0] - expected["domain_logits"]).max() < 1e-4
    difference = np.abs(probe(found["estimated_depth_m"][0]) - np.array(expected["depth_m"]))
    # Where the estimator multiplies rounding, transformers itself is off by `rounding_m` between float32 and float64.
    assert np.quantile(difference, 0.9) < 1e-4 + expected["rounding_m"] and difference.max() < 1e-2 + 3 * expected["rounding_m"]


def test_missing_fields_have_the_defaults_of_transformers() -> None:
    config = read_zoe_config(Fields({}, "vision_zoe_config"))
    assert config.backbone.taps == (6, 12, 18, 24) and (config.backbone.width, config.backbone.heads) == (1024, 16)
    assert (config.backbone.table_window, config.backbone.norm_eps, config.backbone.layer_scale) == (24, 1e-12, True)
    assert (config.neck, config.factors, config.fusion_width, config.fusion_bias) == ((96, 192, 384, 768), (4, 2, 1, 0.5), 256, True)
    assert (config.relative_width, config.embedding_width, config.temperatures) == (32, 128, (0.0212, 50.0))
    assert (config.attractors, config.attractor_mean, config.router, len(config.heads)) == ((16, 8, 4, 1), True, None, 1)
    fields = zoe_config(Variant(zoe={"num_attractors": [3, 2, 1, 1], "backbone": {"image_size": DROP, "layer_norm_eps": DROP}}))
    several = read_zoe_config(Fields(fields, "vision_zoe_config"))
    assert several.attractors == (16,) * 4, "transformers does not look at the numbers where there are several heads"
    assert (several.backbone.table_window, several.backbone.norm_eps) == (224 // 32, 1e-12)


# name: (what is changed, words of the message)
REFUSED = {
    "normed bins": ({"bin_centers_type": "normed"}, "bin_centers_type"),
    "other readout": ({"readout_type": "add"}, "readout_type"),
    "other activation": ({"hidden_act": "relu"}, "hidden_act"),
    "batch norm": ({"use_batch_norm_in_fusion_residual": True}, "use_batch_norm_in_fusion_residual"),
    "projection in the head": ({"add_projection": True}, "add_projection"),
    "a backbone by name": ({"backbone": {}, "use_pretrained_backbone": True}, "use_pretrained_backbone"),
    "maps from the backbone": ({"backbone": {"reshape_hidden_states": DROP}}, "reshape_hidden_states"),
    "absolute positions": ({"backbone": {"use_absolute_position_embeddings": True}}, "use_absolute_position_embeddings"),
    "a pyramid": ({"backbone": {"add_fpn": True}}, "add_fpn"),
    "another backbone": ({"backbone": {"model_type": "dinov2"}}, "model_type"),
    "more sizes than outputs": ({"neck_hidden_sizes": [8, 12, 16]}, "neck_hidden_sizes"),
    "outputs in another order": ({"backbone": {"out_features": ["stage2", "stage1", "stage3", "stage4"]}}, "out_features"),
    "an output that is not there": ({"backbone": {"out_features": ["stage1", "stage2", "stage3", "stage9"]}}, "out_features"),
    "outputs that do not agree": ({"backbone": {"out_indices": [0, 1, 2, 3]}}, "out_indices"),
    "no sizes": ({"neck_hidden_sizes": []}, "neck_hidden_sizes"),
    "fewer factors": ({"reassemble_factors": [4, 2, 1]}, "reassemble_factors"),
    "a factor of one and a half": ({"reassemble_factors": [4, 1.5, 1, 0.5]}, "reassemble_factors"),
    "another map for the head": ({"head_in_index": 0}, "head_in_index"),
    "another bottleneck": ({"bottleneck_features": 8}, "bottleneck_features"),
    "heads of one name": ({"bin_configurations": [{"name": "nyu", "n_bins": 4}] * 2}, "bin_configurations"),
    "heads without names": ({"bin_configurations": [{"n_bins": 4}, {"n_bins": 4}]}, "name"),
    "no bins": ({"bin_configurations": [{"name": "a", "n_bins": 0}, {"name": "b", "n_bins": 4}]}, "n_bins"),
    "three router layers": ({"num_patch_transformer_layers": 3}, "num_patch_transformer_layers"),
    "a router of another width": ({"patch_transformer_hidden_size": 64}, "patch_transformer_hidden_size"),
    "no router": ({"num_patch_transformer_layers": None}, "num_patch_transformer_layers"),
    "router heads that do not divide": ({"patch_transformer_num_attention_heads": 3}, "patch_transformer_num_attention_heads"),
    "heads that do not divide": ({"backbone": {"num_attention_heads": 3}}, "num_attention_heads"),
    "three attractor levels and one head": ({"num_attractors": [16, 8, 4], "bin_configurations": [{"n_bins": 8}]}, "num_attractors"),
    "a temperature of nothing": ({"min_temp": 0}, "min_temp"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_estimator_that_cannot_be_reproduced_is_refused_by_name(name: str) -> None:
    changes, words = REFUSED[name]
    with pytest.raises(ExportError, match=words):
        read_zoe_config(Fields(zoe_config(Variant(zoe=changes)), "vision_zoe_config"))


# A field that says something else than the tensors do.
MISMATCHED = {
    "backbone_config hidden_size": (("backbone_config", "hidden_size"), 32),
    "backbone_config intermediate_size": (("backbone_config", "intermediate_size"), 32),
    "backbone_config patch_size": (("backbone_config", "patch_size"), 16),
    "backbone_config image_size": (("backbone_config", "image_size"), 224),
    "backbone_config num_attention_heads": (("backbone_config", "num_attention_heads"), 4),
    "neck_hidden_sizes": (("neck_hidden_sizes",), [8, 12, 16, 20]),
    "reassemble_factors": (("reassemble_factors",), [2, 2, 1, 0.5]),
    "bin_embedding_dim": (("bin_embedding_dim",), 20),
    "num_relative_features": (("num_relative_features",), 16),
    "patch_transformer_intermediate_size": (("patch_transformer_intermediate_size",), 64),
}


@pytest.mark.parametrize("name", MISMATCHED)
def test_a_field_that_the_tensors_contradict_is_found_before_anything_is_packed(variant, tmp_path: Path, capsys, name: str) -> None:
    checkpoint = variant(zoe={})
    keys, value = MISMATCHED[name]
    config = json.loads((checkpoint / "config.json").read_text())
    place = config["vision_zoe_config"]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert main([str(checkpoint), str(tmp_path / "bundle"), "--skip-check"]) == WRONG
    message = capsys.readouterr().err
    assert "vision_zoe_model." in message and "has shape" in message and "pack" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_the_default_is_what_the_checkpoint_was_trained_with_and_both_needs_the_estimator(variant, tmp_path: Path, capsys) -> None:
    sensor = variant()
    for depth in ("estimated", "both"):
        assert main([str(sensor), str(tmp_path / "bundle"), "--quiet", "--skip-check", "--depth", depth]) == MISSING
        assert "vision_zoe_config" in capsys.readouterr().err
    assert main([str(sensor), str(tmp_path / "sensor"), "--quiet", "--skip-check"]) == 0
    assert tomllib.loads((tmp_path / "sensor" / "bundle.toml").read_text())["depth"] == {"sources": ["sensor"]}


def test_an_estimator_that_the_model_does_not_use_is_refused_unless_a_sensor_is_asked_for(variant, tmp_path: Path, capsys) -> None:
    checkpoint = variant(zoe={}, top={"use_vision_zoe": False})
    assert main([str(checkpoint), str(tmp_path / "bundle"), "--quiet", "--skip-check"]) == WRONG
    assert "use_vision_zoe" in capsys.readouterr().err


def test_a_bundle_with_both_sources_has_a_case_of_each(variant, tmp_path: Path) -> None:
    assert main([str(variant(zoe={})), str(tmp_path / "bundle"), "--quiet", "--skip-check", "--depth", "both"]) == 0
    manifest = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    assert manifest["depth"] == {"sources": ["sensor", "estimated"]}
    golden = load_file(tmp_path / "bundle" / "golden.safetensors")
    assert "case0.depth_m" in golden and "case0.zoe_predicted_depth" not in golden
    assert "case1.depth_m" not in golden and "case1.depth_kind" not in golden
    for stage in ("zoe_pixel_values", "zoe_backbone_4", "zoe_domain_logits", "zoe_predicted_depth", "estimated_depth_m", "patch_depth_m"):
        assert f"case1.{stage}" in golden, stage


# (--depth, whether each of two cases brings depth, words of the refusal; None where it exports)
CASE_DEPTHS = [
    ("estimated", (False, False), None),
    ("estimated", (True, True), "has a depth"),
    ("both", (True, False), None),
    ("both", (True, True), "no case without depth"),
    ("both", (False, False), "no case with depth"),
    ("sensor", (True, False), "has no depth"),
]


@pytest.mark.parametrize(("depth", "bring", "words"), CASE_DEPTHS)
def test_own_cases_must_fit_where_depth_comes_from(
    variant, tmp_path: Path, capsys, depth: str, bring: tuple[bool, bool], words: str | None
) -> None:
    directory = case_directory(tmp_path)
    for name, brings in zip(("a", "b"), bring, strict=True):
        case = json.loads((directory / f"{name}.json").read_text())
        kept = {key: value for key, value in case.items() if brings or not key.startswith("depth")}
        (directory / f"{name}.json").write_text(json.dumps(kept))
    arguments = ["--quiet", "--skip-check", "--depth", depth, "--cases", str(directory)]
    assert main([str(variant(zoe={})), str(tmp_path / "bundle"), *arguments]) == (0 if words is None else WRONG)
    assert (words or "") in capsys.readouterr().err


def test_a_kind_of_depth_without_a_depth_is_refused(variant, tmp_path: Path, capsys) -> None:
    directory = case_directory(tmp_path)
    case = json.loads((directory / "a.json").read_text())
    del case["depth"]
    (directory / "a.json").write_text(json.dumps(case))
    arguments = ["--quiet", "--skip-check", "--depth", "both", "--cases", str(directory)]
    assert main([str(variant(zoe={})), str(tmp_path / "bundle"), *arguments]) == WRONG
    assert "depth_kind" in capsys.readouterr().err
