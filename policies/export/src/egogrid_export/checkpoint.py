"""A checkpoint directory: JSON files and safetensors, read one tensor at a time.

From: `config.json`, `processor_config.json`, … and either `model.safetensors.index.json` with its shards or one
`model.safetensors`. To: float32 numpy arrays (f32, f16 and bf16 are accepted), whole or by rows. A shard is mapped only while
one tensor is read, so that the peak memory of an export is that of its largest tensor and not that of the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (teaches numpy the name "bfloat16", which safetensors asks for)
import numpy as np
from safetensors import SafetensorError, safe_open

from egogrid_export.errors import CheckpointError, MissingError

DTYPES = ("F32", "F16", "BF16")
CHUNK_BYTES_MAX = 64 << 20
# Statistics of a dataset that nothing is computed with.
INFORMATIVE = ("mean", "std", "min", "max")


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`. NaN and Infinity, which Python would accept, are errors here as they are in JSON; see `_finite_json`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingError(f"no file {path.name}", "it in the checkpoint directory", "copy the whole checkpoint") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path.name} cannot be read ({error})", "a UTF-8 file", "copy the checkpoint again") from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path.name} is not JSON ({error})", "a JSON object", "copy the checkpoint again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} holds a {type(value).__name__}", "a JSON object", "copy the checkpoint again")
    return _finite_json(value, path.name)


def _finite_json(value: Any, where: str) -> Any:
    """Refuses NaN and Infinity, but for what only informs: the released SpatialVLA has an infinite `std` in one dataset's statistics.
    Such a list becomes null, because no JSON reader but Python's would take it."""
    if isinstance(value, dict):
        for key, item in value.items():
            informs = key in INFORMATIVE and isinstance(item, list) and where.endswith(("action", "proprio"))
            value[key] = None if informs and not all(map(_is_finite, item)) else _finite_json(item, f"{where} {key}")
    elif isinstance(value, list):
        for item in value:
            _finite_json(item, where)
    elif not _is_finite(value):
        raise CheckpointError(f"{where} holds {json.dumps(value)}", "finite numbers", "repair the file")
    return value


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


class Checkpoint:
    """The tensors of one checkpoint by name. Holds no tensor data."""

    index_file = "model.safetensors.index.json"
    single_file = "model.safetensors"

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise MissingError(f"no directory {directory}", "a checkpoint directory", "check the first argument")
        self.directory = directory
        self._file_of = self._weight_map()
        self.shards = sorted(set(self._file_of.values()))
        self._shape_of: dict[str, tuple[int, ...]] = {}
        self._dtype_of: dict[str, str] = {}
        for shard in self.shards:
            self._read_header(shard)

    def json(self, name: str) -> dict[str, Any]:
        return read_json(self.directory / name)

    def __contains__(self, name: str) -> bool:
        return name in self._shape_of

    def names(self) -> list[str]:
        return list(self._shape_of)

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self._shape_of:
            raise MissingError(
                f"no tensor {name} in {', '.join(self.shards)}", "it in the checkpoint", "export a complete, merged checkpoint"
            )
        if self._dtype_of[name] not in DTYPES:
            raise CheckpointError(f"tensor {name} is {self._dtype_of[name]}", " | ".join(DTYPES), "export the unquantized checkpoint")
        return self._shape_of[name]

    def expect(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuses a tensor that is missing or has another shape than the configuration says."""
        if self.shape(name) != shape:
            raise CheckpointError(
                f"tensor {name} has shape {list(self.shape(name))}",
                f"{list(shape)} as config.json says",
                "use the config.json that belongs to these weights",
            )

    def tensor(self, name: str) -> np.ndarray:
        """The whole tensor as float32."""
        self.shape(name)
        with self._open(self._file_of[name]) as file:
            return _finite(name, file.get_tensor(name))

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Some rows of a matrix as float32, without reading the others."""
        self.shape(name)
        with self._open(self._file_of[name]) as file:
            matrix = file.get_slice(name)
            return _finite(name, np.stack([matrix[int(row)] for row in rows]))

    def row_chunks(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """`(first row, rows as float32)` over a matrix, in pieces of bounded size."""
        row_count, *rest = self.shape(name)
        step = max(1, CHUNK_BYTES_MAX // (4 * int(np.prod(rest, dtype=np.int64))))
        for first in range(0, row_count, step):
            with self._open(self._file_of[name]) as file:
                rows = file.get_slice(name)[first : min(first + step, row_count)]
            yield first, _finite(name, rows)

    def bytes(self) -> int:
        """Size of all weight files."""
        return sum((self.directory / shard).stat().st_size for shard in self.shards)

    def sha256(self) -> dict[str, str]:
        """Digest of every weight file."""
        digests = {}
        for shard in self.shards:
            with (self.directory / shard).open("rb") as file:
                digests[shard] = hashlib.file_digest(file, "sha256").hexdigest()
        return digests

    def _weight_map(self) -> dict[str, str]:
        if not (self.directory / self.index_file).exists():
            with self._open(self.single_file) as file:
                return dict.fromkeys(file.keys(), self.single_file)
        weight_map = read_json(self.directory / self.index_file).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{self.index_file} has no weight_map", "tensor names with their files", "copy the checkpoint again")
        for shard in set(weight_map.values()):
            if not isinstance(shard, str) or Path(shard).name != shard:
                raise CheckpointError(f"{self.index_file} names the file {shard!r}", "a plain file name", "copy the checkpoint again")
        return weight_map

    def _open(self, shard: str) -> Any:
        path = self.directory / shard
        if not path.is_file():
            raise MissingError(f"no file {shard}", "it in the checkpoint directory", "copy the whole checkpoint")
        try:
            return safe_open(path, framework="numpy")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{shard} is cut short or damaged ({error}, {path.stat().st_size} bytes)",
                "a whole safetensors file",
                "copy it again and compare its checksum",
            ) from None

    def _read_header(self, shard: str) -> None:
        with self._open(shard) as file:
            present = set(file.keys())
            for name in (name for name, place in self._file_of.items() if place == shard):
                if name not in present:
                    raise MissingError(
                        f"{self.index_file} says that {name} is in {shard}, which does not have it",
                        "an index that belongs to its files",
                        "copy the whole checkpoint again",
                    )
                view = file.get_slice(name)
                self._dtype_of[name] = view.get_dtype()
                self._shape_of[name] = tuple(view.get_shape())


def _finite(name: str, tensor: np.ndarray) -> np.ndarray:
    """As a float32 copy of its own."""
    values = tensor.astype(np.float32)
    if not np.isfinite(values).all():
        raise CheckpointError(f"tensor {name} holds NaN or infinity", "finite weights", "use a checkpoint whose training did not diverge")
    return values
