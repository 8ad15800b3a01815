"""The golden OpenVLA checkpoint of the repository and the tensors of the official code, as tests use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.openvla.config import read_config
from egogrid_export.openvla.images import ImageConfig, normalized
from egogrid_export.openvla.processor import read_image, read_statistics, read_tokenizer
from egogrid_export.openvla.prompt import PROMPTS
from egogrid_export.openvla.reference import Reference

CASES = range(5)
# Absolute, as the golden data says; logits are about 30.
FEATURES_MAX, LOGITS_MAX = 5e-5, 2e-4


class Official:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkpoint = Checkpoint(directory / "ckpt")
        self.config = read_config(self.checkpoint)
        self.image: ImageConfig = read_image(self.checkpoint, self.config, "processor")
        self.statistics, _ = read_statistics(self.checkpoint, None)
        self.tokenizer = read_tokenizer(self.checkpoint, self.config)
        self.prompt = PROMPTS["openvla"]
        self.reference = Reference(self.checkpoint, self.config)
        self._cases: dict[int, dict[str, np.ndarray]] = {}

    def case(self, number: int) -> dict[str, np.ndarray]:
        """What the official code computed."""
        if number not in self._cases:
            self._cases[number] = load_file(self.directory / "cases" / f"case{number}.safetensors")
        return self._cases[number]

    def about(self, number: int) -> dict[str, Any]:
        return json.loads((self.directory / "cases" / f"case{number}.json").read_text(encoding="utf-8"))

    def picture(self, number: int) -> np.ndarray:
        """Alpha dropped, gray repeated."""
        return read_rgb(self.directory / "cases" / f"case{number}.png")

    def prepared(self, number: int, stage: str) -> np.ndarray:
        return read_rgb(self.directory / "preprocess" / f"case{number}_{stage}.png")

    def pixels(self, number: int) -> np.ndarray:
        return normalized(self.case(number)["resized_u8"], self.image)

    def text_ids(self, number: int) -> np.ndarray:
        return self.case(number)["input_ids_with_29871"][0]

    def json(self, name: str) -> Any:
        return json.loads((self.directory / name).read_text(encoding="utf-8"))


def read_rgb(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def largest(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference."""
    assert found.shape == expected.shape
    return float(np.abs(found.astype(np.float64) - expected).max())
