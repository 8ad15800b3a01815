"""./launch/gpu-check: the golden checkpoints of both families at fp32, fp16 and bf16, checked and timed on each provider.

From: checkpoints in tests/fixtures, the built egogrid. To: `table.md` and `table.json` below --out. Every figure is one that `egogrid
check` or `egogrid bench` printed; only the device's memory is read from `nvidia-smi` while they run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("spatialvla", "openvla")
PRECISIONS = ("fp32", "fp16", "bf16")
# ONNX Runtime's words where the processor has no kernel for a product in bf16: its static graphs are for GPUs.
NO_KERNEL = "Could not find an implementation"
POLL_S = 0.1
COLUMNS = (
    *("family", "precision", "provider", "", "golden ids", "ids ≠ fp32 (at export)", "logits", "nearest to its bound"),
    *("ms per look: p50 (p99)", "load", "MiB: process, device"),
)


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./launch/gpu-check", description=__doc__.split("\n\n")[0])
    providers = "repeatable [default: cuda and tensorrt]; cpu tries this script out"
    parser.add_argument("--provider", action="append", metavar="P", help=providers)
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="repeatable [default: all three]")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="repeatable [default: both]")
    parser.add_argument("--observations", type=int, default=200, metavar="N", help="measured against fp32 [default: 200]")
    parser.add_argument("--runs", type=int, default=100, metavar="N", help="of a look, for the times [default: 100]")
    parser.add_argument("--out", type=Path, default=Path("out/gpu-check"), metavar="DIR", help="[default: out/gpu-check]")
    parser.add_argument("--egogrid", type=Path, default=ROOT / "target/release/egogrid", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run none")
    options = parser.parse_args(given)
    options.provider = options.provider or ["cuda", "tensorrt"]
    options.precision = options.precision or list(PRECISIONS)
    options.family = options.family or list(FAMILIES)
    if options.observations < 0 or options.runs < 3:
        parser.error("--observations is at least 0 and --runs at least 3")
    return options


def bundle_dir(options: argparse.Namespace, family: str, precision: str) -> Path:
    return options.out / "bundles" / f"{family}-{precision}"


def export_command(options: argparse.Namespace, family: str, precision: str) -> list[str]:
    make = ROOT / f"tests/fixtures/{family}_golden_bundle/make.py"
    command = [os.environ.get("EGOGRID_PYTHON", sys.executable), str(make), str(bundle_dir(options, family, precision))]
    return [*command, "--quiet", "--precision", precision, "--observations", str(options.observations)]


def provider_arguments(options: argparse.Namespace, provider: str) -> list[str]:
    """Static graphs everywhere; engines are kept, so that `bench` starts with those that `check` built."""
    cache = ["--provider-option", f"engine_cache_dir={options.out / 'engines'}"] if provider.startswith("tensorrt") else []
    return ["--provider", provider, "--graphs", "static", *cache, "--json"]


def check_command(options: argparse.Namespace, family: str, precision: str, provider: str) -> list[str]:
    return [str(options.egogrid), "check", str(bundle_dir(options, family, precision)), *provider_arguments(options, provider)]


def bench_command(options: argparse.Namespace, family: str, precision: str, provider: str) -> list[str]:
    command = [str(options.egogrid), "bench", str(bundle_dir(options, family, precision)), "--runs", str(options.runs)]
    return [*command, *provider_arguments(options, provider)]


class DeviceMemory(threading.Thread):
    """Most memory of one NVIDIA device in use, MiB, above what was in use at the start. None without `nvidia-smi`."""

    def __init__(self, provider: str) -> None:
        super().__init__(daemon=True)
        device = provider.partition(":")[2] or "0"
        self._query = ["nvidia-smi", f"--id={device}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        self._stopped = threading.Event()
        self._gpu = provider.startswith(("cuda", "tensorrt"))
        self._start_mib = self._peak_mib = self._used() if self._gpu else None

    def _used(self) -> int | None:
        try:
            return int(subprocess.run(self._query, capture_output=True, text=True, timeout=10, check=True).stdout)
        except (OSError, subprocess.SubprocessError, ValueError):
            return None

    def run(self) -> None:
        while self._start_mib is not None and not self._stopped.wait(POLL_S):
            self._peak_mib = max(self._peak_mib, self._used() or 0)

    def stop(self) -> int | None:
        self._stopped.set()
        self.join()
        return None if self._start_mib is None else self._peak_mib - self._start_mib


def run(command: list[str]) -> tuple[int, dict[str, Any] | None, str]:
    """Exit code, the JSON object on stdout if there is one, and the error in one line."""
    done = subprocess.run(command, capture_output=True, text=True)
    errors = done.stderr[done.stderr.rfind("error: ") :].removeprefix("error: ") if "error: " in done.stderr else done.stderr
    answer = json.loads(done.stdout) if done.stdout.startswith("{") else None
    return done.returncode, answer, " ".join(errors.split())


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """What `egogrid check --json` says, as part of a row."""
    rows, precision = answer["rows"], answer["precision"]
    ids = [row for row in rows if row["stage"] == "token_ids"]
    logits = [row["largest_abs_difference"] for row in rows if row["stage"].endswith("_logits")]
    judged = [row for row in rows if row["tolerance"]]
    # The stage that is nearest to what is allowed, or beyond it.
    worst = max(judged, key=lambda row: row["largest_abs_difference"] / row["tolerance"])
    nearest = {name: worst[name] for name in ("case", "stage")}
    nearest |= {"difference": worst["largest_abs_difference"], "allowed": worst["tolerance"]}
    part = {
        "golden_ids_equal": sum(row["largest_abs_difference"] == 0 for row in ids),
        "golden_cases": len(ids),
        "logit_difference_max": max(logits),
        "worst_stage": nearest,
    }
    if precision:
        names = ("observations", "ids", "ids_differ", "action_difference_max")
        part["against_fp32"] = {name: precision[name] for name in names} | {"ids_differ_at_export": precision["recorded"]["ids_differ"]}
    return part


def benched(answer: dict[str, Any], device_mib: int | None) -> dict[str, Any]:
    """What `egogrid bench --json` says, as part of a row: medians at the bundle's own picture size."""
    warm = answer["warm"][0]
    return {
        "stages_ms": {stage: quantiles["p50"] for stage, quantiles in warm["stages_ms"].items()},
        "look_ms": warm["observation_to_chunk_ms"]["p50"],
        "look_ms_p99": warm["observation_to_chunk_ms"]["p99"],
        "load_ms": answer["load_ms"],
        "peak_memory_mib": answer["peak_memory_mib"],
        "device_memory_mib": device_mib,
    }


