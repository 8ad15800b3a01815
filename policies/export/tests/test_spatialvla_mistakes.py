"""Every stage from the picture to the logits against the official code, and that each typical mistake is caught by that comparison.

Seven mistakes are those of `ablation.json` in the golden data, with how far the official code's logits move; the others are the depth
estimator's own traps. Each is made in the reference network, and the comparison that holds for the right one must then fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from test_golden import CASES, Golden

from egogrid_export import network
from egogrid_export.cli import main
from egogrid_export.spatialvla import export as spatialvla_export
from egogrid_export.spatialvla import perception, reference, resampling, zoe_graph, zoe_reference
from egogrid_export.spatialvla.config import ModelConfig, read_config
from egogrid_export.spatialvla.processor import prompt_ids
from egogrid_export.spatialvla.reference import Reference
from egogrid_export.spatialvla.zoe_config import INPUT_PX
from egogrid_export.spatialvla.zoe_reference import ZoeReference

Stages = dict[str, np.ndarray]
LOGITS_TOLERANCE = 1e-3
# Ours: (official, what half, 99 % and all of the numbers may differ by). Two runs of the official code, in float32 and float64, differ by
# 1e-5, 1e-3 and 0.06 m in the depth of case 3, where rounding is multiplied most; logits have no such allowance.
STAGES = {
    "zoe_pixel_values": ("zoe_pixel_values", (1e-6, 1e-6, 2e-6)),
    **{f"zoe_backbone_{tap}": (f"zoe_backbone_stage{tap}", (1e-5, 2e-5, 1e-4)) for tap in (1, 2, 3, 4)},
    "zoe_domain_logits": ("zoe_domain_logits", (1e-4, 1e-4, 1e-4)),
    "zoe_predicted_depth": ("zoe_predicted_depth", (2e-5, 3e-3, 0.2)),
    "estimated_depth_m": ("depth_224", (2e-5, 3e-3, 0.1)),
    "patch_depth_m": ("patch_depth", (2e-5, 1e-3, 5e-3)),
    "points_xyz": ("xyz", (2e-5, 1e-3, 5e-3)),
    "pos_embed_3d": ("pos_embed_3d", (2e-5, 1e-3, 5e-3)),
    "image_features": ("image_features", (5e-6, 2e-4, 1e-3)),
    "step0_logits": ("step0_logits", (LOGITS_TOLERANCE,) * 3),
}


@pytest.fixture(scope="module")
def official(golden: Path) -> Golden:
    found = Golden(golden)
    found.config = read_config(found.checkpoint, "estimated")
    return found


@pytest.fixture(scope="module")
def ablation(golden: Path) -> dict[str, list[float]]:
    return json.loads((golden / "ablation.json").read_text())["results"]


def unchanged(points: np.ndarray) -> np.ndarray:
    return points


def stages_of(
    official: Golden,
    number: int,
    config: ModelConfig | None = None,
    depth_m: np.ndarray | None = None,
    spoil_points: Callable[[np.ndarray], np.ndarray] = unchanged,
) -> Stages:
    """From the picture's bytes to the logits of the first token. `depth_m`: taken for the estimator's, which then does not run."""
    about, tensors = official.case(number)
    config = config or official.config
    network_ = Reference(official.checkpoint, config)
    pixels = (tensors["resized_u8"].astype(np.float64) * 0.00392156862745098).astype(np.float32).transpose(2, 0, 1)[None]
    found: Stages = {}
    if depth_m is None:
        found |= ZoeReference(official.checkpoint, config.zoe).stages(pixels)
        depth_m = found["estimated_depth_m"][0]
    found["patch_depth_m"] = perception.patch_depth(depth_m, 32, None)
    points = perception.points_xyz(found["patch_depth_m"], tensors["in.intrinsic"], config.vision, 2, None)
    found["points_xyz"] = spoil_points(points)
    found["pos_embed_3d"] = network_.position_embedding(perception.freq_encoding(found["points_xyz"], config.ego3d))
    found["image_features"] = network_.image_features(network_.siglip(pixels), found["pos_embed_3d"])
    text_ids = prompt_ids(official.tokenizer, config, about["prompt"])
    found["step0_logits"] = network_.generate(found["image_features"], text_ids, 1).logits[0]
    return found


def differing(official: Golden, number: int, found: Stages) -> list[str]:
    """The parity check: names of the stages that are not the official ones, in the order they run."""
    _, tensors = official.case(number)
    names = []
    for stage, (expected, tolerances) in STAGES.items():
        if stage not in found or expected not in tensors:
            continue
        difference = np.abs(found[stage] - tensors[expected].reshape(found[stage].shape))
        if any(np.quantile(difference, share) > tolerance for share, tolerance in zip((0.5, 0.99, 1.0), tolerances, strict=True)):
            names.append(stage)
    return names


def logits_moved(official: Golden, number: int, found: Stages) -> float:
    return float(np.abs(found["step0_logits"] - official.case(number)[1]["step0_logits"]).max())


@pytest.mark.parametrize("number", CASES)
def test_every_stage_from_the_picture_to_the_logits_is_the_official_one(official: Golden, number: int) -> None:
    found = stages_of(official, number)
    assert differing(official, number, found) == []
    chosen = official.config.zoe.heads[int(found["zoe_domain_logits"].argmax())]
    assert chosen.at == (".kitti" if number < 3 else ".nyu") and official.case(number)[0]["domain"] == chosen.at[1:]
    assert logits_moved(official, number, found) < 2e-4


def test_estimated_stages_of_the_stored_bundle_are_those_of_the_official_code(official: Golden, golden: Path) -> None:
    """As the file holds them: case 1 of the bundle is case 3 of the golden data."""
    stored = load_file(golden.parent / "spatialvla_golden_bundle" / "bundle" / "golden.safetensors")
    found = {name.removeprefix("case1."): tensor for name, tensor in stored.items() if name.startswith("case1.")}
    assert {"zoe_backbone_4", "zoe_domain_logits", "zoe_predicted_depth", "estimated_depth_m"} <= set(found)
    assert differing(official, 3, found) == []


def test_the_stored_graph_gives_the_official_depth_in_every_case(official: Golden, golden: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    graph = ort.InferenceSession(golden.parent / "spatialvla_golden_bundle" / "bundle" / "depth.onnx")
    names = [output.name for output in graph.get_outputs()]
    for number in CASES:
        pixels = official.case(number)[1]["resized_u8"].astype(np.float64) * 0.00392156862745098
        found = dict(zip(names, graph.run(None, {"pixel_values": pixels.astype(np.float32).transpose(2, 0, 1)[None]}), strict=True))
        found["estimated_depth_m"] = found.pop("depth_m")
        assert differing(official, number, found) == [], f"case {number}"


# ---- the mistakes of ablation.json


def without_attention_softcap(config: ModelConfig) -> ModelConfig:
    return replace(config, text=replace(config.text, attention_softcap=None))


def without_final_softcap(config: ModelConfig) -> ModelConfig:
    return replace(config, text=replace(config.text, final_softcap=None))


def transposed_samples(points: np.ndarray) -> np.ndarray:
    return points.reshape(-1, 2, 2, 3).swapaxes(1, 2).reshape(points.shape)


def pixel_centers_in_bf16(intrinsic: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The points again, from rounded pixel centres."""

    def spoil(points: np.ndarray) -> np.ndarray:
        depth = points.reshape(16, 16, 2, 2, 3)[..., 2].transpose(0, 2, 1, 3).reshape(-1)
        centers = (np.arange(32, dtype=np.float32) * 7 + np.float32(3.5)).astype(ml_dtypes.bfloat16).astype(np.float32)
        v, u = np.meshgrid(centers, centers, indexing="ij")
        rays = np.linalg.inv(intrinsic) @ np.stack([u, v, np.ones_like(u)]).reshape(3, -1)
        grid = (rays * depth).reshape(3, 16, 2, 16, 2).transpose(1, 3, 2, 4, 0)
        return grid.reshape(points.shape)

    return spoil


