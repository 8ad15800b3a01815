"""Of family `openvla`: what is wrong is refused with the right exit code and words, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from openvla_variants import DINO, DROP, SIGLIP
from PIL import Image
from safetensors.numpy import load_file, save_file

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.cli import main
from egogrid_export.errors import ExportError
from egogrid_export.openvla import export as openvla_export
from egogrid_export.openvla.config import read_config
from egogrid_export.openvla.processor import read_image, read_statistics
from egogrid_export.openvla.prompt import choose_prompt
from egogrid_export.openvla.tensor_names import check_tensors

WRONG, CHECK, MISSING = 2, 3, 4


def export(checkpoint: Path, bundle: Path, *more: str) -> int:
    return main([str(checkpoint), str(bundle), "--quiet", "--skip-check", *more])


def edit(path: Path, *keys: object, value: object) -> None:
    """Sets one value deep in a JSON file; DROP removes it."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    if value is DROP:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    path.write_text(json.dumps(content))


CONFIG, PICTURE, GENERATION = "config.json", "preprocessor_config.json", "generation_config.json"
ACTION = ("norm_stats", "random", "action")
# name: (file, keys, value, exit code, words of the message)
EDITS = {
    "wrong text width": (CONFIG, ("text_config", "hidden_size"), 64, WRONG, "has shape"),
    "wrong text layers": (CONFIG, ("text_config", "num_hidden_layers"), 3, MISSING, "layers.2"),
    "too few text layers": (CONFIG, ("text_config", "num_hidden_layers"), 1, WRONG, "layers.1"),
    "heads that do not divide": (CONFIG, ("text_config", "num_attention_heads"), 5, WRONG, "divisor of hidden_size"),
    "kv heads that do not divide": (CONFIG, ("text_config", "num_key_value_heads"), 3, WRONG, "num_key_value_heads"),
    "odd heads": (CONFIG, ("text_config", "num_attention_heads"), 32, WRONG, "even width"),
    "wrong kv heads": (CONFIG, ("text_config", "num_key_value_heads"), 4, WRONG, "k_proj.weight has shape"),
    "another language model": (CONFIG, ("text_config", "model_type"), "mistral", WRONG, "model_type"),
    "another backbone": (CONFIG, ("llm_backbone_id",), "phi-2-3b", WRONG, "llm_backbone_id"),
    "another activation": (CONFIG, ("text_config", "hidden_act"), "gelu", WRONG, "hidden_act"),
    "attention biases": (CONFIG, ("text_config", "attention_bias"), True, WRONG, "attention_bias"),
    "stretched positions": (CONFIG, ("text_config", "rope_scaling"), {"type": "linear", "factor": 2}, WRONG, "rope_scaling"),
    "head_dim of its own": (CONFIG, ("text_config", "head_dim"), 16, WRONG, "head_dim"),
    "a vocabulary without 29871": (CONFIG, ("text_config", "vocab_size"), 29871, WRONG, "29871"),
    "another vocabulary": (CONFIG, ("text_config", "vocab_size"), 30081, WRONG, "embed_tokens.weight has shape"),
    "more bins than ids": (CONFIG, ("n_action_bins",), 31000, WRONG, "action ids"),
    "one bin": (CONFIG, ("n_action_bins",), 1, WRONG, "n_action_bins"),
    "boolean for a number": (CONFIG, ("n_action_bins",), True, WRONG, "n_action_bins is True"),
    "padding beyond the vocabulary": (CONFIG, ("pad_to_multiple_of",), 40000, WRONG, "pad_to_multiple_of"),
    "an unknown tower": (CONFIG, ("timm_model_args",), DROP, WRONG, "timm_model_args"),
    "arguments of one tower": (CONFIG, ("timm_model_args",), [DINO], WRONG, "timm_model_args"),
    "a typo in the arguments": (CONFIG, ("timm_model_args", 0, "embed_dims"), 3, WRONG, "embed_dims"),
    "a shallow tower": (CONFIG, ("timm_model_args", 0, "depth"), 1, WRONG, "at least 2"),
    "too few blocks": (CONFIG, ("timm_model_args", 0, "depth"), 2, WRONG, "blocks.2"),
    "too many blocks": (CONFIG, ("timm_model_args", 1, "depth"), 4, MISSING, "blocks.2"),
    "tower heads that do not divide": (CONFIG, ("timm_model_args", 0, "num_heads"), 5, WRONG, "divisor of embed_dim"),
    "wrong MLP": (CONFIG, ("timm_model_args", 1, "mlp_ratio"), 4.0, WRONG, "fc1.weight has shape"),
    "missing LayerScale": (CONFIG, ("timm_model_args", 1, "init_values"), 1e-5, MISSING, "ls1.scale_factor"),
    "unexpected LayerScale": (CONFIG, ("timm_model_args", 0, "init_values"), 0, WRONG, "ls1.scale_factor"),
    "missing registers": (CONFIG, ("timm_model_args", 1, "reg_tokens"), 2, WRONG, "pos_embed"),
    "fewer registers": (CONFIG, ("timm_model_args", 0, "reg_tokens"), 3, WRONG, "reg_token has shape"),
    "normed queries": (CONFIG, ("timm_model_args", 0, "qk_norm"), True, WRONG, "qk_norm"),
    "norm before the blocks": (CONFIG, ("timm_model_args", 0, "pre_norm"), True, WRONG, "pre_norm"),
    "another tower activation": (CONFIG, ("timm_override_act_layers",), [None, "quick_gelu"], WRONG, "timm_override_act_layers"),
    "towers of other pictures": (CONFIG, ("image_sizes",), [56, 70], WRONG, "patches of 70 px"),
    "towers of other patches": (CONFIG, ("timm_model_args", 1, "patch_size"), 28, WRONG, "4 patches"),
    "one size for two towers": (CONFIG, ("image_sizes",), [56], WRONG, "image_sizes"),
    "one tower where there are two": (CONFIG, ("use_fused_vision_backbone",), False, WRONG, "timm_model_ids"),
    "unknown extension": (CONFIG, ("egogrid",), {"ego3d_frame": "base"}, WRONG, "ego3d_frame"),
    "too fast": (CONFIG, ("egogrid",), {"control_hz": 1001}, WRONG, "at most 1000"),
    "a single end token is needed": (GENERATION, ("eos_token_id",), [2, 3], WRONG, "eos_token_id"),
    "another bos": (GENERATION, ("bos_token_id",), 7, WRONG, "the id 7 (bos) first"),
    "no processor values": (PICTURE, ("tvf_normalize_params",), DROP, MISSING, "tvf_normalize_params"),
    "no resizing": (PICTURE, ("tvf_resize_params",), None, MISSING, "tvf_resize_params"),
    "one mean for two towers": (PICTURE, ("tvf_normalize_params",), [{"mean": [0.5] * 3, "std": [0.5] * 3}], WRONG, "tvf_normalize_params"),
    "no red mean": (PICTURE, ("tvf_normalize_params", 0, "mean"), [0.5, 0.5], WRONG, "mean"),
    "zero std": (PICTURE, ("tvf_normalize_params", 1, "std"), [0.5, 0.0, 0.5], WRONG, "std"),
    "another filter": (PICTURE, ("tvf_resize_params", 0, "interpolation"), 2, WRONG, "interpolation"),
    "another size": (PICTURE, ("tvf_resize_params", 1, "size"), [56, 57], WRONG, "size"),
    "sizes that differ": (PICTURE, ("tvf_resize_params", 1, "size"), 56, WRONG, "size"),
    "a largest side": (PICTURE, ("tvf_resize_params", 0, "max_size"), 99, WRONG, "max_size"),
    "another crop": (PICTURE, ("tvf_crop_params", 0, "output_size"), [55, 55], WRONG, "output_size"),
    "another input": (PICTURE, ("input_sizes",), [[3, 224, 224]] * 2, WRONG, "input_sizes"),
    "two strategies": (PICTURE, ("image_resize_strategy",), "letterbox", WRONG, "image_resize_strategy"),
    "a stretched letterbox": (PICTURE, ("tvf_do_letterbox",), True, WRONG, "tvf_do_letterbox"),
    "no statistics": (CONFIG, ("norm_stats",), DROP, MISSING, "dataset_statistics.json"),
    "empty statistics": (CONFIG, ("norm_stats",), {}, WRONG, "at least one dataset"),
    "q99 below q01": (CONFIG, (*ACTION, "q99"), [-1.0] * 7, WRONG, "q99[0] = -1.0 is below q01[0]"),
    "fewer q99 than q01": (CONFIG, (*ACTION, "q99"), [1.0] * 6, WRONG, "q99"),
    "no q01": (CONFIG, (*ACTION, "q01"), DROP, MISSING, "q01"),
    "no numbers": (CONFIG, (*ACTION, "q01"), [], WRONG, "q01"),
    "NaN in q01": (CONFIG, (*ACTION, "q01"), [float("nan")] * 7, WRONG, "NaN"),
    "wrong mask": (CONFIG, (*ACTION, "mask"), [1] * 7, WRONG, "mask"),
    "short mask": (CONFIG, (*ACTION, "mask"), [True] * 6, WRONG, "mask"),
    "null mask": (CONFIG, (*ACTION, "mask"), None, WRONG, "mask"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_wrong_field_is_named_and_nothing_is_left_behind(openvla_variant, tmp_path: Path, capsys, name: str) -> None:
    checkpoint = openvla_variant()
    file, keys, value, code, words = EDITS[name]
    edit(checkpoint / file, *keys, value=value)
    assert export(checkpoint, tmp_path / "bundle") == code
    message = capsys.readouterr().err
    assert words in message and "expected" in message
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("fill", [None, [127, 127], [127, 127, 256], [127, 127, 0.5], "gray"])
def test_a_wrong_letterbox_colour_is_refused(openvla_variant, tmp_path: Path, capsys, fill: object) -> None:
    checkpoint = openvla_variant(strategy="letterbox", preprocessor={"tvf_letterbox_fill": fill})
    assert export(checkpoint, tmp_path / "bundle") in (WRONG, MISSING)
    assert "tvf_letterbox_fill" in capsys.readouterr().err


def test_a_name_and_a_checkpoint_that_contradict_each_other_are_not_decided_for_the_user(openvla_variant, tmp_path: Path, capsys) -> None:
    checkpoint = openvla_variant("run-v01")
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert "--prompt openvla or --prompt v01" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run-v01"]


@pytest.mark.parametrize("file", [CONFIG, PICTURE, "tokenizer.json"])
def test_a_missing_file_is_named(openvla_variant, tmp_path: Path, capsys, file: str) -> None:
    checkpoint = openvla_variant()
    (checkpoint / file).unlink()
    assert export(checkpoint, tmp_path / "bundle") == MISSING
    assert file in capsys.readouterr().err


@pytest.mark.parametrize("file", [CONFIG, PICTURE, GENERATION, "tokenizer.json", "dataset_statistics.json"])
def test_a_damaged_file_is_named(openvla_variant, tmp_path: Path, capsys, file: str) -> None:
    checkpoint = openvla_variant()
    (checkpoint / file).write_text('{"a": ')
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert file in capsys.readouterr().err


@pytest.mark.parametrize("shards", [1, 3])
def test_missing_and_cut_weight_files_are_named(openvla_variant, tmp_path: Path, capsys, shards: int) -> None:
    checkpoint = openvla_variant(shards=shards)
    path = sorted(checkpoint.glob("*.safetensors"))[-1]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert f"{path.name} is cut short" in capsys.readouterr().err
    path.unlink()
    assert export(checkpoint, tmp_path / "bundle") == MISSING
    assert path.name in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


TENSORS: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], int, str]] = {
    "missing": (lambda tensors: tensors.pop("projector.fc2.bias"), MISSING, "projector.fc2.bias"),
    "unmerged adapter": (
        lambda tensors: tensors.update({"projector.fc1.lora_A.weight": np.zeros((2, 2), dtype=np.float32)}),
        WRONG,
        "give them with --lora",
    ),
    "names of timm": (
        lambda tensors: tensors.update(
            {"vision_backbone.featurizer.blocks.0.ls1.gamma": tensors.pop("vision_backbone.featurizer.blocks.0.ls1.scale_factor")}
        ),
        MISSING,
        "ls1.scale_factor",
    ),
    "quantized": (
        lambda tensors: tensors.update({"projector.fc1.weight": np.zeros((176, 44), dtype=np.int8)}),
        WRONG,
        "projector.fc1.weight is I8",
    ),
    "not finite": (lambda tensors: tensors["language_model.lm_head.weight"].__setitem__((5, 3), np.nan), WRONG, "lm_head.weight"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_wrong_tensors_are_named(openvla_variant, tmp_path: Path, capsys, name: str) -> None:
    checkpoint = openvla_variant(dtype="f32")
    change, code, words = TENSORS[name]
    tensors = load_file(checkpoint / "model.safetensors")
    change(tensors)
    save_file(tensors, checkpoint / "model.safetensors")
    assert export(checkpoint, tmp_path / "bundle") == code
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    "file", ["action_head--150000_checkpoint.pt", "proprio_projector--5_checkpoint.pt", "vision_backbone--5_checkpoint.pt"]
)
def test_a_checkpoint_of_another_model_with_the_same_names_is_refused(openvla_variant, tmp_path: Path, capsys, file: str) -> None:
    """OpenVLA-OFT computes something else with the same tensors."""
    checkpoint = openvla_variant()
    (checkpoint / file).write_bytes(b"")
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert "OpenVLA-OFT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"post_processor": None}, "(bos) first"),
        ({"add_bos_token": False}, "add_bos_token"),
        ({"add_eos_token": True}, "add_eos_token"),
    ],
)
def test_a_tokenizer_with_another_template_is_refused(openvla_variant, tmp_path: Path, capsys, change: dict, words: str) -> None:
    checkpoint = openvla_variant()
    if "post_processor" in change:
        edit(checkpoint / "tokenizer.json", "post_processor", value=None)
    else:
        (checkpoint / "tokenizer_config.json").write_text(json.dumps(change))
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert words in capsys.readouterr().err


