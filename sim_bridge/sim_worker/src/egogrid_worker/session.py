"""A zenoh session that connects to one endpoint, on loopback or with certificates, finds nobody by itself, and listens nowhere."""

import ipaddress
import json
import re

import zenoh

from egogrid_worker.limits import PAYLOAD_BYTES_MAX
from egogrid_worker.tls import NoSession, Refused, Tls

CONNECT_MS_MAX = 5_000
HOST_NAME = r"(?=.{1,253}:)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"


class BadEndpoint(NoSession):
    """An endpoint beyond loopback without certificates, or none at all."""


def checked_endpoint(endpoint: str, tls: Tls | None = None) -> str:
    """`tcp/ADDRESS:PORT` with a numeric loopback address, or `tls/HOST:PORT` with certificates; anything else is refused."""
    if endpoint.startswith("tls/"):
        host, port = _tls_host(endpoint)
        if tls is None:
            raise BadEndpoint(f"endpoint {endpoint} needs certificates: root_ca_certificate, certificate, private_key and the daemon's name")
        return f"tls/[{host}]:{port}" if ":" in host else f"tls/{host}:{port}"
    if tls is not None:
        raise BadEndpoint(f"there are certificates, but endpoint {endpoint} does not use them; write tls/HOST:PORT, or take them away")
    match = re.fullmatch(r"tcp/(?:\[([0-9a-f:]+)\]|([0-9.]+)):([0-9]{1,5})", endpoint)
    try:
        address = ipaddress.ip_address(match[1] or match[2]) if match else None
    except ValueError:
        address = None
    if match is None or address is None or not 1 <= int(match[3]) <= 65535:
        raise BadEndpoint(f"endpoint {endpoint!r} is not tcp/ADDRESS:PORT with a numeric address, e.g. tcp/127.0.0.1:7447")
    if not address.is_loopback:
        raise BadEndpoint(f"endpoint {endpoint} is not on loopback; beyond this machine use tls/HOST:PORT with certificates")
    return endpoint


def _tls_host(endpoint: str) -> tuple[str, int]:
    match = re.fullmatch(rf"tls/(?:\[([0-9a-f:]+)\]|([0-9.]+)|({HOST_NAME})):([0-9]{{1,5}})", endpoint)
    try:
        host = match and (match[3] or str(ipaddress.ip_address(match[1] or match[2])))
    except ValueError:
        host = None
    if not host or not 1 <= int(match[4]) <= 65535:
        raise BadEndpoint(f"endpoint {endpoint!r} is not tls/HOST:PORT, e.g. tls/192.168.1.10:7447; options (?, #) are not accepted")
    return host, int(match[4])


def robot_key(robot: str, rest: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", robot):
        raise ValueError(f"robot name {robot!r}: use 1 to 64 of a-z, 0-9, _ and -; it is part of every key")
    return f"egogrid/{robot}/{rest}"


def open_session(endpoint: str, tls: Tls | None = None) -> zenoh.Session:
    """Connects. `NoSession` says which file is not in order, or why the other side does not let us in."""
    settings = {
        # As in session.rs: a router passes messages between its clients, not between peers that cannot see each other.
        "mode": "client",
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "listen/endpoints": [],
        "connect/endpoints": [checked_endpoint(endpoint, tls)],
        "connect/timeout_ms": CONNECT_MS_MAX,
        "connect/exit_on_failure": True,
        "adminspace/enabled": False,
        "transport/link/rx/max_message_size": 2 * PAYLOAD_BYTES_MAX,
        "transport/shared_memory/enabled": True,
        # As in session.rs: a reply promoted to shared memory can be dropped without a word on a busy machine.
        "transport/shared_memory/transport_optimization/messages": ["put"],
    }
    if tls is not None:
        tls.check()
        settings |= tls.settings()
    config = zenoh.Config()
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    if tls is None:
        return zenoh.open(config)
    try:
        return zenoh.open(config)
    except zenoh.ZError:
        raise Refused(f"no connection to {endpoint}: {tls.why_refused(*_tls_host(endpoint))}") from None
