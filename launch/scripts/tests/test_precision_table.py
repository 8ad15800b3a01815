"""The table of ./launch/precision: what makes a row not ok, and that nothing else does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import precision as script
from page import with_table
from precision import Figures, main, parsed, table

QUANTILES = {"p50": 2.0, "p90": 3.0, "p99": 4.0, "max": 5.0}
BENCH = {"peak_memory_mib": 1234.5, "warm": [{"stages_ms": {"vision": QUANTILES, "grid": {"p50": 0.001}}, "observation_to_chunk_ms": QUANTILES}]}


def figures(precision: str, stage_ok: bool = True, ids_differ: int = 0, found: float = 0.01, within: bool = True) -> Figures:
    rows = [
        {"case": "case_0", "stage": "logits", "largest_abs_difference": 1e-6, "ok": stage_ok},
        {"case": "case_0", "stage": "token_ids", "largest_abs_difference": float(ids_differ), "ok": True},
    ]
    measured: dict[str, Any] = {"ids": 24, "ids_differ": 3, "action_difference_max": found, "action_bound": 0.1, "recorded": {"within_bound": within}}
    check = {"rows": rows, "precision": None if precision == "fp32" else measured}
    return Figures("golden", precision, 1.0, 100.0, 2_500_000, check, BENCH)


def not_ok(one: Figures) -> list[str]:
    return [row["name"] for row in one.rows() if not row["ok"]]


def test_a_stage_beyond_its_tolerance_is_a_row_that_is_not_ok() -> None:
    assert not_ok(figures("fp32", stage_ok=False)) == ["golden, fp32: stages beyond tolerance"]
    assert not_ok(figures("int8", stage_ok=False)) == ["golden, int8: stages beyond tolerance"]


def test_an_id_of_fp32_that_differs_from_the_official_one_is_not_ok() -> None:
    assert not_ok(figures("fp32", ids_differ=1)) == ["golden, fp32: ids that differ in golden cases"]
    assert not_ok(figures("fp32")) == []


def test_actions_beyond_the_bound_are_not_ok_in_a_bundle_that_claims_to_keep_it() -> None:
    assert not_ok(figures("int4", found=0.11)) == ["golden, int4: largest difference of a normalized action"]
    assert not_ok(figures("int4", found=0.11, within=False)) == []


def test_a_marked_bundle_is_called_beyond_in_the_table() -> None:
    text = table([figures("fp32"), figures("int4", found=0.5, within=False), figures("int8")])
    lines = text.splitlines()
    assert "**beyond**" in lines[3] and "0.5" in lines[3] and "3 of 24" in lines[3]
    assert "within" in lines[4] and "**beyond**" not in lines[4]
    assert "2.5 MB" in lines[2] and "**2.0** = vision 2.0 |" in lines[2], "stages of no time are left out"


def test_the_table_replaces_what_is_between_its_marks_and_nothing_else() -> None:
    page = f"before\n{script.TABLE_START}\nold\n{script.TABLE_END}\nafter\n"
    assert with_table(page, script.TABLE_START, script.TABLE_END, "new\n") == f"before\n{script.TABLE_START}\nnew\n{script.TABLE_END}\nafter\n"
    with pytest.raises(SystemExit, match="no lines"):
        with_table("no marks", script.TABLE_START, script.TABLE_END, "new")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--precisions", "fp32,fp8"], "'fp8' found, expected some of fp32"), (["no/such/directory"], "no config.json there")],
)
def test_wrong_use_says_what_was_found_and_expected(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_what_is_exported_by_default_is_there() -> None:
    for subject in script.SUBJECTS:
        paths = [Path(word) for word in subject.export if "/" in word]
        assert paths and all(path.exists() for path in paths), subject


def test_every_pair_is_exported_checked_and_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The exporter is real; the built binary is not there in a test run and is stood in for by recorded answers."""
    asked: list[list[str]] = []

    def egogrid(arguments: list[str], codes: set[int]) -> dict[str, Any]:
        asked.append(arguments[:1])
        return figures("fp32").check if arguments[0] == "check" else BENCH

    monkeypatch.setattr(script, "_egogrid", egogrid)
    monkeypatch.setattr(script, "SUBJECTS", script.SUBJECTS[:1])
    assert main(["--precisions", "fp32", "--out", str(tmp_path), "--json"]) == 0
    assert asked == [["check"], ["bench"]]
    assert [row["value"] for row in json.loads(capsys.readouterr().out)] == [0, 0]
    written = json.loads((tmp_path / "table.json").read_text())
    assert (tmp_path / "table.svg").read_text().count("<path") > 3
    weights = tmp_path / "meta-world-policy-fp32" / "weights.bin"
    assert written[0]["size_bytes"] > weights.stat().st_size > 0
    assert written[0]["export_peak_mib"] > 10

    exported = weights.stat().st_mtime_ns
    assert main(["--precisions", "fp32", "--out", str(tmp_path), "--resume"]) == 0
    assert weights.stat().st_mtime_ns == exported and len(asked) == 4, "checked and timed again, not exported"


def test_an_exporter_that_fails_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    run = [sys.executable, str(Path(script.__file__)), str(tmp_path), "--precisions", "fp32", "--out", str(tmp_path / "out")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode not in (0, 3)
    assert "no file model.safetensors" in done.stderr
