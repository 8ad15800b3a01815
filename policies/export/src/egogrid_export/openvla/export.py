"""One OpenVLA checkpoint to the files of a bundle: the steps in order.

From: a checkpoint directory in the released Hugging Face format. To: everything of `policies/BUNDLE.md` in the working directory.
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
from egogrid_export.errors import CheckpointError
from egogrid_export.graph import WeightsFile
from egogrid_export.language import build_decode, build_prefill
from egogrid_export.measured import precision_tables
from egogrid_export.openvla.actions import ending
from egogrid_export.openvla.cases import Case, load_cases, synthetic_cases
from egogrid_export.openvla.config import ModelConfig, read_config
from egogrid_export.openvla.golden import as_stored, golden_tensors
from egogrid_export.openvla.graphs import build_vision, language
from egogrid_export.openvla.images import PREPROCESSINGS
from egogrid_export.openvla.pack import pack
from egogrid_export.openvla.processor import ProcessorConfig, read_image, read_statistics, read_tokenizer, text_tokens_max
from egogrid_export.openvla.prompt import FINAL_ID, choose_prompt
from egogrid_export.openvla.readme import readme_text
from egogrid_export.openvla.reference import Reference
from egogrid_export.openvla.selfcheck import check_graphs
from egogrid_export.openvla.subject import subject
from egogrid_export.openvla.tensor_names import HEAD, check_tensors
from egogrid_export.options import Options
from egogrid_export.progress import Progress
from egogrid_export.static_graph import StaticGraph
from egogrid_export.static_language import static_graphs

# Weights of OpenVLA-OFT that lie beside an ordinary checkpoint; the model is another one then.
OFT_FILES = ("action_head--*", "proprio_projector--*", "noisy_action_projector--*", "vision_backbone--*")


def export(checkpoint: Checkpoint, work: Path, options: Options, progress: Progress) -> None:
    """Reads and checks all of the configuration before any weight, then packs, builds, computes the golden cases and compares."""
    _refuse_oft(checkpoint)
    config = read_config(checkpoint)
    tokenizer = read_tokenizer(checkpoint, config)
    processor = _processor(checkpoint, config, tokenizer, options, progress)
    check_tensors(checkpoint, config)
    cases = load_cases(options.cases, processor) if options.cases else synthetic_cases(config, processor)
    text = config.text
    capacity = config.patches + processor.text_tokens_max + processor.dims_max
    cache = CacheShape(text.layers, text.kv_heads, head_dim_padded(text.head_dim), capacity)
    if text.tied_head and HEAD in checkpoint:
        progress.line(f"note: config.json ties the embeddings, so {HEAD} of the file is not used, as in the official code")

    with WeightsFile(work, options.precision) as weights:
        pack(checkpoint, config, weights, cache.capacity, progress)
    text_graphs = language(config, cache, processor.text_tokens_max)
    graphs = [build_vision(config, weights), build_prefill(text_graphs, weights), build_decode(text_graphs, weights)]
    if options.precision.is_float:
        graphs += [build_vision(config, weights, StaticGraph), *static_graphs(text_graphs, weights)]
    for graph in graphs:
        graph.save(work)

    golden = _golden(checkpoint, config, processor, tokenizer, cases, progress)
    if options.check:
        progress.line("check the written graphs")
        worst = check_graphs(work, text.layers, golden, options.precision)
        widest = max(worst, key=lambda stage: worst[stage])
        progress.line(f"graphs agree with the reference on {len(cases)} cases, largest relative difference {worst[widest]:.0e} ({widest})")
    stored = [as_stored(tensors, config) for tensors in golden]
    named = {f"case{number}.{name}": tensor for number, tensors in enumerate(stored) for name, tensor in tensors.items()}
    (work / "golden.safetensors").write_bytes(save(named))

    shutil.copyfile(checkpoint.directory / "tokenizer.json", work / "tokenizer.json")
    write_json(work / "statistics.json", processor.statistics)
    tables = _tables(checkpoint, config, processor, cache)
    tables |= precision_tables(work, options, subject(checkpoint, config, processor, tokenizer), golden, progress)
    dims = {key: processor.dims(key) for key in processor.statistics}
    (work / "README.md").write_text(readme_text(tables, options.precision.name, dims), encoding="utf-8")
    write_manifest(work, {"family": "openvla", "precision": options.precision.name}, tables, graphs)


def _processor(checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer, options: Options, progress: Progress) -> ProcessorConfig:
    """Says which prompt and which statistics were chosen, and why."""
    prompt, reason = choose_prompt(config, checkpoint.directory.resolve().name, options.prompt)
    statistics, source = read_statistics(checkpoint, options.lora)
    image = read_image(checkpoint, config, options.preprocessing or PREPROCESSINGS[0])
    progress.line(f"prompt of {prompt.name}: {reason}")
    progress.line(f"{len(statistics)} statistics keys from {source}")
    return ProcessorConfig(image, prompt, text_tokens_max(tokenizer, prompt), statistics)


def _refuse_oft(checkpoint: Checkpoint) -> None:
    for pattern in OFT_FILES:
        for path in sorted(checkpoint.directory.glob(pattern)):
            raise CheckpointError(
                f"the checkpoint directory has {path.name}", "a checkpoint of OpenVLA", "OpenVLA-OFT is another model, and not supported"
            )


def _golden(
    checkpoint: Checkpoint,
    config: ModelConfig,
    processor: ProcessorConfig,
    tokenizer: Tokenizer,
    cases: list[Case],
    progress: Progress,
) -> list[dict[str, np.ndarray]]:
    """The reference and the weights that it keeps live only here."""
    reference, golden = Reference(checkpoint, config), []
    for number, case in enumerate(progress.over(cases, "compute golden cases")):
        golden.append(golden_tensors(case, config, processor, tokenizer, reference))
        token_ids = golden[-1]["token_ids"].tolist()
        if (ended := ending(config, token_ids)) is not None:
            progress.line(f"note: case {number} makes no action ({ended}, ids {token_ids}), which trained weights seldom do")
    return golden


def _tables(checkpoint: Checkpoint, config: ModelConfig, processor: ProcessorConfig, cache: CacheShape) -> dict[str, dict[str, Any]]:
    chunk: dict[str, Any] = {"length": 1, "steps_executed": 1}
    if config.control_hz is not None:
        chunk["control_hz"] = config.control_hz
    return {
        "origin": {
            "checkpoint": checkpoint.directory.resolve().name,
            "exporter": f"egogrid_export {__version__}",
            "weights_sha256": checkpoint.sha256(),
        },
        "image": _image_table(processor),
        "prompt": {
            "image_tokens": config.patches,
            "prefix": processor.prompt.prefix,
            "suffix": processor.prompt.suffix,
            "lowercase": True,
            "bos_id": config.bos_id,
            "eos_id": config.eos_id,
            "final_id": FINAL_ID,
            "text_tokens_max": processor.text_tokens_max,
        },
        "tokens": {"vocabulary_size": config.text.vocabulary, "action_end_id": config.action_end_id, "bins": config.bins},
        "chunk": chunk,
        "cache": {"layers": cache.layers, "kv_heads": cache.kv_heads, "head_dim": cache.head_dim, "capacity": cache.capacity},
    }


def _image_table(processor: ProcessorConfig) -> dict[str, Any]:
    image = processor.image
    table: dict[str, Any] = {"width_px": image.size_px, "height_px": image.size_px, "strategy": image.strategy}
    if image.fill is not None:
        table["letterbox_fill"] = image.fill
    towers = [{"mean": mean, "std": std} for mean, std in image.towers]
    return table | {"preprocessing": image.preprocessing, "towers": towers}
