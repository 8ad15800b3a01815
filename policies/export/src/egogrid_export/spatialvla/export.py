"""One SpatialVLA checkpoint to the files of a bundle: the steps in order.

From: a checkpoint directory in the released file format. To: everything of `policies/BUNDLE.md` in the working directory.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from tokenizers import Tokenizer

from egogrid_export import __version__
from egogrid_export.attention import CacheShape, head_dim_padded
from egogrid_export.bundle import write_json, write_manifest
from egogrid_export.checkpoint import Checkpoint
from egogrid_export.errors import CheckpointError, UsageError
from egogrid_export.graph import GraphBuilder, WeightsFile
from egogrid_export.language import build_decode, build_prefill
from egogrid_export.measured import precision_tables
from egogrid_export.options import Options
from egogrid_export.progress import Progress
from egogrid_export.spatialvla.adapted import AdaptedCheckpoint
from egogrid_export.spatialvla.cases import Case, load_cases, synthetic_cases
from egogrid_export.spatialvla.config import ModelConfig, read_config
from egogrid_export.spatialvla.golden import TEXT_TOKENS_MAX, as_stored, golden_tensors
from egogrid_export.spatialvla.graphs import build_vision, language
from egogrid_export.spatialvla.pack import check_shapes, pack
from egogrid_export.spatialvla.processor import TOKENS_PER_STEP, ProcessorConfig, read_processor, read_tokenizer
from egogrid_export.spatialvla.readme import readme_text
from egogrid_export.spatialvla.reference import Reference
from egogrid_export.spatialvla.selfcheck import check_graphs
from egogrid_export.spatialvla.subject import subject
from egogrid_export.spatialvla.tensor_names import HEAD
from egogrid_export.spatialvla.zoe_graph import build_depth, build_static_depth
from egogrid_export.spatialvla.zoe_pack import check_zoe_shapes, pack_zoe
from egogrid_export.spatialvla.zoe_reference import ZoeReference
from egogrid_export.static_graph import StaticGraph
from egogrid_export.static_language import static_graphs


def export(checkpoint: Checkpoint, work: Path, options: Options, progress: Progress) -> None:
    """Reads and checks all of the configuration before any weight, then packs, builds, computes the golden cases and compares."""
    config = read_config(checkpoint, options.depth)
    if options.batch and (config.zoe or not options.precision.is_float):
        found = "a depth estimator" if config.zoe else f"precision {options.precision.name}"
        raise UsageError(f"--batch with {found}", "depth of a sensor, and fp32, fp16 or bf16", "leave --batch out, or give --depth sensor")
    processor = read_processor(checkpoint, config)
    tokenizer = read_tokenizer(checkpoint, config, processor.grid)
    check_shapes(checkpoint, config)
    if config.zoe:
        check_zoe_shapes(checkpoint, config.zoe)
    cases = load_cases(options.cases, config, processor) if options.cases else synthetic_cases(config, processor)
    cache = _cache_shape(config, processor)
    if config.text.tied_head and HEAD in checkpoint:
        progress.line(f"note: config.json ties the embeddings, so {HEAD} of the file is not used, as in the official code")

    with WeightsFile(work, options.precision) as weights:
        if config.zoe:
            pack_zoe(checkpoint, config.zoe, config.vision.image_size_px, weights, progress)
        pack(checkpoint, config, weights, cache.capacity, progress)
    text_graphs = language(config, cache)
    graphs = [build_vision(config, weights), build_prefill(text_graphs, weights), build_decode(text_graphs, weights)]
    if config.zoe:
        graphs.insert(0, build_depth(config.zoe, config.vision.image_size_px, weights))
    if options.precision.is_float:
        if config.zoe:
            graphs.append(build_static_depth(config.zoe, config.vision.image_size_px, weights))
        graphs += [build_vision(config, weights, StaticGraph), *static_graphs(text_graphs, weights)]
        if options.batch:
            graphs += [build_vision(config, weights, StaticGraph, options.batch), *static_graphs(text_graphs, weights, options.batch)]
    for graph in graphs:
        graph.save(work)

    golden = _golden(checkpoint, config, processor, tokenizer, cases, progress)
    if options.check:
        progress.line("check the written graphs")
        worst = check_graphs(work, config.text.layers, golden, options.precision, options.batch)
        widest = max(worst, key=lambda stage: worst[stage])
        progress.line(f"graphs agree with the reference on {len(cases)} cases, largest relative difference {worst[widest]:.0e} ({widest})")
    stored = [as_stored(tensors, config, processor) for tensors in golden]
    named = {f"case{number}.{name}": tensor for number, tensors in enumerate(stored) for name, tensor in tensors.items()}
    (work / "golden.safetensors").write_bytes(save(named))
    bos = tokenizer.id_to_token(config.bos_id)
    tables = _tables(checkpoint, config, processor, cache, bos)
    tables |= precision_tables(work, options, subject(checkpoint, config, processor, tokenizer), golden, progress)
    _write_tables(checkpoint, work, options, processor, graphs, tables)


def _golden(
    checkpoint: Checkpoint,
    config: ModelConfig,
    processor: ProcessorConfig,
    tokenizer: Tokenizer,
    cases: list[Case],
    progress: Progress,
) -> list[dict[str, np.ndarray]]:
    """The references and the weights that they keep live only here."""
    reference = Reference(checkpoint, config)
    zoe = ZoeReference(checkpoint, config.zoe) if config.zoe else None
    return [golden_tensors(case, config, processor, tokenizer, reference, zoe) for case in progress.over(cases, "compute golden cases")]


def _cache_shape(config: ModelConfig, processor: ProcessorConfig) -> CacheShape:
    text = config.text
    capacity = config.vision.patches + TEXT_TOKENS_MAX + TOKENS_PER_STEP * processor.chunk_length
    if capacity > text.sliding_window:
        raise CheckpointError(
            f"config.json text_config sliding_window is {text.sliding_window}",
            f"at least {capacity}, the longest sequence",
            "windows that cut the prompt are not supported",
        )
    return CacheShape(text.layers, text.kv_heads, head_dim_padded(text.head_dim), capacity)


def _write_tables(
    checkpoint: Checkpoint,
    work: Path,
    options: Options,
    processor: ProcessorConfig,
    graphs: list[GraphBuilder],
    tables: dict[str, dict[str, Any]],
) -> None:
    shutil.copyfile(checkpoint.directory / "tokenizer.json", work / "tokenizer.json")
    write_json(work / "grid.json", processor.grid.to_json())
    write_json(work / "statistics.json", processor.statistics)
    write_json(work / "intrinsics.json", processor.intrinsics)
    (work / "README.md").write_text(readme_text(tables, options.precision.name, list(processor.statistics)), encoding="utf-8")
    write_manifest(work, {"family": "spatialvla", "precision": options.precision.name}, tables, graphs)


def _tables(
    checkpoint: Checkpoint | AdaptedCheckpoint, config: ModelConfig, processor: ProcessorConfig, cache: CacheShape, prefix: str
) -> dict[str, dict[str, Any]]:
    vision, ego3d, grid = config.vision, config.ego3d, processor.grid
    chunk = {"length": processor.chunk_length, "steps_executed": config.steps_executed or 1}
    if config.control_hz is not None:
        chunk["control_hz"] = config.control_hz
    size = vision.image_size_px
    adapted = {"adapted": checkpoint.table} if isinstance(checkpoint, AdaptedCheckpoint) else {}
    return {
        "origin": {
            "checkpoint": checkpoint.directory.resolve().name,
            "exporter": f"egogrid_export {__version__}",
            "weights_sha256": checkpoint.sha256(),
        },
        **adapted,
        "image": {"width_px": size, "height_px": size, "resample": "pillow_bicubic", "rescale": config.rescale},
        "depth": {"sources": config.depth_sources},
        "ego3d": {
            "patch_rows": vision.grid,
            "patch_cols": vision.grid,
            "samples_per_patch_side": ego3d.samples_per_patch_side,
            "frequency_count": ego3d.frequency_count,
            "frame": ego3d.frame,
            "center_m": ego3d.center_m,
            "scale_m": ego3d.scale_m,
        },
        "prompt": {
            "image_tokens": vision.patches,
            "prefix": prefix,
            "suffix": "\n",
            "bos_id": config.bos_id,
            "eos_id": config.eos_id,
            "text_tokens_max": TEXT_TOKENS_MAX,
        },
        "tokens": {
            "vocabulary_size": config.text.vocabulary,
            "action_begin_id": config.action_begin_id,
            "translation_cells": grid.cells("translation"),
            "rotation_cells": grid.cells("rotation"),
            "gripper_cells": 2,
        },
        "chunk": chunk,
        "cache": {"layers": cache.layers, "kv_heads": cache.kv_heads, "head_dim": cache.head_dim, "capacity": cache.capacity},
    }
