"""Shards in memory, growing while others write them.

From: the `.npz` shards of `episodes.py`. To: batches with soft targets.
"""

import os
from pathlib import Path

import numpy as np
import torch
from egogrid_metaworld import NEAR_CAMERA
from egogrid_train.checkpoint import Ego3d
from egogrid_train.episodes import DEPTH_UNIT_M, NATIVE_PX, TRAINING_SEEDS
from egogrid_train.expert import TASKS
from egogrid_train.grid import Grid
from egogrid_train.vision_input import View, points_m

SOFT_SIGMA = 0.16
"""Wide on purpose: labels pile up on the faces of the cube, and under a narrow kernel an unsure model's most likely
cell is a face although most of its mass lies between the faces. For a sure model the width makes no difference."""

PLACE_CENTER_M, PLACE_SCALE_M = np.array([0.0, 0.65, 0.1] * 2, np.float32), np.float32(0.1)
"""Places of object and goal as the network is taught them: 1 is 10 cm."""


class FrameStore:
    """All frames of a folder, as one `View` sees them. `refresh` reads shards that are new; sampling is balanced over
    tasks by `task_weights`. What a view makes of a shard is kept beside the shards: resizing is slower than training."""

    def __init__(self, folder: Path, ego3d: Ego3d, view: View, shards_max: int | None = None) -> None:
        self._folder, self._ego3d, self._view, self._shards_max = folder, ego3d, view, shards_max
        self.read: list[str] = []
        self.rgb: list[np.ndarray] = []
        self.points: list[np.ndarray] = []
        self.label: list[np.ndarray] = []
        self.task: list[np.ndarray] = []
        self.places: list[np.ndarray] = []
        self.where = np.empty((0, 2), np.int64)
        self.episodes = 0

    def refresh(self) -> int:
        """Reads new shards in name order; returns how many."""
        paths = sorted(p for p in self._folder.glob("*.npz") if ".partial" not in p.name)
        new = [path.name for path in paths[: self._shards_max] if path.name not in self.read]
        self.add(new)
        return len(new)

    def add(self, names: list[str]) -> None:
        """Reads these shards, in this order: a resumed run sees its frames where they were."""
        frame = NEAR_CAMERA.base_from_camera() if self._ego3d.frame == "base" else np.eye(4)
        k, native_px = NEAR_CAMERA.intrinsics_px(NATIVE_PX), (NATIVE_PX, NATIVE_PX)
        for name in names:
            seen = self._seen(self._folder / name)
            points = points_m(seen["depth_m"], k, native_px, self._view.size_px, frame, self._view.reso)
            self.points.append(self._ego3d.normalized(points))
            self.rgb.append(seen["rgb"])
            self.label.append(seen["label"])
            self.task.append(seen["task"])
            self.places.append((seen["where_m"] - PLACE_CENTER_M) / PLACE_SCALE_M)
            self.episodes += len(set(zip(seen["task"].tolist(), seen["seed"].tolist(), strict=True)))
            self.read.append(name)
        if names:
            self.where = np.concatenate([
                np.stack([np.full(len(task), shard), np.arange(len(task))], 1) for shard, task in enumerate(self.task)
            ])
            tasks = self.tasks()
            self._by_task = [self.where[tasks == index] for index in range(len(TASKS))]

    def _seen(self, path: Path) -> dict[str, np.ndarray]:
        kept = self._folder / f"view_{self._view.size_px}_{self._view.patch_px}_{self._view.reso}" / path.name
        if kept.exists():
            with np.load(kept) as file:
                return dict(file)
        with np.load(path) as shard:
            seed = shard["seed"]
            if not set(seed.tolist()) <= set(TRAINING_SEEDS):
                raise ValueError(f"{path} holds seeds outside {TRAINING_SEEDS}; it must not be trained on")
            views = [self._view.of(rgb, depth * np.float32(DEPTH_UNIT_M))
                     for rgb, depth in zip(shard["rgb"], shard["depth"], strict=True)]
            rgb, depth_m = (np.stack(part) for part in zip(*views, strict=True))
            seen = {"rgb": rgb, "depth_m": depth_m, "label": shard["label"], "task": shard["task"], "seed": seed,
                    "where_m": shard["where_m"]}
        kept.parent.mkdir(exist_ok=True)
        partial = kept.with_name(f"{kept.stem}.partial.{os.getpid()}.npz")
        np.savez(partial, **seen)
        partial.rename(kept)
        return seen

    def count(self, task: str) -> int:
        """Frames of one task."""
        return len(self._by_task[TASKS.index(task)]) if self.read else 0

    def labels(self) -> np.ndarray:
        """f32 `[frames, 4, 4]`."""
        return np.concatenate(self.label)

    def tasks(self) -> np.ndarray:
        return np.concatenate(self.task)

    def batch(self, rng: np.random.Generator, size: int, task_weights: np.ndarray, shift_max: int = 0) -> tuple:
        """Task indices, u8 pixels `[size, 3, h, w]`, points, labels, normalized places `[size, 6]`: tasks by weight,
        frames evenly within a task."""
        chosen = rng.choice(len(TASKS), size, p=task_weights / task_weights.sum())
        rows = [self._by_task[task][rng.integers(len(self._by_task[task]))] for task in chosen]
        rgb = np.stack([self.rgb[shard][row] for shard, row in rows])
        points = np.stack([self.points[shard][row] for shard, row in rows])
        if shift_max:
            rgb, points = shifted(rgb, points, self._view, rng.integers(-shift_max, shift_max + 1, (size, 2)))
        label = np.stack([self.label[shard][row] for shard, row in rows])
        places = np.stack([self.places[shard][row] for shard, row in rows])
        return chosen, *map(torch.from_numpy, (rgb.transpose(0, 3, 1, 2), points, label, places))


