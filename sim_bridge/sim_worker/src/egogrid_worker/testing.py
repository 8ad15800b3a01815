"""A toy simulator for tests of the protocol, without MuJoCo: `python -m egogrid_worker.testing --connect ...`.

A point moves by each step; the task "reach" is solved once it has moved 0.05 m along x. The picture shows the number of
executed steps, so a test can see that they arrived. `--fault` makes it break the protocol in one named way.
"""

import argparse
import sys
import time

import numpy as np
import zenoh

from egogrid_worker import limits
from egogrid_worker.cli import main, parser
from egogrid_worker.messages import SimInfo, encode
from egogrid_worker.server import Lockstep, Server
from egogrid_worker.simulator import Capabilities, Observation

CONTROL_HZ = 20.0
SOLVED_M = 0.05
FAULTS = ("none", "version", "oversized", "broken", "cut", "error_bytes", "raise", "silent", "slow", "exit_at_start", "never_ready")


class ToySimulator:
    """Deterministic; no state but a position and a count."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._px = args.image_px
        self._fault = args.fault
        self._position_m = np.zeros(3)
        self._gripper = 1.0
        self._steps = 0

    def capabilities(self) -> Capabilities:
        return Capabilities("toy 1", ("reach", "wait"), CONTROL_HZ, 0.02, 0.1, (self._px, self._px), True)

    def reset(self, task: str, seed: int) -> str:
        self._position_m = np.array([0.0, 0.0, seed * 1e-3])
        self._gripper, self._steps = 1.0, 0
        self._task = task
        return f"{task} the end"

    def step(self, translation_m: np.ndarray, rotation_rad: np.ndarray, gripper: float) -> bool:
        if self._fault == "raise":
            raise RuntimeError("the toy broke")
        if self._fault == "slow":
            time.sleep(0.3)
        self._position_m = self._position_m + translation_m
        self._gripper = min(max(gripper, 0.0), 1.0)
        self._steps += 1
        return self._task == "reach" and self._position_m[0] >= SOLVED_M - 1e-9

    def observe(self) -> Observation:
        rgb = np.full((self._px, self._px, 3), self._steps % 256, np.uint8)
        rgb[0, 0] = (255, 128, 0)
        base_from_ee = np.eye(4)
        base_from_ee[:3, 3] = self._position_m
        base_from_camera = np.array([[0, -1, 0, 0.5], [-1, 0, 0, 0], [0, 0, -1, 1], [0, 0, 0, 1.0]])
        k = np.array([[self._px, 0, (self._px - 1) / 2], [0, self._px, (self._px - 1) / 2], [0, 0, 1]])
        depth_m = np.full((self._px, self._px), 1.5, np.float32)
        return Observation(rgb, depth_m, k, base_from_camera, base_from_ee, self._gripper, self._steps / CONTROL_HZ)


class FaultyServer(Server):
    """Breaks the wire in the way that the command line names."""

    fault = "none"

    def __init__(self, lockstep: Lockstep, robot: str, instance: str) -> None:
        super().__init__(lockstep, robot, instance)
        if self.fault == "version":
            info = SimInfo(**{**vars(lockstep.info), "protocol": limits.PROTOCOL_VERSION + 998})
            self.encode_info = lambda: encode(info)

    def _answer(self, query: zenoh.Query, work) -> None:
        if work != self._lockstep.step or self.fault not in ("oversized", "broken", "cut", "error_bytes", "silent"):
            super()._answer(query, work)
            return
        whole = work(bytes(query.payload))
        match self.fault:
            case "oversized":
                query.reply(query.key_expr, whole + bytes(limits.PAYLOAD_BYTES_MAX))
            case "broken":
                query.reply(query.key_expr, whole[:4] + b"\xff" * (len(whole) - 4))
            case "cut":
                query.reply(query.key_expr, whole[: len(whole) // 2])
            case "error_bytes":
                query.reply_err(b"not CDR")
            case "silent":
                pass


def run() -> int:
    args = parser(__doc__)
    args.add_argument("--image-px", type=int, default=8)
    args.add_argument("--fault", choices=FAULTS, default="none")
    args = args.parse_args()
    if args.fault == "exit_at_start":
        print("the toy refuses to start", file=sys.stderr)
        return 3
    if args.fault == "never_ready":
        print("the toy is thinking", file=sys.stderr)
        sys.stdin.buffer.read()
        return 0
    FaultyServer.fault = args.fault
    return main(ToySimulator, args, FaultyServer)


if __name__ == "__main__":
    sys.exit(run())
