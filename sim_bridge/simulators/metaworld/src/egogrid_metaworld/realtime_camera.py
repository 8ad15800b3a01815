"""The camera of real-time Meta-World: a process of its own, so that it can be slow, wrong or dead while the world goes on.

Writes a line to stdout when the first picture of an episode is out. From: lines of JSON on stdin (task, seed, time of exposure, physics state). To: `camera/front/image`, `/depth` and
`/camera_info`, of the newest line; older ones are skipped, as a camera does that cannot keep up.
"""

import argparse
import json
import signal
import sys
import threading

import numpy as np
import zenoh
from egogrid_worker.cli import add_connection, connection
from egogrid_worker.live import calendar_stamp
from egogrid_worker.messages import encode
from egogrid_worker.session import robot_key
from egogrid_worker.simulator import Observation, camera_frame

from egogrid_metaworld.env import MetaWorldEnv

import mujoco

CAMERA = "front"
STATE = mujoco.mjtState.mjSTATE_INTEGRATION
FUTURE_NS = 10**9


class Lines:
    """The newest line of stdin."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: bytes | None = None
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            self._put(line, False)
        self._put(None, True)

    def _put(self, line: bytes | None, ended: bool) -> None:
        with self._changed:
            self._line, self._ended = line, ended
            self._changed.notify()

    def newest(self) -> dict | None:
        """Waits for one; `None` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._line is not None or self._ended)
            line, self._line = self._line, None
        return None if line is None else json.loads(line)


class Scene:
    """The same world as the robot's, moved to each state that arrives."""

    def __init__(self, image_px: int) -> None:
        self._env = MetaWorldEnv(image_px=image_px)
        self.episode: tuple[str, int] | None = None

    def show(self, task: str, seed: int, state: list[float]):
        if self.episode != (task, seed):
            self._env.reset(task, seed)
            self.episode = (task, seed)
        sim = self._env.privileged().env
        mujoco.mj_setState(sim.model, sim.data, np.array(state), STATE)
        mujoco.mj_forward(sim.model, sim.data)
        return self._env.observe()


def run() -> int:
    args = argparse.ArgumentParser(description=__doc__)
    add_connection(args)
    args.add_argument("--image-px", type=int, default=224)
    args.add_argument("--fault", default="none")
    args.add_argument("--fault-after", type=int, default=0, help="pictures; -1: from SIGUSR1 on")
    args = args.parse_args()
    session = connection(args)
    publish = {
        part: session.declare_publisher(robot_key(args.robot, f"camera/{CAMERA}/{part}"), congestion_control=zenoh.CongestionControl.DROP)
        for part in ("image", "depth", "camera_info")
    }
    begun = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: begun.set())
    lines, scene, count, frozen = Lines(), Scene(args.image_px), 0, None
    while (line := lines.newest()) is not None:
        is_first = scene.episode != (line["task"], line["seed"])
        look = scene.show(line["task"], line["seed"], line["state"])
        count += 1
        fault = args.fault if begun.is_set() or 0 <= args.fault_after < count else "none"
        rgb, depth_m, exposed_ns = look.rgb, look.depth_m, line["exposed_ns"]
        if fault == "frozen":
            frozen = frozen or (rgb, depth_m)
            rgb, depth_m = frozen
        elif fault == "dark":
            rgb = np.zeros_like(rgb)
        elif fault == "future":
            exposed_ns += FUTURE_NS
        frame = camera_frame(Observation(
            rgb, depth_m, look.intrinsics_px, look.base_from_camera, np.eye(4), 0.0, look.sim_time_s, CAMERA,
        ))
        stamp = calendar_stamp(exposed_ns)
        for part in (frame.image, frame.depth, frame.camera_info):
            part.header.stamp = stamp
        publish["camera_info"].put(encode(frame.camera_info))
        if fault != "no_depth":
            publish["depth"].put(encode(frame.depth))
        publish["image"].put(encode(frame.image))
        if is_first:
            print("shown", flush=True)
    session.close()
    return 0


if __name__ == "__main__":
    sys.exit(run())
