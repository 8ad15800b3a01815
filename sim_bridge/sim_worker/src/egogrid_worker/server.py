"""The server loop: takes queries in order, in the thread that owns the simulator and its GL context.

From: `sim/info`, `sim/reset`, `sim/step` of one robot. To: `SimInfo`, `SimObservation` or `ErrorReply`. Zenoh's threads
only put queries into a bounded queue (and answer `sim/info`, which never changes); the main thread does everything else.
"""

import logging
import math
import queue
import traceback

import numpy as np
import zenoh

from egogrid_worker import limits
from egogrid_worker.errors import WireError
from egogrid_worker.messages import (
    ActionStep, ErrorReply, SimInfo, SimObservation, SimReset, SimStep, decode, decode_protocol, encode,
)
from egogrid_worker.session import robot_key
from egogrid_worker.simulator import Simulator, camera_frame, end_effector_state

log = logging.getLogger("egogrid_worker")

ROUNDING = 1e-6
"""A step may exceed a limit by this share of it (or, where the limit is 0, by this much): rounding, not another unit."""
STOP = None


class Lockstep:
    """The simulator behind the queries: payload in, payload out. No transport."""

    def __init__(self, simulator: Simulator, instance: str) -> None:
        self._simulator = simulator
        self._capabilities = simulator.capabilities()
        self._episode = 0
        self._running = False
        self._task, self._instruction = "", ""
        self._steps_total, self._success = 0, False
        able = self._capabilities
        width, height = able.image_px
        self.info = SimInfo(
            limits.PROTOCOL_VERSION, instance, able.simulator, list(able.tasks), able.control_hz,
            able.translation_m_max, able.rotation_rad_max, width, height, able.depth,
        )

    def reset(self, payload: bytes) -> bytes:
        request = _request(SimReset, payload)
        if request.task not in self._capabilities.tasks:
            raise WireError("unknown_task", f"no task {request.task!r}; use one of {', '.join(self._capabilities.tasks)}")
        self._running = False
        self._instruction = self._simulator.reset(request.task, request.seed)
        self._task, self._steps_total, self._success = request.task, 0, False
        self._episode += 1
        answer = self._look(0)
        self._running = True
        return answer

    def step(self, payload: bytes) -> bytes:
        request = _request(SimStep, payload)
        if not self._running:
            raise WireError("no_episode", "no episode is running; query sim/reset first")
        if (request.episode, request.first_step) != (self._episode, self._steps_total):
            raise WireError(
                "out_of_step",
                f"asked for step {request.first_step} of episode {request.episode}, this is step {self._steps_total} of "
                f"episode {self._episode}; query sim/reset",
            )
        moves = [self._checked(index, step) for index, step in enumerate(request.steps)]
        # Until the answer is whole: if the simulator breaks in the middle, only a reset helps.
        self._running = False
        executed = 0
        for move in moves:
            if self._success:
                break
            self._success = bool(self._simulator.step(*move))
            executed += 1
            self._steps_total += 1
        answer = self._look(executed)
        self._running = True
        return answer

    def _checked(self, index: int, step: ActionStep) -> tuple[np.ndarray, np.ndarray, float]:
        """Refuses; never clips."""
        t, r = step.translation_m, step.rotation_rad
        able = self._capabilities
        groups = (
            ("translation", "m", (t.x, t.y, t.z), able.translation_m_max),
            ("rotation", "rad", (r.x, r.y, r.z), able.rotation_rad_max),
        )
        for name, unit, values, limit in groups:
            bound = limit * (1 + ROUNDING) if limit else ROUNDING
            for axis, value in zip("xyz", values, strict=True):
                if not abs(value) <= bound:  # written so that NaN fails
                    raise WireError(
                        "out_of_range",
                        f"steps[{index}].{name} {axis} is {value} {unit}, at most {limit} {unit} is executed; "
                        "set the embodiment's limit to this",
                    )
        if not -ROUNDING <= step.gripper <= 1 + ROUNDING:
            raise WireError("out_of_range", f"steps[{index}].gripper is {step.gripper}, expected 0 (closed) to 1 (open)")
        return np.array(groups[0][2]), np.array(groups[1][2]), step.gripper

    def _look(self, executed: int) -> bytes:
        look = self._simulator.observe()
        width, height = self._capabilities.image_px
        if look.rgb.shape[:2] != (height, width) or (look.depth_m is not None) != self._capabilities.depth:
            raise WireError("simulator", f"the picture is {look.rgb.shape}, depth {look.depth_m is not None}; sim/info says otherwise")
        if not math.isfinite(look.gripper):
            raise WireError("simulator", f"the gripper reads {look.gripper}")
        return encode(SimObservation(
            self._episode, executed, self._steps_total, self._success, self._task, self._instruction,
            camera_frame(look), end_effector_state(look),
        ))


