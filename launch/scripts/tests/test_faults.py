"""What ./launch/faults makes of a robot's trace, and what makes a row not ok. The processes themselves: ./launch/faults."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import fault_trace
from fault_cases import CASES, Case, Outcome
from fault_numbers import Made, Number, made
from fault_processes import DEPLOYMENT, EMBODIMENT, NotAsExpected, Scene, _changed
from fault_trace import Received
from faults import Result, done, main, parsed, table

MS = 1_000_000


def received(*commands: tuple[int, bool], valid_ms: int = 150) -> list[Received]:
    """(arrival in ms, moves)."""
    return [Received(at * MS, at * MS, 7, number, moves, None, (at + valid_ms) * MS) for number, (at, moves) in enumerate(commands)]


def test_a_robot_moves_until_the_next_command_holds_or_the_last_one_ends() -> None:
    assert fault_trace.moving(received((0, True), (50, True), (100, False))) == [(0, 100 * MS)]
    assert fault_trace.moving(received((0, True), (50, True))) == [(0, 200 * MS)]
    assert fault_trace.moving(received((0, True), (300, True))) == [(0, 150 * MS), (300 * MS, 450 * MS)]
    late = [Received(0, 0, 7, 0, True, "expired", 150 * MS)]
    assert fault_trace.moving(late) == [], "what is refused moves nothing"


def test_the_time_to_hold_is_until_the_last_motion_and_none_when_it_goes_on() -> None:
    commands = received((0, True), (50, True), (100, False))
    assert fault_trace.hold_ms(commands, 60 * MS, 1000 * MS) == 40.0
    assert fault_trace.hold_ms(commands, 500 * MS, 1000 * MS) == 0.0, "it held already"
    again = received((0, True), (50, False), (500, True))
    assert fault_trace.hold_ms(again, 10 * MS, 1000 * MS) == 640.0, "a pause is no hold"
    assert fault_trace.hold_ms(again, 10 * MS, 600 * MS) is None, "it moves at the end"
    assert fault_trace.is_moving(commands, 120 * MS, 50 * MS) and not fault_trace.is_moving(commands, 400 * MS, 50 * MS)


def test_commands_out_of_order_refused_and_lost_are_counted() -> None:
    def one(at: int, sequence: int, refused: str | None = None, session: int = 7) -> Received:
        return Received(at * MS, at * MS, session, sequence, True, refused, (at + 150) * MS)

    commands = [one(0, 0), one(1, 1), one(2, 4), one(3, 3, "not_newer"), one(4, 4), one(5, 0, session=8)]
    assert fault_trace.out_of_order(commands) == 1
    assert fault_trace.refused(commands, 0) == {"not_newer": 1} and fault_trace.refused(commands, 4 * MS) == {}
    assert fault_trace.missing(commands[:5], 0, 10 * MS) == 1 and fault_trace.missing([], 0, 1) == 0


def test_intervals_are_those_between_neighbours() -> None:
    commands = received((0, True), (10, True), (21, True))
    assert fault_trace.intervals_ms(commands) == [10.0, 11.0]
    assert fault_trace.intervals_ms([commands[0], commands[2]]) == [], "one was lost between them"
    assert [fault_trace.quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.75, 0.99)] == [1.0, 2.0, 3.0, 4.0]


def test_a_trace_is_read_up_to_the_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    assert fault_trace.read(path).received == []
    command = {"event": "command", "at_ns": 1, "stamp_ns": 9, "session": 2, "sequence": 3, "moving": True, "refused": None, "until_ns": 4}
    step, episode = {"event": "step", "at_ns": 5, "sequence": None}, {"event": "episode", "at_ns": 0}
    path.write_text("".join(json.dumps(line) + "\n" for line in (episode, command, step)) + '{"event": "st')
    assert fault_trace.read(path) == fault_trace.RobotTrace([Received(1, 9, 2, 3, True, None, 4)], [(5, None)])


CASE = Case("camera killed", lambda _: Outcome(120.0, 0), 100.0, "a bound")


@pytest.mark.parametrize(
    ("outcomes", "failed", "ok"),
    [
        ([Outcome(90.0, 0), Outcome(99.0, 0)], None, True),
        ([Outcome(90.0, 0), Outcome(101.0, 0)], None, False),
        ([Outcome(90.0, 0), Outcome(None, 0)], None, False),
        ([Outcome(90.0, 1)], None, False),
        ([Outcome(90.0, 0)], "the arm stood still", False),
        ([], None, False),
    ],
)
def test_a_row_is_ok_only_when_every_run_held_in_time_and_in_order(outcomes: list[Outcome], failed: str | None, ok: bool) -> None:
    result = Result(CASE, outcomes, failed)
    assert result.ok is ok and result.row()["ok"] is ok
    assert ("**no**" in table([result], [])) is not ok


def test_a_case_that_cannot_be_done_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    def run(_: Scene) -> Outcome:
        raise NotAsExpected("no camera")

    result = done(Case("no camera", run, None, ""), 3, tmp_path)
    assert not result.ok and result.failed == "no camera" and "no camera" in table([result], [])


def test_a_number_that_cannot_be_measured_is_not_ok(tmp_path: Path) -> None:
    def run(_: Path) -> list[Number]:
        raise NotAsExpected("no priority here")

    (row,) = [one.row() for one in made(Made("ticks", run), tmp_path)]
    assert not row["ok"] and row["failed"] == "no priority here"
    assert Number("a", 2.0, 1.0).ok is False and Number("a", 1.0, 1.0).ok and Number("a", 9.0, None).ok


def test_every_bound_is_made_of_the_embodiments_own_and_every_name_is_its_own() -> None:
    names = [case.name for case in CASES.all]
    assert len(set(names)) == len(names) >= 20
    assert all(case.bound_ms is None or 10 <= case.bound_ms <= 1000 for case in CASES.all)


def test_a_line_that_is_not_there_cannot_be_changed() -> None:
    assert "control_hz = 100.0" in _changed(DEPLOYMENT.read_text(), {"control_hz": "control_hz = 100.0"})
    assert "dead_man_ms_max = 5" in _changed(EMBODIMENT.read_text(), {"dead_man_ms_max": "dead_man_ms_max = 5"})
    with pytest.raises(NotAsExpected, match="no_such_key"):
        _changed(DEPLOYMENT.read_text(), {"no_such_key": "no_such_key = 1"})


def test_wrong_arguments_say_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--only", "earthquake"], ["--repeats", "0"]):
        with pytest.raises(SystemExit):
            parsed(arguments)
    assert "camera killed (kill -9)" in capsys.readouterr().err


def test_rows_and_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(CASES, "all", [CASE])
    assert main(["--only", "camera", "--repeats", "2", "--out", str(tmp_path / "out"), "--json"]) == 3
    printed = capsys.readouterr()
    assert [row["value"] for row in json.loads(printed.out)] == [120.0] and "missed: camera killed" in printed.err
    assert json.loads((tmp_path / "out/table.json").read_text()) == json.loads(printed.out)
