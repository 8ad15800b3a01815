"""What the reference and the written graphs compute for OpenVLA, against tensors of the official code. Absolute differences."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from openvla_official import CASES, FEATURES_MAX, LOGITS_MAX, Official, largest
from safetensors.numpy import load_file

from egogrid_export.cli import main
from egogrid_export.openvla.actions import ending, normalized_actions
from egogrid_export.openvla.processor import prompt_ids, text_tokens_max
from egogrid_export.openvla.prompt import PROMPTS
from egogrid_export.statistics import physical_actions


def test_every_layer_of_the_reference_matches_the_official_one(official: Official) -> None:
    tensors, reference = official.case(0), official.reference
    for tower, name, picture in zip(official.config.towers, ("dino", "siglip"), np.split(official.pixels(0)[0], 2), strict=True):
        x = reference.tower_embeddings(tower, picture)
        assert largest(x, tensors[f"{name}.embeddings"][0]) <= FEATURES_MAX
        for layer in range(tower.blocks):
            x = reference.tower_block(tower, layer, x)
            assert largest(x, tensors[f"{name}.block{layer}"][0]) <= FEATURES_MAX
        assert f"{name}.block{tower.blocks}" not in tensors, "the last block that counts is the last one that the data have"
    x = reference.sequence(tensors["projected"], official.text_ids(0))
    assert np.array_equal(x, tensors["inputs_embeds"][0])
    past: list = []
    for layer in range(official.config.text.layers - 1):
        x = reference.text_layer(layer, x, 0, past)
        assert largest(x, tensors["lm_hidden_states"][layer + 1]) <= FEATURES_MAX


@pytest.mark.parametrize("number", CASES)
def test_the_reference_matches_the_official_code_stage_by_stage(official: Official, number: int) -> None:
    tensors, reference = official.case(number), official.reference
    patches = reference.patch_features(official.pixels(number))
    features = reference.image_features(patches)
    assert largest(patches, tensors["patch_features"]) <= FEATURES_MAX
    assert largest(features, tensors["projected"]) <= FEATURES_MAX
    generation = reference.generate(features, official.text_ids(number), len(tensors["generated_ids"]))
    assert generation.token_ids == tensors["generated_ids"].tolist()
    assert largest(generation.logits[0], tensors["first_step_logits"]) <= LOGITS_MAX
    if "step_logits" in tensors:
        assert largest(np.stack(generation.logits), tensors["step_logits"]) <= LOGITS_MAX


@pytest.mark.parametrize("number", CASES)
def test_prompts_become_the_official_ids(official: Official, number: int) -> None:
    """Lower case, accents and Japanese; one prompt of the data ends in a space and so in 29871 already: the ids are the same."""
    ids = prompt_ids(official.tokenizer, official.config, official.prompt, official.about(number)["instruction"])
    assert ids.tolist() == official.text_ids(number).tolist()


def test_prompts_have_room_for_an_instruction_whatever_they_say_themselves(official: Official) -> None:
    """The first version's prompt alone has 103 tokens here."""
    assert text_tokens_max(official.tokenizer, PROMPTS["openvla"]) == 128
    assert text_tokens_max(official.tokenizer, PROMPTS["v01"]) == 224
    ids = prompt_ids(official.tokenizer, official.config, PROMPTS["v01"], "Pick up THE cup")
    text = PROMPTS["v01"].text("Pick up THE cup")
    assert text.endswith(" USER: What action should the robot take to pick up the cup? ASSISTANT:")
    assert ids.tolist() == [*official.tokenizer.encode(text).ids, 29871]


def test_the_tokenizer_gives_the_official_ids_for_every_kind_of_text(official: Official) -> None:
    entries = official.json("standin_tokenizer_ids.json")
    assert len(entries) >= 5
    for entry in entries:
        assert official.tokenizer.encode(entry["prompt"]).ids == entry["input_ids"], entry["prompt"]


@pytest.mark.parametrize("number", CASES)
def test_ids_decode_to_exactly_the_official_actions(official: Official, number: int) -> None:
    """Case 3 has 5 numbers and statistics without a mask."""
    tensors, key = official.case(number), official.about(number)["unnorm_key"]
    ids = tensors["generated_ids"].tolist()
    normalized = normalized_actions(official.config, ids, len(ids))
    assert np.array_equal(normalized[0], tensors["normalized_action"])
    assert np.array_equal(physical_actions(normalized, official.statistics[key]["action"])[0], tensors["action"])


