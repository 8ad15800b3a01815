"""Float32 rows to integers of 8 or 4 bits with a scale and a zero point per block, and back. Layout: that of ONNX Runtime's MatMulNBits.

From: a matrix or table `[rows, width]`. To: values `[rows, width * bits / 8]` u8 (of two 4-bit numbers the first is in the low half),
scales `[rows, blocks]` f32 and zero points, packed like values into whole bytes per row. A number is `(value - zero point) * scale`; zero
is always one of them, so that padding stays padding. No block is cut off at the end of a row: DequantizeLinear reads the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Preferred first. 4-bit numbers in blocks of 16 are off by a seventh less and take a fifth more bytes.
BLOCKS = (32, 16)
# Rows of this many bytes are worked on at once.
PIECE_BYTES = 16 << 20


@dataclass(frozen=True)
class Blocks:
    """`bits` per number; `block` numbers of one row share a scale and a zero point."""

    bits: int
    block: int

    def per_row(self, width: int) -> int:
        return width // self.block

    def packed(self, numbers: int) -> int:
        """Bytes of so many integers."""
        return -(-numbers * self.bits // 8)


def blocks_for(bits: int, width: int) -> Blocks | None:
    """How rows of this width are cut, or None where no block fits: 16 is the smallest that the operators take."""
    return next((Blocks(bits, block) for block in BLOCKS if width % block == 0), None)


def quantized(rows: np.ndarray, blocks: Blocks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, scales and zero points of rows `[n, width]`; each integer is the one nearest to its number."""
    cut = np.ascontiguousarray(rows, dtype=np.float32).reshape(len(rows), -1, blocks.block)
    top = np.float32((1 << blocks.bits) - 1)
    low, high = np.minimum(cut.min(axis=-1), 0), np.maximum(cut.max(axis=-1), 0)
    scales = (high - low) / top
    # Blocks of zeros only; and numbers so small that their scale has no reciprocal are zeros too.
    scales[scales < np.finfo(np.float32).tiny * top] = 1
    zeros = np.rint(-low / scales)
    steps = cut / scales[..., None]
    np.rint(steps, out=steps)
    steps += zeros[..., None]
    # Rounding of both ends may meet one step outside.
    np.clip(steps, 0, top, out=steps)
    return _packed(steps.reshape(len(rows), -1), blocks.bits), scales, _packed(zeros, blocks.bits)


def dequantized(values: np.ndarray, scales: np.ndarray, zeros: np.ndarray, blocks: Blocks) -> np.ndarray:
    """Float32 rows `[n, width]`."""
    per_row = scales.shape[1]
    steps = _unpacked(values, blocks.bits, per_row * blocks.block).reshape(len(values), per_row, blocks.block)
    return ((steps - _unpacked(zeros, blocks.bits, per_row)[..., None]) * scales[..., None]).reshape(len(values), -1)


def _packed(integers: np.ndarray, bits: int) -> np.ndarray:
    found = integers.astype(np.uint8)
    if bits == 8:
        return found
    if found.shape[1] % 2:
        found = np.pad(found, ((0, 0), (0, 1)))
    return found[:, ::2] | found[:, 1::2] << 4


def _unpacked(values: np.ndarray, bits: int, count: int) -> np.ndarray:
    if bits == 4:
        values = np.stack([values & 15, values >> 4], axis=-1).reshape(len(values), -1)[:, :count]
    return values.astype(np.float32)
