"""Estimators that the tests export, and a picture for them. What transformers computes with the same weights lies in `zoe_expected.json`.

    python zoe_variants.py        # needs torch 2.5 and transformers 4.47, which the exporter and its tests do not

writes that file: the chosen head's logits, and the official depth at a grid of points. Weights are those that `variants.py` makes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from variants import DROP, Variant, write_checkpoint, zoe_config

EXPECTED = Path(__file__).with_name("zoe_expected.json")
POINTS = 16
NYU, KITTI = ({"name": name, "n_bins": 16, "min_depth": 0.001, "max_depth": 10.0} for name in ("nyu", "kitti"))


def _zoe(**changes: Any) -> dict[str, Any]:
    return {"zoe": changes, "dtype": "f32", "shards": 1}


ZOE_VARIANTS: dict[str, dict[str, Any]] = {
    "two heads": _zoe(),
    "picture of 112": {**_zoe(), "image_px": 112},
    "patch 16": _zoe(backbone={"patch_size": 16}),
    "patch 24": _zoe(backbone={"patch_size": 24}),
    "patch that does not divide": _zoe(backbone={"patch_size": 40}),
    "odd number of patches": _zoe(backbone={"patch_size": 28}),
    "table for another size": _zoe(backbone={"image_size": 224}),
    "table of the default size": _zoe(backbone={"image_size": DROP}),
    "six layers, uneven taps": _zoe(backbone={"num_hidden_layers": 6, "out_features": ["stage1", "stage3", "stage4", "stage5"]}),
    "tap before the first layer": _zoe(backbone={"out_features": ["stem", "stage2", "stage3", "stage4"]}),
    "taps by index": _zoe(backbone={"out_features": DROP, "out_indices": [1, 2, 3, -1]}),
    "width 24, three heads": _zoe(backbone={"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40}),
    "no layer scale": _zoe(backbone={"layer_scale_init_value": 0}),
    "no position bias": _zoe(backbone={"use_relative_position_bias": DROP}),
    "shared position bias": _zoe(backbone={"use_relative_position_bias": False, "use_shared_relative_position_bias": True}),
    "own and shared position bias": _zoe(backbone={"use_shared_relative_position_bias": True}),
    "fewer bins in the second head": _zoe(bin_configurations=[{**NYU, "n_bins": 24}, {**KITTI, "n_bins": 10}]),
    "fewer bins in the first head": _zoe(bin_configurations=[{**NYU, "n_bins": 10}, {**KITTI, "n_bins": 24}]),
    "a third head that is never chosen": _zoe(bin_configurations=[NYU, KITTI, {**KITTI, "name": "third", "n_bins": 4}]),
    "attractor counts that are not used": _zoe(num_attractors=[8, 4, 2, 2]),
    "three levels": _zoe(num_attractors=[16, 8, 4]),
    "sum of attractors": _zoe(attractor_kind="sum", attractor_alpha=7),
    "six router layers, eight heads": _zoe(num_patch_transformer_layers=6, patch_transformer_num_attention_heads=8),
    "wide router": _zoe(patch_transformer_intermediate_size=200),
    "no bias in fusion": _zoe(use_bias_in_fusion_residual=False),
    "other temperatures": _zoe(min_temp=0.5, max_temp=3.0),
    "other factors": _zoe(reassemble_factors=[2, 2, 1, 0.25]),
    "three stages": _zoe(
        neck_hidden_sizes=[8, 12, 16], reassemble_factors=[2, 1, 0.5], backbone={"out_features": ["stage1", "stage2", "stage4"]}
    ),
    "one head": _zoe(bin_configurations=[{**NYU, "n_bins": 12}]),
    "one head, other attractor counts": _zoe(bin_configurations=[{**NYU, "n_bins": 12}], num_attractors=[5, 1, 3, 2]),
    "other widths": _zoe(bin_embedding_dim=12, num_relative_features=6, fusion_hidden_size=20, bottleneck_features=20),
}


def probe_picture(side: int) -> np.ndarray:
    """`[1, 3, side, side]` in 0..=1."""
    y, x = np.indices((side, side)) / side
    channels = [0.5 + 0.5 * np.sin(9 * x + 5 * y * y), x * (1 - y), ((x - 0.4) ** 2 + (y - 0.6) ** 2 < 0.06) * 0.8 + 0.1 * y]
    return np.stack(channels)[None].astype(np.float32)


def probe(depth_m: np.ndarray) -> np.ndarray:
    """At `POINTS` times `POINTS` places."""
    places = np.linspace(0, len(depth_m) - 1, POINTS).astype(int)
    return depth_m[np.ix_(places, places)]


def _official(name: str) -> dict[str, Any]:
    import torch
    from torch.nn.functional import interpolate, pad
    from transformers import ZoeDepthConfig, ZoeDepthForDepthEstimation

    variant = Variant(**ZOE_VARIANTS[name])
    with tempfile.TemporaryDirectory() as directory:
        write_checkpoint(Path(directory), variant)
        tensors = load_file(Path(directory) / "model.safetensors")
    prefix = "vision_zoe_model."
    state = {key.removeprefix(prefix): torch.from_numpy(value) for key, value in tensors.items() if key.startswith(prefix)}
    model = ZoeDepthForDepthEstimation(ZoeDepthConfig(**zoe_config(variant))).eval()
    unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    assert not unexpected, unexpected

    def run(dtype: torch.dtype) -> tuple[Any, np.ndarray]:
        pixels = torch.from_numpy(probe_picture(variant.image_px)).to(dtype)
        pixels = interpolate(pad(pixels, (31,) * 4, mode="reflect"), size=(384, 384), mode="bicubic", align_corners=True)
        with torch.no_grad():
            output = model.to(dtype)(pixel_values=(pixels - 0.5) / 0.5)
        side = variant.image_px + 62
        depth = interpolate(output.predicted_depth[:, None], size=(side, side), mode="bicubic", align_corners=True)
        return output.domain_logits, probe(depth[0, 0, 31:-31, 31:-31].numpy())

    (logits, depth), (_, exact) = run(torch.float32), run(torch.float64)
    expected = {"depth_m": np.round(depth.astype(float), 6).tolist(), "rounding_m": float(np.abs(depth - exact).max())}
    return expected if logits is None else {"domain_logits": logits[0].tolist(), **expected}


if __name__ == "__main__":
    EXPECTED.write_text("{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(_official(name))}" for name in ZOE_VARIANTS) + "\n}\n")
