"""A zenoh session that connects to one endpoint on loopback, finds nobody by itself, and listens nowhere."""

import ipaddress
import json
import re

import zenoh

from egogrid_worker.limits import PAYLOAD_BYTES_MAX

CONNECT_MS_MAX = 5_000


class BadEndpoint(ValueError):
    """An endpoint beyond loopback, or none at all."""


def checked_endpoint(endpoint: str) -> str:
    """`tcp/ADDRESS:PORT` with a numeric loopback address; anything else is refused."""
    match = re.fullmatch(r"tcp/(?:\[([0-9a-f:]+)\]|([0-9.]+)):([0-9]{1,5})", endpoint)
    try:
        address = ipaddress.ip_address(match[1] or match[2]) if match else None
    except ValueError:
        address = None
    if match is None or address is None or not 1 <= int(match[3]) <= 65535:
        raise BadEndpoint(f"endpoint {endpoint!r} is not tcp/ADDRESS:PORT with a numeric address, e.g. tcp/127.0.0.1:7447")
    if not address.is_loopback:
        raise BadEndpoint(f"endpoint {endpoint} is not on loopback; beyond this machine needs mutual TLS, not built yet")
    return endpoint


def robot_key(robot: str, rest: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", robot):
        raise ValueError(f"robot name {robot!r}: use 1 to 64 of a-z, 0-9, _ and -; it is part of every key")
    return f"egogrid/{robot}/{rest}"


def open_session(endpoint: str) -> zenoh.Session:
    settings = {
        # As in session.rs: a router passes messages between its clients, not between peers that cannot see each other.
        "mode": "client",
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "listen/endpoints": [],
        "connect/endpoints": [checked_endpoint(endpoint)],
        "connect/timeout_ms": CONNECT_MS_MAX,
        "connect/exit_on_failure": True,
        "adminspace/enabled": False,
        "transport/link/rx/max_message_size": 2 * PAYLOAD_BYTES_MAX,
        "transport/shared_memory/enabled": True,
        # As in session.rs: a reply promoted to shared memory can be dropped without a word on a busy machine.
        "transport/shared_memory/transport_optimization/messages": ["put"],
    }
    config = zenoh.Config()
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    return zenoh.open(config)