def shifted(rgb: np.ndarray, points: np.ndarray, view: View, by_cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and points moved by whole depth cells, `by_cells` `[batch, (down, right)]`; borders are repeated.

    A point keeps its own coordinates, so what is seen stays where it is in the base frame: labels hold. What changes is
    where it falls in the patches, so a scene cannot be known by heart.
    """
    cells, cell_px, side = view.cells, view.size_px // view.cells, view.cells // view.reso
    grid = points.reshape(len(points), side, side, view.reso, view.reso, 3).swapaxes(2, 3).reshape(-1, cells, cells, 3)
    moved_rgb, moved = np.empty_like(rgb), np.empty_like(grid)
    for index, (down, right) in enumerate(by_cells):
        rows, columns = (np.clip(np.arange(cells) - by, 0, cells - 1) for by in (down, right))
        moved[index] = grid[index][rows][:, columns]
        rows, columns = (np.clip(np.arange(view.size_px) - by * cell_px, 0, view.size_px - 1) for by in (down, right))
        moved_rgb[index] = rgb[index][rows][:, columns]
    moved = moved.reshape(len(points), side, view.reso, side, view.reso, 3).swapaxes(2, 3)
    return moved_rgb, np.ascontiguousarray(moved).reshape(points.shape)


def soft_targets(moves: torch.Tensor, points: torch.Tensor, usable: torch.Tensor) -> torch.Tensor:
    """`[..., 3]` clean moves to a distribution over cells: exp(-d^2 / (2 * 0.16^2)), cells without data excluded."""
    distance2 = moves.square().sum(-1, keepdim=True) - 2 * moves @ points.T + points.square().sum(-1)
    return (distance2.neg() / (2 * SOFT_SIGMA**2)).masked_fill(~usable, -torch.inf).softmax(-1)


def nearest_cells(moves: torch.Tensor, points: torch.Tensor, usable: torch.Tensor) -> torch.Tensor:
    """`[..., 3]` to the usable cell whose point is nearest."""
    return (2 * moves @ points.T - points.square().sum(-1)).masked_fill(~usable, -torch.inf).argmax(-1)


def jitter(pixels: torch.Tensor, rng: np.random.Generator, strength: float = 1.0) -> torch.Tensor:
    """Brightness, contrast and colour of each u8 picture; result f32 in [-1, 1], as the vision tower takes it."""
    count = len(pixels)
    gain = rng.uniform(1 - 0.15 * strength, 1 + 0.15 * strength, (count, 1, 1, 1))
    gain = gain * rng.uniform(1 - 0.05 * strength, 1 + 0.05 * strength, (count, 3, 1, 1))
    offset = rng.uniform(-16 * strength, 16 * strength, (count, 1, 1, 1))
    # In place and in one pass each: this is a tenth of a training step.
    gain, offset = (torch.from_numpy((part / 127.5).astype(np.float32)) for part in (gain, offset))
    return pixels.float().sub_(127.5).mul_(gain).add_(offset).clamp_(-1, 1)