def test_every_action_id_decodes_as_the_official_tokenizer_does_and_no_other_id_decodes(official: Official) -> None:
    tensors = load_file(official.directory / "action_tokenizer.safetensors")
    end = official.config.action_end_id
    for token_id, expected in zip(tensors["every_id"].tolist(), tensors["every_id_decoded"].tolist(), strict=True):
        found = normalized_actions(official.config, [token_id], 1)
        if end - official.config.bins <= token_id < end:
            assert found.tolist() == [[expected]], token_id
        else:
            assert found is None, f"{token_id} is clipped by the official code and refused by ours"
    statistics = official.statistics["bridge_orig"]["action"]
    for ids, decoded, physical in zip(tensors["token_ids"], tensors["decoded"], tensors["unnormalized_bridge_orig"], strict=True):
        normalized = normalized_actions(official.config, ids.tolist(), 7)
        assert np.array_equal(normalized[0], decoded) and np.array_equal(physical_actions(normalized, statistics)[0], physical)


def test_an_early_end_is_an_ending_and_never_an_action(official: Official) -> None:
    """The official code reads the last ids of the prompt as actions then."""
    sequence = official.json("behaviours.json")["early_eos_after_3_tokens"]["sequence"]
    ids = sequence[sequence.index(29871) + 1 :]
    assert ids[3:] == [official.config.eos_id]
    assert ending(official.config, ids) == "early_end" and normalized_actions(official.config, ids, 7) is None
    assert ending(official.config, [31860, 29871, 31747]) == "wrong_kind"
    assert ending(official.config, [31860, 31749]) is None and normalized_actions(official.config, [31860, 31749], 7) is None


# ---- the written graphs


