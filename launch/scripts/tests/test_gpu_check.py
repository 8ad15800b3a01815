"""./launch/gpu-check with an egogrid that is a script: what is run, what becomes of its answers, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import gpu_check

ROOT = Path(__file__).resolve().parents[3]
STAGES = [
    *[("text_ids", 0.0, 0.0), ("image_features", 1e-5, 1e-3), ("step0_logits", 2e-6, 1e-3)],
    *[("step1_logits", 4e-4, 1e-3), ("token_ids", 0.0, None)],
]
PRECISION = {"observations": 8, "ids": 96, "ids_differ": 2, "action_difference_max": 0.01, "recorded": {"ids_differ": 1}}
QUANTILES = {"n": 3, "p50": 1.25, "p90": 2.0, "p99": 2.5, "max": 3.0}
BENCH = {
    "warm": [{"stages_ms": {"vision": QUANTILES, "decode": QUANTILES}, "observation_to_chunk_ms": QUANTILES}],
    "load_ms": 41.7,
    "peak_memory_mib": 77.2,
}
STARTS_NOT = "error: vision.static.onnx does not run on {}: Could not find an implementation for MatMul(13) node; take its cpu graphs"


def check_answer(precision: str, **changed: float) -> dict:
    rows = [
        {"case": f"case{case}", "stage": stage, "largest_abs_difference": changed.get(stage, difference), "tolerance": tolerance}
        for case in range(2)
        for stage, difference, tolerance in STAGES
    ]
    return {"rows": rows, "precision": None if precision == "fp32" else PRECISION}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`main` with a bundle of nothing, and an egogrid that answers by command, bundle and provider."""
    doctor = "ok       ONNX Runtime       1.31\nok       cpu   NVIDIA device 0: x\n"
    answers: dict[str, tuple[int, object, str]] = {"doctor": (0, doctor, "")}
    fake = tmp_path / "egogrid"
    fake.write_text(f"""#!{sys.executable}
import json, pathlib, sys
command = sys.argv[1]
provider = sys.argv[sys.argv.index("--provider") + 1]
keys = [f"{{command}} {{pathlib.Path(sys.argv[2]).name}} {{provider}}", f"{{command}} {{provider}}", command]
answers = json.loads(pathlib.Path(__file__).with_name("answers.json").read_text())
code, out, err = next(answers[key] for key in keys if key in answers)
with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
    print(*sys.argv[1:], file=calls)
print(out if isinstance(out, str) else json.dumps(out), end="")
print(err, end="", file=sys.stderr)
sys.exit(code)
""")
    fake.chmod(0o755)
    monkeypatch.setattr(gpu_check, "export_command", lambda *_: ["true"])

    def main(*arguments: str, **more: tuple[int, object, str]) -> tuple[int, list[dict], str]:
        (tmp_path / "answers.json").write_text(json.dumps(answers | {key.replace("__", " "): value for key, value in more.items()}))
        code = gpu_check.main(["--egogrid", str(fake), "--out", str(tmp_path / "out"), *arguments])
        written = tmp_path / "out/table.json"
        rows = json.loads(written.read_text())["rows"] if written.exists() else []
        return code, rows, (tmp_path / "out/table.md").read_text() if rows else ""

    main.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    return main


def test_every_family_precision_and_provider_is_a_row_with_the_figures_that_egogrid_printed(run) -> None:
    code, rows, table = run(check=(0, check_answer("fp16"), ""), bench=(0, BENCH, ""))
    assert code == 0
    found = [(row["family"], row["precision"], row["provider"]) for row in rows]
    assert found == [(f, p, d) for f in gpu_check.FAMILIES for p in gpu_check.PRECISIONS for d in ("cuda", "tensorrt")]
    row = rows[0]
    assert (row["golden_ids_equal"], row["golden_cases"], row["logit_difference_max"]) == (2, 2, 4e-4)
    assert row["worst_stage"] == {"case": "case0", "stage": "step1_logits", "difference": 4e-4, "allowed": 1e-3}
    assert row["against_fp32"]["ids_differ"] == 2 and row["against_fp32"]["ids_differ_at_export"] == 1
    assert (row["stages_ms"], row["load_ms"], row["peak_memory_mib"]) == ({"vision": 1.25, "decode": 1.25}, 41.7, 77.2)
    assert len([line for line in table.splitlines() if line.startswith("| ")]) == 1 + len(rows)
    assert "2 of 96 (1)" in table and "step1_logits 4.0e-04 of 1.0e-03" in table and "vision 1.25, decode 1.25" in table
    calls = [line for line in run.calls() if not line.startswith("doctor")]
    assert all("--graphs static" in line for line in calls)
    assert all(("engine_cache_dir" in line) == ("tensorrt" in line) for line in calls)


