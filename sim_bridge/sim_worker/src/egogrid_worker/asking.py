"""A worker's process and the one who asks it, as the Rust side does: for the tests of simulators.

From: a module and its arguments. To: answers as they came, `decode` reads them.
"""

import os
import socket
import subprocess
import sys
import time

import zenoh

from egogrid_worker import limits
from egogrid_worker.messages import ActionStep, SimObservation, SimReset, SimStep, decode, encode


class Client:
    """A listening session and the worker that connects to it. `answer_s_max`: longest start, and longest answer."""

    def __init__(self, module: str, arguments: list[str], answer_s_max: float = 60.0) -> None:
        self._robot, self._answer_s_max = "worker-test", answer_s_max
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"tcp/127.0.0.1:{free.getsockname()[1]}"
        config = zenoh.Config()
        for key, value in (("scouting/multicast/enabled", "false"), ("scouting/gossip/enabled", "false"),
                           ("listen/endpoints", f'["{endpoint}"]')):
            config.insert_json5(key, value)
        self.session = zenoh.open(config)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--connect", endpoint, "--robot", self._robot, "--instance", "test", *arguments, "--exit-with-parent"],
            stdin=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        end = time.monotonic() + answer_s_max
        while not list(self.session.liveliness().get(f"egogrid/{self._robot}/alive/worker/test")):
            assert self.process.poll() is None, "the worker ended while starting"
            assert time.monotonic() < end, "the worker did not get ready"
            time.sleep(0.1)

    def ask(self, what: str, payload: bytes = b"") -> bytes:
        reply = next(iter(self.session.get(f"egogrid/{self._robot}/sim/{what}", payload=payload, timeout=self._answer_s_max)))
        return bytes(reply.ok.payload) if reply.ok else bytes(reply.err.payload)

    def reset(self, task: str, seed: int) -> SimObservation:
        return decode(SimObservation, self.ask("reset", encode(SimReset(limits.PROTOCOL_VERSION, task, seed))))

    def step(self, look: SimObservation, steps: list[ActionStep]) -> bytes:
        return self.ask("step", encode(SimStep(limits.PROTOCOL_VERSION, look.episode, look.steps_total, steps)))

    def close(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(timeout=self._answer_s_max) == 0, "it ends in order when its stdin closes"
        self.session.close()
