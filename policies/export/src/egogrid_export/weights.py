"""`weights.bin`: the tensors of all graphs of a bundle, written one after the other, each stored once.

From: packed tensors. To: the file, and where each tensor lies and how, for `graph.py`. Families say what a tensor is for (`add`,
`add_matrix` or `add_rows`, and its name); how it is stored is decided by the precision and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from egogrid_export.errors import CheckpointError
from egogrid_export.precision import Precision
from egogrid_export.quantize import PIECE_BYTES, Blocks, quantized

WEIGHTS_FILE = "weights.bin"
ALIGNMENT_BYTES = 64
# Large tensors start on a page, so that a runtime can map them.
PAGE_BYTES, LARGE_BYTES = 4096, 1 << 20
# Little endian, as in the file.
NUMPY_TYPES = {"f32": np.dtype("<f4"), "f16": np.dtype("<f2"), "bf16": np.dtype(ml_dtypes.bfloat16)}


@dataclass(frozen=True)
class Span:
    """Where bytes lie in the file."""

    offset: int
    length: int


@dataclass(frozen=True)
class Dense:
    """Numbers. `scale`: what its user still has to multiply with; 1 where it was multiplied before it was written."""

    span: Span
    shape: tuple[int, ...]
    dtype: str
    scale: float


@dataclass(frozen=True)
class Quantized:
    """Integers in blocks, `[rows, width]`: a table, or a matrix `[width, rows]` by its columns."""

    values: Span
    scales: Span
    zeros: Span
    rows: int
    width: int
    blocks: Blocks


class WeightsFile:
    """A context manager."""

    def __init__(self, directory: Path, precision: Precision) -> None:
        self._file = (directory / WEIGHTS_FILE).open("wb")
        self.precision = precision
        self._end = 0
        self.stored: dict[str, Dense | Quantized] = {}

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, tensor: np.ndarray) -> None:
        """A vector or small tensor that is added, compared or looked at: float32 in every precision."""
        self._write(name, tensor.shape, [tensor], "f32", 1.0)

    def add_matrix(self, name: str, matrix: np.ndarray, scale: float = 1.0) -> None:
        """`scale * matrix`, `[inputs, outputs]`, the right side of a product: what a precision may store in fewer bits."""
        inputs, outputs = matrix.shape
        blocks = self.precision.blocks(name, inputs)
        if blocks is None:
            self._write_dense(name, matrix.shape, [matrix], scale)
        else:
            self._write_quantized(name, (outputs, inputs), [matrix.T], blocks, scale)

    def add_rows(self, name: str, shape: tuple[int, int], pieces: Iterable[np.ndarray], scale: float = 1.0) -> None:
        """`scale` times a table given as consecutive pieces along its first axis, so that it never has to be in memory as a whole.

        The scale is apart, because weights that a checkpoint has in 16 bits stay what they are only without it.
        """
        blocks = self.precision.blocks(name, shape[1])
        if blocks is None:
            self._write_dense(name, shape, pieces, scale)
        else:
            self._write_quantized(name, shape, pieces, blocks, scale)

    def _write_dense(self, name: str, shape: tuple[int, ...], pieces: Iterable[np.ndarray], scale: float) -> None:
        dtype = self.precision.dtype(name)
        if dtype == "f32" and scale != 1.0:
            self._write(name, shape, (piece.astype(np.float64) * scale for piece in pieces), dtype, 1.0)
        else:
            self._write(name, shape, pieces, dtype, scale)

    def _write(self, name: str, shape: tuple[int, ...], pieces: Iterable[np.ndarray], dtype: str, scale: float) -> None:
        self._new(name)
        span, written = self._reserve(NUMPY_TYPES[dtype].itemsize * int(np.prod(shape, dtype=np.int64))), 0
        for piece in pieces:
            written += self._put(span, written, rounded(name, piece, dtype))
        if written != span.length:
            raise AssertionError(f"{name}: wrote {written} bytes of {span.length}")
        self.stored[name] = Dense(span, tuple(shape), dtype, scale)

    def _write_quantized(self, name: str, shape: tuple[int, int], pieces: Iterable[np.ndarray], blocks: Blocks, scale: float) -> None:
        self._new(name)
        (rows, width), per_row = shape, blocks.per_row(shape[1])
        lengths = (rows * blocks.packed(width), 4 * rows * per_row, rows * blocks.packed(per_row))
        spans, done = [self._reserve(length) for length in lengths], [0, 0, 0]
        for piece in bounded(pieces):
            values, scales, zeros = quantized(piece, blocks)
            for number, part in enumerate((values, scales * np.float32(scale), zeros)):
                done[number] += self._put(spans[number], done[number], part)
        if done != list(lengths):
            raise AssertionError(f"{name}: wrote {done} bytes of {lengths}")
        self.stored[name] = Quantized(*spans, rows, width, blocks)

    def _new(self, name: str) -> None:
        if name in self.stored:
            raise AssertionError(f"{name} is stored twice")

    def _reserve(self, length: int) -> Span:
        """The next free bytes. What is left out in front of them reads as zeros."""
        alignment = PAGE_BYTES if length >= LARGE_BYTES else ALIGNMENT_BYTES
        offset = self._end + -self._end % alignment
        self._end = offset + length
        return Span(offset, length)

    def _put(self, span: Span, at: int, values: np.ndarray) -> int:
        self._file.seek(span.offset + at)
        return self._file.write(np.ascontiguousarray(values).view(np.uint8).data)


def bounded(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows in pieces of at most `PIECE_BYTES` as float32."""
    for piece in pieces:
        step = max(1, PIECE_BYTES // (4 * piece.shape[1]))
        yield from (piece[first : first + step] for first in range(0, len(piece), step))


def rounded(name: str, values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` as `dtype`, contiguous. Refused where one becomes infinite: nothing is clamped."""
    # Rounding to f16 overflows with a warning; that is what is looked for below.
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(values, dtype=NUMPY_TYPES[dtype])
    if dtype == "f16" and not np.isfinite(found).all():
        largest = f"{np.abs(values).max():.3g}"
        raise CheckpointError(f"tensor {name} holds {largest}", "at most 65504, the largest f16", "export it as bf16 or fp32")
    return found
