"""`--grid`: a checkpoint for other grids. That it is what `egogrid grid adapt` makes of a bundle is tested in policies/tests/adapt.rs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from egogrid_export.cli import main
from egogrid_export.spatialvla.adapted import interpolated
from egogrid_export.spatialvla.processor import AXES, GRID_NAMES, ActionGrid

WRONG = 2


def grid_of(checkpoint: Path, share: float) -> dict[str, dict[str, list[float]]]:
    """Uniform edges of the checkpoint's shape, moved by powers: 1 leaves them where the official default has them."""
    bins = json.loads((checkpoint / "processor_config.json").read_text())["action_config"]["num_bins"]
    grid: dict[str, dict[str, list[float]]] = {}
    for part, axes in AXES.items():
        grid[part] = {}
        for axis, (low, high) in axes.items():
            places = np.linspace(0, 1, bins[part][f"{axis}_bins"] + 1) ** share
            grid[part][GRID_NAMES.get(axis, axis)] = (low + (high - low) * places).tolist()
    return grid


def export(checkpoint: Path, bundle: Path, *more: str) -> int:
    return main([str(checkpoint), str(bundle), "--quiet", "--depth", "sensor", *more])


@pytest.fixture
def shipped() -> Path:
    return Path(__file__).parents[2] / "shipped" / "metaworld" / "metaworld-mt5"


def test_a_linear_field_stays_where_it_is_between_the_outermost_cells():
    edges = {part: {axis: np.linspace(*ends, 9).tolist() for axis, ends in axes.items()} for part, axes in AXES.items()}
    moved = {part: {axis: np.linspace(*ends, 9).tolist() for axis, ends in axes.items()} for part, axes in AXES.items()}
    moved["rotation"]["roll"][3:6] = [-0.4, 0.1, 0.3]

    def field(grid: dict[str, list[float]]) -> np.ndarray:
        middles = [0.5 * (np.array(axis[1:]) + axis[:-1]) for axis in grid.values()]
        roll, pitch, yaw = np.meshgrid(*middles, indexing="ij")
        return np.stack([2 * roll - pitch + 3 * yaw, roll], axis=-1).reshape(-1, 2)

    old, new = ActionGrid(edges, {}), ActionGrid(moved, {})
    found = interpolated("rotation", old, new, field(edges["rotation"]).astype(np.float32))
    assert np.abs(found - field(moved["rotation"])).max() < 1e-6
    assert np.abs(found - field(edges["rotation"])).max() > 0.05


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_bundle_has_the_new_grid_and_says_of_what_it_was_made(shipped: Path, tmp_path: Path, precision: str):
    grid_file = tmp_path / "grid.json"
    grid_file.write_text(json.dumps(grid_of(shipped, 1.1)))
    assert export(shipped, tmp_path / "bundle", "--grid", str(grid_file), "--precision", precision, "--observations", "0") == 0
    manifest = tomllib.loads((tmp_path / "bundle" / "bundle.toml").read_text())
    assert manifest["adapted"]["head"] == "interpolated"
    assert set(manifest["origin"]["weights_sha256"]) == {"model.safetensors", "grid.json"}
    assert json.loads((tmp_path / "bundle" / "grid.json").read_text()) == json.loads(grid_file.read_text()), "without the old points"


def test_a_kept_head_gives_the_first_token_of_the_checkpoint(shipped: Path, tmp_path: Path):
    grid_file = tmp_path / "grid.json"
    grid_file.write_text(json.dumps(grid_of(shipped, 1.1)))
    assert export(shipped, tmp_path / "plain") == 0
    assert export(shipped, tmp_path / "kept", "--grid", str(grid_file), "--grid-head", "keep") == 0
    plain, kept = (load_file(tmp_path / name / "golden.safetensors") for name in ("plain", "kept"))
    assert np.array_equal(plain["case0.step0_logits"], kept["case0.step0_logits"])
    assert not np.array_equal(plain["case0.step1_logits"], kept["case0.step1_logits"]), "the token that it read is another point"


def refused(capsys: pytest.CaptureFixture[str], words: str, *arguments: str) -> None:
    assert main([*arguments, "--quiet"]) == WRONG
    assert words in capsys.readouterr().err


def test_what_cannot_be_adapted_is_refused(shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    grid_file, bundle = tmp_path / "grid.json", tmp_path / "bundle"
    arguments = (str(shipped), str(bundle), "--depth", "sensor", "--grid", str(grid_file))
    refused(capsys, "cannot be read", *arguments)
    grid = grid_of(shipped, 1.0)
    grid["translation"]["r"].append(9.0)
    grid_file.write_text(json.dumps(grid))
    refused(capsys, "translation r is", *arguments)
    grid = grid_of(shipped, 1.0)
    grid["translation"]["r"] = [10 + edge for edge in grid["translation"]["r"]]
    grid_file.write_text(json.dumps(grid))
    refused(capsys, "the old axis", *arguments)
    grid_file.write_text(json.dumps(grid_of(shipped, 1.0) | {"typo": 1}))
    refused(capsys, "typo", *arguments)
    openvla = Path(__file__).parents[3] / "tests" / "fixtures" / "openvla_golden" / "ckpt"
    grid_file.write_text(json.dumps(grid_of(shipped, 1.0)))
    refused(capsys, "--grid for a checkpoint of family openvla", str(openvla), str(bundle), "--grid", str(grid_file))
    with pytest.raises(SystemExit):
        main([str(shipped), str(bundle), "--grid-head", "keep"])
    assert not bundle.exists()


def test_a_tied_head_cannot_be_kept(shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tied = tmp_path / "tied"
    tied.mkdir()
    for path in shipped.iterdir():
        (tied / path.name).write_bytes(path.read_bytes())
    config = json.loads((tied / "config.json").read_text())
    config["text_config"]["tie_word_embeddings"] = True
    (tied / "config.json").write_text(json.dumps(config))
    tensors = load_file(tied / "model.safetensors")
    del tensors["language_model.lm_head.weight"]
    save_file(tensors, tied / "model.safetensors")
    grid_file = tmp_path / "grid.json"
    grid_file.write_text(json.dumps(grid_of(shipped, 1.1)))
    arguments = (str(tied), str(tmp_path / "bundle"), "--depth", "sensor", "--grid", str(grid_file))
    refused(capsys, "one table", *arguments, "--grid-head", "keep")
    assert main([*arguments, "--quiet"]) == 0
