"""The real processes that faults are done to: `egogrid run`, Meta-World in real time, its camera, an operator, a router or a bad link."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fault_trace
from fault_trace import RobotTrace

ROOT = Path(__file__).resolve().parents[2]
EGOGRID = ROOT / "target/release/egogrid"
DEPLOYMENT, EMBODIMENT = ROOT / "launch/deployments/metaworld.toml", ROOT / "launch/embodiments/metaworld-realtime.toml"
START_S_MAX, END_S_MAX = 60.0, 20.0
# The robot's own bounds, as the embodiment file has them; changed lines are named by how they begin.
CONTROL_HZ = 100
BASE_LINES = {"control_hz": f"control_hz = {CONTROL_HZ}.0", "listen": 'listen = ["tcp/127.0.0.1:0"]'}


class NotAsExpected(Exception):
    """The fault could not be done: the row is a failure, and says this."""


class Process:
    """One child with its log in a file."""

    def __init__(self, name: str, command: list[str], directory: Path, env: dict[str, str] | None = None) -> None:
        self.name, self.log = name, directory / f"{name}.log"
        self._out = (directory / f"{name}.out").open("w+")
        with self.log.open("w") as log:
            self.child = subprocess.Popen(command, stdout=self._out, stderr=log, env=env, cwd=ROOT)

    def wait_log(self, marker: str) -> str:
        """What follows `marker` in the log, up to the next space or semicolon."""
        ended = time.monotonic() + START_S_MAX
        while time.monotonic() < ended:
            # Only whole lines: the one that is being written may lack its end.
            for line in self.log.read_text().split("\n")[:-1]:
                if marker in line:
                    rest = line.split(marker, 1)[1].replace(";", " ").split()
                    return rest[0] if rest else ""
            if self.child.poll() is not None:
                break
            time.sleep(0.02)
        raise NotAsExpected(f"{self.name} did not say {marker!r}: {self.log.read_text()[-500:]}")

    def signal(self, number: signal.Signals) -> int:
        """Sends it; when, monotonic nanoseconds."""
        at_ns = time.monotonic_ns()
        self.child.send_signal(number)
        return at_ns

    def end(self) -> int:
        """Asks it to end and waits; its exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.terminate()
            try:
                self.child.wait(END_S_MAX)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode

    def printed(self) -> str:
        self._out.seek(0)
        return self._out.read()


class Scene:
    """The processes of one case. Everything that was started ends with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.processes: list[Process] = []
        self.trace_path = directory / "trace.jsonl"
        self.endpoint = ""

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.end()

    def start(self, name: str, command: list[str], env: dict[str, str] | None = None) -> Process:
        process = Process(name, command, self.directory, {**os.environ, **(env or {})})
        self.processes.append(process)
        return process

    def daemon(
        self,
        lines: dict[str, str] | None = None,
        bounds: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
        threads: int = 1,
        inside: list[str] | None = None,
    ) -> Process:
        """`egogrid run` with the shipped deployment; `lines` and `bounds` stand for those of it and of the embodiment.

        `inside`: a command that makes a place and executes the rest there.
        """
        embodiment = _changed(EMBODIMENT.read_text(), bounds or {})
        (self.directory / "embodiment.toml").write_text(embodiment)
        changed = _changed(DEPLOYMENT.read_text(), {**BASE_LINES, "embodiment": 'embodiment = "embodiment.toml"', **(lines or {})})
        deployment = self.directory / "deployment.toml"
        deployment.write_text(changed.replace('"../', f'"{DEPLOYMENT.parent}/../'))
        process = self.start("daemon", [*(inside or []), str(EGOGRID), "run", str(deployment), "--json", "--threads", str(threads)], env)
        self.endpoint = process.wait_log("listening on ")
        return process

    def python(self, name: str, module: str, *args: str) -> Process:
        return self.start(name, [sys.executable, "-u", *module.split(), *args])

    def world(self, *args: str, endpoint: str | None = None, task: str = "drawer-open") -> Process:
        options = ["--connect", endpoint or self.endpoint, "--tasks", task, "--trace", str(self.trace_path), *args]
        return self.python("world", "-m egogrid_metaworld.realtime", *options)

    def trace(self) -> RobotTrace:
        return fault_trace.read(self.trace_path)

    def wait_moving(self, commands: int = CONTROL_HZ) -> None:
        """Until the arm has got that many commands that move."""
        self.wait(lambda: sum(one.moving for one in self.trace().received) >= commands, f"{commands} commands that move")

    def wait(self, done: Callable[[], bool], what: str, seconds: float = START_S_MAX) -> None:
        ended = time.monotonic() + seconds
        while not done():
            dead = [one.name for one in self.processes if one.child.poll() not in (None, 0)]
            if time.monotonic() > ended or dead:
                raise NotAsExpected(f"no {what} after {seconds:g} s; ended: {dead or 'none'}; see {self.directory}")
            time.sleep(0.05)


class Watcher:
    """Listens to a robot's commands beside the robot, in this process: for when the robot itself is what fails."""

    def __init__(self, endpoint: str, path: Path) -> None:
        from egogrid_worker.follower import CommandFollower, FollowerLimits
        from egogrid_worker.live import RobotEnd, Trace
        from egogrid_worker.session import open_session

        self._session, self._path = open_session(endpoint), path
        # It moves nothing, so it takes whatever the daemon says.
        limits = FollowerLimits(1e9, 1e9, 1e9)
        self._end = RobotEnd(self._session, "sim0", CommandFollower(limits), Trace(path))

    def trace(self) -> RobotTrace:
        return fault_trace.read(self._path)

    def ask(self, what: str) -> str | None:
        """`do/<what>`; the daemon's refusal."""
        return self._end.ask(what)

    def close(self) -> None:
        self._end.close()
        self._session.close()


class Memory:
    """Resident memory of a process, sampled twice a second, MiB."""

    def __init__(self, pid: int) -> None:
        self.samples: list[float] = []
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._ended.wait(0.5):
            try:
                self.samples.append(int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * page / 2**20)
            except OSError:
                return

    def end(self) -> list[float]:
        self._ended.set()
        self._thread.join()
        return self.samples


def summary(daemon: Process) -> dict[str, Any]:
    """What the daemon prints at its end."""
    daemon.end()
    try:
        found: dict[str, Any] = json.loads(daemon.printed())
    except json.JSONDecodeError:
        raise NotAsExpected(f"the daemon printed no summary: {daemon.log.read_text()[-500:]}") from None
    return found


def _changed(text: str, lines: dict[str, str]) -> str:
    """With every line that begins with a key replaced; a key that begins no line is a mistake of the caller."""
    changed = []
    left = dict(lines)
    for line in text.split("\n"):
        begins = next((key for key in lines if line.startswith(f"{key} ") or line.startswith(f"{key}=")), None)
        changed.append(line if begins is None else lines[begins])
        left.pop(begins or "", None)
    if left:
        raise NotAsExpected(f"no line begins with {', '.join(left)}")
    return "\n".join(changed)
