"""Shards in memory, growing while others write them.

From: the `.npz` shards of `episodes.py`. To: batches with soft targets.
"""

from pathlib import Path

import numpy as np
import torch
from egogrid_metaworld import NEAR_CAMERA
from egogrid_train.checkpoint import Ego3d
from egogrid_train.episodes import NATIVE_PX, SIZE_PX, TRAINING_SEEDS
from egogrid_train.expert import TASKS
from egogrid_train.grid import Grid
from egogrid_train.vision_input import points_m

SOFT_SIGMA = 0.16
"""Wide on purpose: labels pile up on the faces of the cube, and under a narrow kernel an unsure model's most likely
cell is a face although most of its mass lies between the faces. For a sure model the width makes no difference."""


class FrameStore:
    """All frames of a folder. `refresh` reads shards that are new; sampling is balanced over tasks by `task_weights`."""

    def __init__(self, folder: Path, ego3d: Ego3d, shards_max: int | None = None) -> None:
        self._folder, self._ego3d, self._shards_max = folder, ego3d, shards_max
        self._read: set[str] = set()
        self.rgb: list[np.ndarray] = []
        self.points: list[np.ndarray] = []
        self.label: list[np.ndarray] = []
        self.task: list[np.ndarray] = []
        self.where = np.empty((0, 2), np.int64)
        self.episodes = 0

    def refresh(self) -> int:
        """Reads new shards in name order; returns how many."""
        frame = NEAR_CAMERA.base_from_camera() if self._ego3d.frame == "base" else np.eye(4)
        paths = sorted(p for p in self._folder.glob("*.npz") if not p.name.endswith(".partial.npz"))
        new = [path for path in paths[: self._shards_max] if path.name not in self._read]
        for path in new:
            with np.load(path) as shard:
                if not set(shard["seed"].tolist()) <= set(TRAINING_SEEDS):
                    raise ValueError(f"{path} holds seeds outside {TRAINING_SEEDS}; it must not be trained on")
                points = points_m(shard["depth_m"], NEAR_CAMERA.intrinsics_px(NATIVE_PX), (NATIVE_PX,) * 2, SIZE_PX, frame)
                center = np.tile(self._ego3d.center_m, 4).astype(np.float32)
                self.points.append((points - center) / np.float32(self._ego3d.scale_m))
                self.rgb.append(shard["rgb"])
                self.label.append(shard["label"])
                self.task.append(shard["task"])
                self.episodes += len(np.unique(shard["seed"]))
            self._read.add(path.name)
        if new:
            self.where = np.concatenate([
                np.stack([np.full(len(task), shard), np.arange(len(task))], 1) for shard, task in enumerate(self.task)
            ])
        return len(new)

    def labels(self) -> np.ndarray:
        """f32 `[frames, 4, 4]`."""
        return np.concatenate(self.label)

    def tasks(self) -> np.ndarray:
        return np.concatenate(self.task)

    def batch(self, rng: np.random.Generator, size: int, task_weights: np.ndarray) -> tuple:
        """Task indices, u8 pixels `[size, 3, h, w]`, points, labels: tasks by weight, frames evenly within a task."""
        if not hasattr(self, "_by_task") or sum(map(len, self._by_task)) != len(self.where):
            tasks = self.tasks()
            self._by_task = [self.where[tasks == index] for index in range(len(TASKS))]
        chosen = rng.choice(len(TASKS), size, p=task_weights / task_weights.sum())
        rows = [self._by_task[task][rng.integers(len(self._by_task[task]))] for task in chosen]
        rgb = np.stack([self.rgb[shard][row] for shard, row in rows])
        points = np.stack([self.points[shard][row] for shard, row in rows])
        label = np.stack([self.label[shard][row] for shard, row in rows])
        return chosen, torch.from_numpy(rgb).permute(0, 3, 1, 2), torch.from_numpy(points), torch.from_numpy(label)


def soft_targets(moves: torch.Tensor, points: torch.Tensor, usable: torch.Tensor) -> torch.Tensor:
    """`[..., 3]` clean moves to a distribution over cells: exp(-d^2 / (2 * 0.16^2)), cells without data excluded."""
    distance2 = moves.square().sum(-1, keepdim=True) - 2 * moves @ points.T + points.square().sum(-1)
    return (distance2.neg() / (2 * SOFT_SIGMA**2)).masked_fill(~usable, -torch.inf).softmax(-1)


def nearest_cells(moves: torch.Tensor, points: torch.Tensor, usable: torch.Tensor) -> torch.Tensor:
    """`[..., 3]` to the usable cell whose point is nearest."""
    return (2 * moves @ points.T - points.square().sum(-1)).masked_fill(~usable, -torch.inf).argmax(-1)


def jitter(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Brightness, contrast and colour of each u8 picture; result f32 in [-1, 1], as the vision tower takes it."""
    count = len(pixels)
    gain = rng.uniform(0.85, 1.15, (count, 1, 1, 1)) * rng.uniform(0.95, 1.05, (count, 3, 1, 1))
    offset = rng.uniform(-16, 16, (count, 1, 1, 1))
    # In place and in one pass each: this is a tenth of a training step.
    gain, offset = (torch.from_numpy((part / 127.5).astype(np.float32)) for part in (gain, offset))
    return pixels.float().sub_(127.5).mul_(gain).add_(offset).clamp_(-1, 1)
