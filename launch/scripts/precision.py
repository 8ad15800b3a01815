"""Family × precision: exports every pair, replays it with `egogrid check`, times it with `egogrid bench`, writes one table.

From: checkpoints in the official format. To: `out/precision/table.md`, `table.json`, `table.svg`, bundles; with `--json` the rows on standard
output, `{"name", "value", "target", "ok"}`. Exit code 3 where a row is not ok: a stage beyond its tolerance, or actions beyond
the bound in a bundle that claims to keep it. A bundle that is marked claims nothing (`target` null); the table says "beyond".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from page import with_table
from precision_picture import draw, size_text, stages
from terminal import say

ROOT = Path(__file__).resolve().parents[2]
EGOGRID = ROOT / "target/release/egogrid"
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int4")
TABLE_START, TABLE_END = "<!-- table of ./launch/precision -->", "<!-- end of the table -->"


@dataclass(frozen=True)
class Subject:
    """What is exported, as a command that takes the bundle's directory and further options of the exporter."""

    name: str
    export: tuple[str, ...]


def checkpoint(directory: Path, name: str | None = None) -> Subject:
    return Subject(name or directory.resolve().name, ("-m", "egogrid_export", str(directory), "--replace"))


def golden(name: str, directory: str) -> Subject:
    """With official observations as golden cases: a random network gives no whole chunk for others, and a bench needs one."""
    return Subject(name, (str(ROOT / "tests/fixtures" / directory / "make.py"),))


SUBJECTS = (
    checkpoint(ROOT / "policies/shipped/metaworld/metaworld-mt5", "Meta-World policy"),
    golden("SpatialVLA golden", "spatialvla_golden_bundle"),
    golden("OpenVLA golden", "openvla_golden_bundle"),
)


@dataclass(frozen=True)
class Figures:
    """Of one pair. `check` and `bench` are what those commands print with `--json`."""

    subject: str
    precision: str
    export_s: float | None
    export_peak_mib: float | None
    size_bytes: int
    check: dict[str, Any]
    bench: dict[str, Any]

    @property
    def golden_ids_differ(self) -> int:
        return sum(int(row["largest_abs_difference"]) for row in self.check["rows"] if row["stage"] == "token_ids")

    @property
    def marked(self) -> bool:
        """Whether the bundle says that its actions go beyond the bound."""
        measured = self.check["precision"]
        return measured is not None and not measured["recorded"]["within_bound"]

    def rows(self) -> list[dict[str, Any]]:
        name = f"{self.subject}, {self.precision}"
        beyond = sum(not row["ok"] for row in self.check["rows"])
        rows = [_row(f"{name}: stages beyond tolerance", beyond, 0)]
        measured = self.check["precision"]
        if self.precision == "fp32":
            rows.append(_row(f"{name}: ids that differ in golden cases", self.golden_ids_differ, 0))
        elif measured is not None:
            target = None if self.marked else measured["action_bound"]
            rows.append(_row(f"{name}: largest difference of a normalized action", measured["action_difference_max"], target))
        return rows

    def cells(self) -> list[str]:
        times = " + ".join(f"{name} {_ms(p50_ms)}" for name, p50_ms in stages(self.bench) if p50_ms >= 0.05)
        total = _ms(self.bench["warm"][0]["observation_to_chunk_ms"]["p50"])
        return [
            self.subject,
            self.precision,
            *self._differences(),
            size_text(self.size_bytes),
            f"{self.bench['peak_memory_mib']:,.0f} MiB",
            f"**{total}** = {times}",
        ]

    def _differences(self) -> list[str]:
        measured = self.check["precision"]
        if self.precision == "fp32":
            return [f"{self.golden_ids_differ} in golden cases", "0"]
        if measured is None:
            return ["not measured", "not measured"]
        ids = f"{measured['ids_differ']} of {measured['ids']}"
        return [ids, f"{measured['action_difference_max']:.2g}, {'**beyond**' if self.marked else 'within'}"]


HEAD = ("policy", "precision", "ids that differ", "largest action difference", "size", "peak memory", "ms, all stages = each")


