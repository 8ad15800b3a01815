"""What the numpy reference networks of all families are made of: weights that are read when needed, layers, activations. float32.

From: a `Checkpoint`. To: `<family>/reference.py`. It shares no code with the graphs that it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from egogrid_export.checkpoint import Checkpoint

# Weights that stay in memory as float32, whatever the machine has: an export of a large model must leave room for others.
CACHE_BYTES_MAX = 12 << 30
CACHE_SHARE_OF_FREE = 0.5
CACHE_BYTES_UNKNOWN = 1 << 30
# erf is read from a table of its values and slopes; between its points it is right to 1e-11.
ERF_STEPS, ERF_END = 256, 6
ERF_POINTS = np.arange(ERF_STEPS * ERF_END + 2) / ERF_STEPS
ERF_VALUES = np.array([math.erf(point) for point in ERF_POINTS])
ERF_SLOPES = 2 / math.sqrt(math.pi) * np.exp(-(ERF_POINTS**2)) / ERF_STEPS


def cache_bytes() -> int:
    """How much of a checkpoint is kept between uses. It changes the time that a reference takes, never its numbers."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return CACHE_BYTES_UNKNOWN
    return min(CACHE_BYTES_MAX, int(available * CACHE_SHARE_OF_FREE))


@dataclass(frozen=True)
class Generation:
    """Greedy decoding: `token_ids` end with eos or at the asked count; `logits[k]` chose `token_ids[k]`."""

    token_ids: list[int]
    logits: list[np.ndarray]


def greedy(logits: np.ndarray, step: Callable[[int], np.ndarray], eos_id: int, count: int) -> Generation:
    """From the logits after the prompt; `step` gives those after one more token."""
    ids, steps = [], []
    while True:
        steps.append(logits)
        ids.append(int(np.argmax(logits)))
        if ids[-1] == eos_id or len(ids) == count:
            return Generation(ids, steps)
        logits = step(ids[-1])


class Network:
    """One checkpoint's tensors. What fits into `cache_bytes` stays in memory between uses, the rest is read again each time."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._kept: dict[str, np.ndarray] = {}
        self._kept_bytes, self._kept_bytes_max = 0, cache_bytes()
        self._tight = checkpoint.bytes() * 2 > self._kept_bytes_max

    def weight(self, name: str) -> np.ndarray:
        if name in self._kept:
            return _widened(self._kept[name])
        tensor = self._checkpoint.tensor(name)
        kept = _halved(tensor) if self._tight else tensor
        if self._kept_bytes + kept.nbytes <= self._kept_bytes_max:
            self._kept[name] = kept
            self._kept_bytes += kept.nbytes
        return tensor

    def keeps(self, name: str) -> bool:
        """Whether the tensor is in memory already, or will be once it is used."""
        return name in self._kept or self._kept_bytes + 4 * math.prod(self._checkpoint.shape(name)) <= self._kept_bytes_max

    def product(self, x: np.ndarray, name: str) -> np.ndarray:
        """With a matrix that the checkpoint holds as `[outputs, inputs]`."""
        return x @ self.weight(name).T

    def linear(self, x: np.ndarray, at: str) -> np.ndarray:
        return self.product(x, f"{at}.weight") + self.weight(f"{at}.bias")

    def product_by_rows(self, x: np.ndarray, table: str) -> np.ndarray:
        """`table @ x` for a vector `x`, reading the table piece by piece where it is large."""
        if self.keeps(table):
            return self.weight(table) @ x
        return np.concatenate([piece @ x for _, piece in self._checkpoint.row_chunks(table)])

    def layer_norm(self, x: np.ndarray, at: str, eps: float) -> np.ndarray:
        centered = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centered * centered).mean(axis=-1, keepdims=True) + np.float32(eps))
        return centered / scale * self.weight(f"{at}.weight") + self.weight(f"{at}.bias")

    def rms_norm(self, x: np.ndarray, name: str, eps: float, offset: float = 0.0) -> np.ndarray:
        """Scaled by `offset + weight`; Gemma's offset is 1."""
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(eps)) * (np.float32(offset) + self.weight(name))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    inner = np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (1 + np.tanh(inner))


def erf(x: np.ndarray) -> np.ndarray:
    """float64. Cubic between the points of the table."""
    place = np.minimum(np.abs(x.astype(np.float64)), ERF_END) * ERF_STEPS
    index = place.astype(np.int64)
    t = place - index
    rise, fall = t * t * (3 - 2 * t), t * (1 - t)
    values = ERF_VALUES[index] * (1 - rise) + ERF_VALUES[index + 1] * rise
    return np.copysign(values + fall * ((1 - t) * ERF_SLOPES[index] - t * ERF_SLOPES[index + 1]), x)


def gelu_erf(x: np.ndarray) -> np.ndarray:
    return np.float32(0.5) * x * (1 + erf(x * np.float32(0.5**0.5))).astype(np.float32)


def silu(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp(-x) may be infinite, and x / inf is the right 0
        return x / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def softcapped(x: np.ndarray, cap: float | None) -> np.ndarray:
    return x if cap is None else np.tanh(x / np.float32(cap)) * np.float32(cap)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, softcap: float | None = None, causal: bool = False) -> np.ndarray:
    """`[heads, n, d]` over keys and values `[kv_heads, m, d]`, each shared by equally many heads: `[n, heads * d]`.

    Causal: the queries are the last n of the m tokens, and each sees itself and what is before it.
    """
    group = len(q) // len(k)
    scores = softcapped(q @ np.repeat(k, group, axis=0).swapaxes(1, 2) * np.float32(scale), softcap)
    if causal:
        queries, keys = scores.shape[1:]
        hidden = np.arange(keys)[None] > np.arange(keys - queries, keys)[:, None]
        scores = np.where(hidden, np.float32(-np.inf), scores)
    return (softmax(scores) @ np.repeat(v, group, axis=0)).swapaxes(0, 1).reshape(q.shape[1], -1)


def rotated(x: np.ndarray, position: int, theta: float) -> np.ndarray:
    """Rotary positions `position..` on `[heads, n, head_dim]`, halves convention."""
    half = x.shape[-1] // 2
    exponents = np.arange(0, x.shape[-1], 2, dtype=np.float32) / np.float32(x.shape[-1])
    inverse = np.float32(1) / np.float32(theta) ** exponents
    angles = np.arange(position, position + x.shape[1], dtype=np.float32)[:, None] * inverse
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _halved(tensor: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers whose lower halves are zero, as those of a bf16 checkpoint are; others stay as they are."""
    bits = np.ascontiguousarray(tensor).view(np.uint32)
    return tensor if (bits & 0xFFFF).any() else (bits >> 16).astype(np.uint16)


def _widened(kept: np.ndarray) -> np.ndarray:
    return kept if kept.dtype == np.float32 else (kept.astype(np.uint32) << 16).view(np.float32)
