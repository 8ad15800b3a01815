"""Promises of the Meta-World worker: a real process, asked over zenoh as the Rust side asks it."""

import numpy as np
import pytest
from egogrid_worker.asking import Client
from egogrid_worker.messages import ActionStep, ErrorReply, SimInfo, SimObservation, Vector3, decode

PX = 64


@pytest.fixture(scope="module")
def client():
    client = Client("egogrid_metaworld.worker", ["--image-px", str(PX)])
    yield client
    client.close()


def move(x: float, y: float, z: float, yaw: float = 0.0) -> ActionStep:
    return ActionStep(Vector3(x, y, z), Vector3(0.0, 0.0, yaw), 1.0)


def test_it_says_what_it_can_do(client):
    info = decode(SimInfo, client.ask("info"))
    assert info.simulator == "metaworld 3.1.1"
    assert len(info.tasks) == 50
    assert (info.control_hz, info.translation_m_max, info.rotation_rad_max) == (80.0, 0.01, 0.0)
    assert (info.width, info.height, info.depth) == (PX, PX, True)


def test_a_step_up_moves_the_hand_up_and_the_picture_with_it(client):
    start = client.reset("drawer-open", 3)
    assert start.instruction == "open the drawer"
    before = np.frombuffer(start.camera.image.data, np.uint8).reshape(PX, PX, 3)
    depth_m = np.frombuffer(start.camera.depth.data, "<f4").reshape(PX, PX)
    assert before.std() > 10, "a picture, not one colour"
    assert 0.3 < np.median(depth_m) < 2.0
    look = decode(SimObservation, client.step(start, [move(0.0, 0.0, 0.01)] * 10))
    assert (look.steps_executed, look.steps_total, look.success) == (10, 10, False)
    assert look.camera.image.header.stamp.nanosec == 125_000_000, "ten steps of 1/80 s"
    rise_m = look.state.base_from_ee.position.z - start.state.base_from_ee.position.z
    assert 0.02 < rise_m < 0.12
    after = np.frombuffer(look.camera.image.data, np.uint8).reshape(PX, PX, 3)
    assert (before != after).any(axis=2).mean() > 0.005


def test_the_same_task_and_seed_show_the_same_picture(client):
    first, other, again = client.reset("reach", 5), client.reset("reach", 6), client.reset("reach", 5)
    assert first.camera.image.data == again.camera.image.data
    assert first.camera.image.data != other.camera.image.data


def test_what_the_robot_cannot_do_is_refused(client):
    start = client.reset("reach", 0)
    for bad in (move(0.011, 0.0, 0.0), move(0.0, 0.0, 0.0, yaw=0.01)):
        assert decode(ErrorReply, client.step(start, [bad])).kind == "out_of_range"
