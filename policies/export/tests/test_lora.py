"""LoRA adapters merged while a checkpoint is read: against the official code, and by hand for every kind of tensor and refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from openvla_official import LOGITS_MAX, Official, largest
from safetensors.numpy import load_file, save_file

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.cli import main
from egogrid_export.errors import CheckpointError, MissingError
from egogrid_export.lora import MergedCheckpoint
from egogrid_export.openvla.actions import normalized_actions
from egogrid_export.openvla.reference import Reference
from egogrid_export.statistics import physical_actions

RANK = 4
BASE = {
    "head.weight": (12, 8),
    "stem.proj.weight": (8, 3, 2, 2),
    "layers.0.q_proj.weight": (6, 8),
    "layers.1.q_proj.weight": (6, 8),
    "layers.1.q_proj.bias": (6,),
    "words.weight": (12, 8),
    "norm.weight": (8,),
}
CONFIG = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2, "use_dora": False, "fan_in_fan_out": False, "bias": "none"}


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def factors(module: str, outputs: int, *inputs: int) -> dict[str, np.ndarray]:
    at = f"base_model.model.{module}"
    return {f"{at}.lora_A.weight": random(RANK, *inputs), f"{at}.lora_B.weight": random(outputs, RANK, *(1 for _ in inputs[1:]))}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    directory = tmp_path / "base"
    directory.mkdir()
    save_file({name: random(*shape) for name, shape in BASE.items()}, directory / "model.safetensors")
    return directory


def adapter(tmp_path: Path, tensors: dict[str, np.ndarray], **changes: object) -> Path:
    directory = tmp_path / "adapter"
    directory.mkdir(exist_ok=True)
    save_file(tensors, directory / "adapter_model.safetensors")
    (directory / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    return directory


@pytest.mark.parametrize("number", [0, 2])
def test_logits_and_actions_are_those_of_the_official_code_with_the_adapter(official: Official, number: int) -> None:
    """Rank 32 on every linear layer, the head, and both patch convolutions."""
    checkpoint = MergedCheckpoint(official.directory / "ckpt", official.directory / "lora")
    reference, expected = Reference(checkpoint, official.config), load_file(official.directory / "lora" / "official.safetensors")
    features = reference.image_features(reference.patch_features(official.pixels(number)))
    generation = reference.generate(features, official.text_ids(number), 7)
    logits = expected[f"case_{number}.first_step_logits"]
    assert largest(generation.logits[0], logits) <= LOGITS_MAX
    assert largest(official.case(number)["first_step_logits"], logits) > 1, "the adapter does something"
    normalized = normalized_actions(official.config, generation.token_ids, 7)
    statistics = official.statistics[official.about(number)["unnorm_key"]]["action"]
    assert np.array_equal(physical_actions(normalized, statistics)[0], expected[f"case_{number}.action"])


def test_a_bundle_with_an_adapter_has_its_logits_and_names_its_file(official: Official, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    cases = tmp_path / "cases"
    cases.mkdir()
    for number in (0, 2):
        about = official.about(number)
        (cases / f"{number}.png").write_bytes((official.directory / "cases" / f"case{number}.png").read_bytes())
        case = {"image": f"{number}.png", "instruction": about["instruction"], "stats_key": about["unnorm_key"]}
        (cases / f"{number}.json").write_text(json.dumps(case))
    arguments = [str(official.directory / "ckpt"), str(tmp_path / "bundle"), "--lora", str(official.directory / "lora")]
    assert main([*arguments, "--cases", str(cases), "--quiet"]) == 0
    golden, expected = (
        load_file(tmp_path / "bundle" / "golden.safetensors"),
        load_file(official.directory / "lora" / "official.safetensors"),
    )
    for case, number in ((0, 0), (1, 2)):
        assert largest(golden[f"case{case}.step0_logits"], expected[f"case_{number}.first_step_logits"]) <= LOGITS_MAX
        assert np.array_equal(golden[f"case{case}.actions"][0], expected[f"case_{number}.action"])
    assert '"adapter_model.safetensors" = ' in (tmp_path / "bundle" / "bundle.toml").read_text()


def test_statistics_beside_the_adapter_are_those_of_the_fine_tune(official: Official, tmp_path: Path, capsys) -> None:
    directory = tmp_path / "adapter"
    shutil.copytree(official.directory / "lora", directory)
    mine = {"mine": {"action": {"q01": [-1.0] * 3, "q99": [1.0] * 3, "mask": [True, True, False]}}}
    (directory / "dataset_statistics.json").write_text(json.dumps(mine))
    arguments = [str(official.directory / "ckpt"), str(tmp_path / "bundle"), "--lora", str(directory), "--skip-check"]
    assert main(arguments) == 0
    assert "1 statistics keys from dataset_statistics.json of adapter" in capsys.readouterr().err
    assert json.loads((tmp_path / "bundle" / "statistics.json").read_text()) == mine


def test_every_way_of_reading_gives_the_same_merged_weights(base: Path, tmp_path: Path) -> None:
    tensors = factors("head", 12, 8) | factors("stem.proj", 8, 3, 2, 2) | factors("layers.0.q_proj", 6, 8)
    merged, plain = MergedCheckpoint(base, adapter(tmp_path, tensors)), Checkpoint(base)
    for module in ("head", "stem.proj", "layers.0.q_proj"):
        a, b = (tensors[f"base_model.model.{module}.lora_{side}.weight"].astype(np.float64) for side in "AB")
        update = 0.5 * np.einsum("or,r...->o...", b.reshape(len(b), -1), a)
        assert largest(merged.tensor(f"{module}.weight"), plain.tensor(f"{module}.weight") + update) < 1e-6
    whole, ids = merged.tensor("head.weight"), np.array([3, 0, 11])
    assert largest(merged.rows("head.weight", ids), whole[ids]) < 1e-6
    assert largest(np.concatenate([rows for _, rows in merged.row_chunks("head.weight")]), whole) < 1e-6
    for name in ("layers.1.q_proj.weight", "norm.weight"):
        assert np.array_equal(merged.tensor(name), plain.tensor(name)), "untouched"


def test_embeddings_are_stored_the_other_way_round(base: Path, tmp_path: Path) -> None:
    at = "base_model.model.words.lora_embedding_"
    tensors = {f"{at}A": random(RANK, 12), f"{at}B": random(8, RANK)}
    merged = MergedCheckpoint(base, adapter(tmp_path, tensors))
    expected = Checkpoint(base).tensor("words.weight") + 0.5 * (tensors[f"{at}B"] @ tensors[f"{at}A"]).T
    assert largest(merged.tensor("words.weight"), expected) < 1e-6
    assert largest(merged.rows("words.weight", np.array([5, 2])), expected[[5, 2]]) < 1e-6


@pytest.mark.parametrize("middle", ["", ".base_layer", ".modules_to_save", ".modules_to_save.default"])
def test_whole_tensors_of_the_adapter_replace_the_checkpoints_before_the_update(base: Path, tmp_path: Path, middle: str) -> None:
    """`modules_to_save`, trained biases, and the copy of the head that peft saves with it."""
    tensors = factors("head", 12, 8) | {f"base_model.model.head{middle}.weight": 3 * random(12, 8)}
    tensors |= {f"base_model.model.layers.1.q_proj{middle}.bias": np.arange(6, dtype=np.float32)}
    merged = MergedCheckpoint(base, adapter(tmp_path, tensors))
    update = 0.5 * tensors["base_model.model.head.lora_B.weight"] @ tensors["base_model.model.head.lora_A.weight"]
    assert largest(merged.tensor("head.weight"), 3 * random(12, 8) + update) < 1e-5
    assert largest(merged.rows("head.weight", np.array([7])), (3 * random(12, 8) + update)[[7]]) < 1e-5
    assert largest(np.concatenate([rows for _, rows in merged.row_chunks("head.weight")]), 3 * random(12, 8) + update) < 1e-5
    assert merged.tensor("layers.1.q_proj.bias").tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, 0.5),
        ({"use_rslora": True}, 1.0),
        ({"alpha_pattern": {"q_proj": 8}}, 2.0),
        ({"alpha_pattern": {"layers.0.q_proj": 8}}, 0.5),
        ({"alpha_pattern": {"layers.1.q_proj": 8, "proj": 1}}, 2.0),
        ({"alpha_pattern": {r"^layers\.1\..*": 8}}, 2.0),
        ({"r": 64, "rank_pattern": {"q_proj": RANK}}, 0.5),
        ({"r": 64, "rank_pattern": {r".*\.1\.q_proj": RANK}, "use_rslora": True}, 1.0),
    ],
)
def test_scale_and_rank_follow_the_configuration(base: Path, tmp_path: Path, changes: dict, scale: float) -> None:
    tensors = factors("layers.1.q_proj", 6, 8)
    merged = MergedCheckpoint(base, adapter(tmp_path, tensors, **changes))
    at = "base_model.model.layers.1.q_proj.lora_"
    expected = Checkpoint(base).tensor("layers.1.q_proj.weight") + scale * tensors[f"{at}B.weight"] @ tensors[f"{at}A.weight"]
    assert largest(merged.tensor("layers.1.q_proj.weight"), expected) < 1e-6


def test_names_with_the_adapters_own_name_in_them_are_read_too(base: Path, tmp_path: Path) -> None:
    named = {name.replace(".weight", ".default.weight"): tensor for name, tensor in factors("layers.1.q_proj", 6, 8).items()}
    plain = MergedCheckpoint(base, adapter(tmp_path, factors("layers.1.q_proj", 6, 8))).tensor("layers.1.q_proj.weight")
    assert np.array_equal(MergedCheckpoint(base, adapter(tmp_path, named)).tensor("layers.1.q_proj.weight"), plain)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"lora_bias": True}, "lora_bias"),
        ({"layer_replication": [[0, 1], [0, 1]]}, "layer_replication"),
        ({"loftq_config": {"loftq_bits": 4}}, "loftq_config"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"use_qalora": True}, "use_qalora"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"something_new": 3}, "something_new"),
        ({"r": 0}, "r is 0"),
        ({"r": 8}, "shape"),
        ({"lora_alpha": "many"}, "lora_alpha"),
        ({"use_rslora": 1}, "use_rslora"),
        ({"alpha_pattern": {"q_proj": 8, r".*q_proj": 4}}, "alpha_pattern"),
        ({"rank_pattern": {"(": 8}}, "rank_pattern"),
    ],
)
def test_what_would_change_the_result_and_is_not_built_is_refused_by_name(base: Path, tmp_path: Path, changes: dict, word: str) -> None:
    with pytest.raises(CheckpointError, match=word):
        MergedCheckpoint(base, adapter(tmp_path, factors("layers.1.q_proj", 6, 8), **changes))


@pytest.mark.parametrize("value", [None, False, [], {}, "", 0])
def test_an_unknown_key_that_says_nothing_is_no_reason_to_refuse(base: Path, tmp_path: Path, value: object) -> None:
    MergedCheckpoint(base, adapter(tmp_path, factors("layers.1.q_proj", 6, 8), something_new=value))


@pytest.mark.parametrize(
    ("tensors", "error", "words"),
    [
        (factors("layers.7.q_proj", 6, 8), CheckpointError, "the checkpoint has no layers.7.q_proj.weight"),
        (factors("layers.1.q_proj", 6, 9), CheckpointError, "lora_A.weight has shape"),
        (factors("layers.1.q_proj", 7, 8), CheckpointError, "lora_B.weight has shape"),
        (dict(list(factors("layers.1.q_proj", 6, 8).items())[:1]), MissingError, "only lora_A of layers.1.q_proj"),
        ({"base_model.model.head.weight": random(12, 9)}, CheckpointError, "head.weight has shape"),
        ({"base_model.model.head.lora_magnitude_vector": random(12)}, CheckpointError, "lora_magnitude_vector"),
        ({"base_model.model.head.original_module.weight": random(12, 8)}, CheckpointError, "original_module"),
        ({"head.weight": random(12, 8)}, CheckpointError, "head.weight"),
        (
            {f"base_model.model.head.lora_{side}.{name}.weight": random(4, 4) for side in "AB" for name in ("one", "two")},
            CheckpointError,
            "2 adapters",
        ),
    ],
)
def test_an_adapter_of_another_model_is_refused(base: Path, tmp_path: Path, tensors: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        MergedCheckpoint(base, adapter(tmp_path, tensors))


def test_missing_and_unsafe_files_are_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere"):
        MergedCheckpoint(base, tmp_path / "nowhere")
    directory = adapter(tmp_path, factors("layers.1.q_proj", 6, 8))
    (directory / "adapter_config.json").unlink()
    with pytest.raises(MissingError, match=r"adapter_config\.json"):
        MergedCheckpoint(base, directory)
    (directory / "adapter_model.safetensors").unlink()
    with pytest.raises(MissingError, match=r"adapter_model\.safetensors"):
        MergedCheckpoint(base, directory)
    (directory / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(MissingError, match="safe_serialization"):
        MergedCheckpoint(base, directory)


def test_nothing_is_left_behind_by_a_wrong_adapter(official: Official, tmp_path: Path, capsys) -> None:
    directory = adapter(tmp_path, factors("layers.1.q_proj", 6, 8))
    assert main([str(official.directory / "ckpt"), str(tmp_path / "bundle"), "--lora", str(directory), "--quiet"]) == 2
    assert "adapter" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_an_adapter_of_spatialvla_is_merged_too(variant, tmp_path: Path) -> None:
    """Their recipe: attention, MLPs, the projector, the position head."""
    pytest.importorskip("onnxruntime")
    checkpoint = variant(shards=2)
    modules = (
        "language_model.model.layers.0.self_attn.q_proj", "language_model.model.layers.1.mlp.down_proj", "multi_modal_projector.linear",
        "vision_tower.vision_model.encoder.layers.0.self_attn.out_proj", "vision_tower.vision_model.encoder.layers.0.mlp.fc1",
        "position_embedding_3d.position_embedding_head.0", "position_embedding_3d.position_embedding_head.3",
    )  # fmt: skip
    tensors: dict[str, np.ndarray] = {}
    for module in modules:
        tensors |= factors(module, *Checkpoint(checkpoint).shape(f"{module}.weight"))
    tensors["base_model.model.spatial_embed_tokens.weight"] = random(*Checkpoint(checkpoint).shape("spatial_embed_tokens.weight"))
    directory = adapter(tmp_path, tensors)
    assert main([str(checkpoint), str(tmp_path / "plain"), "--quiet"]) == 0
    assert main([str(checkpoint), str(tmp_path / "merged"), "--lora", str(directory), "--quiet"]) == 0, "graphs agree with the reference"
    plain, merged = (load_file(tmp_path / name / "golden.safetensors") for name in ("plain", "merged"))
    for stage in ("siglip_last_hidden", "pos_embed_3d", "image_features", "step0_logits"):
        assert largest(plain[f"case0.{stage}"], merged[f"case0.{stage}"]) > 1e-3, stage
