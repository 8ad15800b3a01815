"""What the numpy reference networks of all families are made of: weights that are read when needed, layers, activations. float32.

From: a `Checkpoint`. To: `<family>/reference.py`. It shares no code with the graphs that it is compared with.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from egogrid_export.checkpoint import Checkpoint

# Weights that stay in memory as float32, whatever the machine has: an export of a large model must leave room for others.
CACHE_BYTES_MAX = 12 << 30
CACHE_SHARE_OF_FREE = 0.5
CACHE_BYTES_UNKNOWN = 1 << 30


def cache_bytes() -> int:
    """How much of a checkpoint is kept between uses. It changes the time that a reference takes, never its numbers."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return CACHE_BYTES_UNKNOWN
    return min(CACHE_BYTES_MAX, int(available * CACHE_SHARE_OF_FREE))


class Network:
    """One checkpoint's tensors. Small ones stay in memory, those beyond `cache_bytes` in all are read again each time."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._kept: dict[str, np.ndarray] = {}
        self._kept_bytes, self._kept_bytes_max = 0, cache_bytes()

    def weight(self, name: str) -> np.ndarray:
        if name in self._kept:
            return self._kept[name]
        tensor = self._checkpoint.tensor(name)
        if self._kept_bytes + tensor.nbytes <= self._kept_bytes_max:
            self._kept[name] = tensor
            self._kept_bytes += tensor.nbytes
        return tensor

    def keeps(self, name: str) -> bool:
        """Whether the tensor is in memory already, or will be once it is used."""
        return name in self._kept or self._kept_bytes + 4 * math.prod(self._checkpoint.shape(name)) <= self._kept_bytes_max

    def product(self, x: np.ndarray, name: str) -> np.ndarray:
        """With a matrix that the checkpoint holds as `[outputs, inputs]`."""
        return x @ self.weight(name).T

    def linear(self, x: np.ndarray, at: str) -> np.ndarray:
        return self.product(x, f"{at}.weight") + self.weight(f"{at}.bias")

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


def softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def softcapped(x: np.ndarray, cap: float | None) -> np.ndarray:
    return x if cap is None else np.tanh(x / np.float32(cap)) * np.float32(cap)


def rotated(x: np.ndarray, position: int, theta: float) -> np.ndarray:
    """Rotary positions `position..` on `[heads, n, head_dim]`, halves convention."""
    half = x.shape[-1] // 2
    exponents = np.arange(0, x.shape[-1], 2, dtype=np.float32) / np.float32(x.shape[-1])
    inverse = np.float32(1) / np.float32(theta) ** exponents
    angles = np.arange(position, position + x.shape[1], dtype=np.float32)[:, None] * inverse
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
