"""A checkpoint of released dimensions with random weights: sharded bf16 safetensors, for measuring export and inference at full size.

    python random_checkpoint.py spatialvla|openvla DIR [--config released/spatialvla]

From: the released configuration files and `<family>_shapes.py`. To: DIR, as the hub has it, but for the tokenizer, which holds only what an
instruction needs. Weights are slices of one pool of normal numbers, scaled so that activations keep their size; what decides
*which kind* of token comes next is put into the embeddings and the head, so that `infer` gets whole chunks and not noise.
It says nothing about how good a policy is.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import openvla_shapes
import spatialvla_shapes
from tokens import openvla_tokenizer, spatialvla_tokenizer
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
SHARD_BYTES = 5_000_000_000
POOL = 1 << 24
PIECE = 1 << 24
# Released sizes in bytes of bf16, from the index of spatialvla-4b-224-pt and from the official classes of openvla-7b.
RELEASED_BYTES = {"spatialvla": 8_055_709_462, "openvla": 2 * 7_541_237_184}
# SpatialVLA token ids; OpenVLA's action ids are the last 256 of Llama's 32,000.
NEWLINE_ID, OPENVLA_ACTION_IDS = 108, (31744, 32000)


class Noise:
    """Normal numbers from a pool: the same for the same seed, a hundred times faster than drawing each."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._pool = self._rng.standard_normal(POOL, dtype=np.float32)

    def take(self, count: int) -> np.ndarray:
        start = int(self._rng.integers(0, POOL - count + 1))
        return self._pool[start : start + count]


def scale_and_center(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """`(scale, center)` of a tensor's numbers."""
    if name.endswith(("ls1.scale_factor", "ls2.scale_factor", "lambda_1", "lambda_2")):
        return 0.01, 0.1
    if "norm" in name and name.endswith(".weight"):
        return 0.02, 1.0
    if len(shape) == 1 or "bias_table" in name or "position" in name or "pos_embed" in name or "token" in name:
        return 0.02, 0.0
    return math.prod(shape[1:]) ** -0.5, 0.0


class Weights:
    """Tensor data by name, piece by piece in bf16."""

    def __init__(self, family: str, config: dict[str, Any], seed: int) -> None:
        self.family, self._noise = family, Noise(seed)
        module = spatialvla_shapes if family == "spatialvla" else openvla_shapes
        self.shapes = module.shapes(config, config["spatial_token_num"]) if family == "spatialvla" else module.shapes(config)
        if family == "spatialvla":
            self._width = config["text_config"]["hidden_size"]
            self._begin, self._action_tokens = config["action_token_begin_idx"], config["spatial_token_num"]
            self._kinds = self._noise.take(3 * self._width).reshape(3, self._width).copy()
            self._kinds /= np.linalg.norm(self._kinds, axis=1, keepdims=True)

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        shape = self.shapes[name]
        scale, center = self._scale(name, shape)
        rows, width = shape[0], math.prod(shape[1:])
        step = max(1, PIECE // width)
        for first in range(0, rows, step):
            count = min(step, rows - first)
            values = self._noise.take(count * width).reshape(count, width) * np.float32(scale) + np.float32(center)
            self._steer(name, first, values)
            yield values.astype(ml_dtypes.bfloat16)

    def _scale(self, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
        if self.family == "spatialvla" and name.startswith("language_model") and "norm" in name:
            # Gemma scales by 1 + w; what a layer adds stays small against the embedding.
            post = "post_attention" in name or "post_feedforward" in name
            return 0.02, -0.9 if post else 0.0
        if name in ("language_model.lm_head.weight",):
            return 0.03, 0.0
        if name in ("language_model.model.embed_tokens.weight", "spatial_embed_tokens.weight"):
            return shape[1] ** -0.5, 0.0
        return scale_and_center(name, shape)

    def _steer(self, name: str, first: int, values: np.ndarray) -> None:
        """Kinds of tokens follow each other: newline → translation → rotation → gripper → translation."""
        if self.family == "openvla":
            if name == "language_model.lm_head.weight":
                low, high = (max(0, min(len(values), edge - first)) for edge in OPENVLA_ACTION_IDS)
                values[low:high] *= 4
            return
        edges = (0, 4096, 8192, self._action_tokens)
        if name == "spatial_embed_tokens.weight":
            for kind in range(3):
                low, high = (max(0, min(len(values), edge - first)) for edge in edges[kind : kind + 2])
                values[low:high] += self._kinds[kind]
        elif name == "language_model.model.embed_tokens.weight" and first <= NEWLINE_ID < first + len(values):
            values[NEWLINE_ID - first] += self._kinds[2]
        elif name == "language_model.lm_head.weight":
            for kind in range(3):
                low, high = (max(0, min(len(values), self._begin + edge - first)) for edge in edges[kind : kind + 2])
                values[low:high] += np.float32(0.5) * self._kinds[kind - 1]


def shards(shapes: dict[str, tuple[int, ...]]) -> list[list[str]]:
    """Names in order, cut where a shard would grow beyond `SHARD_BYTES`."""
    parts, size = [[]], 0
    for name, shape in shapes.items():
        if size + 2 * math.prod(shape) > SHARD_BYTES and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append(name)
        size += 2 * math.prod(shape)
    return parts


def write(directory: Path, weights: Weights) -> None:
    parts = shards(weights.shapes)
    weight_map, total = {}, sum(2 * math.prod(shape) for shape in weights.shapes.values())
    with tqdm(total=total, unit="B", unit_scale=True, desc="write weights") as bar:
        for number, names in enumerate(parts, start=1):
            file_name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
            header, offset = {"__metadata__": {"format": "pt"}}, 0
            for name in names:
                size = 2 * math.prod(weights.shapes[name])
                header[name] = {"dtype": "BF16", "shape": list(weights.shapes[name]), "data_offsets": [offset, offset + size]}
                offset += size
                weight_map[name] = file_name
            text = json.dumps(header).encode()
            text += b" " * (-len(text) % 8)
            with (directory / file_name).open("wb") as file:
                file.write(len(text).to_bytes(8, "little") + text)
                for name in names:
                    for piece in weights.pieces(name):
                        bar.update(file.write(np.ascontiguousarray(piece).view(np.uint8).data))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=("spatialvla", "openvla"))
    parser.add_argument("directory", type=Path, help="must not exist yet")
    parser.add_argument("--config", type=Path, help="configuration files of another size (default: the released ones)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    source = given.config or HERE / "released" / given.family
    config = json.loads((source / "config.json").read_text())
    weights = Weights(given.family, config, given.seed)
    size = sum(2 * math.prod(shape) for shape in weights.shapes.values())
    if given.config is None and size != RELEASED_BYTES[given.family]:
        raise SystemExit(f"the shapes add up to {size} bytes, the released checkpoint has {RELEASED_BYTES[given.family]}")
    given.directory.mkdir(parents=True)
    for file in source.glob("*.json"):
        shutil.copyfile(file, given.directory / file.name)
    tokenizer = spatialvla_tokenizer(config) if given.family == "spatialvla" else openvla_tokenizer()
    (given.directory / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    write(given.directory, weights)


if __name__ == "__main__":
    main()
