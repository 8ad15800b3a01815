"""The configuration files of the released models are accepted as they are: what is odd in them is known and handled."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from egogrid_export.checkpoint import read_json
from egogrid_export.cli import main
from egogrid_export.errors import CheckpointError

FULL_SIZE = Path(__file__).parents[1] / "full_size"
RELEASED = FULL_SIZE / "released" / "spatialvla"
sys.path.insert(0, str(FULL_SIZE))
RH20T = "rh20t_rlds/1.0.0"


def test_the_released_statistics_with_an_infinite_std_are_read() -> None:
    assert "Infinity" in (RELEASED / "processor_config.json").read_text(), "the file is no longer the released one"
    action = read_json(RELEASED / "processor_config.json")["statistics"][RH20T]["action"]
    assert action["std"] is None
    assert len(action["q01"]) == len(action["q99"]) == len(action["mean"]) == 7


def test_infinity_where_something_is_computed_with_it_is_refused_by_its_place(tmp_path: Path) -> None:
    text = (RELEASED / "processor_config.json").read_text()
    value = json.loads(text)
    value["statistics"][RH20T]["action"]["q99"][2] = float("inf")
    (tmp_path / "processor_config.json").write_text(json.dumps(value))
    with pytest.raises(CheckpointError, match=f"statistics {RH20T} action q99 holds Infinity"):
        read_json(tmp_path / "processor_config.json")


def test_a_bundle_of_such_statistics_is_plain_json(variant, tmp_path: Path) -> None:
    action = {"q01": [-0.02] * 6 + [0.0], "q99": [0.02] * 6 + [1.0], "mask": [True] * 6 + [False], "std": [float("inf")] * 7, "mean": [0.1] * 7}
    directory = variant(processor={"statistics": {"random/1.0.0": {"action": action}}})
    assert main([str(directory), str(tmp_path / "bundle"), "--quiet", "--depth", "sensor"]) == 0
    written = json.loads((tmp_path / "bundle" / "statistics.json").read_text(), parse_constant=pytest.fail)
    assert written["random/1.0.0"]["action"]["std"] is None and written["random/1.0.0"]["action"]["mean"] == [0.1] * 7


@pytest.mark.parametrize("family", ["spatialvla", "openvla"])
def test_the_random_checkpoints_have_the_released_size(family: str) -> None:
    from random_checkpoint import RELEASED_BYTES, Weights

    config = json.loads((FULL_SIZE / "released" / family / "config.json").read_text())
    shapes = Weights(family, config, 1).shapes
    count = 0
    for shape in shapes.values():
        size = 2
        for side in shape:
            size *= side
        count += size
    assert count == RELEASED_BYTES[family]
    assert len(shapes) == {"spatialvla": 1382, "openvla": 982}[family]