@pytest.fixture(scope="module")
def bundle(official: Official, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("openvla")
    cases = work / "cases"
    cases.mkdir()
    for number in CASES:
        about = official.about(number)
        (cases / f"case{number}.png").write_bytes((official.directory / "cases" / f"case{number}.png").read_bytes())
        case = {"image": f"case{number}.png", "instruction": about["instruction"], "stats_key": about["unnorm_key"]}
        (cases / f"case{number}.json").write_text(json.dumps(case))
    assert main([str(official.directory / "ckpt"), str(work / "bundle"), "--cases", str(cases), "--quiet"]) == 0
    return work / "bundle"


def test_graphs_give_the_official_features_logits_and_ids(official: Official, bundle: Path) -> None:
    """ONNX Runtime against the official code directly, decoding with its own tokens."""
    ort = pytest.importorskip("onnxruntime")
    vision, prefill, decode = (ort.InferenceSession(bundle / f"{name}.onnx") for name in ("vision", "prefill", "decode"))
    past = [port.name for port in decode.get_inputs() if port.name.startswith("past.")]
    for number in CASES:
        tensors, text_ids = official.case(number), official.text_ids(number)
        patches, features = vision.run(["patch_features", "image_features"], {"pixel_values": official.pixels(number)})
        assert largest(patches, tensors["patch_features"]) <= FEATURES_MAX, f"case {number}"
        assert largest(features, tensors["projected"]) <= FEATURES_MAX, f"case {number}"
        logits, *cache = prefill.run(None, {"image_features": features, "text_ids": text_ids[None]})
        assert largest(logits[0], tensors["first_step_logits"]) <= LOGITS_MAX, f"case {number}"
        filled, ids = features.shape[1] + len(text_ids), [int(logits.argmax())]
        for rows in cache:
            assert np.abs(rows[:, :, :filled]).max(axis=-1).min() > 0 and not rows[:, :, filled:].any(), "rows past the prompt are zero"
        for step in range(1, len(tensors["generated_ids"])):
            inputs = dict(zip(past, cache, strict=True)) | {"token_id": np.array([ids[-1:]], dtype=np.int64)}
            inputs |= {"seqlens_k": np.array([filled], dtype=np.int32), "total_len": np.array(filled + 1, dtype=np.int32)}
            logits, *cache = decode.run(None, inputs)
            if "step_logits" in tensors:
                assert largest(logits[0], tensors["step_logits"][step]) <= LOGITS_MAX, f"case {number} step {step}"
            ids.append(int(logits.argmax()))
            filled += 1
        assert ids == tensors["generated_ids"].tolist(), f"case {number}"


def test_golden_tensors_of_a_bundle_are_those_of_the_official_code(official: Official, bundle: Path) -> None:
    stored = load_file(bundle / "golden.safetensors")
    for number in CASES:
        tensors, about = official.case(number), official.about(number)
        at = f"case{number}."
        assert np.array_equal(stored[f"{at}pixel_values"], official.pixels(number))
        assert np.array_equal(stored[f"{at}image_u8"], official.picture(number))
        for name, theirs in (("patch_features", "patch_features"), ("image_features", "projected")):
            assert largest(stored[at + name], tensors[theirs]) <= FEATURES_MAX
        assert largest(stored[f"{at}step0_logits"], tensors["first_step_logits"]) <= LOGITS_MAX
        for name, theirs in (("text_ids", official.text_ids(number)), ("token_ids", tensors["generated_ids"])):
            assert np.array_equal(stored[at + name], theirs)
        assert np.array_equal(stored[f"{at}actions"], tensors["action"][None])
        assert bytes(stored[f"{at}instruction"]).decode() == about["instruction"]
        assert bytes(stored[f"{at}stats_key"]).decode() == about["unnorm_key"]


def test_the_manifest_says_what_the_runtime_needs(official: Official, bundle: Path) -> None:
    manifest = tomllib.loads((bundle / "bundle.toml").read_text())
    assert (manifest["family"], manifest["precision"]) == ("openvla", "fp32")
    assert manifest["image"] == {
        "width_px": 224,
        "height_px": 224,
        "strategy": "resize_naive",
        "preprocessing": "processor",
        "towers": [
            {"mean": [0.484375, 0.455078125, 0.40625], "std": [0.228515625, 0.2236328125, 0.224609375]},
            {"mean": [0.5] * 3, "std": [0.5] * 3},
        ],
    }
    prompt = {"image_tokens": 256, "prefix": "In: What action should the robot take to ", "suffix": "?\nOut:", "lowercase": True}
    assert manifest["prompt"] == prompt | {"bos_id": 1, "eos_id": 2, "final_id": 29871, "text_tokens_max": 128}
    assert manifest["tokens"] == {"vocabulary_size": 32064, "action_end_id": 32000, "bins": 256}
    assert manifest["chunk"] == {"length": 1, "steps_executed": 1}
    assert manifest["cache"] == {"layers": 3, "kv_heads": 4, "head_dim": 16, "capacity": 256 + 128 + 7}
    statistics = json.loads((bundle / "statistics.json").read_text())
    assert statistics["no_mask_5dof"]["action"]["mask"] == [True] * 5, "a missing mask is written out"
    assert (bundle / "tokenizer.json").read_bytes() == (official.directory / "ckpt" / "tokenizer.json").read_bytes()


def test_what_the_official_code_throws_away_is_not_exported(official: Official, bundle: Path) -> None:
    names = {tensor.name for name in ("vision", "prefill", "decode") for tensor in _initializers(bundle / f"{name}.onnx")}
    blocks = {tuple(map(int, name.split(".")[1:3])) for name in names if name.startswith("vision.") and name.endswith("fc1.weight")}
    assert blocks == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)}, "4 and 3 blocks, without the last of each"
    unused = sum(
        4 * int(np.prod(official.checkpoint.shape(name)))
        for name in official.checkpoint.names()
        if any(
            part in name for part in ("featurizer.norm.", "attn_pool", "vision_backbone.featurizer.blocks.3.", "fused_featurizer.blocks.2.")
        )
    )
    whole = sum(4 * int(np.prod(official.checkpoint.shape(name))) for name in official.checkpoint.names())
    tables = 2 * 4 * (256 + 128 + 7) * 8  # rotary positions
    assert abs((bundle / "weights.bin").stat().st_size - (whole - unused + tables)) < 20_000


def _initializers(path: Path) -> list[onnx.TensorProto]:
    return list(onnx.load(path, load_external_data=False).graph.initializer)
