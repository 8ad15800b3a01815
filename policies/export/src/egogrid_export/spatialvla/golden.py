"""Golden tensors of a bundle: every stage of every case, from the numpy reference. Names: `policies/BUNDLE.md`."""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer

from egogrid_export.errors import CheckpointError
from egogrid_export.spatialvla import perception
from egogrid_export.spatialvla.actions import normalized_actions, whole_prefix
from egogrid_export.spatialvla.cases import Case
from egogrid_export.spatialvla.config import ModelConfig
from egogrid_export.spatialvla.processor import TOKENS_PER_STEP, ProcessorConfig, prompt_ids
from egogrid_export.spatialvla.reference import Reference
from egogrid_export.spatialvla.zoe_reference import ZoeReference
from egogrid_export.statistics import physical_actions

TEXT_TOKENS_MAX = 128


def golden_tensors(
    case: Case, config: ModelConfig, processor: ProcessorConfig, tokenizer: Tokenizer, reference: Reference, zoe: ZoeReference | None
) -> dict[str, np.ndarray]:
    """All tensors of one case, without the `case{N}.` in front. `zoe`: the estimator, for cases that bring no depth."""
    tensors = _inputs(case)
    tensors |= _perception(case, config, zoe)
    siglip = reference.siglip(tensors["pixel_values"])
    position = reference.position_embedding(tensors["freq_encoding"])
    features = reference.image_features(siglip, position)
    tensors |= {"siglip_last_hidden": siglip, "pos_embed_3d": position, "image_features": features}

    text_ids = prompt_ids(tokenizer, config, case.instruction)
    if len(text_ids) > TEXT_TOKENS_MAX:
        raise CheckpointError(
            f"the instruction {case.instruction[:40]!r}… has {len(text_ids)} tokens", f"at most {TEXT_TOKENS_MAX}", "shorten it"
        )
    steps = processor.chunk_length
    generation = reference.generate(features, text_ids, steps * TOKENS_PER_STEP)
    tensors |= {"text_ids": text_ids, "token_ids": np.array(generation.token_ids, dtype=np.int64)}
    tensors |= {f"step{step}_logits": logits for step, logits in enumerate(generation.logits)}
    normalized = normalized_actions(processor.grid, generation.token_ids, config.action_begin_id, steps)
    if normalized is not None:
        statistics = processor.statistics[case.stats_key]["action"]
        tensors |= {"normalized": normalized, "actions": physical_actions(normalized, statistics)}
    return tensors


def as_stored(tensors: dict[str, np.ndarray], config: ModelConfig, processor: ProcessorConfig) -> dict[str, np.ndarray]:
    """Without what follows the first id that does not belong in its slot: there the runtime stops."""
    token_ids = tensors["token_ids"].tolist()
    kept = whole_prefix(processor.grid, token_ids, config.action_begin_id) + 1
    dropped = {f"step{step}_logits" for step in range(kept, len(token_ids))}
    stored = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    return stored | {"token_ids": tensors["token_ids"][:kept]}


def _inputs(case: Case) -> dict[str, np.ndarray]:
    tensors = {
        "image_u8": case.picture,
        "intrinsic": case.intrinsic,
        "intrinsic_size_px": np.array(case.intrinsic_size_px, dtype=np.int64),
        "instruction": _text(case.instruction),
        "stats_key": _text(case.stats_key),
    }
    if case.depth_m is not None:
        tensors |= {"depth_m": case.depth_m, "depth_kind": _text("dense" if case.depth_max_m is None else "sensor")}
    if case.depth_max_m is not None:
        tensors["depth_max_m"] = np.array([case.depth_max_m], dtype=np.float32)
    if case.base_from_camera is not None:
        tensors["base_from_camera"] = case.base_from_camera
    return tensors


def _perception(case: Case, config: ModelConfig, zoe: ZoeReference | None) -> dict[str, np.ndarray]:
    vision, samples = config.vision, config.ego3d.samples_per_patch_side
    pixel_values = perception.pixel_values(case.picture, vision.image_size_px, config.rescale)
    depth_m, estimated = case.depth_m, {}
    if depth_m is None:
        if zoe is None:
            raise AssertionError("a case without depth and no estimator")
        estimated = zoe.stages(pixel_values)
        depth_m = estimated["estimated_depth_m"][0]
    depth = perception.patch_depth(depth_m, vision.grid * samples, case.depth_max_m)
    intrinsic = perception.scaled_intrinsic(case.intrinsic, case.intrinsic_size_px, vision.image_size_px)
    points = perception.points_xyz(depth, intrinsic, vision, samples, case.base_from_camera)
    return {
        "pixel_values": pixel_values,
        **estimated,
        "patch_depth_m": depth,
        "points_xyz": points,
        "freq_encoding": perception.freq_encoding(points, config.ego3d),
    }


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
