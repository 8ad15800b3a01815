"""A written graph against the reference: sessions of ONNX Runtime, and the largest relative difference of a stage.

From: a bundle's directory and the golden tensors of its cases. To: the worst difference per stage, or an error that names graph and stage.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from egogrid_export.errors import CheckError, MissingError
from egogrid_export.graph import file_name
from egogrid_export.precision import PRECISIONS

# Beyond this a session makes no float32 copies of its weights, neither converted nor rearranged: slower, but it fits.
COPIED_BYTES_MAX = 6 << 30
FLOAT_BYTES = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 4, onnx.TensorProto.BFLOAT16: 4}


# Integers of 4 and 8 bits may move single values of a small random network by any amount, and are measured apart. What a wrong graph
# makes has nothing to do with the reference: its direction tells the two apart.
COARSE_TOLERANCE, COSINE_MIN = 0.1, 0.5


def session(directory: Path, name: str, flavour: str = "cpu") -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingError("no Python package onnxruntime", "it, to check the written graphs", "install it or give --skip-check") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    file, disabled = directory / file_name(name, flavour), []
    if _copied_bytes(file) > COPIED_BYTES_MAX:
        options.add_session_config_entry("session.disable_prepacking", "1")
        disabled = ["ConstantFolding"]
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)


def _copied_bytes(file: Path) -> int:
    """Of the graph's numbers as float32. Integers in blocks are not counted: without rearranging them a product takes 300 times as long."""
    initializers = onnx.load(file, load_external_data=False).graph.initializer
    return sum(FLOAT_BYTES.get(tensor.data_type, 0) * math.prod(tensor.dims) for tensor in initializers)


def label(graph: str, flavour: str) -> str:
    """What messages call a graph."""
    return file_name(graph, flavour).removesuffix(".onnx")


def compare(
    worst: dict[str, float],
    graph: str,
    stage: str,
    found: np.ndarray,
    expected: np.ndarray,
    tolerance: float = PRECISIONS["fp32"].tolerance,
) -> None:
    """Keeps the largest difference of each stage in `worst`; raises where it is more than `tolerance` of the largest value."""
    scale = float(np.abs(expected).max()) or 1.0
    difference = float(np.abs(found.astype(np.float64) - expected).max()) / scale
    worst[stage] = max(worst.get(stage, 0.0), difference)
    coarse = tolerance >= COARSE_TOLERANCE and _cosine(found, expected) >= COSINE_MIN
    if not (difference <= tolerance or coarse):
        raise CheckError(
            f"graph {graph}: {stage} differs from the reference by {difference:.1e} of its largest value",
            f"at most {tolerance:.0e}",
            "report this checkpoint's config.json: the exporter does not build its graph right",
        )


def _cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Between both as vectors; 0 where one is zero or not finite."""
    one, other = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if np.isfinite(lengths) and lengths > 0 else 0.0


def check_language(
    directory: Path, layers: int, cases: list[dict[str, np.ndarray]], tolerance: float, worst: dict[str, float], flavour: str = "cpu"
) -> None:
    """`prefill` and `decode` of any family against `step{k}_logits`; decoding is fed the reference's tokens."""
    parts = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    outputs = ["logits", *(f"present.{part}" for part in parts)]
    prefill, caches = session(directory, "prefill", flavour), []
    prompt, step_inputs = (_prompt, _step) if flavour == "cpu" else (partial(_static_prompt, _text_tokens_max(prefill)), _static_step)
    for case in cases:
        logits, *cache = prefill.run(outputs, prompt(case))
        compare(worst, label("prefill", flavour), "step0_logits", logits[0], case["step0_logits"], tolerance)
        caches.append({f"past.{part}": rows for part, rows in zip(parts, cache, strict=True)})
    del prefill

    decode = session(directory, "decode", flavour)
    for case, cache in zip(cases, caches, strict=True):
        filled = case["image_features"].shape[1] + len(case["text_ids"])
        for step, token_id in enumerate(case["token_ids"][:-1], start=1):
            logits, *rows = decode.run(outputs, step_inputs(token_id, filled) | cache)
            compare(worst, label("decode", flavour), f"step{step}_logits", logits[0], case[f"step{step}_logits"], tolerance)
            cache = dict(zip(cache, rows, strict=True))
            filled += 1


def check_language_batched(
    directory: Path, layers: int, cases: list[dict[str, np.ndarray]], tolerance: float, worst: dict[str, float]
) -> None:
    """All of `cases` in one run of the batched graphs, each against its own reference, for as long as the shortest answer goes on."""
    parts = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    outputs = ["logits", *(f"present.{part}" for part in parts)]
    prefill = session(directory, "prefill", "batched")
    prompts = [_static_prompt(_text_tokens_max(prefill), case) for case in cases]
    logits, *cache = prefill.run(outputs, {name: np.concatenate([prompt[name] for prompt in prompts]) for name in prompts[0]})
    del prefill
    decode = session(directory, "decode", "batched")
    filled = np.array([prompt["prompt_tokens"][0] for prompt in prompts])
    for step in range(min(len(case["token_ids"]) for case in cases)):
        graph = label("decode" if step else "prefill", "batched")
        for row, case in zip(logits, cases, strict=True):
            compare(worst, graph, f"step{step}_logits", row, case[f"step{step}_logits"], tolerance)
        tokens = np.array([[case["token_ids"][step]] for case in cases], dtype=np.int64)
        past = {f"past.{part}": rows for part, rows in zip(parts, cache, strict=True)}
        logits, *cache = decode.run(outputs, {"token_id": tokens, "position": filled} | past)
        filled = filled + 1


def _prompt(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"image_features": case["image_features"], "text_ids": case["text_ids"][None]}


def _step(token_id: int, filled: int) -> dict[str, np.ndarray]:
    lengths = {"seqlens_k": np.array([filled], dtype=np.int32), "total_len": np.array(filled + 1, dtype=np.int32)}
    return {"token_id": np.array([[token_id]], dtype=np.int64)} | lengths


def _text_tokens_max(prefill: Any) -> int:
    return next(port.shape[1] for port in prefill.get_inputs() if port.name == "text_ids")


def _static_prompt(text_tokens_max: int, case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Filled up with the prompt's last id, which would be heard if it were not left out."""
    ids = case["text_ids"]
    filled = np.concatenate([ids, np.full(text_tokens_max - len(ids), ids[-1])])[None]
    count = case["image_features"].shape[1] + len(ids)
    return {"image_features": case["image_features"], "text_ids": filled, "prompt_tokens": np.array([count], dtype=np.int64)}


def _static_step(token_id: int, filled: int) -> dict[str, np.ndarray]:
    return {"token_id": np.array([[token_id]], dtype=np.int64), "position": np.array([filled], dtype=np.int64)}