def table(figures: list[Figures]) -> str:
    lines = [HEAD, ("---",) * len(HEAD), *(one.cells() for one in figures)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _row(name: str, value: float, target: float | None) -> dict[str, Any]:
    return {"name": name, "value": value, "target": target, "ok": target is None or value <= target}


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def measured(subject: Subject, precision: str, out: Path, observations: int, runs: int, resume: bool) -> Figures:
    """One pair, from checkpoint to figures. A failing exporter or command ends everything: its own words are on standard error.

    `resume`: a bundle that is there is taken as it is. The exporter leaves whole ones only.
    """
    bundle = out / f"{subject.name.lower().replace(',', '').replace(' ', '-')}-{precision}"
    export = [sys.executable, *subject.export, str(bundle), "--precision", precision, "--observations", str(observations)]
    export += ["--references", str(out / "references")]
    export_s = peak_mib = None
    if not (resume and (bundle / "bundle.toml").is_file()):
        say(f"── {subject.name}, {precision}: export")
        start = time.monotonic()
        peak_mib = _run_export(export)
        export_s = time.monotonic() - start
    say(f"── {subject.name}, {precision}: check, bench")
    check = _egogrid(["check", str(bundle), "--json"], {0, 3})
    bench = _egogrid(["bench", str(bundle), "--runs", str(runs), "--json"], {0})
    size = sum(path.stat().st_size for path in bundle.iterdir() if path.suffix == ".onnx" or path.name == "weights.bin")
    return Figures(subject.name, precision, export_s, peak_mib, size, check, bench)


def _run_export(command: list[str]) -> float:
    """Peak resident memory of the process, MiB."""
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT / "policies/export/src")})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(process.returncode if process.returncode > 0 else 4)
    return usage.ru_maxrss / 1024


def _egogrid(arguments: list[str], codes: set[int]) -> dict[str, Any]:
    done = subprocess.run([str(EGOGRID), *arguments], stdout=subprocess.PIPE, check=False)
    if done.returncode not in codes or not done.stdout:
        say(f"error: egogrid {' '.join(arguments)} ended with code {done.returncode}")
        raise SystemExit(done.returncode if done.returncode > 0 else 4)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./launch/precision",
        description="What each precision does to ids and actions, and what it costs, as one table.",
        epilog="example: ./launch/precision path/to/your-checkpoint --precisions bf16,int8 --observations 50",
    )
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CHECKPOINT_DIR", help="default: the shipped and the golden ones")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="default: %(default)s")
    parser.add_argument("--observations", type=int, default=200, metavar="N", help="each precision is measured on (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=30, metavar="N", help="warm runs of each bench, from 3 (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "out/precision", metavar="DIR", help="bundles and tables (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="take the bundles of an earlier run; check and time them again")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table between its marks in this Markdown page too, and the picture into pictures/ beside it")
    parser.add_argument("--json", action="store_true", help="rows on standard output instead of the table")
    options = parser.parse_args(arguments)
    options.precisions = options.precisions.split(",")
    unknown = [name for name in options.precisions if name not in PRECISIONS]
    if unknown:
        parser.error(f"--precisions: {unknown[0]!r} found, expected some of {', '.join(PRECISIONS)}")
    for path in options.checkpoints:
        if not (path / "config.json").is_file():
            parser.error(f"{path}: no config.json there, expected a checkpoint directory in the official format")
    return options


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    subjects = [checkpoint(path) for path in options.checkpoints] or SUBJECTS
    options.out.mkdir(parents=True, exist_ok=True)
    figures: list[Figures] = []
    whole: list[dict[str, Any]] = []
    for subject in subjects:
        for precision in options.precisions:
            figures.append(measured(subject, precision, options.out, options.observations, options.runs, options.resume))
            # After each: hours of work are not lost with the last.
            (options.out / "table.md").write_text(table(figures))
            whole = [{**vars(one), "rows": one.rows()} for one in figures]
            (options.out / "table.json").write_text(json.dumps(whole, indent=1))
            draw(whole, options.out / "table.svg")
    if options.page:
        options.page.write_text(with_table(options.page.read_text(), TABLE_START, TABLE_END, table(figures)))
        draw(whole, options.page.parent / "pictures/precision.svg")
    rows = [row for one in figures for row in one.rows()]
    print(json.dumps(rows, indent=1) if options.json else table(figures), end="\n" if options.json else "")
    for row in rows:
        if not row["ok"]:
            say(f"missed: {row['name']} is {row['value']:.4g}, target {row['target']:.4g}")
    say(f"{options.out / 'table.md'}, table.json and table.svg written")
    return 0 if all(row["ok"] for row in rows) else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