def measured(options: argparse.Namespace, family: str, precision: str, provider: str) -> dict[str, Any]:
    """One row. `state`: ok, differs, failed, or no kernel (bf16 on the processor, which is no fault)."""
    row = {"family": family, "precision": precision, "provider": provider, "state": "ok", "detail": ""}
    code, answer, error = run(check_command(options, family, precision, provider))
    if answer is None or code not in (0, 3):
        no_kernel = provider == "cpu" and precision == "bf16" and NO_KERNEL in error
        return row | {"state": "no kernel" if no_kernel else "failed", "detail": error or f"egogrid check ended with {code}"}
    row |= checked(answer)
    if code == 3:
        row |= {"state": "differs", "detail": error}
    memory = DeviceMemory(provider)
    memory.start()
    code, answer, error = run(bench_command(options, family, precision, provider))
    device_mib = memory.stop()
    if code != 0 or answer is None:
        worse = row["state"] if row["state"] != "ok" else "failed"
        return row | {"state": worse, "detail": f"{row['detail']} bench: {error or code}".strip()}
    return row | benched(answer, device_mib)


def table(rows: list[dict[str, Any]], machine: str) -> str:
    """The rows as Markdown."""
    lines = [
        machine,
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    notes = []
    for row in rows:
        cells = [row["family"], row["precision"], row["provider"], row["state"], *(["–"] * (len(COLUMNS) - 4))]
        if "golden_cases" in row:
            worst = row["worst_stage"]
            against = row.get("against_fp32")
            cells[4] = f"{row['golden_ids_equal']} of {row['golden_cases']} cases equal"
            cells[5] = f"{against['ids_differ']} of {against['ids']} ({against['ids_differ_at_export']})" if against else "–"
            cells[6] = f"{row['logit_difference_max']:.1e}"
            cells[7] = f"{worst['stage']} {worst['difference']:.1e} of {worst['allowed']:.1e}"
        if "look_ms" in row:
            stages = ", ".join(f"{stage} {ms:.2f}" for stage, ms in row["stages_ms"].items())
            device = "–" if row["device_memory_mib"] is None else row["device_memory_mib"]
            cells[8] = f"{row['look_ms']:.2f} ({row['look_ms_p99']:.2f}): {stages}"
            cells[9] = f"{row['load_ms']:.0f} ms"
            cells[10] = f"{row['peak_memory_mib'] or 0:.0f}, {device}"
        lines.append(f"| {' | '.join(cells)} |")
        if row["detail"]:
            notes.append(f"* {row['family']}, {row['precision']}, {row['provider']}: {row['detail']}")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def exit_code(rows: list[dict[str, Any]]) -> int:
    """3: something differs; 4: a provider or a run did not start."""
    states = {row["state"] for row in rows}
    return 3 if "differs" in states else 4 if "failed" in states else 0


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ready(options: argparse.Namespace) -> str | None:
    """One line about the machine; None when a provider does not start, after saying why."""
    about = ""
    for provider in options.provider:
        command = [str(options.egogrid), "doctor", "--provider", provider]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            progress(done.stdout[done.stdout.find("\nproviders in") + 1 :] + done.stderr)
            return None
        lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
        found = [line.removeprefix("ok ") for line in lines if line.startswith(("ok processor", "ok ONNX"))]
        found += [line for line in lines if line.startswith(("providers in", "NVIDIA device"))]
        about = " · ".join(dict.fromkeys(found))
    return about


def main(given: list[str]) -> int:
    options = arguments(given)
    pairs = [(family, precision) for family in options.family for precision in options.precision]
    if options.dry_run:
        for pair in pairs:
            runs = [make(options, *pair, provider) for provider in options.provider for make in (check_command, bench_command)]
            print("\n".join(" ".join(command) for command in [export_command(options, *pair), *runs]))
        return 0
    machine = ready(options)
    if machine is None:
        return 4
    rows = []
    for pair in pairs:
        progress(f"exporting {' '.join(pair)}")
        bundle_dir(options, *pair).parent.mkdir(parents=True, exist_ok=True)
        exporter = os.environ | {"PYTHONPATH": str(ROOT / "policies/export/src")}
        code = subprocess.run(export_command(options, *pair), env=exporter).returncode
        if code != 0:
            return code
        for provider in options.provider:
            rows.append(measured(options, *pair, provider))
            progress(f"{' '.join(pair)} {provider}: {rows[-1]['state']} {rows[-1]['detail']}")
    (options.out / "table.md").write_text(table(rows, machine))
    (options.out / "table.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    print(table(rows, machine), end="")
    progress(f"written: {options.out / 'table.md'} and table.json")
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
