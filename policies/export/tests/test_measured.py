"""What a precision does to tokens and actions: measured, written down, and the same to whoever reads it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from egogrid_export.cli import main
from egogrid_export.measured import ACTION_BOUND, WrittenGraphs, compared
from egogrid_export.observations import HEIGHT_PX, INSTRUCTIONS, WIDTH_PX, observations

SUMS = [2061781, 1936283, 1233374]


def look(ids: list[int], first: float = 1.0, action: float | None = 0.0) -> dict[str, np.ndarray]:
    stages = {"token_ids": np.array(ids), "top_logits": np.full((len(ids), 2), first, np.float32)}
    return stages if action is None else stages | {"normalized": np.full((1, 7), action)}


def test_observations_are_the_same_bytes_every_time_and_different_from_each_other() -> None:
    first, again = observations(40), observations(40)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.picture, other.picture) and np.array_equal(one.depth_mm, other.depth_mm)
        assert one.picture.shape == (HEIGHT_PX, WIDTH_PX, 3) and one.picture.dtype == np.uint8
        assert one.depth_mm.min() > 300 and one.depth_mm.max() < 3000, "every pixel is valid"
    assert len({one.picture.tobytes() for one in first}) == 40
    assert {one.instruction for one in first} == set(range(len(INSTRUCTIONS)))
    sums = [int(one.picture.astype(np.int64).sum()) for one in first[:3]]
    assert sums == SUMS, "another machine, or another version of numpy, made other pictures"


def test_ids_and_differences_are_counted_as_long_as_they_mean_the_same() -> None:
    expected = [look([1, 2, 3]), look([1, 2, 3]), look([1, 2]), look([4, 5, 6])]
    found = [look([1, 2, 3], 1.25), look([1, 9, 3], 1.5, 0.05), look([1, 2, 3]), look([7, 5, 6], 1.125, -0.5)]
    # After a wrong id the logits are those of another sentence: 9 is the wrong one here, so the third step does not count.
    found[1]["top_logits"][2] = 99.0
    check = compared(expected, found, [0.01], ACTION_BOUND)
    assert (check.observations, check.observations_differ, check.ids, check.ids_differ) == (4, 3, 11, 3)
    assert (check.logit_difference_max, check.action_difference_max, check.chunks_differ) == (0.5, 0.5, 0)
    assert not check.within_bound and compared(expected, found, [0.01], 0.5).within_bound


def test_a_chunk_that_only_one_side_has_is_beyond_every_bound() -> None:
    for expected, found in ((look([1, 2]), look([1, 2], action=None)), (look([1, 2], action=None), look([1, 2]))):
        check = compared([expected], [found], [], 2.0)
        assert (check.chunks_differ, check.within_bound) == (1, False)
    assert compared([look([1], action=None)], [look([2], action=None)], [], 0.0).within_bound


@pytest.fixture(scope="module")
def exported(golden: Path, tmp_path_factory: pytest.TempPathFactory):
    """The golden checkpoint at a precision, measured on six observations: once per test run."""
    done: dict[str, Path] = {}

    def export(precision: str) -> Path:
        if precision not in done:
            done[precision] = tmp_path_factory.mktemp("measured") / precision
            arguments = [str(golden / "ckpt"), str(done[precision]), "--precision", precision, "--observations", "6", "--depth", "sensor", "--quiet"]
            assert main(arguments) == 0
        return done[precision]

    return export


def table(bundle: Path) -> dict[str, Any]:
    return tomllib.loads((bundle / "bundle.toml").read_text())["precision_check"]


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
def test_the_table_says_what_the_file_and_the_graphs_say(exported, precision: str) -> None:
    """From the stored observations alone, without any of the exporter's reference."""
    pytest.importorskip("onnxruntime")
    bundle, stored = exported(precision), load_file(exported(precision) / "observations.safetensors")
    found = table(bundle)
    assert found["observations"] == len(stored["image_u8"]) == len(stored["depth_mm"]) == 6
    assert found["ids"] == len(stored["token_ids"]) == stored["token_counts"].sum()
    assert stored["top_logits"].shape == stored["top_ids"].shape == (found["ids"], 2)
    assert (stored["top_logits"][:, 0] >= stored["top_logits"][:, 1]).all() and (stored["top_ids"][:, 0] == stored["token_ids"]).all()
    assert len(stored.get("normalized", [])) == stored["whole"].sum()
    assert bytes(stored["instructions"]).decode().split("\n") == list(INSTRUCTIONS)
    pictures = [one.picture for one in observations(6)]
    assert np.array_equal(stored["image_u8"], np.stack(pictures))
    assert 0 < max(found["stage_differences"]) < {"bf16": 1e-4, "int8": 0.1, "int4": 0.5}[precision]
    assert found["within_bound"] == (found["chunks_differ"] == 0 and found["action_difference_max"] <= found["action_bound"])


