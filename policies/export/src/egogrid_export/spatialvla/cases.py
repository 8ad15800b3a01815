"""Golden cases: what goes in. Two built-in synthetic ones, or those of a directory given with `--cases`.

A case is a native RGB picture, depth, intrinsics, an instruction and a statistics key. In a directory it is `NAME.json`:
`{"image": "a.png", "depth": "a.npy", "depth_kind": "sensor" | "dense", "depth_max_m": 5.0, "intrinsic": 3x3,
"intrinsic_size_px": [width, height], "base_from_camera": 4x4, "instruction": "...", "stats_key": "..."}`;
without `intrinsic` the checkpoint's own for the statistics key is taken, as the official processor does. Without `depth` (and what belongs
to it) the checkpoint's estimator makes it of the picture. A bundle with both sources of depth needs cases of both kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egogrid_export.checkpoint import read_json
from egogrid_export.errors import CheckpointError, MissingError
from egogrid_export.fields import Fields
from egogrid_export.pictures import read_picture, synthetic_picture
from egogrid_export.spatialvla.config import ModelConfig
from egogrid_export.spatialvla.processor import ProcessorConfig

CASE_KEYS = {
    "image", "depth", "depth_kind", "depth_max_m", "intrinsic", "intrinsic_size_px", "base_from_camera", "instruction", "stats_key",
}  # fmt: skip
CASES_MIN = 2
SYNTHETIC_DEPTH_MAX_M = 3.0
# A camera 1 m behind and 0.8 m above the base, looking forward and down by 30 degrees.
SYNTHETIC_BASE_FROM_CAMERA = [
    [0.0, -0.5, 0.8660254037844386, -1.0],
    [-1.0, 0.0, 0.0, 0.0],
    [0.0, -0.8660254037844386, -0.5, 0.8],
    [0.0, 0.0, 0.0, 1.0],
]


@dataclass(frozen=True)
class Case:
    """`depth_m` is None where the estimator makes it, `depth_max_m` also for a dense map.

    `intrinsic` belongs to a picture of `intrinsic_size_px` (width, height).
    """

    picture: np.ndarray
    depth_m: np.ndarray | None
    depth_max_m: float | None
    intrinsic: np.ndarray
    intrinsic_size_px: tuple[int, int]
    base_from_camera: np.ndarray | None
    instruction: str
    stats_key: str


def synthetic_cases(config: ModelConfig, processor: ProcessorConfig) -> list[Case]:
    """One picture of another shape than the model's, one of exactly its size; sensor depth with holes at a third resolution.

    The first with depth from a sensor, the second without, where the bundle has both sources.
    """
    size = config.vision.image_size_px
    native = [(size + size // 2, size + size // 4), (size, size)]
    keys, instructions = list(processor.statistics), ("pick up the red cup", "close the drawer")
    base = np.array(SYNTHETIC_BASE_FROM_CAMERA) if config.ego3d.frame == "base" else None
    cells = config.vision.grid * config.ego3d.samples_per_patch_side
    cases = []
    for number, (width, height) in enumerate(native):
        key = keys[number % len(keys)]
        intrinsic, (own_width, own_height) = stored_intrinsic(processor, key)
        intrinsic = np.diag([width / own_width, height / own_height, 1.0]) @ intrinsic
        depth = _synthetic_depth(max(height * 2 // 3, 2 * cells), max(width * 2 // 3, 2 * cells), number)
        sensed = config.depth_sources[number % len(config.depth_sources)] == "sensor"
        cases.append(
            Case(
                synthetic_picture(height, width, number),
                depth if sensed else None,
                SYNTHETIC_DEPTH_MAX_M if sensed else None,
                intrinsic.astype(np.float32),
                (width, height),
                base,
                instructions[number],
                key,
            )
        )
    return cases


def stored_intrinsic(processor: ProcessorConfig, stats_key: str) -> tuple[np.ndarray, tuple[int, int]]:
    """The checkpoint's matrix for `stats_key`, else its `default`, with the size in pixels that it belongs to."""
    entry = processor.intrinsics.get(stats_key, processor.intrinsics.get("default"))
    if entry is None:
        raise MissingError(
            f"processor_config.json intrinsic_config has neither {stats_key!r} nor 'default'",
            "intrinsics for every statistics key",
            "add them, or give cases with their own by --cases",
        )
    return np.array(entry["intrinsic"], dtype=np.float64), (entry["width"], entry["height"])


