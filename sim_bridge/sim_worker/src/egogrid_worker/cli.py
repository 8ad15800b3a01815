"""The command line of every worker: connects, serves, and ends with whoever started it."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import zenoh

from egogrid_worker.server import Lockstep, Server
from egogrid_worker.session import open_session, robot_key
from egogrid_worker.simulator import Simulator
from egogrid_worker.tls import NoSession, Tls

END_S_MAX = 2.0
"""A simulator that does not come back within this time after the parent is gone is ended hard."""
EXIT_MISSING = 4
"""Nobody to connect to."""


def add_connection(args: argparse.ArgumentParser) -> None:
    """Where to connect to and as whom: what every process on the wire takes."""
    args.add_argument("--connect", required=True, metavar="tcp/127.0.0.1:PORT", help="where the other side listens; tls/HOST:PORT beyond")
    args.add_argument("--robot", default="sim0", help="name in every key (default: %(default)s)")
    for what, text in (("root-ca-certificate", "of the authority of both sides"), ("certificate", "our own"), ("private-key", "its key")):
        args.add_argument(f"--{what}", type=Path, metavar="F.pem", help=f"{text}; for tls/HOST:PORT")
    args.add_argument("--daemon-name", default="daemon", metavar="CN", help="in the other side's certificate (default: %(default)s)")


def connection(args: argparse.Namespace) -> zenoh.Session:
    """Opens it."""
    files = (args.root_ca_certificate, args.certificate, args.private_key)
    if any(files) and not all(files):
        raise NoSession("--root-ca-certificate, --certificate and --private-key belong together; give all three or none")
    return open_session(args.connect, Tls(*files, args.daemon_name) if all(files) else None)


def connection_arguments(args: argparse.Namespace) -> list[str]:
    """The same for a process that this one starts."""
    given = {"--connect": args.connect, "--robot": args.robot}
    if args.certificate is not None:
        given |= {"--root-ca-certificate": args.root_ca_certificate, "--certificate": args.certificate, "--private-key": args.private_key,
                  "--daemon-name": args.daemon_name}
    return [str(word) for pair in given.items() for word in pair]


def parser(description: str) -> argparse.ArgumentParser:
    """What every worker takes; a simulator adds its own."""
    args = argparse.ArgumentParser(description=description)
    add_connection(args)
    args.add_argument("--instance", default=str(os.getpid()), help="name of this process in its liveliness token")
    args.add_argument("--exit-with-parent", action="store_true", help="end when stdin closes or the other side is gone")
    return args


def main(make_simulator: Callable[[argparse.Namespace], Simulator], args: argparse.Namespace,
         make_server: type[Server] = Server) -> int:
    """Runs until told to stop. The simulator is made and used in this thread, which owns its GL context."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("egogrid_worker").setLevel(logging.INFO)
    try:
        session = connection(args)
    except (NoSession, zenoh.ZError) as error:
        print(f"cannot connect to {args.connect}: {error}", file=sys.stderr)
        return EXIT_MISSING
    with session:
        server = make_server(Lockstep(make_simulator(args), args.instance), args.robot, args.instance)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: server.stop(signal.Signals(number).name))
        host_watch = _end_with_parent(session, args.robot, server) if args.exit_with_parent else None
        server.serve(session)
        if host_watch is not None:
            host_watch.undeclare()
    return 0


def _end_with_parent(session: zenoh.Session, robot: str, server: Server) -> zenoh.Subscriber:
    ending = threading.Lock()

    def end(why: str) -> None:
        if ending.acquire(blocking=False):
            # A simulator that hangs must not outlive its parent.
            killer = threading.Timer(END_S_MAX, os._exit, [1])
            killer.daemon = True
            killer.start()
            server.stop(why)

    def watch_stdin() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        end("stdin was closed")

    hosts: set[str] = set()

    def watch_hosts(sample: zenoh.Sample) -> None:
        host = str(sample.key_expr)
        if sample.kind == zenoh.SampleKind.PUT:
            hosts.add(host)
        else:
            hosts.discard(host)
            if not hosts:
                end("the other side is gone")

    threading.Thread(target=watch_stdin, daemon=True).start()
    return session.liveliness().declare_subscriber(robot_key(robot, "alive/host/*"), watch_hosts, history=True)