def causal(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, softcap: float | None = None) -> np.ndarray:
    return network.attention(q, k, v, scale, softcap, causal=q.shape[1] > 1 and softcap is not None)


# name in ablation.json: (configuration, points)
ABLATIONS = {
    "attention softcap off": (without_attention_softcap, None),
    "final softcap off": (without_final_softcap, None),
    "causal instead of bidirectional prefix": (None, None),
    "xyz off by 1%": (None, lambda _: lambda points: points * np.float32(1.01)),
    "sub-patch order transposed": (None, lambda _: transposed_samples),
    "uv rounded to bf16 (as the official bf16 load does)": (None, pixel_centers_in_bf16),
}


@pytest.mark.parametrize("mistake", ABLATIONS)
def test_a_typical_mistake_is_caught_in_every_case_and_moves_logits_as_it_does_officially(
    official: Golden, ablation: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    change, spoil = ABLATIONS[mistake]
    config = change(official.config) if change else official.config
    if "causal" in mistake:
        monkeypatch.setattr(reference, "attention", causal)
    for number in CASES:
        _, tensors = official.case(number)
        points = spoil(tensors["in.intrinsic"]) if spoil else unchanged
        found = stages_of(official, number, config, tensors["depth_224"][0, 0], points)
        assert "step0_logits" in differing(official, number, found), f"case {number}"
        assert logits_moved(official, number, found) == pytest.approx(ablation[mistake][number], rel=0.05), f"case {number}"


def test_all_mistakes_of_the_ablation_are_in_this_file(ablation: dict[str, list[float]]) -> None:
    assert set(ABLATIONS) | {"zoe input: plain bilinear resize"} == set(ablation)


# ---- the depth estimator's


def plain_bilinear_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def resized(self: ZoeReference, pixel_values: np.ndarray) -> np.ndarray:
        rows = resampling.bilinear(pixel_values.shape[-1], INPUT_PX, align_corners=False)
        return (zoe_reference._resized(pixel_values[0], rows)[None] - np.float32(0.5)) / np.float32(0.5)

    monkeypatch.setattr(ZoeReference, "input_pixels", resized)


def head_of(index: int) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(ZoeReference, "chosen_head", lambda self, _: self._config.heads[index])


def attractor_alpha_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoe_reference, "ATTRACTOR_ALPHA", 1000.0)


