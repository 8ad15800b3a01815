"""Golden cases: what goes in. Two built-in synthetic ones, or those of a directory given with `--cases`.

A case is a native RGB picture, an instruction and a statistics key. In a directory it is `NAME.json`:
`{"image": "a.png", "instruction": "...", "stats_key": "..."}`; the picture may have transparency, which is dropped, or be gray.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from egogrid_export.checkpoint import read_json
from egogrid_export.errors import MissingError
from egogrid_export.fields import Fields
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.processor import ProcessorConfig
from egogrid_export.pictures import read_picture, synthetic_picture

CASE_KEYS = {"image", "instruction", "stats_key"}
CASES_MIN = 2


@dataclass(frozen=True)
class Case:
    picture: np.ndarray
    instruction: str
    stats_key: str


def synthetic_cases(config: ModelConfig, processor: ProcessorConfig) -> list[Case]:
    """A narrow and high picture, which becomes wider and lower, where resizers differ; and one of the model's size."""
    size, keys = config.image_size_px, list(processor.statistics)
    native, instructions = [(size // 2 - 1, size + size // 3), (size, size)], ("pick up the red cup", "Close the DRAWER")
    return [
        Case(synthetic_picture(height, width, number), instructions[number], keys[number % len(keys)])
        for number, (width, height) in enumerate(native)
    ]


def load_cases(directory: Path, processor: ProcessorConfig) -> list[Case]:
    """All `*.json` of a directory, sorted by name."""
    paths = sorted(directory.glob("*.json"))
    if len(paths) < CASES_MIN:
        raise MissingError(f"{len(paths)} *.json in {directory.name}", f"at least {CASES_MIN} golden cases", "check --cases")
    return [_load_case(path, processor) for path in paths]


def _load_case(path: Path, processor: ProcessorConfig) -> Case:
    fields = Fields(read_json(path), path.name)
    fields.only(CASE_KEYS)
    key = fields.choice("stats_key", tuple(processor.statistics))
    for name in ("image", "instruction"):
        if not isinstance(fields.values.get(name), str):
            fields.refuse(name, "text", f"write the {name}")
    return Case(read_picture(path.parent / fields.values["image"]), fields.values["instruction"], key)
