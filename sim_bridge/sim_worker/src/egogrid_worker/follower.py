"""The robot's half: which command is executed now. The same as `sim_bridge/src/follower.rs`, for drivers in Python.

From: `Command` messages and the time, as arguments. To: a velocity for this control step. Drops what is late, doubled or
out of order, and holds by itself when nothing valid is left: the daemon may be gone at any time.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from egogrid_worker.messages import Command

NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class FollowerLimits:
    """What this robot can do; more is refused whole."""

    linear_m_s_max: float
    """on each axis"""
    angular_rad_s_max: float
    """about each axis"""
    valid_ms_max: float


class CommandFollower:
    """Follows one sender. Times are nanoseconds: `now_ns` monotonic, `calendar_ns` since the UNIX epoch."""

    def __init__(self, limits: FollowerLimits) -> None:
        self._limits = limits
        self._last: tuple[int, int] | None = None
        self._command: Command | None = None
        self._until_ns = 0
        self.counts: Counter[str] = Counter()
        """accepted commands, and dropped ones by kind"""

    def accept(self, command: Command, now_ns: int, calendar_ns: int) -> str | None:
        """Takes it, or says why not; the one before stays in force for as long as it was valid."""
        why = self._refusal(command, now_ns, calendar_ns)
        self.counts[why or "accepted"] += 1
        if why is None:
            self._last = (command.session, command.sequence)
            late_ms = max(self._travelled_ms(command, calendar_ns), 0.0)
            self._command, self._until_ns = command, now_ns + round((command.valid_ms - late_ms) * NS_PER_MS)
        return why

    def at(self, now_ns: int) -> Command | None:
        """The command in force; `None`: stand still, the gripper as it is."""
        return self._command if self._command is not None and now_ns <= self._until_ns else None

    @property
    def until_ns(self) -> int:
        """When the last accepted command ceases to be valid."""
        return self._until_ns

    def forget(self) -> None:
        """Holds until the next command: for a world that has changed under it."""
        self._command = None

    def _refusal(self, command: Command, now_ns: int, calendar_ns: int) -> str | None:
        if not self._in_range(command):
            return "out_of_range"
        if self._last is not None and self._last[0] == command.session:
            if command.sequence <= self._last[1]:
                return "not_newer"
        elif self._last is not None and self.at(now_ns) is not None:
            return "other_sender"
        # Both directions count: a stamp from the future says nothing about an age.
        if abs(self._travelled_ms(command, calendar_ns)) > command.valid_ms:
            return "expired"
        return None

    @staticmethod
    def _travelled_ms(command: Command, calendar_ns: int) -> float:
        stamp = command.header.stamp
        return (calendar_ns - stamp.sec * 10**9 - stamp.nanosec) / NS_PER_MS

    def _in_range(self, command: Command) -> bool:
        """Written so that NaN fails."""
        limits, twist = self._limits, command.twist
        linear = np.abs([twist.linear.x, twist.linear.y, twist.linear.z])
        angular = np.abs([twist.angular.x, twist.angular.y, twist.angular.z])
        return bool(
            (linear <= limits.linear_m_s_max).all() and (angular <= limits.angular_rad_s_max).all()
            and 0 <= command.gripper <= 1 and 0 <= command.valid_ms <= limits.valid_ms_max
        )
