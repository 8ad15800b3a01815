"""What a precision means: how each matrix and table of a bundle is stored, by what it is for. Figures: `docs/precision.md`.

From: the name on the command line. To: `graph.py`, which writes tensors that way and multiplies with them. Biases, norms, rotary tables
and position embeddings are float32 in every precision: they are small, and sums are what rounding shows in first.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from egogrid_export.errors import CheckpointError

# Little endian, as in the file.
NUMPY_TYPES = {"f32": np.dtype("<f4"), "f16": np.dtype("<f2"), "bf16": np.dtype(ml_dtypes.bfloat16)}


@dataclass(frozen=True)
class Precision:
    """`dtype`: of matrices and tables. The CPU's graphs read 16-bit ones as float32.

    `tolerance`: how far a stage of the written graphs may be from the float32 reference, of its largest value. It finds a wrong graph;
    what the precision does to actions is measured apart.
    """

    name: str
    dtype: str
    tolerance: float


PRECISIONS = {
    precision.name: precision
    for precision in (
        # The smallest known mistake (pixel centres in bf16) moves logits by 3e-4.
        Precision("fp32", "f32", 1e-4),
        # Ten times what the f32 checkpoint of the shipped policy differs by; 16-bit checkpoints differ as little as fp32 does.
        Precision("fp16", "f16", 5e-3),
        Precision("bf16", "bf16", 8e-2),
    )
}


def rounded(name: str, values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` as `dtype`, contiguous. Refused where one becomes infinite: nothing is clamped."""
    # Rounding to f16 overflows with a warning; that is what is looked for below.
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(values, dtype=NUMPY_TYPES[dtype])
    if dtype == "f16" and not np.isfinite(found).all():
        raise CheckpointError(
            f"tensor {name} holds {np.abs(values).max():.3g}", f"at most {np.finfo(np.float16).max}, the largest f16", "export it as bf16 or fp32"
        )
    return found
