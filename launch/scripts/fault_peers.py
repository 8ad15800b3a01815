"""Peers that misbehave, each a process of its own: `python fault_peers.py link|router|slow|hostile|subscriber …`.

`link`: stands between daemon and robot, and from SIGUSR1 on loses, reorders and delays every message, both ways. `router`: a zenoh
router that can be killed and started again. `slow`: a link of so many bytes a second. `hostile`: writes random, cut and huge payloads to every key. `subscriber`: hears everything;
wedged when it is stopped (SIGSTOP).
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import zenoh
from egogrid_worker.limits import PAYLOAD_BYTES_MAX
from egogrid_worker.session import open_session

UP = ("camera/*/image", "camera/*/depth", "camera/*/camera_info", "state", "instruction", "operator")
DOWN = ("command", "status")
ANSWER_S_MAX = 2.0
HUGE_BYTES = PAYLOAD_BYTES_MAX + (6 << 20)


def listening(endpoint: str, mode: str) -> zenoh.Session:
    """As `egogrid_worker.session.open_session`, the other way round."""
    settings = {
        "mode": mode,
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "listen/endpoints": [endpoint],
        "transport/link/rx/max_message_size": 2 * PAYLOAD_BYTES_MAX,
        "transport/shared_memory/enabled": False,
    }
    config = zenoh.Config()
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    return zenoh.open(config)


@dataclass(order=True)
class _Late:
    due_s: float
    send: Callable[[], None] = field(compare=False)


class Link:
    """Messages of one direction. Lost ones are gone; each of the others waits on its own, so that later ones may overtake."""

    def __init__(self, loss: float, reorder: float, delay_ms: float) -> None:
        self._loss, self._reorder, self._delay_s = loss, reorder, delay_ms / 1e3
        self._random, self._waiting, self._changed = random.Random(1), list[_Late](), threading.Condition()
        self.is_bad = False
        threading.Thread(target=self._run, daemon=True).start()

    def pass_on(self, send: Callable[[], None]) -> None:
        if not self.is_bad:
            return send()
        if self._random.random() < self._loss:
            return None
        # One that is to be overtaken waits for as long as the next two or three take.
        wait_s = self._delay_s + (0.03 if self._random.random() < self._reorder else 0.0)
        with self._changed:
            heapq.heappush(self._waiting, _Late(time.monotonic() + wait_s, send))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting or self._waiting[0].due_s > time.monotonic():
                    self._changed.wait(max(self._waiting[0].due_s - time.monotonic(), 0.0) if self._waiting else None)
                late = heapq.heappop(self._waiting)
            late.send()


def link(args: argparse.Namespace) -> None:
    daemon, robot = open_session(args.connect), listening(args.listen, "peer")
    links = [Link(args.loss, args.reorder, args.delay_ms) for _ in range(2)]

    def begin(*_: object) -> None:
        for one in links:
            one.is_bad = True

    signal.signal(signal.SIGUSR1, begin)

    def forward(source: zenoh.Session, target: zenoh.Session, keys: tuple[str, ...], over: Link) -> None:
        for rest in keys:
            hear = lambda sample: over.pass_on(  # noqa: E731
                lambda key=str(sample.key_expr), payload=bytes(sample.payload): target.put(key, payload)
            )
            source.declare_subscriber(f"egogrid/*/{rest}", hear)

    def ask(query: zenoh.Query) -> None:
        payload = None if query.payload is None else bytes(query.payload)
        for reply in daemon.get(str(query.key_expr), payload=payload, timeout=ANSWER_S_MAX):
            if reply.ok:
                query.reply(query.key_expr, bytes(reply.ok.payload))
            else:
                query.reply_err(bytes(reply.err.payload))

    forward(robot, daemon, UP, links[0])
    forward(daemon, robot, DOWN, links[1])
    robot.declare_queryable("egogrid/*/do/*", ask)
    wait_for_the_end(daemon, robot)


def router(args: argparse.Namespace) -> None:
    wait_for_the_end(listening(args.listen, "router"))


def subscriber(args: argparse.Namespace) -> None:
    session = open_session(args.connect)
    session.declare_subscriber("egogrid/**", lambda _: None)
    wait_for_the_end(session)


def slow(args: argparse.Namespace) -> None:
    """A link of so many bytes a second each way, below zenoh: what it cannot carry waits, and then backs up."""
    host, port = args.listen.removeprefix("tcp/").split(":")
    target = args.connect.removeprefix("tcp/").split(":")
    listener = socket.create_server((host, int(port)))

    def carry(source: socket.socket, sink: socket.socket) -> None:
        try:
            while part := source.recv(4096):
                sink.sendall(part)
                time.sleep(len(part) / args.bytes_s)
        except OSError:
            pass
        finally:
            for one in (source, sink):
                one.close()

    def accept() -> None:
        while True:
            near, _ = listener.accept()
            far = socket.create_connection((target[0], int(target[1])))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    wait_for_the_end()


def hostile(args: argparse.Namespace) -> None:
    session, draw = open_session(args.connect), random.Random(args.seed)
    wait = zenoh.CongestionControl.BLOCK  # all of them are to arrive
    keys = [f"egogrid/{args.robot}/{rest.replace('*', args.camera)}" for rest in UP]
    for number in range(args.rounds):
        for key in keys:
            noise = draw.randbytes(draw.choice((0, 3, 4, 5, 20, 100, 5000)))
            # Half of them look like a message at the beginning.
            session.put(key, b"\0\1\0\0" + noise if number % 2 else noise, congestion_control=wait)
    session.put(keys[0], bytes(HUGE_BYTES), congestion_control=wait)
    for what in ("rearm", "episode"):
        list(session.get(f"egogrid/{args.robot}/do/{what}", payload=b"\xff" * 50, timeout=ANSWER_S_MAX))
    session.close()
    print("done", file=sys.stderr)


def wait_for_the_end(*sessions: zenoh.Session) -> None:
    print("ready", file=sys.stderr, flush=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    for session in sessions:  # one that is left open keeps the process from ending
        session.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("link", "router", "slow", "hostile", "subscriber"))
    parser.add_argument("--connect")
    parser.add_argument("--listen")
    parser.add_argument("--robot", default="sim0")
    parser.add_argument("--camera", default="front")
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--reorder", type=float, default=0.0)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--bytes-s", type=float, default=1e9)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    {"link": link, "router": router, "slow": slow, "hostile": hostile, "subscriber": subscriber}[args.what](args)


if __name__ == "__main__":
    main()