def test_sixteen_bits_of_a_bf16_checkpoint_change_no_id(exported) -> None:
    found = table(exported("bf16"))
    assert (found["ids_differ"], found["observations_differ"], found["chunks_differ"], found["action_difference_max"]) == (0, 0, 0, 0)
    assert found["within_bound"] and found["logit_difference_max"] < 1e-4


def test_fewer_bits_differ_more(exported) -> None:
    differences = [max(table(exported(precision))["stage_differences"]) for precision in ("bf16", "int8", "int4")]
    assert differences == sorted(differences) and differences[2] > 5 * differences[0]


def test_fp32_has_no_table_and_no_observations(exported) -> None:
    bundle = exported("fp32")
    assert "precision_check" not in (bundle / "bundle.toml").read_text() and not (bundle / "observations.safetensors").exists()


@pytest.mark.parametrize("leave_out", [["--observations", "0"], ["--skip-check"]])
def test_what_was_not_measured_says_so(variant, tmp_path: Path, capsys, leave_out: list[str]) -> None:
    assert main([str(variant()), str(tmp_path / "bundle"), "--precision", "int8", *leave_out]) == 0
    found = table(tmp_path / "bundle")
    assert found["observations"] == 0 and not found["within_bound"] and found["action_bound"] == ACTION_BOUND
    assert not (tmp_path / "bundle" / "observations.safetensors").exists()
    assert "nobody measured" in capsys.readouterr().err
    assert "not measured" in (tmp_path / "bundle" / "README.md").read_text()


@pytest.mark.parametrize("arguments", [["--observations", "-1"], ["--observations", "5000"], ["--action-bound", "nan"], ["--action-bound", "3"]])
def test_numbers_that_mean_nothing_are_refused(variant, tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(variant()), str(tmp_path / "bundle"), "--precision", "int8", *arguments])
    assert stop.value.code == 2


def test_a_base_frame_checkpoint_brings_its_camera_pose(variant, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    extension = {"ego3d_frame": "base", "depth_source": "sensor"}
    arguments = [str(variant(top={"egogrid": extension})), str(tmp_path / "bundle"), "--precision", "int8", "--observations", "2"]
    assert main([*arguments, "--quiet"]) == 0
    assert load_file(tmp_path / "bundle" / "observations.safetensors")["base_from_camera"].shape == (4, 4)


def test_the_graphs_of_a_bundle_decode_on_with_what_they_chose(exported) -> None:
    pytest.importorskip("onnxruntime")
    bundle = exported("bf16")
    golden = load_file(bundle / "golden.safetensors")
    graphs = WrittenGraphs(bundle, 3)
    features = graphs.run("vision", {name: golden[f"case0.{name}"] for name in ("pixel_values", "freq_encoding")})["image_features"]
    expected = golden["case0.token_ids"].tolist()
    ids, steps = graphs.generate(features, golden["case0.text_ids"], lambda so_far: len(so_far) < len(expected))
    assert ids == expected and len(steps) == len(ids)


def test_a_kept_reference_gives_the_same_bundle_and_is_not_computed_again(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def export(name: str, observations: int, *options: str) -> tuple[dict[str, bytes], str]:
        arguments = [str(golden / "ckpt"), str(tmp_path / name), "--precision", "fp16", "--observations", str(observations)]
        assert main([*arguments, "--depth", "both", *options]) == 0
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}, capsys.readouterr().err

    references = ("--references", str(tmp_path / "references"))
    plain, _ = export("plain", 2)
    first, said = export("first", 2, *references)
    assert "taken from" not in said
    second, said = export("second", 2, *references)
    assert "taken from" in said
    assert plain == first == second
    _, said = export("third", 1, *references)
    assert "taken from" not in said, "another number of observations is another reference"
    files = list((tmp_path / "references").iterdir())
    assert len(files) == 2
    for kept in files:
        kept.write_bytes(kept.read_bytes()[:-1])
    arguments = [str(golden / "ckpt"), str(tmp_path / "cut"), "--precision", "fp16", "--observations", "2", "--depth", "both", *references]
    assert main(arguments) == 2
    assert "is damaged" in capsys.readouterr().err and not (tmp_path / "cut").exists()
