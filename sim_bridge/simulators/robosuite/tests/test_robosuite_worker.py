"""Promises of the robosuite worker: a real process, asked over zenoh as the Rust side asks it."""

import numpy as np
import pytest
from egogrid_robosuite.tasks import task_names
from egogrid_worker.asking import Client
from egogrid_worker.messages import ActionStep, ErrorReply, SimInfo, SimObservation, Vector3, decode

PX = 64


@pytest.fixture(scope="module")
def client():
    client = Client("egogrid_robosuite.worker", ["--image-px", str(PX)])
    yield client
    client.close()


def move(x: float, y: float, z: float, yaw: float = 0.0) -> ActionStep:
    return ActionStep(Vector3(x, y, z), Vector3(0.0, 0.0, yaw), 1.0)


def test_it_says_what_it_can_do(client):
    info = decode(SimInfo, client.ask("info"))
    assert info.simulator == "robosuite 1.5.2"
    assert info.tasks == list(task_names())
    assert (info.control_hz, info.translation_m_max, info.rotation_rad_max) == (20.0, 0.05, 0.63)
    assert (info.width, info.height, info.depth) == (PX, PX, True)


def test_a_step_up_moves_the_hand_up_and_the_picture_with_it(client):
    start = client.reset("lift", 3)
    assert start.instruction == "lift the red cube"
    before = np.frombuffer(start.camera.image.data, np.uint8).reshape(PX, PX, 3)
    assert before.std() > 10, "a picture, not one colour"
    look = decode(SimObservation, client.step(start, [move(0.0, 0.0, 0.05)] * 5))
    assert (look.steps_executed, look.steps_total, look.success) == (5, 5, False)
    assert look.camera.image.header.stamp.nanosec == 250_000_000, "five steps of 1/20 s"
    assert 0.02 < look.state.base_from_ee.position.z - start.state.base_from_ee.position.z < 0.2
    after = np.frombuffer(look.camera.image.data, np.uint8).reshape(PX, PX, 3)
    assert (before != after).any(axis=2).mean() > 0.005


def test_the_same_task_and_seed_show_the_same_picture(client):
    first, other, again = client.reset("stack", 5), client.reset("stack", 6), client.reset("stack", 5)
    assert first.camera.image.data == again.camera.image.data
    assert first.camera.image.data != other.camera.image.data


def test_what_the_robot_cannot_do_is_refused(client):
    start = client.reset("lift", 0)
    for bad in (move(0.051, 0.0, 0.0), move(0.0, 0.0, 0.0, yaw=0.64)):
        assert decode(ErrorReply, client.step(start, [bad])).kind == "out_of_range"