def _request(kind: type, payload: bytes):
    """A query's message; its version first, so that another one is named as such."""
    if len(payload) > limits.REQUEST_BYTES_MAX:
        raise WireError("too_large", f"{len(payload)} bytes, at most {limits.REQUEST_BYTES_MAX} are read in a query")
    found = decode_protocol(payload)
    if found != limits.PROTOCOL_VERSION:
        raise WireError("version", f"the query speaks protocol {found}, this worker {limits.PROTOCOL_VERSION}; install the same release")
    return decode(kind, payload, limits.REQUEST_BYTES_MAX)


def error_reply(error: WireError) -> bytes:
    room = limits.STRING_BYTES_MAX
    detail = error.detail.replace("\0", "").encode()[:room].decode(errors="ignore")
    return encode(ErrorReply(limits.PROTOCOL_VERSION, error.kind, detail))


class Server:
    """Connects a `Lockstep` to a zenoh session."""

    def __init__(self, lockstep: Lockstep, robot: str, instance: str) -> None:
        self._lockstep = lockstep
        self._robot, self._instance = robot, instance
        # Not `Queue`: its lock would deadlock when a signal handler stops the loop.
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self.encode_info = lambda: encode(lockstep.info)

    def stop(self, why: str) -> None:
        """From any thread: the loop ends after the query it is at."""
        log.info("stopping: %s", why)
        self._requests.put(STOP)

    def serve(self, session: zenoh.Session) -> None:
        key = lambda rest: robot_key(self._robot, rest)  # noqa: E731
        work = {key("sim/reset"): self._lockstep.reset, key("sim/step"): self._lockstep.step}
        declared = [session.declare_queryable(name, self._enqueue) for name in work]
        declared.append(session.declare_queryable(key("sim/info"), self._answer_info))
        # Last: whoever sees the token may query at once.
        declared.append(session.liveliness().declare_token(key(f"alive/worker/{self._instance}")))
        log.info("serving %s as %s", self._lockstep.info.simulator, key("sim/*"))
        while (query := self._requests.get()) is not STOP:
            with query:
                self._answer(query, work[str(query.key_expr)])
        for item in reversed(declared):
            item.undeclare()

    def _enqueue(self, query: zenoh.Query) -> None:
        if self._requests.qsize() >= limits.REQUESTS_WAITING_MAX:
            waiting = f"{limits.REQUESTS_WAITING_MAX} queries are waiting"
            with query:
                _reply_error(query, WireError("busy", f"{waiting}; one client at a time, one query at a time"))
        else:
            self._requests.put(query)

    def _answer_info(self, query: zenoh.Query) -> None:
        with query:
            query.reply(query.key_expr, self.encode_info(), encoding=zenoh.Encoding.APPLICATION_CDR)

    def _answer(self, query: zenoh.Query, work) -> None:
        try:
            payload = work(bytes(query.payload) if query.payload is not None else b"")
        except WireError as error:
            log.warning("refused: %s", error)
            _reply_error(query, error)
        except Exception as error:  # whatever the simulator raises must reach the other side
            log.error("the simulator failed:\n%s", traceback.format_exc())
            _reply_error(query, WireError("simulator", f"{type(error).__name__}: {error}"))
        else:
            query.reply(query.key_expr, payload, encoding=zenoh.Encoding.APPLICATION_CDR, express=True)


def _reply_error(query: zenoh.Query, error: WireError) -> None:
    query.reply_err(error_reply(error), encoding=zenoh.Encoding.APPLICATION_CDR)