def test_a_difference_beyond_tolerance_is_exit_code_3_and_the_rest_still_runs(run) -> None:
    differs = (3, check_answer("fp32", step1_logits=0.5, token_ids=7.0), "warning: x\nerror: differs first at stage step1_logits")
    code, rows, table = run("--precision", "fp32", check__cuda=differs, check=(0, check_answer("fp32"), ""), bench=(0, BENCH, ""))
    assert code == 3
    assert [row["state"] for row in rows] == ["differs", "ok"] * 2
    assert rows[0]["golden_ids_equal"] == 0 and rows[0]["detail"] == "differs first at stage step1_logits" and "look_ms" in rows[0]
    assert "* spatialvla, fp32, cuda: differs first" in table and "0 of 2 cases equal" in table


def test_a_run_that_does_not_start_is_exit_code_4_with_its_words(run) -> None:
    failed = (4, "", STARTS_NOT.format("tensorrt:0"))
    code, rows, table = run("--precision", "bf16", check__tensorrt=failed, check=(0, check_answer("bf16"), ""), bench=(0, BENCH, ""))
    assert code == 4 and [row["state"] for row in rows] == ["ok", "failed"] * 2
    assert "Could not find an implementation for MatMul(13)" in table
    code, rows, _ = run("--precision", "fp32", check=(0, check_answer("fp32"), ""), bench=(3, "", "error: early end"))
    assert code == 4 and {row["detail"] for row in rows} == {"bench: early end"}


def test_a_provider_that_is_not_ready_is_said_before_anything_is_exported(run, capsys) -> None:
    absent = (4, "ok  processor\n\nproviders in this ONNX Runtime: cpu\nabsent cuda:0\n", "error: missing: cuda:0")
    code, rows, _ = run(doctor=absent)
    assert (code, rows) == (4, [])
    assert "absent cuda:0" in capsys.readouterr().err
    assert not [line for line in run.calls() if not line.startswith("doctor")]


def test_bf16_has_no_kernels_on_the_processor_and_that_is_no_fault(run) -> None:
    refused = (2, "", STARTS_NOT.format("cpu"))
    code, rows, table = run("--provider", "cpu", "--precision", "bf16", check=refused)
    assert code == 0 and {row["state"] for row in rows} == {"no kernel"} and "MatMul(13)" in table
    code, rows, _ = run("--provider", "cpu", "--precision", "fp16", check=refused)
    assert code == 4, "fp16 runs there"


def test_memory_of_the_device_is_what_is_used_beyond_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    count = f"echo x >> {tmp_path}/n; [ $(wc -l < {tmp_path}/n) = 1 ]"
    smi.write_text(f'#!/bin/sh\n[ "$1" = --id=3 ] || exit 9\n{count} && echo 100 || echo 1900\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    memory = gpu_check.DeviceMemory("cuda:3")
    memory.start()
    while len((tmp_path / "n").read_text().splitlines()) < 3:
        pass
    assert memory.stop() == 1800
    for provider in ("cpu", "tensorrt:1"):
        memory = gpu_check.DeviceMemory(provider)
        memory.start()
        assert memory.stop() is None


def test_the_script_refuses_wrong_arguments_and_shows_its_commands_without_setting_anything_up() -> None:
    script = ROOT / "launch/gpu-check"
    for arguments in (["--precision", "int8"], ["--runs", "2"], ["--observations", "-1"], ["bundle"]):
        done = subprocess.run([script, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "usage: ./launch/gpu-check" in done.stderr, arguments
    done = subprocess.run([script, "--dry-run", "--family", "openvla"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 * (1 + 2 * 2) and sum("make.py" in line for line in lines) == 3
    assert all(Path(word).is_file() for line in lines for word in line.split() if word.endswith("make.py"))