def test_a_larger_tokenizer_than_the_table_is_refused(openvla_variant, tmp_path: Path, capsys) -> None:
    checkpoint = openvla_variant(vocabulary=29873, padded=0, bins=8)
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    edit(
        checkpoint / "tokenizer.json",
        "model",
        "vocab",
        value={**vocabulary, **{f"w{n}": 100 + n for n in range(29771)}, **{f"x{n}": 29873 + n for n in range(99)}},
    )
    assert export(checkpoint, tmp_path / "bundle") == WRONG
    assert "tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"stats_key": "other"}, WRONG, "stats_key"),
        ({"typo": 1}, WRONG, "typo"),
        ({"image": "no.png"}, MISSING, "no.png"),
        ({"instruction": " "}, WRONG, "empty instruction"),
        ({"instruction": "pick " * 60}, WRONG, "at most"),
        ({"instruction": "pick </s>"}, WRONG, "</s>"),
        ({"instruction": "pick <S>"}, WRONG, "<s>"),
        ({"instruction": 3}, WRONG, "instruction"),
    ],
)
def test_wrong_cases_are_refused(openvla_variant, tmp_path: Path, capsys, change: dict, code: int, words: str) -> None:
    assert export(openvla_variant(), tmp_path / "bundle", "--cases", str(case_directory(tmp_path, **change))) == code
    message = capsys.readouterr().err
    assert words in message and "expected" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases", "checkpoint"]


