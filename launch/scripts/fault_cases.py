"""Every fault of `./launch/faults`: how it is done to the real processes, and what bounds the time until the robot holds.

From: an empty `Scene`. To: an `Outcome`. Times are the robot's own: until no command that moves is in force any more.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import fault_trace
from fault_processes import CONTROL_HZ, EGOGRID, EMBODIMENT, ROOT, NotAsExpected, Process, Scene, Watcher, summary
from fault_trace import NS_PER_MS

BOUNDS = tomllib.loads(EMBODIMENT.read_text())["safety"]
COMMAND_MS, OBSERVATION_MS, STATE_MS = BOUNDS["command_ms_max"], BOUNDS["observation_ms_max"], BOUNDS["state_ms_max"]
TICK_MS, ROBOT_STEP_MS = 1e3 / CONTROL_HZ, 50.0
# Two trips over zenoh and Python's threads at the far end.
WIRE_MS = 5.0
DEAD_MAN_MS, FROZEN_FRAMES = 200.0, 4
HOLD_S, WINDOW_MS = 1.2, 200.0
# Where only half of the pictures come with their depth, a pause of a few of them belongs to going on.
LOSS_WINDOW_MS = 600.0
PEERS = str(Path(__file__).parent / "fault_peers.py")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


@dataclass(frozen=True)
class Outcome:
    """`hold_ms` None: it did not hold. `remark`: what else was seen."""

    hold_ms: float | None
    out_of_order: int
    remark: str = ""


@dataclass(frozen=True)
class Case:
    """`bound_ms` None: the robot is to go on, and `run` raises when it did not. `bound`: what it is made of."""

    name: str
    run: Callable[[Scene], Outcome]
    bound_ms: float | None
    bound: str


@dataclass
class _Cases:
    all: list[Case] = field(default_factory=list)

    def hold(self, name: str, bound_ms: float, bound: str) -> Callable[[Callable[[Scene], Outcome]], None]:
        return lambda run: self.all.append(Case(name, run, bound_ms, bound))

    def go_on(self, name: str, bound: str) -> Callable[[Callable[[Scene], Outcome]], None]:
        return lambda run: self.all.append(Case(name, run, None, bound))


CASES = _Cases()


def held(scene: Scene, fault: Callable[[], int], trace: Callable[[], fault_trace.RobotTrace] | None = None) -> Outcome:
    """Waits for motion, does the fault, and reads the trace a while later."""
    scene.wait_moving()
    fault_ns = fault()
    time.sleep(HOLD_S)
    received = (trace or scene.trace)().received
    if not fault_trace.is_moving(received, fault_ns, round(WINDOW_MS * NS_PER_MS)):
        raise NotAsExpected("the arm stood still when the fault came: nothing was shown")
    refused = fault_trace.refused(received, fault_ns)
    remark = ", ".join(f"{count} {why}" for why, count in sorted(refused.items()))
    hold_ms = fault_trace.hold_ms(received, fault_ns, fault_ns + round(HOLD_S * 1e9))
    return Outcome(hold_ms, fault_trace.out_of_order(received), f"robot refused {remark}" if remark else "")


def went_on(scene: Scene, fault: Callable[[], object], window_ms: float = WINDOW_MS) -> Outcome:
    """The arm must move at the end, too: within the last `window_ms`."""
    scene.wait_moving()
    begun_ns = time.monotonic_ns()
    fault()
    time.sleep(HOLD_S)
    ended_ns, trace = time.monotonic_ns(), scene.trace()
    if not fault_trace.is_moving(trace.received, ended_ns, round(window_ms * NS_PER_MS)):
        raise NotAsExpected("the arm did not go on")
    steps = [sequence for at_ns, sequence in trace.steps if at_ns > begun_ns]
    missing = fault_trace.missing(trace.received, begun_ns, ended_ns)
    remark = f"{sum(one is None for one in steps)} of {len(steps)} steps without a command, {missing} commands lost"
    return Outcome(None, fault_trace.out_of_order(trace.received), remark)


def peer(scene: Scene, what: str, *args: str) -> Process:
    process = scene.start(what, [sys.executable, "-u", PEERS, what, *args])
    process.wait_log("done" if what == "hostile" else "ready")
    return process


def camera_pid(world: Process) -> int:
    return int(world.wait_log("camera: process "))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def kill(pid: int, number: signal.Signals) -> int:
    at_ns = time.monotonic_ns()
    os.kill(pid, number)
    return at_ns


@CASES.hold("daemon killed (kill -9)", COMMAND_MS, "validity of a command")
def _(scene: Scene) -> Outcome:
    daemon = scene.daemon()
    scene.world()
    return held(scene, lambda: daemon.signal(signal.SIGKILL))


@CASES.hold("daemon hung (SIGSTOP)", COMMAND_MS, "validity of a command")
def _(scene: Scene) -> Outcome:
    daemon = scene.daemon()
    scene.world()
    return held(scene, lambda: daemon.signal(signal.SIGSTOP))


@CASES.hold("daemon told to end (SIGTERM)", TICK_MS + WIRE_MS, "one tick + wire")
def _(scene: Scene) -> Outcome:
    daemon = scene.daemon()
    scene.world()
    outcome = held(scene, lambda: daemon.signal(signal.SIGTERM))
    code = daemon.end()
    if code != 0:
        raise NotAsExpected(f"exit code {code}")
    return outcome


def robot_fails(scene: Scene, number: signal.Signals) -> Outcome:
    scene.daemon()
    world = scene.world()
    watcher = Watcher(scene.endpoint, scene.directory / "watch.jsonl")
    try:
        return held(scene, lambda: world.signal(number), watcher.trace)
    finally:
        watcher.close()


@CASES.hold("simulator killed: what the daemon sends", STATE_MS + TICK_MS + WIRE_MS, "age of the state + one tick + wire")
def _(scene: Scene) -> Outcome:
    return robot_fails(scene, signal.SIGKILL)


@CASES.hold("simulator hung (SIGSTOP): what the daemon sends", STATE_MS + TICK_MS + WIRE_MS, "age of the state + one tick + wire")
def _(scene: Scene) -> Outcome:
    return robot_fails(scene, signal.SIGSTOP)


LOST_CAMERA = (OBSERVATION_MS + TICK_MS + WIRE_MS, "age of the picture + one tick + wire")


@CASES.hold("camera killed (kill -9)", *LOST_CAMERA)
def _(scene: Scene) -> Outcome:
    scene.daemon()
    pid = camera_pid(scene.world())
    return held(scene, lambda: kill(pid, signal.SIGKILL))


@CASES.hold("camera hung (SIGSTOP)", *LOST_CAMERA)
def _(scene: Scene) -> Outcome:
    scene.daemon()
    pid = camera_pid(scene.world())
    try:
        return held(scene, lambda: kill(pid, signal.SIGSTOP))
    finally:
        os.kill(pid, signal.SIGCONT)


def camera_fault(scene: Scene, fault: str, lines: dict[str, str]) -> Outcome:
    daemon = scene.daemon(lines)
    pid = camera_pid(scene.world("--camera-fault", fault, "--camera-fault-after", "-1"))
    outcome = held(scene, lambda: kill(pid, signal.SIGUSR1))
    counts = summary(daemon)["counts"]
    named = {"frozen": "picture_frozen", "dark": "picture_dark", "future": "picture_future_stamped", "no_depth": "picture_missing_depth"}
    if not counts.get(named[fault]):
        raise NotAsExpected(f"no {named[fault]} counted: {counts}")
    return Outcome(outcome.hold_ms, outcome.out_of_order, f"{counts[named[fault]]} counted as {named[fault]}")


FROZEN_MS = (FROZEN_FRAMES + 1) * ROBOT_STEP_MS


@CASES.hold("camera frozen (the same picture again)", LOST_CAMERA[0] + FROZEN_MS, f"{FROZEN_FRAMES + 1} pictures + age of the picture + one tick + wire")
def _(scene: Scene) -> Outcome:
    return camera_fault(scene, "frozen", {"frozen_frames": f"frozen_frames = {FROZEN_FRAMES}"})


@CASES.hold("camera dark", *LOST_CAMERA)
def _(scene: Scene) -> Outcome:
    return camera_fault(scene, "dark", {})


@CASES.hold("pictures stamped one second ahead", *LOST_CAMERA)
def _(scene: Scene) -> Outcome:
    return camera_fault(scene, "future", {})


@CASES.hold("depth missing", *LOST_CAMERA)
def _(scene: Scene) -> Outcome:
    return camera_fault(scene, "no_depth", {})


@CASES.hold("stop asked for", TICK_MS + WIRE_MS, "one tick + wire")
def _(scene: Scene) -> Outcome:
    daemon = scene.daemon()
    scene.world()
    # Beside the measurement: starting Python takes longer than the stop.
    watcher = Watcher(scene.endpoint, scene.directory / "watch.jsonl")

    def ask() -> int:
        at_ns = time.monotonic_ns()
        refusal = watcher.ask("stop")
        if refusal is not None:
            raise NotAsExpected(refusal)
        return at_ns

    try:
        outcome = held(scene, ask)
    finally:
        watcher.close()
    if daemon.end() != 5:
        raise NotAsExpected(f"exit code {daemon.child.returncode}, 5 says that it ended stopped")
    return outcome


def operator_fails(scene: Scene, number: signal.Signals) -> Outcome:
    scene.daemon(bounds={"dead_man_ms_max": f"dead_man_ms_max = {DEAD_MAN_MS}"})
    operator = scene.python("operator", "-m egogrid_worker.operator", "--connect", scene.endpoint, "--robot", "sim0")
    scene.wait(lambda: "holding" in operator.printed(), "dead-man switch that is held")
    scene.world()
    return held(scene, lambda: operator.signal(number))


@CASES.hold("operator lets go (SIGTERM of the operator's process)", TICK_MS + WIRE_MS + 50.0, "one sign of 20 Hz + one tick + wire")
def _(scene: Scene) -> Outcome:
    return operator_fails(scene, signal.SIGTERM)


@CASES.hold("operator's process killed (kill -9)", DEAD_MAN_MS + TICK_MS + WIRE_MS, "age of the sign + one tick + wire")
def _(scene: Scene) -> Outcome:
    return operator_fails(scene, signal.SIGKILL)


@CASES.hold("operator's process hung (SIGSTOP)", DEAD_MAN_MS + TICK_MS + WIRE_MS, "age of the sign + one tick + wire")
def _(scene: Scene) -> Outcome:
    return operator_fails(scene, signal.SIGSTOP)


def over_link(scene: Scene, *args: str) -> Process:
    scene.daemon()
    endpoint = f"tcp/127.0.0.1:{free_port()}"
    link = peer(scene, "link", "--connect", scene.endpoint, "--listen", endpoint, *args)
    scene.world(endpoint=endpoint)
    return link


@CASES.hold("every message 200 ms late", COMMAND_MS + WIRE_MS, "validity of a command + wire")
def _(scene: Scene) -> Outcome:
    link = over_link(scene, "--delay-ms", "200")
    return held(scene, lambda: link.signal(signal.SIGUSR1))


@CASES.hold("every message lost", COMMAND_MS + WIRE_MS, "validity of a command + wire")
def _(scene: Scene) -> Outcome:
    link = over_link(scene, "--loss", "1")
    return held(scene, lambda: link.signal(signal.SIGUSR1))


@CASES.go_on("30 % of messages lost, 20 % overtaken", "goes on; nothing executed out of order")
def _(scene: Scene) -> Outcome:
    link = over_link(scene, "--loss", "0.3", "--reorder", "0.2")
    outcome = went_on(scene, lambda: link.signal(signal.SIGUSR1), LOSS_WINDOW_MS)
    refused = fault_trace.refused(scene.trace().received, 0)
    return Outcome(None, outcome.out_of_order, f"{outcome.remark}, {refused.get('not_newer', 0)} came too late and were refused")


@CASES.hold("zenoh router killed, started again after 1 s", COMMAND_MS + WIRE_MS, "validity of a command + wire")
def _(scene: Scene) -> Outcome:
    endpoint = f"tcp/127.0.0.1:{free_port()}"
    router = peer(scene, "router", "--listen", endpoint)
    scene.daemon({"listen": f'connect = ["{endpoint}"]'})
    scene.world(endpoint=endpoint)
    outcome = held(scene, lambda: router.signal(signal.SIGKILL))
    router.child.wait()
    scene.processes.remove(router)
    begun_ns = time.monotonic_ns()
    peer(scene, "router", "--listen", endpoint)
    scene.wait(lambda: any(one.moving and one.at_ns > begun_ns for one in scene.trace().received), "motion after the router came back", 30.0)
    again = min(one.at_ns for one in scene.trace().received if one.moving and one.at_ns > begun_ns)
    return Outcome(outcome.hold_ms, fault_trace.out_of_order(scene.trace().received), f"moves again {(again - begun_ns) / 1e9:.1f} s after its start")


@CASES.hold("daemon's calendar clock one hour ahead", COMMAND_MS + WIRE_MS, "validity of a command + wire")
def _(scene: Scene) -> Outcome:
    if not FAKETIME.exists():
        raise NotAsExpected(f"{FAKETIME} is missing: apt-get install faketime")
    offset = scene.directory / "clock"
    offset.write_text("+0s\n")
    env = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    scene.daemon(env=env)
    scene.world()

    def step() -> int:
        at_ns = time.monotonic_ns()
        offset.write_text("+3600s\n")
        return at_ns

    return held(scene, step)


@CASES.go_on("a hostile peer: 2400 random and cut payloads, one of 70 MB", "goes on")
def _(scene: Scene) -> Outcome:
    daemon = scene.daemon()
    # Longer than any task that the policy can solve.
    scene.world("--episodes", "3")
    outcome = went_on(scene, lambda: peer(scene, "hostile", "--connect", scene.endpoint))
    counts = summary(daemon)["counts"]
    if not counts.get("picture_malformed"):
        raise NotAsExpected(f"nothing was malformed: {counts}")
    return Outcome(None, outcome.out_of_order, f"{outcome.remark}, {counts['picture_malformed']} payloads counted as malformed")


@CASES.go_on("disk full while recording, room again after 1.2 s", "goes on; the recording says so and goes on too")
def _(scene: Scene) -> Outcome:
    disk = scene.directory / "disk"
    disk.mkdir()
    recording = f'[recording]\ndir = "{disk}/recordings"\nfile_mb_max = 8\ndisk_mb_max = 32\nfree_mb_min = 16'
    # A disk of its own, which only the daemon sees. Not in a namespace of users: zenoh's shared memory does not reach into one.
    if os.geteuid() != 0:
        raise NotAsExpected("only root can make a small disk: run ./launch/faults as root for this row")
    inside = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=64m none "{disk}" && exec "$@"', "sh"]
    daemon = scene.daemon({"dry_run": f"dry_run = false\n{recording}"}, inside=inside)
    scene.world("--episodes", "3")
    seen = Path(f"/proc/{daemon.child.pid}/root{disk}")
    scene.wait(lambda: any(seen.glob("recordings/*.mcap")), "recording")
    before = set(seen.glob("recordings/*.mcap"))
    outcome = went_on(scene, lambda: fill(seen / "fill"))
    (seen / "fill").unlink()
    new = lambda: [one for one in set(seen.glob("recordings/*.mcap")) - before if one.stat().st_size > 1e5]  # noqa: E731
    scene.wait(lambda: bool(new()), "recording after there is room again", 15.0)
    files = scene.directory / "recordings"
    # Before the daemon ends: the disk goes with it. What is being written is cut, and read to its last whole chunk.
    shutil.copytree(seen / "recordings", files)
    counts = summary(daemon)["counts"]
    if not counts.get("recording_lost"):
        raise NotAsExpected(f"nothing was lost, so the disk was not full: {counts}")
    replayed = replay(files)
    remark = f"{counts['recording_lost']} messages not recorded, {counts['recording_written']} recorded, {replayed} looks replayed with the same tokens"
    return Outcome(None, outcome.out_of_order, f"{outcome.remark}, {remark}")


def fill(path: Path) -> None:
    """Until there is no room."""
    with path.open("wb", buffering=0) as full:
        try:
            while True:
                full.write(bytes(1 << 16))
        except OSError:
            return


def replay(recording: Path) -> int:
    """Looks that were replayed, all to the same tokens."""
    command = [str(EGOGRID), "replay", str(recording), str(ROOT / "policies/shipped/metaworld/bundle"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotAsExpected(f"the recording is not replayed: {done.stdout[-300:]} {done.stderr[-300:]}")
    looks: int = json.loads(done.stdout)["looks_replayed"]
    return looks


@CASES.go_on("a live view that is stopped (SIGSTOP)", "goes on")
def _(scene: Scene) -> Outcome:
    scene.daemon()
    options = ["--connect", scene.endpoint, "--save", str(scene.directory / "view.rrd")]
    viewer = scene.start("view", [str(EGOGRID), "view", *options])
    viewer.wait_log("viewing ")
    scene.world()
    return went_on(scene, lambda: viewer.signal(signal.SIGSTOP))


@CASES.go_on("a subscriber of everything that is stopped (SIGSTOP)", "goes on")
def _(scene: Scene) -> Outcome:
    scene.daemon()
    subscriber = peer(scene, "subscriber", "--connect", scene.endpoint)
    scene.world()
    return went_on(scene, lambda: subscriber.signal(signal.SIGSTOP))
