"""What the numpy reference networks of all families are made of: weights that are read when needed, layers, activations. float32.

From: a `Checkpoint`. To: `<family>/reference.py`. It shares no code with the graphs that it is compared with.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.checkpoint import Checkpoint

CACHE_BYTES_MAX = 1 << 30


class Network:
    """One checkpoint's tensors. Small ones stay in memory, those beyond `CACHE_BYTES_MAX` in all are read again each time."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._kept: dict[str, np.ndarray] = {}
        self._kept_bytes = 0

    def weight(self, name: str) -> np.ndarray:
        if name in self._kept:
            return self._kept[name]
        tensor = self._checkpoint.tensor(name)
        if self._kept_bytes + tensor.nbytes <= CACHE_BYTES_MAX:
            self._kept[name] = tensor
            self._kept_bytes += tensor.nbytes
        return tensor

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
