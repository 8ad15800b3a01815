"""What the reference and the written graphs compute, against tensors of the official code."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from safetensors.numpy import load_file

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.cli import main
from egogrid_export.spatialvla import perception
from egogrid_export.spatialvla.actions import normalized_actions
from egogrid_export.spatialvla.config import read_config
from egogrid_export.spatialvla.processor import prompt_ids, read_processor, read_tokenizer
from egogrid_export.spatialvla.reference import Reference
from egogrid_export.statistics import physical_actions

CASES = range(5)


class Golden:
    """The golden checkpoint, read once, and its cases."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkpoint = Checkpoint(directory / "ckpt")
        self.config = read_config(self.checkpoint)
        self.processor = read_processor(self.checkpoint, self.config)
        self.tokenizer = read_tokenizer(self.checkpoint, self.config, self.processor.grid)
        self.reference = Reference(self.checkpoint, self.config)

    def case(self, number: int) -> tuple[dict, dict[str, np.ndarray]]:
        about = json.loads((self.directory / "cases" / f"case{number}.json").read_text())
        # The official processor takes a leading <image> for its own and makes the same ids; our instructions are plain text.
        about["prompt"] = about["prompt"].removeprefix("<image>")
        return about, load_file(self.directory / "cases" / f"case{number}.safetensors")


@pytest.fixture(scope="module")
def official(golden: Path) -> Golden:
    return Golden(golden)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("number", CASES)
