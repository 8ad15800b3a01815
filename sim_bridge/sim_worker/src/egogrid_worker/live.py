"""A robot that does not wait: commands in, state and instruction out, and requests to the onboard daemon.

From: `command` of one robot, executed by whoever asks `RobotEnd.follower`. To: `state`, `do/*`. The callbacks run in zenoh's
threads and only decode and store.
"""

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import zenoh

from egogrid_worker import limits
from egogrid_worker.errors import DecodeError
from egogrid_worker.follower import CommandFollower
from egogrid_worker.messages import Command, EndEffectorState, Header, RosString, Time, decode, encode
from egogrid_worker.session import robot_key
from egogrid_worker.simulator import pose

log = logging.getLogger("egogrid_worker")
COMMAND_BYTES_MAX = limits.REQUEST_BYTES_MAX
ANSWER_S_MAX = 2.0


def calendar_stamp(calendar_ns: int | None = None) -> Time:
    """Now, or that moment, as messages say it."""
    ns = time.time_ns() if calendar_ns is None else calendar_ns
    return Time(ns // 10**9, ns % 10**9)


class Trace:
    """What the robot received and did, one JSON object a line, with the monotonic clock of the machine; nothing without a file."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else path.open("w", buffering=1)

    def write(self, event: str, **values: Any) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"event": event, **values}) + "\n")


class RobotEnd:
    """The wire of one robot that is driven by `egogrid run`."""

    def __init__(self, session: zenoh.Session, robot: str, follower: CommandFollower, trace: Trace | None = None) -> None:
        self._session, self._robot, self._trace = session, robot, trace or Trace(None)
        self._follower, self._lock = follower, threading.Lock()
        key = lambda rest: robot_key(robot, rest)  # noqa: E731
        drop = {"congestion_control": zenoh.CongestionControl.DROP, "express": True}
        self._state = session.declare_publisher(key("state"), **drop)
        self._commands = session.declare_subscriber(key("command"), self._command)

    def _command(self, sample: zenoh.Sample) -> None:
        payload = bytes(sample.payload)
        now_ns, calendar_ns = time.monotonic_ns(), time.time_ns()
        try:
            command = decode(Command, payload, COMMAND_BYTES_MAX)
        except DecodeError as error:
            with self._lock:
                self._follower.counts["malformed"] += 1
            log.warning("a command cannot be read: %s", error)
            return
        with self._lock:
            why = self._follower.accept(command, now_ns, calendar_ns)
            until_ns = self._follower.until_ns
        twist, stamp = command.twist, command.header.stamp
        moving = any((twist.linear.x, twist.linear.y, twist.linear.z, twist.angular.x, twist.angular.y, twist.angular.z))
        self._trace.write(
            "command", at_ns=now_ns, stamp_ns=stamp.sec * 10**9 + stamp.nanosec, session=command.session, sequence=command.sequence,
            moving=moving, refused=why, until_ns=until_ns,
        )

    def command(self) -> Command | None:
        """What to do now; `None`: hold."""
        with self._lock:
            return self._follower.at(time.monotonic_ns())

    def forget(self) -> None:
        with self._lock:
            self._follower.forget()

    def counts(self) -> dict[str, int]:
        """Commands accepted, and dropped by kind."""
        with self._lock:
            return dict(self._follower.counts)

    def state(self, base_from_ee: np.ndarray, gripper: float) -> None:
        """Reports a rigid f64 `[4, 4]` and the opening, as of now."""
        header = Header(calendar_stamp(), "base")
        self._state.put(encode(EndEffectorState(header, pose(base_from_ee), float(gripper), [])))

    def ask(self, what: str, text: str | None = None) -> str | None:
        """`do/<what>` of the daemon; its refusal, or `None` when it was asked."""
        return ask(self._session, self._robot, what, text)

    def close(self) -> None:
        self._commands.undeclare()
        self._state.undeclare()


def ask(session: zenoh.Session, robot: str, what: str, text: str | None = None) -> str | None:
    """`do/<what>` of the daemon; its refusal, or `None` when it was asked. No daemon is a refusal, too."""
    payload = None if text is None else encode(RosString(text))
    for reply in session.get(robot_key(robot, f"do/{what}"), payload=payload, timeout=ANSWER_S_MAX):
        answer = reply.ok or reply.err
        said = decode(RosString, bytes(answer.payload)).data
        return None if reply.ok else said
    return "nobody answers; is `egogrid run` running?"
