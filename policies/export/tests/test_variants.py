"""Checkpoints of other sizes and layouts export, and their graphs compute what the reference computes (the exporter's own check)."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from variants import DROP

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.cli import main
from egogrid_export.spatialvla.config import read_config

VARIANTS = {
    "as many kv heads as heads": {"heads": 2, "kv_heads": 2},
    "one kv head": {"heads": 4, "kv_heads": 1},
    "head_dim 8": {"head_dim": 8},
    "head_dim 12": {"head_dim": 12},
    "head_dim 32, wider than the model": {"head_dim": 32, "width": 40},
    "width whose root is not exact": {"width": 44, "mlp_width": 52},
    "one layer": {"layers": 1},
    "patch 16, one sample": {"image_px": 112, "patch_px": 16, "samples": 1, "vision_layers": 2},
    "seven samples a side": {"samples": 7, "frequencies": 2},
    "ten frequencies": {"frequencies": 10},
    "one rotation cell": {"bins": (4, 8, 4, 1, 1, 1)},
    "one step": {"chunk": 1},
    "tied head that the file has too": {"text": {"tie_word_embeddings": DROP}},
    "one file of f32": {"shards": 1, "dtype": "f32"},
    "three shards of f16": {"shards": 3, "dtype": "f16"},
    "no soft-caps": {"text": {"attn_logit_softcapping": None, "final_logit_softcapping": None}},
    "other soft-caps": {"text": {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0, "rope_theta": 100.0}},
    "other norms and scales": {
        "text": {"rms_norm_eps": 1e-2, "query_pre_attn_scalar": 5.0},
        "vision": {"layer_norm_eps": 1e-2},
    },
    "no table of spatial tokens": {"spatial": False},
    "tied head": {"head": False},
    "vocabulary beyond the action tokens": {"extra_vocabulary": 5},
    "points in the base frame": {
        "top": {
            "use_vision_zoe": False,
            "egogrid": {"ego3d_frame": "base", "ego3d_center_m": [0, 0.6, 0.1], "ego3d_scale_m": 0.5, "depth_source": "sensor"},
        }
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_any_size_and_layout_exports_with_right_graphs(variant, tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxruntime")
    assert main([str(variant(**VARIANTS[name])), str(tmp_path / "bundle"), "--quiet"]) == 0


def test_missing_fields_have_the_defaults_of_the_official_classes(variant) -> None:
    dropped = {
        "text": dict.fromkeys(("model_type", "tie_word_embeddings", "query_pre_attn_scalar"), DROP),
        "top": dict.fromkeys(("n_freqs", "use_vision_zoe", "ego3d_patch_reso"), DROP),
        "vision": dict.fromkeys(("model_type", "patch_size", "image_size"), DROP),
    }
    config = read_config(Checkpoint(variant(image_px=224, patch_px=16, **dropped)))
    assert (config.text.attention_softcap, config.text.final_softcap, config.text.sliding_window) == (50.0, 30.0, 4096)
    assert (config.text.norm_eps, config.text.rope_theta, config.text.attention_scale) == (1e-6, 10000.0, 256**-0.5)
    assert config.text.tied_head
    assert (config.vision.norm_eps, config.vision.image_size_px, config.vision.patch_size_px) == (1e-6, 224, 16)
    assert (config.ego3d.samples_per_patch_side, config.ego3d.frequency_count) == (4, 8)
    assert (config.ego3d.frame, config.ego3d.center_m, config.ego3d.scale_m) == ("camera", (0.0, 0.0, 2.0), 2.0)


def test_missing_bin_policy_means_uniform_edges(variant, tmp_path: Path) -> None:
    assert main([str(variant(processor={"bin_policy": DROP})), str(tmp_path / "bundle"), "--quiet", "--skip-check"]) == 0
    grid = json.loads((tmp_path / "bundle" / "grid.json").read_text())
    assert np.allclose(grid["translation"]["theta_rad"], np.linspace(0, np.pi, 4), rtol=0, atol=0)
    assert grid["rotation"]["yaw"] == [-1.0, 0.0, 1.0]


def test_the_extension_objects_reach_the_manifest_and_the_grid(variant, tmp_path: Path) -> None:
    points = {"translation": [[0.01 * cell, 0.0, -1.0] for cell in range(24)], "rotation": [[0.0, 0.5, 1.0]] * 8}
    extension = {"control_hz": 80, "steps_executed": 2, "depth_source": "sensor", "ego3d_frame": "base", "ego3d_scale_m": 0.5}
    checkpoint = variant(processor={"egogrid": {"cell_points": points}}, top={"egogrid": extension})
    assert main([str(checkpoint), str(tmp_path / "bundle"), "--quiet", "--skip-check"]) == 0
    manifest = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    assert manifest["chunk"] == {"length": 2, "steps_executed": 2, "control_hz": 80.0}
    assert manifest["ego3d"]["frame"] == "base" and manifest["ego3d"]["scale_m"] == 0.5
    assert json.loads((tmp_path / "bundle" / "grid.json").read_text())["cell_points"] == points
    golden = load_file(tmp_path / "bundle" / "golden.safetensors")
    assert golden["case0.base_from_camera"].dtype == np.float64


def test_both_synthetic_cases_have_invalid_depth_and_two_picture_sizes(variant, tmp_path: Path) -> None:
    assert main([str(variant()), str(tmp_path / "bundle"), "--quiet", "--skip-check"]) == 0
    golden = load_file(tmp_path / "bundle" / "golden.safetensors")
    assert golden["case0.image_u8"].shape[:2] != (56, 56) and golden["case1.image_u8"].shape == (56, 56, 3)
    for number in (0, 1):
        depth = golden[f"case{number}.depth_m"]
        assert np.isnan(depth).any() and (depth == 0).any() and (depth > golden[f"case{number}.depth_max_m"][0]).any()
        assert (golden[f"case{number}.patch_depth_m"] > 0.5).all() and (golden[f"case{number}.patch_depth_m"] < 3).all()


def test_stored_generations_end_at_the_first_id_of_the_wrong_kind(variant, tmp_path: Path) -> None:
    """There the runtime stops too. Random weights leave their slots at once."""
    assert main([str(variant()), str(tmp_path / "bundle"), "--quiet", "--skip-check"]) == 0
    manifest = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    tokens = manifest["tokens"]
    ends = np.cumsum([tokens[f"{kind}_cells"] for kind in ("translation", "rotation", "gripper")]) + tokens["action_begin_id"]
    golden = load_file(tmp_path / "bundle" / "golden.safetensors")
    for number in (0, 1):
        ids = golden[f"case{number}.token_ids"].tolist()
        kinds = [int(np.searchsorted(ends, token_id, side="right")) if token_id >= tokens["action_begin_id"] else -1 for token_id in ids]
        assert kinds[:-1] == [position % 3 for position in range(len(ids) - 1)] and kinds[-1] != (len(ids) - 1) % 3
        assert f"case{number}.step{len(ids) - 1}_logits" in golden and f"case{number}.step{len(ids)}_logits" not in golden
        assert f"case{number}.actions" not in golden
