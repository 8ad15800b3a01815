"""What a robot's trace says: when it came to hold after a fault, and whether a command was executed out of order.

From: lines of `Trace` (`egogrid_worker/live.py`), times on the machine's monotonic clock. To: numbers; nothing here knows a process.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Received:
    """One command as the robot got it. `refused`: why it is not executed. `until_ns`: the end of its validity, if it is.

    `stamp_ns`: when it left, on the sender's calendar clock.
    """

    at_ns: int
    stamp_ns: int
    session: int
    sequence: int
    moving: bool
    refused: str | None
    until_ns: int


@dataclass(frozen=True)
class RobotTrace:
    """`steps`: when the robot stepped, and the number of the command that it followed, None: it held by itself."""

    received: list[Received]
    steps: list[tuple[int, int | None]]


def read(path: Path) -> RobotTrace:
    """What has been written so far; a last line that is cut short is one that is being written."""
    received: list[Received] = []
    steps: list[tuple[int, int | None]] = []
    text = path.read_text() if path.exists() else ""
    for line in text.split("\n")[:-1]:
        values = json.loads(line)
        match values.pop("event"):
            case "command":
                received.append(Received(**values))
            case "step":
                steps.append((values["at_ns"], values["sequence"]))
    return RobotTrace(received, steps)


def moving(received: list[Received]) -> list[tuple[int, int]]:
    """Intervals in which a command that moves was in force, joined where one follows another."""
    taken = [one for one in received if one.refused is None]
    spans: list[tuple[int, int]] = []
    for number, one in enumerate(taken):
        end = min(one.until_ns, taken[number + 1].at_ns) if number + 1 < len(taken) else one.until_ns
        if not one.moving or end <= one.at_ns:
            continue
        if spans and spans[-1][1] == one.at_ns:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((one.at_ns, end))
    return spans


def is_moving(received: list[Received], at_ns: int, window_ns: int) -> bool:
    """Whether it moved at some time in the window before `at_ns`: a fault that meets an arm at rest shows nothing."""
    return any(start < at_ns and end > at_ns - window_ns for start, end in moving(received))


def hold_ms(received: list[Received], fault_ns: int, end_ns: int) -> float | None:
    """From the fault to the last moment before `end_ns` at which a command that moves was in force. None: it moves at the end."""
    last = max((end for start, end in moving(received) if start < end_ns), default=fault_ns)
    return None if last >= end_ns else max(last - fault_ns, 0) / NS_PER_MS


def out_of_order(received: list[Received]) -> int:
    """Commands that were executed although one as new or newer of the same sender had been: must be none."""
    newest: dict[int, int] = {}
    wrong = 0
    for one in received:
        if one.refused is None:
            wrong += one.sequence <= newest.get(one.session, -1)
            newest[one.session] = max(one.sequence, newest.get(one.session, -1))
    return wrong


def refused(received: list[Received], from_ns: int) -> dict[str, int]:
    """What the robot did not execute, by reason."""
    counts: dict[str, int] = {}
    for one in received:
        if one.refused is not None and one.at_ns >= from_ns:
            counts[one.refused] = counts.get(one.refused, 0) + 1
    return counts


def missing(received: list[Received], from_ns: int, to_ns: int) -> int:
    """Numbers that never arrived between the first and the last of the newest sender in that time."""
    within = [one for one in received if from_ns <= one.at_ns < to_ns]
    numbers = {one.sequence for one in within if one.session == within[-1].session}
    return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0


def intervals_ms(received: list[Received]) -> list[float]:
    """From command to command of one sender as they left, sorted; where a command was lost, there is none."""
    pairs = zip(received, received[1:], strict=False)
    return sorted((b.stamp_ns - a.stamp_ns) / NS_PER_MS for a, b in pairs if a.session == b.session and b.sequence == a.sequence + 1)


def quantile(ordered: list[float], share: float) -> float:
    """Of a sorted list: the smallest value that this share does not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
