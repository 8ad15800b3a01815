"""Runs the graphs that were just written on the golden cases and compares every stage with the reference.

Each graph gets the reference's inputs, so that a difference names the graph that made it; decoding is fed the reference's tokens.
One graph is loaded at a time. Needs onnxruntime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from egogrid_export.errors import CheckError, MissingError
from egogrid_export.graph import WEIGHTS_FILE

# Of the largest value of the reference. The smallest known mistake (pixel centres in bf16) moves logits by 3e-4 of it.
TOLERANCE = 1e-4
# Beyond this a session reads weights.bin in place, slower, and does not make its own rearranged copy of it.
REPACKED_BYTES_MAX = 1 << 30
# Parts before their sum, so that the message names the part.
VISION_STAGES = ["pos_embed_3d", "siglip_last_hidden", "image_features"]


def check_graphs(directory: Path, layers: int, cases: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """The largest relative difference of each stage; raises at the first that differs too much."""
    worst: dict[str, float] = {}
    vision = _session(directory, "vision")
    for case in cases:
        found = vision.run(VISION_STAGES, {name: case[name] for name in ("pixel_values", "freq_encoding")})
        for stage, value in zip(VISION_STAGES, found, strict=True):
            _compare(worst, "vision", stage, value, case[stage])
    del vision

    parts = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    outputs = ["logits", *(f"present.{part}" for part in parts)]
    prefill, caches = _session(directory, "prefill"), []
    for case in cases:
        inputs = {"image_features": case["image_features"], "text_ids": case["text_ids"][None]}
        logits, *cache = prefill.run(outputs, inputs)
        _compare(worst, "prefill", "step0_logits", logits[0], case["step0_logits"])
        caches.append({f"past.{part}": rows for part, rows in zip(parts, cache, strict=True)})
    del prefill

    decode = _session(directory, "decode")
    for case, cache in zip(cases, caches, strict=True):
        filled = case["image_features"].shape[1] + len(case["text_ids"])
        for step, token_id in enumerate(case["token_ids"][:-1], start=1):
            inputs = {
                "token_id": np.array([[token_id]], dtype=np.int64),
                "seqlens_k": np.array([filled], dtype=np.int32),
                "total_len": np.array(filled + 1, dtype=np.int32),
            }
            logits, *rows = decode.run(outputs, inputs | cache)
            _compare(worst, "decode", f"step{step}_logits", logits[0], case[f"step{step}_logits"])
            cache = dict(zip(cache, rows, strict=True))
            filled += 1
    return worst


def _session(directory: Path, name: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingError("no Python package onnxruntime", "it, to check the written graphs", "install it or give --skip-check") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if (directory / WEIGHTS_FILE).stat().st_size > REPACKED_BYTES_MAX:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(directory / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


def _compare(worst: dict[str, float], graph: str, stage: str, found: np.ndarray, expected: np.ndarray) -> None:
    scale = float(np.abs(expected).max()) or 1.0
    difference = float(np.abs(found.astype(np.float64) - expected).max()) / scale
    worst[stage] = max(worst.get(stage, 0.0), difference)
    if not difference <= TOLERANCE:
        raise CheckError(
            f"graph {graph}: {stage} differs from the reference by {difference:.1e} of its largest value",
            f"at most {TOLERANCE:.0e}",
            "report this checkpoint's config.json: the exporter does not build its graph right",
        )
