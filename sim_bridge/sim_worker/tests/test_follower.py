"""Promises of the robot's half, with clocks that the test moves. `sim_bridge/tests/follower.rs` has the same ones."""

import math

import pytest

from egogrid_worker.follower import CommandFollower, FollowerLimits
from egogrid_worker.messages import Command, Header, Time, Twist, Vector3

MS = 1_000_000
EPOCH_NS = 1_700_000_000 * 10**9


def command(sequence: int, sent_ms: float = 0, session: int = 1, x: float = 0.1, valid_ms: float = 50, gripper: float = 1.0) -> Command:
    ns = EPOCH_NS + round(sent_ms * MS)
    twist = Twist(Vector3(x, 0.0, 0.0), Vector3(0.0, 0.0, 0.0))
    return Command(Header(Time(ns // 10**9, ns % 10**9), "base"), session, sequence, twist, gripper, valid_ms, False, None, "")


class World:
    def __init__(self) -> None:
        self.follower = CommandFollower(FollowerLimits(0.5, 0.0, 100.0))

    def accept(self, sent: Command, at_ms: float, calendar_step_ms: float = 0):
        return self.follower.accept(sent, round(at_ms * MS), EPOCH_NS + round((at_ms + calendar_step_ms) * MS))

    def speed(self, at_ms: float) -> float | None:
        found = self.follower.at(round(at_ms * MS))
        return None if found is None else found.twist.linear.x


def test_a_command_is_in_force_until_the_next_and_as_long_as_it_is_valid():
    world = World()
    assert world.speed(0) is None, "it holds before the first"
    assert world.accept(command(0), 2) is None
    assert (world.speed(2), world.speed(50), world.speed(50.1)) == (0.1, 0.1, None)
    assert world.accept(command(1, sent_ms=51, x=0.2), 52) is None
    assert world.speed(53) == 0.2


def test_nothing_is_executed_twice_or_out_of_order():
    world = World()
    assert world.accept(command(5), 1) is None
    assert world.accept(command(5), 2) == "not_newer"
    assert world.accept(command(4, x=0.3), 2) == "not_newer"
    assert world.speed(3) == 0.1
    assert world.follower.counts == {"accepted": 1, "not_newer": 2}


def test_what_is_late_or_from_the_future_is_dropped_and_the_time_on_the_way_counts():
    world = World()
    assert world.accept(command(0), 51) == "expired"
    assert world.accept(command(1, sent_ms=60), 80) is None
    assert (world.speed(110), world.speed(111)) == (0.1, None), "50 ms from when it left, not from when it came"
    assert world.accept(command(2, sent_ms=300), 200) == "expired", "100 ms in the future"


def test_a_stepped_calendar_clock_drops_commands_and_never_prolongs_one():
    world = World()
    assert world.accept(command(0), 1) is None
    assert world.accept(command(1, sent_ms=10), 11, calendar_step_ms=3_600_000) == "expired"
    assert world.speed(49) == 0.1 and world.speed(51) is None


def test_a_second_sender_is_not_followed_while_the_first_is_there():
    world = World()
    assert world.accept(command(10, session=1), 0) is None
    assert world.accept(command(0, session=2, x=0.4), 10) == "other_sender"
    assert world.accept(command(1, sent_ms=60, session=2, x=0.4), 61) is None, "a daemon that was started again"
    assert world.speed(62) == 0.4


@pytest.mark.parametrize("wrong", [{"x": 0.6}, {"x": math.nan}, {"x": math.inf}, {"gripper": 1.1}, {"gripper": math.nan},
                                   {"valid_ms": 101}, {"valid_ms": math.nan}, {"valid_ms": -1}])
def test_what_the_robot_cannot_do_is_refused_whole(wrong):
    world = World()
    assert world.accept(command(0, **wrong), 0) == "out_of_range"
    assert world.speed(0) is None
