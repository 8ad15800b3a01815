"""Fault → time to hold: does each fault to the real processes and asks the robot when it stopped moving.

From: the built egogrid, the shipped deployment at 100 Hz, Meta-World in real time. To: `out/faults/table.md`, `table.json` and the logs and traces
of every run; with `--json` the rows on standard output, `{"name", "value", "target", "ok"}`. Exit code 3 where a row is not ok.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_cases import CASES, TICK_MS, Case, Outcome
from fault_numbers import Made, Number, made, numbers, soak
from fault_viewers import viewers
from fault_processes import ROOT, NotAsExpected, Scene
from page import with_table
from terminal import say

TABLE_START, TABLE_END = "<!-- table of ./launch/faults -->", "<!-- end of the table -->"


@dataclass(frozen=True)
class Result:
    """One fault, done several times. `failed`: why a run shows nothing; then the row is not ok."""

    case: Case
    outcomes: list[Outcome]
    failed: str | None

    @property
    def worst_ms(self) -> float | None:
        """None: it went on in one of them, or was never done."""
        times = [one.hold_ms for one in self.outcomes]
        return max((one for one in times if one is not None), default=None) if None not in times else None

    @property
    def out_of_order(self) -> int:
        return sum(one.out_of_order for one in self.outcomes)

    @property
    def ok(self) -> bool:
        if self.failed or not self.outcomes or self.out_of_order:
            return False
        return self.case.bound_ms is None or (self.worst_ms is not None and self.worst_ms <= self.case.bound_ms)

    def row(self) -> dict[str, Any]:
        unit = "" if self.case.bound_ms is None else ": ms until the robot holds"
        return {"name": f"{self.case.name}{unit}", "value": self.worst_ms, "target": self.case.bound_ms, "ok": self.ok, "failed": self.failed}

    def cells(self) -> list[str]:
        bound = self.case.bound if self.case.bound_ms is None else f"{self.case.bound_ms:.0f} = {self.case.bound}"
        times = sorted(one.hold_ms for one in self.outcomes if one.hold_ms is not None)
        found = " · ".join(f"{one:.0f}" if one >= 10 else f"{one:.1f}" for one in times) or ("goes on" if self.outcomes else "–")
        remark = self.failed or (self.outcomes[-1].remark if self.outcomes else "")
        return [self.case.name, found, bound, "yes" if self.ok else "**no**", str(self.out_of_order), remark]


HEAD = ("fault", "ms until the robot holds, every run", "bound, ms", "kept", "executed out of order", "seen besides (last run)")


def table(results: list[Result], figures: list[Number]) -> str:
    lines = [HEAD, ("---",) * len(HEAD), *(one.cells() for one in results)]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    if figures:
        text += "\n| number | found | target | kept |\n| --- | --- | --- | --- |\n"
        text += "".join(f"| {' | '.join(one.cells())} |\n" for one in figures)
    return text


def done(case: Case, repeats: int, out: Path) -> Result:
    outcomes: list[Outcome] = []
    for number in range(repeats):
        directory = out / f"{_slug(case.name)}-{number}"
        try:
            with Scene(directory) as scene:
                outcomes.append(case.run(scene))
        except NotAsExpected as error:
            return Result(case, outcomes, str(error).replace("\n", " ").replace("|", "/"))
    return Result(case, outcomes, None)


def _slug(name: str) -> str:
    return "".join(one if one.isalnum() else "-" for one in name.lower())[:60].strip("-")


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./launch/faults",
        description="Does every fault to the real processes and measures how long the robot moves on.",
        epilog="example: ./launch/faults --only camera --repeats 1",
    )
    parser.add_argument("--only", metavar="TEXT", help="faults whose name has this text; leaves the numbers out")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="of each fault (default: %(default)s)")
    parser.add_argument("--looking", action="store_true", help="no fault: only what a live view costs")
    parser.add_argument("--soak-minutes", type=float, default=0.0, metavar="M", help="then drive that long and watch the daemon's memory")
    parser.add_argument("--out", type=Path, default=ROOT / "out/faults", metavar="DIR", help="tables, logs and traces (default: %(default)s)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table between its marks in this Markdown page, too")
    parser.add_argument("--json", action="store_true", help="rows on standard output instead of the table")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats: 1 or more")
    options.cases = [case for case in CASES.all if (options.only or "") in case.name]
    if options.looking:
        options.cases = []
    elif not options.cases:
        parser.error(f"--only: no fault has {options.only!r} in its name; there are: {'; '.join(case.name for case in CASES.all)}")
    return options


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    results: list[Result] = []
    figures: list[Number] = []

    def write() -> None:
        (options.out / "table.md").write_text(table(results, figures))

    for number, case in enumerate(options.cases):
        begun = time.monotonic()
        results.append(done(case, options.repeats, options.out))
        name, found, bound, kept, *_rest = results[-1].cells()
        say(f"[{number + 1}/{len(options.cases)}] {name}: {found} ms (bound {bound}), kept: {kept}; {time.monotonic() - begun:.0f} s")
        if results[-1].failed:
            say(f"    {results[-1].failed}")
        write()
    makes: list[Made] = []
    if options.looking:
        makes = [viewers()]
    elif not options.only:
        makes = [*numbers(), viewers()]
    if options.soak_minutes > 0:
        makes.append(soak(options.soak_minutes))
    for make in makes:
        say(f"{make.name} …")
        figures += made(make, options.out)
        write()
    text, rows = table(results, figures), [one.row() for one in [*results, *figures]]
    (options.out / "table.json").write_text(json.dumps(rows, indent=1))
    if options.page:
        options.page.write_text(with_table(options.page.read_text(), TABLE_START, TABLE_END, text))
    print(json.dumps(rows, indent=1) if options.json else text, end="\n" if options.json else "")
    for row in rows:
        if not row["ok"]:
            say(f"missed: {row['name']} is {row['value']}, target {row['target']}{'; ' + row['failed'] if row.get('failed') else ''}")
    return 0 if all(row["ok"] for row in rows) else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
