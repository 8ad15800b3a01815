"""Whoever stands beside the robot: `python -m egogrid_worker.operator --connect tcp/127.0.0.1:7447 --robot sim0`.

Without more it holds the dead-man switch until it ends: `operator` signs and a liveliness token. With `--ask stop|rearm|episode`
it asks for that once, prints what the daemon says, and ends.
"""

import argparse
import signal
import sys
import threading

import zenoh

from egogrid_worker.cli import EXIT_MISSING, add_connection, connection
from egogrid_worker.live import ask, calendar_stamp
from egogrid_worker.messages import Header, OperatorSign, encode
from egogrid_worker.session import robot_key
from egogrid_worker.tls import NoSession

EXIT_REFUSED = 3


def parsed() -> argparse.Namespace:
    args = argparse.ArgumentParser(description=__doc__)
    add_connection(args)
    args.add_argument("--name", default="console", help="of the operator (default: %(default)s)")
    args.add_argument("--rate-hz", type=float, default=20.0, help="signs per second (default: %(default)s)")
    args.add_argument("--ask", choices=("stop", "rearm", "episode"), help="ask for this instead")
    args.add_argument("--instruction", help="of the episode")
    return args.parse_args()


def hold(session: zenoh.Session, args: argparse.Namespace) -> None:
    """Until a signal."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    token = session.liveliness().declare_token(robot_key(args.robot, f"alive/operator/{args.name}"))
    sign = session.declare_publisher(robot_key(args.robot, "operator"), congestion_control=zenoh.CongestionControl.DROP, express=True)
    print("holding the dead-man switch", flush=True)
    while not ended.wait(1 / args.rate_hz):
        sign.put(encode(OperatorSign(Header(calendar_stamp(), ""), True)))
    # Letting go is said, not only noticed.
    sign.put(encode(OperatorSign(Header(calendar_stamp(), ""), False)))
    token.undeclare()


def main() -> int:
    args = parsed()
    try:
        session = connection(args)
    except (NoSession, zenoh.ZError) as error:
        print(f"cannot connect to {args.connect}: {error}", file=sys.stderr)
        return EXIT_MISSING
    try:
        if args.ask is None:
            hold(session, args)
            return 0
        refusal = ask(session, args.robot, args.ask, args.instruction)
        print(refusal or "asked")
        return EXIT_REFUSED if refusal else 0
    finally:
        session.close()


if __name__ == "__main__":
    sys.exit(main())
