"""Runs the graphs that were just written on the golden cases and compares every stage with the reference.

Each graph gets the reference's inputs, so that a difference names the graph that made it; decoding is fed the reference's tokens.
Needs onnxruntime.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from egogrid_export.errors import CheckError, MissingError

# Of the largest value of the reference. The smallest known mistake (pixel centres in bf16) moves logits by 3e-4 of it.
TOLERANCE = 1e-4


class SelfCheck:
    """The three sessions of one written bundle, and the largest difference seen so far per stage."""

    def __init__(self, directory: Path, layers: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingError(
                "no Python package onnxruntime", "it, to check the written graphs", "install it or give --skip-check"
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._vision, self._prefill, self._decode = (
            onnxruntime.InferenceSession(directory / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
            for name in ("vision", "prefill", "decode")
        )
        self._cache_names = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
        self.worst: dict[str, float] = {}

    def run(self, case: dict[str, np.ndarray]) -> None:
        """All stages of one case; raises at the first that differs."""
        stages = ["image_features", "siglip_last_hidden", "pos_embed_3d"]
        found = self._vision.run(stages, {name: case[name] for name in ("pixel_values", "freq_encoding")})
        # Parts before their sum, so that the message names the part.
        for name, value in reversed(list(zip(stages, found, strict=True))):
            self._compare("vision", name, value, case[name])

        present = [f"present.{name}" for name in self._cache_names]
        text_ids, token_ids = case["text_ids"], case["token_ids"]
        logits, *cache = self._prefill.run(["logits", *present], {"image_features": case["image_features"], "text_ids": text_ids[None]})
        self._compare("prefill", "step0_logits", logits[0], case["step0_logits"])
        filled = case["image_features"].shape[1] + len(text_ids)
        for step, token_id in enumerate(token_ids[:-1], start=1):
            inputs = {f"past.{name}": value for name, value in zip(self._cache_names, cache, strict=True)}
            inputs |= {
                "token_id": np.array([[token_id]], dtype=np.int64),
                "seqlens_k": np.array([filled], dtype=np.int32),
                "total_len": np.array(filled + 1, dtype=np.int32),
            }
            logits, *cache = self._decode.run(["logits", *present], inputs)
            self._compare("decode", f"step{step}_logits", logits[0], case[f"step{step}_logits"])
            filled += 1

    def _compare(self, graph: str, stage: str, found: np.ndarray, expected: np.ndarray) -> None:
        scale = float(np.abs(expected).max()) or 1.0
        difference = float(np.abs(found.astype(np.float64) - expected).max()) / scale
        self.worst[stage] = max(self.worst.get(stage, 0.0), difference)
        if not difference <= TOLERANCE:
            raise CheckError(
                f"graph {graph}: {stage} differs from the reference by {difference:.1e} of its largest value",
                f"at most {TOLERANCE:.0e}",
                "report this checkpoint's config.json: the exporter does not build its graph right",
            )
