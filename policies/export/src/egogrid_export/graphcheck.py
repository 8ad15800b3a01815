"""A written graph against the reference: sessions of ONNX Runtime, and the largest relative difference of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from egogrid_export.errors import CheckError, MissingError
from egogrid_export.graph import WEIGHTS_FILE
from egogrid_export.precision import PRECISIONS

# Beyond this a session reads weights.bin in place, slower, and does not make its own rearranged copy of it.
REPACKED_BYTES_MAX = 1 << 30


def session(directory: Path, name: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingError("no Python package onnxruntime", "it, to check the written graphs", "install it or give --skip-check") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if (directory / WEIGHTS_FILE).stat().st_size > REPACKED_BYTES_MAX:
        options.addsession_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(directory / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


def compare(
    worst: dict[str, float], graph: str, stage: str, found: np.ndarray, expected: np.ndarray, tolerance: float = PRECISIONS["fp32"].tolerance
) -> None:
    """Keeps the largest difference of each stage in `worst`; raises where it is more than `tolerance` of the largest value."""
    scale = float(np.abs(expected).max()) or 1.0
    difference = float(np.abs(found.astype(np.float64) - expected).max()) / scale
    worst[stage] = max(worst.get(stage, 0.0), difference)
    if not difference <= tolerance:
        raise CheckError(
            f"graph {graph}: {stage} differs from the reference by {difference:.1e} of its largest value",
            f"at most {tolerance:.0e}",
            "report this checkpoint's config.json: the exporter does not build its graph right",
        )
