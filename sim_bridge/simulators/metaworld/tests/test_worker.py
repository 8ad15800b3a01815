"""Promises of the Meta-World worker: a real process, asked over zenoh as the Rust side asks it."""

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import zenoh
from egogrid_worker import limits
from egogrid_worker.messages import (
    ActionStep, ErrorReply, SimInfo, SimObservation, SimReset, SimStep, Vector3, decode, encode,
)

ROBOT = "metaworld-test"
PX = 64
ANSWER_S_MAX = 60.0


class Client:
    """A listening session and the worker that connects to it."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"tcp/127.0.0.1:{free.getsockname()[1]}"
        config = zenoh.Config()
        for key, value in (("scouting/multicast/enabled", "false"), ("scouting/gossip/enabled", "false"),
                           ("listen/endpoints", f'["{endpoint}"]')):
            config.insert_json5(key, value)
        self.session = zenoh.open(config)
        # As in camera.py: what renders headless on this machine.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "egogrid_metaworld.worker", "--connect", endpoint, "--robot", ROBOT,
             "--instance", "test", "--image-px", str(PX), "--exit-with-parent"],
            stdin=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._wait_ready()

    def _wait_ready(self) -> None:
        end = time.monotonic() + ANSWER_S_MAX
        while not list(self.session.liveliness().get(f"egogrid/{ROBOT}/alive/worker/test")):
            assert self.process.poll() is None, "the worker ended while starting"
            assert time.monotonic() < end, "the worker did not get ready"
            time.sleep(0.1)

    def ask(self, what: str, payload: bytes = b"") -> bytes:
        reply = next(iter(self.session.get(f"egogrid/{ROBOT}/sim/{what}", payload=payload, timeout=ANSWER_S_MAX)))
        return bytes(reply.ok.payload) if reply.ok else bytes(reply.err.payload)

    def close(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(timeout=ANSWER_S_MAX) == 0, "it ends in order when its stdin closes"
        self.session.close()


@pytest.fixture(scope="module")
def client():
    client = Client()
    yield client
    client.close()


def reset(client: Client, task: str, seed: int) -> SimObservation:
    return decode(SimObservation, client.ask("reset", encode(SimReset(limits.PROTOCOL_VERSION, task, seed))))


def step(client: Client, look: SimObservation, steps: list[ActionStep]) -> bytes:
    return client.ask("step", encode(SimStep(limits.PROTOCOL_VERSION, look.episode, look.steps_total, steps)))


def move(x: float, y: float, z: float, yaw: float = 0.0) -> ActionStep:
    return ActionStep(Vector3(x, y, z), Vector3(0.0, 0.0, yaw), 1.0)


def test_it_says_what_it_can_do(client):
    info = decode(SimInfo, client.ask("info"))
    assert info.simulator == "metaworld 3.1.1"
    assert len(info.tasks) == 50
    assert (info.control_hz, info.translation_m_max, info.rotation_rad_max) == (80.0, 0.01, 0.0)
    assert (info.width, info.height, info.depth) == (PX, PX, True)


def test_a_step_up_moves_the_hand_up_and_the_picture_with_it(client):
    start = reset(client, "drawer-open", 3)
    assert start.instruction == "open the drawer"
    before = np.frombuffer(start.camera.image.data, np.uint8).reshape(PX, PX, 3)
    depth_m = np.frombuffer(start.camera.depth.data, "<f4").reshape(PX, PX)
    assert before.std() > 10, "a picture, not one colour"
    assert 0.3 < np.median(depth_m) < 2.0
    look = decode(SimObservation, step(client, start, [move(0.0, 0.0, 0.01)] * 10))
    assert (look.steps_executed, look.steps_total, look.success) == (10, 10, False)
    assert look.camera.image.header.stamp.nanosec == 125_000_000, "ten steps of 1/80 s"
    rise_m = look.state.base_from_ee.position.z - start.state.base_from_ee.position.z
    assert 0.02 < rise_m < 0.12
    after = np.frombuffer(look.camera.image.data, np.uint8).reshape(PX, PX, 3)
    assert (before != after).any(axis=2).mean() > 0.005


def test_the_same_task_and_seed_show_the_same_picture(client):
    first, other, again = reset(client, "reach", 5), reset(client, "reach", 6), reset(client, "reach", 5)
    assert first.camera.image.data == again.camera.image.data
    assert first.camera.image.data != other.camera.image.data


def test_what_the_robot_cannot_do_is_refused(client):
    start = reset(client, "reach", 0)
    for bad in (move(0.011, 0.0, 0.0), move(0.0, 0.0, 0.0, yaw=0.01)):
        assert decode(ErrorReply, step(client, start, [bad])).kind == "out_of_range"
