"""Rows of the action tokens, computed from what their cells mean.

From: the grid. To: rows of `spatial_embed_tokens` and of `lm_head`. Neighbouring cells share almost all of their
parameters, so a cell seen ten times is still learned. After training the rows are plain tables, as in the file.
"""

import numpy as np
import torch
from egogrid_train.grid import ACTION_TOKENS, CELLS, GRIPPER_CELLS, Grid
from torch import nn

_WAVES = (1.0, 2.0, 4.0, 8.0)


def cell_features(grid: Grid) -> np.ndarray:
    """f32 `[ACTION_TOKENS, features]`: coordinates, direction, radius, sines; then what kind of token it is."""
    xyz = grid.points
    radius = np.linalg.norm(xyz, axis=1, keepdims=True)
    waves = [wave(np.pi * k / 2 * xyz) for k in _WAVES for wave in (np.sin, np.cos)]
    translation = np.concatenate([xyz, xyz / np.maximum(radius, 1e-6), radius, *waves], axis=1)
    features = np.zeros((ACTION_TOKENS, translation.shape[1] + 1 + GRIPPER_CELLS), np.float32)
    features[:CELLS, : translation.shape[1]] = translation
    features[CELLS:, translation.shape[1]:] = np.eye(1 + GRIPPER_CELLS)
    return features


class ActionRows(nn.Module):
    """Two small networks over `cell_features`, each plus a free table that starts at zero."""

    def __init__(self, grid: Grid, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.register_buffer("features", torch.from_numpy(cell_features(grid)), persistent=False)
        inputs = self.features.shape[1]
        self.embed, self.head = (
            nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, width)) for _ in range(2)
        )
        self.embed_free, self.head_free = (nn.Parameter(torch.zeros(ACTION_TOKENS, width)) for _ in range(2))
        with torch.no_grad():
            self.embed[2].weight.mul_(0.3)
            self.head[2].weight.mul_(0.3)

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`[ACTION_TOKENS, width]` twice: what is fed in, what is compared with."""
        return self.embed(self.features) + self.embed_free, self.head(self.features) + self.head_free
