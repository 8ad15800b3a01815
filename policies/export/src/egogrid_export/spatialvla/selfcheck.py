"""Runs the graphs that were just written on the golden cases and compares every stage with the reference.

Each graph gets the reference's inputs, so that a difference names the graph that made it; decoding is fed the reference's tokens.
One graph is loaded at a time. Needs onnxruntime.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from egogrid_export.graphcheck import compare, session

# Parts before their sum, so that the message names the part.
VISION_STAGES = ["pos_embed_3d", "siglip_last_hidden", "image_features"]


def check_graphs(directory: Path, layers: int, cases: list[dict[str, np.ndarray]], tolerance: float) -> dict[str, float]:
    """The largest relative difference of each stage; raises at the first that differs too much."""
    worst: dict[str, float] = {}
    vision = session(directory, "vision")
    for case in cases:
        found = vision.run(VISION_STAGES, {name: case[name] for name in ("pixel_values", "freq_encoding")})
        for stage, value in zip(VISION_STAGES, found, strict=True):
            compare(worst, "vision", stage, value, case[stage], tolerance)
    del vision

    parts = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    outputs = ["logits", *(f"present.{part}" for part in parts)]
    prefill, caches = session(directory, "prefill"), []
    for case in cases:
        inputs = {"image_features": case["image_features"], "text_ids": case["text_ids"][None]}
        logits, *cache = prefill.run(outputs, inputs)
        compare(worst, "prefill", "step0_logits", logits[0], case["step0_logits"], tolerance)
        caches.append({f"past.{part}": rows for part, rows in zip(parts, cache, strict=True)})
    del prefill

    decode = session(directory, "decode")
    for case, cache in zip(cases, caches, strict=True):
        filled = case["image_features"].shape[1] + len(case["text_ids"])
        for step, token_id in enumerate(case["token_ids"][:-1], start=1):
            inputs = {
                "token_id": np.array([[token_id]], dtype=np.int64),
                "seqlens_k": np.array([filled], dtype=np.int32),
                "total_len": np.array(filled + 1, dtype=np.int32),
            }
            logits, *rows = decode.run(outputs, inputs | cache)
            compare(worst, "decode", f"step{step}_logits", logits[0], case[f"step{step}_logits"], tolerance)
            cache = dict(zip(cache, rows, strict=True))
            filled += 1
    return worst
