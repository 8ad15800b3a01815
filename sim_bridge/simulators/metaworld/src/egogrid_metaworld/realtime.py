"""Meta-World as a robot in real time, for `egogrid run`: `python -m egogrid_metaworld.realtime --connect tcp/127.0.0.1:PORT`.

The world goes on whether a command comes or not. From: `command` topics. To: `state` at every step, pictures from a camera
process of its own (`realtime_camera.py`), and the outcome of every episode as JSON. One benchmark step lasts `1 / --rate-hz`
seconds; the benchmark itself has 80 a second.
"""

import argparse
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import zenoh
from egogrid_worker.cli import EXIT_MISSING, add_connection, connection, connection_arguments
from egogrid_worker.follower import CommandFollower, FollowerLimits
from egogrid_worker.live import RobotEnd, Trace
from egogrid_worker.tls import NoSession

from egogrid_metaworld.env import STEP_M_MAX, MetaWorldEnv
from egogrid_metaworld.tasks import instruction, task_names

import mujoco

ROUNDING = 1e-6
VALID_STEPS_MAX = 10
"""Longest validity of a command that is accepted, in steps."""
DAEMON_S_MAX = 60.0
CAMERA_AGAIN_S = 1.0
"""A camera process that ended is started again after this time."""
CAMERA_START_S_MAX = 60.0
CAMERA_END_S_MAX = 5.0
STATE = mujoco.mjtState.mjSTATE_INTEGRATION
log = logging.getLogger("egogrid_worker")


