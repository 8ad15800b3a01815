"""SpatialVLA's side of measuring a precision: observations to golden cases, ids to actions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tokenizers import Tokenizer

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.measured import RunGraph, Stages, Subject
from egogrid_export.observations import DEPTH_MAX_M, INSTRUCTIONS, Observation
from egogrid_export.spatialvla import perception
from egogrid_export.spatialvla.actions import normalized_actions, whole_prefix
from egogrid_export.spatialvla.cases import SYNTHETIC_BASE_FROM_CAMERA, Case, stored_intrinsic
from egogrid_export.spatialvla.config import ModelConfig
from egogrid_export.spatialvla.golden import as_stored, golden_tensors
from egogrid_export.spatialvla.processor import TOKENS_PER_STEP, ProcessorConfig
from egogrid_export.spatialvla.reference import Reference
from egogrid_export.spatialvla.zoe_reference import ZoeReference


def subject(checkpoint: Checkpoint, config: ModelConfig, processor: ProcessorConfig, tokenizer: Tokenizer) -> Subject:
    """With the checkpoint's first statistics key and the intrinsics that it holds for it, as a runtime without a camera's own takes them."""
    key, grid, begin, steps = next(iter(processor.statistics)), processor.grid, config.action_begin_id, processor.chunk_length
    base = np.array(SYNTHETIC_BASE_FROM_CAMERA) if config.ego3d.frame == "base" else None
    sources = config.depth_sources

    def has_depth(number: int) -> bool:
        """In turns where a bundle has both sources."""
        return sources[number % len(sources)] == "sensor"

    inputs = {"stats_key": np.frombuffer(key.encode(), dtype=np.uint8), "depth_max_m": np.array([DEPTH_MAX_M], dtype=np.float32)}
    return Subject(
        layers=config.text.layers,
        tokens=steps * TOKENS_PER_STEP,
        kept=("pixel_values", "freq_encoding", "estimated_depth_m", "intrinsic", "intrinsic_size_px", "base_from_camera"),
        vision_inputs=lambda stages, run: _vision_inputs(config, stages, run),
        reference=lambda: _reference(checkpoint, config, processor, tokenizer, key, base, has_depth),
        whole_prefix=lambda ids: whole_prefix(grid, ids, begin),
        normalized=lambda ids: normalized_actions(grid, ids, begin, steps),
        inputs=inputs if base is None else inputs | {"base_from_camera": base},
        depth=has_depth,
    )


def _reference(
    checkpoint: Checkpoint,
    config: ModelConfig,
    processor: ProcessorConfig,
    tokenizer: Tokenizer,
    key: str,
    base: np.ndarray | None,
    has_depth: Callable[[int], bool],
) -> Callable[[Observation], Stages]:
    network = Reference(checkpoint, config)
    zoe = ZoeReference(checkpoint, config.zoe) if config.zoe else None
    intrinsic, size_px = stored_intrinsic(processor, key)

    def stages(seen: Observation) -> Stages:
        depth = (seen.depth_m, DEPTH_MAX_M) if has_depth(seen.number) else (None, None)
        case = Case(seen.picture, *depth, intrinsic.astype(np.float32), size_px, base, INSTRUCTIONS[seen.instruction], key)
        return as_stored(golden_tensors(case, config, processor, tokenizer, network, zoe), config, processor)

    return stages


def _vision_inputs(config: ModelConfig, stages: Stages, run: RunGraph) -> Stages:
    """Where the reference estimated the depth, the written estimator does it here, and the points follow from that."""
    pixels = {"pixel_values": stages["pixel_values"]}
    if "estimated_depth_m" not in stages:
        return pixels | {"freq_encoding": stages["freq_encoding"]}
    vision, samples = config.vision, config.ego3d.samples_per_patch_side
    depth = perception.patch_depth(run("depth", pixels)["depth_m"][0], vision.grid * samples, None)
    width, height = stages["intrinsic_size_px"].tolist()
    intrinsic = perception.scaled_intrinsic(stages["intrinsic"], (width, height), vision.image_size_px)
    points = perception.points_xyz(depth, intrinsic, vision, samples, stages.get("base_from_camera"))
    return pixels | {"freq_encoding": perception.freq_encoding(points, config.ego3d)}