def test_one_case_is_not_enough(openvla_variant, tmp_path: Path, capsys) -> None:
    directory, checkpoint = case_directory(tmp_path), openvla_variant()
    assert export(checkpoint, tmp_path / "bundle", "--cases", str(directory)) == 0
    (directory / "b.json").unlink()
    assert export(checkpoint, tmp_path / "other", "--cases", str(directory)) == MISSING
    assert "at least 2" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--prompt", "v01"], ["--preprocessing", "evaluation"]])
def test_options_of_this_family_are_refused_for_others(variant, tmp_path: Path, capsys, arguments: list[str]) -> None:
    assert export(variant(), tmp_path / "bundle", *arguments) == WRONG
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize("source", ["sensor", "estimated", "both"])
def test_depth_is_refused_for_a_policy_that_has_none(openvla_variant, tmp_path: Path, capsys, source: str) -> None:
    assert export(openvla_variant(), tmp_path / "bundle", "--depth", source) == WRONG
    assert "--depth for a checkpoint of family openvla" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "words"), [(["--prompt", "v02"], "choose from"), (["--preprocessing", "none"], "choose from")])
def test_an_unknown_choice_is_answered_with_the_known_ones(
    openvla_variant, tmp_path: Path, capsys, arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        export(openvla_variant(), tmp_path / "bundle", *arguments)
    assert stop.value.code == WRONG
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("graph", "stage"), [("vision", "patch_features"), ("prefill", "step0_logits"), ("decode", "step1_logits")])
def test_a_graph_that_differs_from_the_reference_stops_the_export(
    openvla_variant, tmp_path: Path, capsys, monkeypatch, graph: str, stage: str
) -> None:
    """The wrong one is named, whichever it is."""
    pytest.importorskip("onnxruntime")
    name = f"build_{graph}"
    built = getattr(openvla_export, name)

    def wrong(*arguments: object) -> object:
        graph = built(*arguments)
        for node in graph.nodes:
            for attribute in node.attribute:
                if attribute.name == "epsilon":
                    attribute.f = 0.5
        return graph

    monkeypatch.setattr(openvla_export, name, wrong)
    assert main([str(openvla_variant(towers=[SIGLIP])), str(tmp_path / "bundle"), "--quiet"]) == CHECK
    assert f"graph {graph}: {stage} differs" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_an_interrupted_export_leaves_nothing_behind(openvla_variant, tmp_path: Path, capsys, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(openvla_export, "golden_tensors", interrupted)
    assert export(openvla_variant(), tmp_path / "bundle") == 130
    assert "nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def case_directory(tmp_path: Path, **changes: object) -> Path:
    """Two whole cases, but for `changes`."""
    directory = tmp_path / "cases"
    directory.mkdir()
    Image.fromarray(np.full((40, 50, 3), 90, dtype=np.uint8)).save(directory / "a.png")
    case = {"image": "a.png", "instruction": "pick", "stats_key": "random"}
    for name in ("a", "b"):
        (directory / f"{name}.json").write_text(json.dumps(case | changes))
    return directory


ODD_VALUES = [None, True, -1, 0, 1.5, 1e300, "x", "", [], [[1]], {}, {"a": 1}, [None, None], ["x", "y"], [0.5] * 3]


def every_place(value: object, at: tuple = ()) -> list[tuple]:
    """All keys and indices in a JSON value, the deep ones too."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in ((*at, key), *every_place(item, (*at, key)))]


@pytest.mark.parametrize("file", [CONFIG, PICTURE, GENERATION])
def test_no_value_of_any_field_makes_anything_but_an_error_that_a_user_can_act_on(openvla_variant, file: str) -> None:
    checkpoint = openvla_variant(strategy="letterbox")
    original = (checkpoint / file).read_text()
    refused = 0
    for place in every_place(json.loads(original)):
        for value in (*ODD_VALUES, DROP):
            (checkpoint / file).write_text(original)
            edit(checkpoint / file, *place, value=value)
            try:
                read_everything(Checkpoint(checkpoint))
            except ExportError as error:
                assert error.found and error.expected and error.todo, f"{place} = {value}"
                refused += 1
    assert refused > 20


def read_everything(checkpoint: Checkpoint) -> None:
    config = read_config(checkpoint)
    check_tensors(checkpoint, config)
    read_image(checkpoint, config, "processor")
    read_statistics(checkpoint, None)
    choose_prompt(config, "checkpoint", None)