class CameraProcess:
    """The camera, as another process that may die: gets each state on its stdin, and is started again when it is gone."""

    def __init__(self, args: list[str]) -> None:
        self._args = args
        self._process: subprocess.Popen | None = None
        self._ended_s = -CAMERA_AGAIN_S
        self.starts = 0

    def show(self, task: str, seed: int, env: MetaWorldEnv) -> None:
        """Hands over the present state. Never waits: a camera that is behind misses it."""
        if self._process is None or self._process.poll() is not None:
            if time.monotonic() - self._ended_s < CAMERA_AGAIN_S:
                return
            self._process = subprocess.Popen([sys.executable, "-m", "egogrid_metaworld.realtime_camera", *self._args], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            os.set_blocking(self._process.stdin.fileno(), False)
            self.starts += 1
            log.info("camera: process %d", self._process.pid)
        sim = env.privileged().env
        state = np.empty(mujoco.mj_stateSize(sim.model, STATE))
        mujoco.mj_getState(sim.model, sim.data, state, STATE)
        line = json.dumps({"task": task, "seed": seed, "exposed_ns": time.time_ns(), "state": state.tolist()}).encode() + b"\n"
        try:
            os.write(self._process.stdin.fileno(), line)
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._process.wait()
            self._ended_s = time.monotonic()
            log.warning("the camera process ended with %s", self._process.returncode)

    def wait_shown(self, wait_s_max: float) -> bool:
        """Sleeps until the first picture of an episode is out: making a scene takes seconds, and no robot waits for its camera later."""
        if self._process is None or not select.select([self._process.stdout], [], [], wait_s_max)[0]:
            return False
        return self._process.stdout.readline() != b""

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(timeout=CAMERA_END_S_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class RealtimeWorld:
    """Steps the benchmark at absolute times."""

    def __init__(self, robot: RobotEnd, camera: CameraProcess, rate_hz: float, trace: Trace) -> None:
        self._robot, self._camera, self._rate_hz, self._trace = robot, camera, rate_hz, trace
        self._env = MetaWorldEnv()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    @property
    def stopped(self) -> bool:
        return self._stopped

    def episode(self, task: str, seed: int, steps_max: int) -> dict:
        env, period_ns = self._env, round(1e9 / self._rate_hz)
        env.reset(task, seed)
        self._robot.forget()
        self._show(task, seed)
        if not self._camera.wait_shown(CAMERA_START_S_MAX):
            log.warning("the camera shows nothing after %s s; the episode begins without it", CAMERA_START_S_MAX)
        self._ask_for_episode(task)
        self._trace.write("episode", at_ns=time.monotonic_ns(), task=task, seed=seed)
        due_ns, gripper, held, late, success, steps = time.monotonic_ns(), 1.0, 0, 0, False, 0
        while steps < steps_max and not success and not self._stopped:
            due_ns += period_ns
            time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)
            if time.monotonic_ns() - due_ns > period_ns:
                late += 1
                due_ns = time.monotonic_ns()
            command = self._robot.command()
            self._trace.write("step", at_ns=time.monotonic_ns(), sequence=None if command is None else command.sequence)
            move = np.zeros(3)
            if command is None:
                held += 1
            else:
                v, gripper = command.twist.linear, command.gripper
                move = np.array([v.x, v.y, v.z]) / self._rate_hz
            success = env.step(np.append(move, gripper))
            steps += 1
            self._show(task, seed)
        return {"task": task, "seed": seed, "success": success, "steps": steps, "held_steps": held, "late_steps": late}

    def _show(self, task: str, seed: int) -> None:
        loaded = self._env.privileged()
        base_from_ee = np.eye(4)
        base_from_ee[:3, :3] = loaded.env.data.body("hand").xmat.reshape(3, 3)
        base_from_ee[:3, 3] = loaded.env.get_endeff_pos()
        self._robot.state(base_from_ee, float(np.clip(loaded.obs[3], 0.0, 1.0)))
        self._camera.show(task, seed, self._env)

    def _ask_for_episode(self, task: str) -> None:
        end = time.monotonic() + DAEMON_S_MAX
        while (refusal := self._robot.ask("episode", instruction(task))) is not None and not self._stopped:
            if time.monotonic() > end:
                raise TimeoutError(f"the daemon begins no episode: {refusal}")
            time.sleep(0.1)


def parser() -> argparse.ArgumentParser:
    args = argparse.ArgumentParser(description=__doc__)
    add_connection(args)
    args.add_argument("--tasks", default="drawer-open", help="comma-separated (default: %(default)s)")
    args.add_argument("--episodes", type=int, default=1, help="of each task (default: %(default)s)")
    args.add_argument("--seed", type=int, default=100_000, help="of the first episode (default: %(default)s)")
    args.add_argument("--steps-max", type=int, default=200, help="then an episode is a failure (default: %(default)s)")
    args.add_argument("--rate-hz", type=float, default=20.0, help="steps per second (default: %(default)s)")
    args.add_argument("--image-px", type=int, default=224, help="side of the square picture (default: %(default)s)")
    args.add_argument("--camera-fault", default="none", choices=("none", "frozen", "dark", "future", "no_depth"), help="for tests")
    args.add_argument("--camera-fault-after", type=int, default=40, metavar="N", help="pictures until the fault (default: %(default)s); -1: when the camera gets SIGUSR1")
    args.add_argument("--out", type=Path, help="where the outcome goes, too")
    args.add_argument("--trace", type=Path, help="where every command and every step goes, a line of JSON each")
    return args


def run() -> int:
    args = parser().parse_args()
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    log.setLevel(logging.INFO)
    tasks = args.tasks.split(",")
    if unknown := sorted(set(tasks) - set(task_names())):
        print(f"unknown tasks {unknown}; there are {', '.join(task_names())}", file=sys.stderr)
        return 2
    try:
        session = connection(args)
    except (NoSession, zenoh.ZError) as error:
        print(f"cannot connect to {args.connect}: {error}", file=sys.stderr)
        return EXIT_MISSING
    valid_ms_max = VALID_STEPS_MAX * 1e3 / args.rate_hz
    limits = FollowerLimits(STEP_M_MAX * args.rate_hz * (1 + ROUNDING), ROUNDING * args.rate_hz, valid_ms_max)
    trace = Trace(args.trace)
    robot = RobotEnd(session, args.robot, CommandFollower(limits), trace)
    camera = CameraProcess([
        *connection_arguments(args), "--image-px", str(args.image_px),
        "--fault", args.camera_fault, "--fault-after", str(args.camera_fault_after),
    ])
    world = RealtimeWorld(robot, camera, args.rate_hz, trace)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: world.stop())
    episodes = []
    try:
        for task in tasks:
            for index in range(args.episodes):
                if not world.stopped:
                    episodes.append(world.episode(task, args.seed + index, args.steps_max))
                    log.info("%s", episodes[-1])
    finally:
        outcome = {
            "rate_hz": args.rate_hz, "successes": sum(episode["success"] for episode in episodes), "episodes": episodes,
            "commands": robot.counts(), "camera_starts": camera.starts,
        }
        print(json.dumps(outcome))
        if args.out is not None:
            args.out.write_text(json.dumps(outcome, indent=1))
        # First: a session that is left open keeps the process from ending.
        robot.close()
        session.close()
        camera.close()
    return 0


if __name__ == "__main__":
    sys.exit(run())