def test_pictures_of_any_size_are_resized_as_pillow_does(official: Golden, number: int) -> None:
    _, tensors = official.case(number)
    picture = np.asarray(Image.open(official.directory / "cases" / f"case{number}.png").convert("RGB"))
    values = perception.pixel_values(picture, 224, official.config.rescale)
    expected = (tensors["resized_u8"].astype(np.float64) * 0.00392156862745098).astype(np.float32)
    assert np.array_equal(values[0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize("number", CASES)
def test_stored_intrinsics_are_scaled_bit_for_bit(official: Golden, number: int) -> None:
    about, tensors = official.case(number)
    entry = official.processor.intrinsics.get(about["unnorm_key"], official.processor.intrinsics["default"])
    scaled = perception.scaled_intrinsic(np.array(entry["intrinsic"]), (entry["width"], entry["height"]), 224)
    assert np.array_equal(scaled, tensors["in.intrinsic"])


@pytest.mark.parametrize("number", CASES)
def test_points_and_their_encoding_match_the_official_ones(official: Golden, number: int) -> None:
    _, tensors = official.case(number)
    depth = perception.patch_depth(tensors["depth_224"][0, 0], 32, None)
    points = perception.points_xyz(depth, tensors["in.intrinsic"], official.config.vision, 2, None)
    assert relative(depth, tensors["patch_depth"][0, 0]) < 1e-6
    assert relative(points, tensors["xyz"]) < 1e-6
    assert relative(perception.freq_encoding(tensors["xyz"], official.config.ego3d), tensors["freq_encoding"]) < 1e-6
    # From our own points: rounding of the points times 2^7.
    assert relative(perception.freq_encoding(points, official.config.ego3d), tensors["freq_encoding"]) < 2e-4


@pytest.mark.parametrize("number", CASES)
def test_reference_network_matches_the_official_one_stage_by_stage(official: Golden, number: int) -> None:
    about, tensors = official.case(number)
    pixels = (tensors["resized_u8"].astype(np.float64) * 0.00392156862745098).astype(np.float32).transpose(2, 0, 1)[None]
    siglip = official.reference.siglip(pixels)
    position = official.reference.position_embedding(tensors["freq_encoding"])
    features = official.reference.image_features(siglip, position)
    assert relative(siglip, tensors["siglip_last_hidden"]) < 1e-5
    assert relative(position, tensors["pos_embed_3d"]) < 1e-5
    assert relative(features, tensors["image_features"]) < 1e-5

    text_ids = prompt_ids(official.tokenizer, official.config, about["prompt"])
    assert text_ids.tolist() == about["input_ids_text"]
    generation = official.reference.generate(features, text_ids, 13)
    assert generation.token_ids == tensors["generated_ids"][0].tolist()
    steps = [step for step in range(len(generation.logits)) if f"step{step}_logits" in tensors]
    assert steps[:2] == [0, 1] and (number not in (1, 3) or len(steps) == 13)
    for step in steps:
        assert relative(generation.logits[step], tensors[f"step{step}_logits"]) < 1e-5, f"step {step}"


@pytest.mark.parametrize("number", CASES)
def test_whole_generations_decode_to_the_official_actions_and_short_ones_to_nothing(official: Golden, number: int) -> None:
    about, tensors = official.case(number)
    ids = tensors["generated_ids"][0].tolist()
    normalized = normalized_actions(official.processor.grid, ids[:12], official.config.action_begin_id, 4)
    if number == 0:
        assert len(ids) == 10 and normalized is None
        return
    assert np.abs(normalized - tensors["normalized_actions"]).max() < 1e-12
    statistics = official.processor.statistics[about["unnorm_key"]]["action"]
    assert np.abs(physical_actions(normalized, statistics) - tensors["actions"]).max() < 1e-12


def test_ids_of_the_wrong_kind_decode_to_nothing(official: Golden) -> None:
    odd = json.loads((official.directory / "cases" / "odd_ids.json").read_text())["generated_ids"]
    assert normalized_actions(official.processor.grid, odd, official.config.action_begin_id, 4) is None
    assert normalized_actions(official.processor.grid, [*odd, 0, 0, 0, 0], official.config.action_begin_id, 4) is None


@pytest.fixture(scope="module")
def bundle(official: Golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported with the golden cases, whose depth is the estimator's dense map."""
    work = tmp_path_factory.mktemp("golden")
    cases = work / "cases"
    cases.mkdir()
    for number in CASES:
        about, tensors = official.case(number)
        np.save(cases / f"case{number}.npy", tensors["depth_224"][0, 0])
        image = official.directory / "cases" / f"case{number}.png"
        (cases / f"case{number}.png").write_bytes(image.read_bytes())
        case = {"image": f"case{number}.png", "depth": f"case{number}.npy", "depth_kind": "dense"}
        case |= {"instruction": about["prompt"], "stats_key": about["unnorm_key"]}
        (cases / f"case{number}.json").write_text(json.dumps(case))
    assert main([str(official.directory / "ckpt"), str(work / "bundle"), "--depth", "sensor", "--cases", str(cases), "--quiet"]) == 0
    return work / "bundle"


def test_graphs_give_the_official_logits_and_ids(official: Golden, bundle: Path) -> None:
    """ONNX Runtime against the official code directly, decoding with its own tokens."""
    ort = pytest.importorskip("onnxruntime")
    vision, prefill, decode = (ort.InferenceSession(bundle / f"{name}.onnx") for name in ("vision", "prefill", "decode"))
    for number in CASES:
        about, tensors = official.case(number)
        pixels = (tensors["resized_u8"].astype(np.float64) * 0.00392156862745098).astype(np.float32).transpose(2, 0, 1)[None]
        stages = ["image_features", "siglip_last_hidden", "pos_embed_3d"]
        found = vision.run(stages, {"pixel_values": pixels, "freq_encoding": tensors["freq_encoding"]})
        for name, value in zip(stages, found, strict=True):
            assert relative(value, tensors[name]) < 1e-5, f"case {number} {name}"
        text_ids = np.array([about["input_ids_text"]], dtype=np.int64)
        logits, *cache = prefill.run(None, {"image_features": found[0], "text_ids": text_ids})
        filled, expected = 256 + text_ids.shape[1], tensors["generated_ids"][0].tolist()
        ids = [int(logits.argmax())]
        for step in range(1, min(13, len(expected))):
            if f"step{step - 1}_logits" in tensors:
                assert relative(logits[0], tensors[f"step{step - 1}_logits"]) < 1e-5, f"case {number} step {step - 1}"
            past = [port.name for port in decode.get_inputs() if port.name.startswith("past.")]
            inputs = dict(zip(past, cache, strict=True)) | {"token_id": np.array([ids[-1:]], dtype=np.int64)}
            inputs |= {"seqlens_k": np.array([filled], dtype=np.int32), "total_len": np.array(filled + 1, dtype=np.int32)}
            logits, *cache = decode.run(None, inputs)
            ids.append(int(logits.argmax()))
            filled += 1
        assert ids == expected, f"case {number}"


def test_golden_tensors_of_a_bundle_are_those_of_the_official_code(official: Golden, bundle: Path) -> None:
    stored = load_file(bundle / "golden.safetensors")
    for number in CASES:
        about, tensors = official.case(number)
        ids = stored[f"case{number}.token_ids"].tolist()
        assert ids == tensors["generated_ids"][0].tolist()[:12]
        assert relative(stored[f"case{number}.image_features"], tensors["image_features"]) < 1e-5
        for step in range(len(ids)):
            if f"step{step}_logits" in tensors:
                assert relative(stored[f"case{number}.step{step}_logits"], tensors[f"step{step}_logits"]) < 1e-5
        assert (f"case{number}.actions" in stored) == (number != 0), "an early end has no actions"
        assert bytes(stored[f"case{number}.instruction"]).decode() == about["prompt"]


def test_cache_rows_beyond_the_prompt_are_zero(bundle: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    prefill = ort.InferenceSession(bundle / "prefill.onnx")
    stored = load_file(bundle / "golden.safetensors")
    text_ids = stored["case0.text_ids"]
    _, *cache = prefill.run(None, {"image_features": stored["case0.image_features"], "text_ids": text_ids[None]})
    for rows in cache:
        assert np.abs(rows[:, :, : 256 + len(text_ids)]).min(axis=-1).max() > 0
        assert not rows[:, :, 256 + len(text_ids) :].any()


def test_graphs_are_small_and_share_one_aligned_weights_file(bundle: Path) -> None:
    places: dict[str, tuple[int, int]] = {}
    for name in ("vision", "prefill", "decode"):
        path = bundle / f"{name}.onnx"
        assert path.stat().st_size < 32_000
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            if not entries:
                continue
            place = (int(entries["offset"]), int(entries["length"]))
            assert entries["location"] == "weights.bin" and place[0] % 64 == 0
            assert places.setdefault(tensor.name, place) == place, f"{tensor.name} is stored twice"
    spans = sorted(places.values())
    assert all(first + length <= second for (first, length), (second, _) in pairwise(spans))
    assert sum(length for _, length in spans) > 0.99 * (bundle / "weights.bin").stat().st_size, "nothing unused is stored"


def test_the_cache_is_updated_in_place_and_only_in_its_next_row(bundle: Path) -> None:
    """Past and present bound to one buffer, as the runtime does it, against the reference's logits."""
    ort = pytest.importorskip("onnxruntime")
    prefill, decode = (ort.InferenceSession(bundle / f"{name}.onnx") for name in ("prefill", "decode"))
    stored = load_file(bundle / "golden.safetensors")
    text_ids, token_ids = stored["case1.text_ids"], stored["case1.token_ids"]
    _, *rows = prefill.run(None, {"image_features": stored["case1.image_features"], "text_ids": text_ids[None]})
    names = [port.name.removeprefix("past.") for port in decode.get_inputs() if port.name.startswith("past.")]
    cache = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in zip(names, rows, strict=True)}
    filled = 256 + len(text_ids)
    for step, token_id in enumerate(token_ids[:-1], start=1):
        before = {name: value.numpy().copy() for name, value in cache.items()}
        binding = decode.io_binding()
        binding.bind_cpu_input("token_id", np.array([[token_id]], dtype=np.int64))
        binding.bind_cpu_input("seqlens_k", np.array([filled], dtype=np.int32))
        binding.bind_cpu_input("total_len", np.array(filled + 1, dtype=np.int32))
        binding.bind_output("logits")
        for name, value in cache.items():
            binding.bind_ortvalue_input(f"past.{name}", value)
            binding.bind_ortvalue_output(f"present.{name}", value)
        decode.run_with_iobinding(binding)
        assert relative(binding.copy_outputs_to_cpu()[0][0], stored[f"case1.step{step}_logits"]) < 1e-5, f"step {step}"
        for name, value in cache.items():
            changed = np.flatnonzero((value.numpy() != before[name]).any(axis=(0, 1, 3)))
            assert changed.tolist() == [filled], name
        filled += 1