def no_summary_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ZoeReference, "with_summary_token", lambda self, tokens: tokens)


def bicubic_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "BICUBIC_A", np.float32(-0.5))


def edges_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(source: int, pad: int) -> np.ndarray:
        return np.eye(source, dtype=np.float32)[np.clip(np.arange(-pad, source + pad), 0, source - 1)]

    monkeypatch.setattr(resampling, "reflect_padding", rows)


def tanh_gelu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoe_reference, "gelu_erf", network.gelu_tanh)


# name: (case, how, first stage that the comparison must name)
ESTIMATOR_MISTAKES = {
    "plain bilinear input": (1, plain_bilinear_input, "zoe_pixel_values"),
    "bicubic with Pillow's a": (1, bicubic_of_pillow, "zoe_pixel_values"),
    "edges repeated, not mirrored": (1, edges_repeated, "zoe_pixel_values"),
    "tanh GELU": (1, tanh_gelu, "zoe_backbone_1"),
    "no token of zeros in the router": (1, no_summary_token, "zoe_domain_logits"),
    "always the first head": (1, head_of(0), "zoe_predicted_depth"),
    "always the second head": (3, head_of(1), "zoe_predicted_depth"),
    "attractor alpha of the file": (1, attractor_alpha_of_the_file, "zoe_predicted_depth"),
}


@pytest.mark.parametrize("mistake", ESTIMATOR_MISTAKES)
def test_a_mistake_in_the_estimator_is_caught_and_its_stage_named(
    official: Golden, ablation: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    number, make, stage = ESTIMATOR_MISTAKES[mistake]
    make(monkeypatch)
    found = stages_of(official, number)
    assert differing(official, number, found)[:1] == [stage]
    if mistake == "plain bilinear input":
        moved = ablation["zoe input: plain bilinear resize"][number]
        assert logits_moved(official, number, found) == pytest.approx(moved, rel=0.01)


# ---- and in the written graph


def graph_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoe_graph, "ATTRACTOR_ALPHA", 1000.0)


def graph_of_the_other_head(monkeypatch: pytest.MonkeyPatch) -> None:
    built = spatialvla_export.build_depth

    def wrong(*arguments: object) -> object:
        graph = built(*arguments)
        for node in graph.nodes:
            if node.op_type == "ArgMax":
                node.op_type = "ArgMin"
        return graph

    monkeypatch.setattr(spatialvla_export, "build_depth", wrong)


@pytest.mark.parametrize("make", [graph_alpha, graph_of_the_other_head])
def test_an_export_ends_where_the_written_depth_graph_is_wrong(
    variant, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, make: Callable[[pytest.MonkeyPatch], None]
) -> None:
    pytest.importorskip("onnxruntime")
    make(monkeypatch)
    assert main([str(variant(zoe={})), str(tmp_path / "bundle"), "--quiet"]) == 3
    assert "graph depth: zoe_predicted_depth differs" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
