"""A robot, its camera and its operator without a world, for tests of `egogrid run`.

From: lines of JSON on stdin, `{"ask": "episode", "text": "open the drawer"}` or `{"instruction": "..."}`. To: pictures of a golden case and a
state that never changes at 20 Hz, and a line of JSON for every command, status and answer. Ends with its stdin.
"""

import argparse
import json
import sys
import threading
import time

import numpy as np
import zenoh
from egogrid_worker.live import calendar_stamp
from egogrid_worker.messages import Command, EndEffectorState, Header, PolicyStatus, RosString, decode, encode
from egogrid_worker.session import open_session, robot_key
from egogrid_worker.simulator import Observation, camera_frame, pose
from safetensors.numpy import load_file

SIDE_PX, PERIOD_S, BYTES_MAX = 224, 0.05, 1 << 20
EE = np.array([[1.0, 0, 0, 0.0], [0, 1, 0, 0.6], [0, 0, 1, 0.26], [0, 0, 0, 1]])


def scaled(values: np.ndarray) -> np.ndarray:
    """Nearest neighbours, `[SIDE_PX, SIDE_PX, ...]`: any picture will do."""
    rows, columns = (np.arange(SIDE_PX) * side // SIDE_PX for side in values.shape[:2])
    return np.ascontiguousarray(values[rows][:, columns])


class Peer:
    """What it says comes out of zenoh's threads and its own, one line at a time."""

    def __init__(self, session: zenoh.Session, robot: str, golden: str) -> None:
        self._session, self._key = session, lambda rest: robot_key(robot, rest)
        self._print = threading.Lock()
        case = load_file(golden)
        self._rgb, self._depth_m = scaled(case["case0.image_u8"]), scaled(case["case0.depth_m"])
        self._topics = {rest: session.declare_publisher(self._key(rest)) for rest in ("camera/front/image", "camera/front/depth", "camera/front/camera_info", "state", "instruction")}
        self._subscribers = [session.declare_subscriber(self._key("command"), self._command), session.declare_subscriber(self._key("status"), self._status)]

    def say(self, event: str, **what: object) -> None:
        with self._print:
            print(json.dumps({"event": event, **what}), flush=True)

    def _command(self, sample: zenoh.Sample) -> None:
        command = decode(Command, bytes(sample.payload), BYTES_MAX)
        self.say("command", sequence=command.sequence, session=command.session, hold=command.hold, reason=command.reason, age_ms=command.age_ms)

    def _status(self, sample: zenoh.Sample) -> None:
        status = decode(PolicyStatus, bytes(sample.payload), BYTES_MAX)
        self.say(
            "status", mode=status.mode, detail=status.detail, policy_id=status.policy_id, instruction=status.instruction, remarks=status.remarks,
            counts={count.name: count.count for count in status.counts}, timings={time.stage: time.ms for time in status.timings},
            stages={time.stage: time.ms for time in status.stages}, observation_age_ms=status.observation_age_ms,
        )

    def show(self) -> None:
        """One picture with its depth, and the state."""
        intrinsics = np.array([[200.0, 0, SIDE_PX / 2], [0, 200.0, SIDE_PX / 2], [0, 0, 1]])
        frame = camera_frame(Observation(self._rgb, self._depth_m, intrinsics, np.eye(4), np.eye(4), 0.0, 0.0, "front"))
        stamp = calendar_stamp()
        for part in ("camera_info", "depth", "image"):
            message = getattr(frame, part)
            message.header.stamp = stamp
            self._topics[f"camera/front/{part}"].put(encode(message))
        self._topics["state"].put(encode(EndEffectorState(Header(calendar_stamp(), "base"), pose(EE), 1.0, [])))

    def ask(self, what: str, text: str | None) -> None:
        payload = None if text is None else encode(RosString(text))
        refusal = "nobody answers"
        for reply in self._session.get(self._key(f"do/{what}"), payload=payload, timeout=10.0):
            said = decode(RosString, bytes((reply.ok or reply.err).payload)).data
            refusal = None if reply.ok else said
        self.say("answer", what=what, refusal=refusal)

    def obey(self) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if "ask" in order:
                self.ask(order["ask"], order["text"])
            else:
                self._topics["instruction"].put(encode(RosString(order["instruction"])))


def run() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--connect", required=True)
    args.add_argument("--golden", required=True)
    args = args.parse_args()
    session = open_session(args.connect)
    peer = Peer(session, "sim0", args.golden)
    orders = threading.Thread(target=peer.obey, daemon=True)
    orders.start()
    while orders.is_alive():
        peer.show()
        time.sleep(PERIOD_S)
    session.close()


if __name__ == "__main__":
    run()