def load_cases(directory: Path, config: ModelConfig, processor: ProcessorConfig) -> list[Case]:
    """All `*.json` of a directory, sorted by name."""
    paths = sorted(directory.glob("*.json"))
    if len(paths) < CASES_MIN:
        raise MissingError(f"{len(paths)} *.json in {directory.name}", f"at least {CASES_MIN} golden cases", "check --cases")
    cases = [_load_case(path, config, processor) for path in paths]
    for source, has_depth in (("sensor", True), ("estimated", False)):
        if source in config.depth_sources and not any((case.depth_m is not None) is has_depth for case in cases):
            raise CheckpointError(
                f"no case {'with' if has_depth else 'without'} depth in {directory.name}",
                f"at least one, because the bundle's depth may be {source}",
                "add one, or export with another --depth",
            )
    return cases


def _load_case(path: Path, config: ModelConfig, processor: ProcessorConfig) -> Case:
    fields = Fields(read_json(path), path.name)
    fields.only(CASE_KEYS)
    key = fields.choice("stats_key", tuple(processor.statistics))
    if not isinstance(fields.values.get("instruction"), str):
        fields.refuse("instruction", "text", "write the instruction")
    depth, depth_max_m = _case_depth(path, fields, config)
    base = _matrix(fields, "base_from_camera", 4) if config.ego3d.frame == "base" else None
    if fields.has("intrinsic"):
        width, height = (int(side) for side in fields.vector("intrinsic_size_px", 2))
        intrinsic, size_px = _matrix(fields, "intrinsic", 3), (width, height)
    else:
        intrinsic, size_px = stored_intrinsic(processor, key)
    return Case(
        read_picture(path.parent / _file(fields, "image")),
        depth,
        depth_max_m,
        intrinsic.astype(np.float32),
        size_px,
        base,
        fields.values["instruction"],
        key,
    )


def _case_depth(path: Path, fields: Fields, config: ModelConfig) -> tuple[np.ndarray | None, float | None]:
    """The map and its largest valid reading; nothing where the estimator makes it."""
    source = "sensor" if fields.has("depth") else "estimated"
    if source not in config.depth_sources:
        raise CheckpointError(
            f"{path.name} has {'a' if fields.has('depth') else 'no'} depth",
            f"cases for a bundle whose depth is {config.depth_sources[0]}",
            "correct it, or export with --depth both",
        )
    if source == "estimated":
        for name in ("depth_kind", "depth_max_m"):
            if fields.has(name):
                fields.refuse(name, "a depth file that it belongs to", "remove it or name the file")
        return None, None
    sensor = fields.choice("depth_kind", ("sensor", "dense")) == "sensor"
    return _depth(path.parent / _file(fields, "depth")), fields.number("depth_max_m") if sensor else None


def _file(fields: Fields, name: str) -> str:
    value = fields.values.get(name)
    if not isinstance(value, str):
        fields.refuse(name, "a file name", "write it")
    return value


def _matrix(fields: Fields, name: str, side: int) -> np.ndarray:
    rows: Any = fields.values.get(name)
    if not isinstance(rows, list) or len(rows) != side:
        fields.refuse(name, f"{side} rows of {side} numbers", "write the matrix")
    named = Fields({str(row): values for row, values in enumerate(rows)}, f"{fields.where} {name}")
    return np.array([named.vector(str(row), side) for row in range(side)], dtype=np.float64)


def _depth(path: Path) -> np.ndarray:
    try:
        depth = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise MissingError(f"the depth {path.name} cannot be read ({error})", "a .npy file", "check --cases") from None
    if depth.ndim != 2 or depth.dtype != np.float32:
        raise CheckpointError(f"{path.name} is {depth.dtype} {list(depth.shape)}", "float32 [height, width], metres", "convert it")
    return depth


def _synthetic_depth(height: int, width: int, number: int) -> np.ndarray:
    """A tilted floor and a nearer block, with what sensors deliver: zeros, NaN, and far readings beyond the valid range."""
    y, x = np.indices((height, width))
    depth = (1800 - 900 * y // height + 200 * x // width + (x * 5 + y * 11) % 17).astype(np.float32) / np.float32(1000)
    block = (abs(x - width // 2) < width // 6) & (abs(y - height // 2) < height // 6)
    depth[block] = np.float32(0.75)
    pattern = (x * 31 + y * 17 + number) % 23
    for remainder, invalid in ((0, 0.0), (5, np.nan), (11, 9.5), (17, -1.0)):
        depth[pattern == remainder] = invalid
    return depth
