"""Promises of the server behind the queries, without transport."""

import math
from argparse import Namespace

import numpy as np
import pytest

from egogrid_worker import limits
from egogrid_worker.errors import WireError
from egogrid_worker.messages import (
    ActionStep, ErrorReply, SimObservation, SimReset, SimStep, Vector3, decode, encode,
)
from egogrid_worker.server import Lockstep, error_reply
from egogrid_worker.session import BadEndpoint, checked_endpoint, robot_key
from egogrid_worker.simulator import pose, stamp
from egogrid_worker.testing import ToySimulator


def lockstep(fault: str = "none") -> Lockstep:
    return Lockstep(ToySimulator(Namespace(image_px=8, fault=fault)), "test")


def step(x=0.0, y=0.0, z=0.0, yaw=0.0, gripper=1.0) -> ActionStep:
    return ActionStep(Vector3(x, y, z), Vector3(0.0, 0.0, yaw), gripper)


def reset(server: Lockstep, task="wait", seed=0) -> SimObservation:
    return decode(SimObservation, server.reset(encode(SimReset(limits.PROTOCOL_VERSION, task, seed))))


def ask(server: Lockstep, episode: int, first_step: int, steps: list) -> SimObservation:
    return decode(SimObservation, server.step(encode(SimStep(limits.PROTOCOL_VERSION, episode, first_step, steps))))


def refusal(kind: str):
    return pytest.raises(WireError, match=f"^{kind}: ")


def test_steps_are_executed_in_order_and_stop_at_success():
    server = lockstep()
    start = reset(server, "reach")
    assert (start.steps_total, start.success, start.instruction) == (0, False, "reach the end")
    look = ask(server, start.episode, 0, [step(0.02)] * 5)
    assert (look.steps_executed, look.steps_total, look.success) == (3, 3, True)
    assert look.camera.image.header.stamp == look.camera.depth.header.stamp
    look = ask(server, start.episode, 3, [step(0.02)])
    assert (look.steps_executed, look.success) == (0, True)


@pytest.mark.parametrize("bad", [
    step(0.02001), step(0, -0.03), step(z=math.nan), step(math.inf), step(yaw=0.2), step(yaw=-math.inf),
    step(gripper=1.1), step(gripper=-0.1), step(gripper=math.nan),
])
def test_a_step_outside_the_limits_is_refused_before_anything_moves(bad):
    server = lockstep()
    start = reset(server)
    with refusal("out_of_range"):
        ask(server, start.episode, 0, [step(0.01), bad])
    look = ask(server, start.episode, 0, [])
    assert look.steps_total == 0
    assert look.state.base_from_ee.position.x == 0.0


def test_a_step_at_the_limit_is_executed_exactly():
    server = lockstep()
    start = reset(server)
    look = ask(server, start.episode, 0, [step(0.02, -0.02, 0.02, 0.1, 0.0)])
    position = look.state.base_from_ee.position
    assert (position.x, position.y, position.z, look.state.gripper) == (0.02, -0.02, 0.02, 0.0)


def test_a_late_query_cannot_move_a_new_episode():
    server = lockstep()
    first = reset(server)
    with refusal("out_of_step"):
        ask(server, first.episode, 1, [step()])
    second = reset(server)
    assert second.episode == first.episode + 1
    with refusal("out_of_step"):
        ask(server, first.episode, 0, [step()])


def test_before_the_first_reset_and_after_a_failure_there_is_no_episode():
    server = lockstep("raise")
    with refusal("no_episode"):
        ask(server, 0, 0, [])
    start = reset(server)
    with pytest.raises(RuntimeError):
        ask(server, start.episode, 0, [step()])
    with refusal("no_episode"):
        ask(server, start.episode, 0, [])
    reset(server)


def test_unknown_tasks_versions_and_sizes_are_named():
    server = lockstep()
    with refusal("unknown_task"):
        reset(server, "fly")
    with refusal("version"):
        server.reset(encode(SimReset(limits.PROTOCOL_VERSION + 1, "wait", 0)))
    with refusal("too_large"):
        server.reset(bytes(limits.REQUEST_BYTES_MAX + 1))
    with refusal("malformed"):
        server.reset(b"")
    with refusal("malformed"):
        server.step(encode(SimReset(limits.PROTOCOL_VERSION, "wait", 0)))


def test_an_error_reply_always_fits_however_long_its_words():
    reply = decode(ErrorReply, error_reply(WireError("simulator", "ü\0" * 5000)))
    assert reply.protocol == limits.PROTOCOL_VERSION
    assert reply.kind == "simulator"
    assert len(reply.detail.encode()) <= limits.STRING_BYTES_MAX


def test_every_rotation_becomes_the_quaternion_of_that_rotation():
    rng = np.random.default_rng(0)
    rotations = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(50)]
    rotations = [r * np.sign(np.linalg.det(r)) for r in rotations]
    rotations += [np.diag(d) for d in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1])]
    for rotation in rotations:
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        q = pose(matrix).orientation
        vector, w = np.array([q.x, q.y, q.z]), q.w
        cross = np.array([[0, -q.z, q.y], [q.z, 0, -q.x], [-q.y, q.x, 0]])
        assert np.allclose((w * w - vector @ vector) * np.eye(3) + 2 * np.outer(vector, vector) + 2 * w * cross, rotation)


@pytest.mark.parametrize("matrix", [np.eye(3), np.diag([1, 1, -1, 1]), np.diag([2, 1, 1, 1]), np.full((4, 4), np.nan)])
def test_what_is_no_rigid_transform_is_refused(matrix):
    with refusal("simulator"):
        pose(matrix)


def test_stamps_are_whole_nanoseconds():
    assert (stamp(1.25).sec, stamp(1.25).nanosec) == (1, 250_000_000)
    assert (stamp(0.0125).sec, stamp(0.0125).nanosec) == (0, 12_500_000)


def test_nothing_beyond_loopback_is_accepted():
    for endpoint in ("tcp/127.0.0.1:7447", "tcp/[::1]:7447"):
        assert checked_endpoint(endpoint) == endpoint
    for endpoint in ("tcp/0.0.0.0:1", "tcp/192.168.0.7:1", "tcp/[::]:1", "tcp/localhost:1", "udp/127.0.0.1:1", "tcp/127.0.0.1",
                     "tcp/127.0.0.1:0", "tcp/127.0.0.1:99999", "tcp/127.0.0.1:1#iface=eth0", "tls/127.0.0.1:1", ""):
        with pytest.raises(BadEndpoint):
            checked_endpoint(endpoint)
    with pytest.raises(ValueError):
        robot_key("a/*", "sim/step")
