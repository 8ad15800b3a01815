"""Every typical mistake is made on purpose: the parity check fails then, and by as much as it does in the official code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from openvla_official import CASES, LOGITS_MAX, Official, largest

from egogrid_export.network import gelu_tanh
from egogrid_export.openvla import reference as reference_module
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.images import normalized
from egogrid_export.openvla.reference import Reference
from egogrid_export.openvla.towers import TowerConfig
from egogrid_export.pillow import resized

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
# The table of the official code has 6 decimals; the rest is float32 rounding of two different machines, which reaches 1e-4.
AGREE_ABSOLUTE, AGREE_RELATIVE = 2e-4, 1e-3


class Run:
    """One case, computed with whatever is changed in here before `logits` is asked for."""

    def __init__(self, official: Official, number: int) -> None:
        self.official, self.number = official, number
        self.config: ModelConfig = official.config
        self.model: type[Reference] = Reference
        self.pixels, self.text_ids = official.pixels(number), official.text_ids(number)
        self.vision_gelu = self.projector_gelu = reference_module.gelu_erf
        self.zeroed: tuple[str, ...] = ()

    def towers(self, **changes: object) -> None:
        """Changes what fits: `depth` is an offset."""
        towers = []
        for tower in self.config.towers:
            offset = int(changes.get("depth", 0))
            towers.append(dataclasses.replace(tower, **{**changes, "depth": tower.depth + offset}))
        self.config = dataclasses.replace(self.config, towers=tuple(towers))

    def resized(self, kernel: Callable[[np.ndarray], np.ndarray], support: float) -> None:
        self.pixels = normalized(resized(self.official.picture(self.number), 224, 224, kernel, support), self.official.image)

    def logits(self, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
        model = self.model(self.official.checkpoint, self.config)
        for name in self.zeroed:
            model._kept[name] = np.zeros_like(model.weight(name))
        monkeypatch.setattr(reference_module, "gelu_erf", self.vision_gelu)
        patches = model.patch_features(self.pixels)
        monkeypatch.setattr(reference_module, "gelu_erf", self.projector_gelu)
        features = model.image_features(patches)
        monkeypatch.undo()
        return model.generate(features, self.text_ids, 1).logits[0]


class PatchesFirst(Reference):
    def sequence(self, image_features: np.ndarray, text_ids: np.ndarray) -> np.ndarray:
        return np.concatenate([image_features[0], self.embed(text_ids)])


class OtherOrder(Reference):
    def patch_features(self, pixel_values: np.ndarray) -> np.ndarray:
        width = self._config.towers[0].width
        patches = super().patch_features(pixel_values)
        return np.concatenate([patches[..., width:], patches[..., :width]], axis=-1)


class FinalNorm(Reference):
    def tower(self, tower: TowerConfig, picture: np.ndarray) -> np.ndarray:
        return self.layer_norm(super().tower(tower, picture), f"{tower.prefix}.norm", tower.norm_eps)


def triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def normalized_by(run: Run, *towers: tuple[list[float], list[float]]) -> None:
    image = dataclasses.replace(run.official.image, towers=towers)
    run.pixels = normalized(run.official.case(run.number)["resized_u8"], image)


def text_eps(run: Run) -> None:
    run.config = dataclasses.replace(run.config, text=dataclasses.replace(run.config.text, norm_eps=1e-5))


MUTATIONS: dict[str, Callable[[Run], object]] = {
    "no token 29871 appended": lambda run: setattr(run, "text_ids", run.text_ids[:-1]),
    "towers concatenated in the other order": lambda run: setattr(run, "model", OtherOrder),
    "patches before BOS": lambda run: setattr(run, "model", PatchesFirst),
    "6-channel halves swapped (SigLIP-normalised image to DINOv2)": lambda run: setattr(run, "pixels", np.roll(run.pixels, 3, axis=1)),
    "another image": lambda run: setattr(run, "pixels", run.official.pixels((run.number + 1) % len(CASES))),
    "fp32 ImageNet mean/std instead of the bf16-rounded ones": lambda run: normalized_by(run, IMAGENET, ([0.5] * 3, [0.5] * 3)),
    "bilinear resize (antialiased)": lambda run: run.resized(triangle, 1.0),
    "lanczos resize": lambda run: run.resized(lanczos, 3.0),
    "pixel_values rounded to bf16": lambda run: setattr(run, "pixels", run.pixels.astype(ml_dtypes.bfloat16).astype(np.float32)),
    "last block instead of second-to-last": lambda run: run.towers(depth=1),
    "final ViT norm applied": lambda run: setattr(run, "model", FinalNorm),
    "third-to-last block": lambda run: run.towers(depth=-1),
    "tanh GELU in the projector": lambda run: setattr(run, "projector_gelu", gelu_tanh),
    "tanh GELU in the ViTs": lambda run: setattr(run, "vision_gelu", gelu_tanh),
    "Llama RMSNorm eps 1e-5": text_eps,
    "ViT LayerNorm eps 1e-5 instead of 1e-6": lambda run: run.towers(norm_eps=1e-5),
    "LayerScale dropped": lambda run: run.towers(layer_scale=False),
    "register tokens zero": lambda run: setattr(run, "zeroed", ("vision_backbone.featurizer.reg_token",)),
}
CONTROL = "none (re-run)"
# Which other picture the official run took is not said; and a picture of the model's size is not resized.
NOT_COMPARED = {"another image"}


def test_every_mistake_of_the_golden_data_is_in_the_table(official: Official) -> None:
    assert set(official.json("mutations.json")) - {"columns"} == {CONTROL, *MUTATIONS}


@pytest.mark.parametrize("number", CASES)
def test_without_a_mistake_the_parity_check_holds(official: Official, number: int, monkeypatch) -> None:
    assert largest(Run(official, number).logits(monkeypatch), official.case(number)["first_step_logits"]) <= LOGITS_MAX


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_is_caught_in_every_case_and_moves_logits_as_in_the_official_code(official: Official, name: str, monkeypatch) -> None:
    for number, (moved, same_argmax) in zip(CASES, official.json("mutations.json")[name], strict=True):
        run = Run(official, number)
        MUTATIONS[name](run)
        logits, expected = run.logits(monkeypatch), official.case(number)["first_step_logits"]
        found = largest(logits, expected)
        if moved == 0.0:
            assert found <= LOGITS_MAX, f"case {number}: the mistake changes nothing here, in the official code neither"
            continue
        assert found > LOGITS_MAX, f"case {number}: the parity check does not notice"
        if name not in NOT_COMPARED:
            assert found == pytest.approx(moved, abs=AGREE_ABSOLUTE, rel=AGREE_RELATIVE), f"case {number}: another mistake than theirs"
            assert (logits.argmax() == expected.argmax()) == same_argmax, f"case {number}"
