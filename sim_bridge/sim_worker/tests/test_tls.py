"""Promises of a Python peer beyond this machine: with a certificate a command arrives, without one the reason is said.

Certificates are made by `openssl` when a test runs, as docs/connect-your-robot.md says.
"""

import json
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import zenoh

from egogrid_worker.cli import connection, parser
from egogrid_worker.follower import CommandFollower, FollowerLimits
from egogrid_worker.live import RobotEnd, calendar_stamp
from egogrid_worker.messages import Command, Header, Twist, Vector3, encode
from egogrid_worker.session import BadEndpoint, checked_endpoint, open_session
from egogrid_worker.tls import BadCertificate, NoSession, Refused, Tls

TIMEOUT_S = 20.0


class Pki:
    """One authority."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._openssl("req", "-x509", *self._key(name), "-subj", f"/CN={name}", "-days", "1", "-out", self._path(name, "pem"),
                      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")

    def issue(self, name: str, *, days: int = 1, host: str = "IP:127.0.0.1", daemon: str = "daemon") -> Tls:
        self._openssl("req", *self._key(name), "-subj", f"/CN={name}", "-out", self._path(name, "csr"))
        extensions = self._path(name, "ext")
        Path(extensions).write_text(f"subjectAltName={host}\nextendedKeyUsage=serverAuth,clientAuth\n")
        authority = self._path(self._name, "pem"), "-CAkey", self._path(self._name, "key"), "-CAcreateserial"
        self._openssl("x509", "-req", "-in", self._path(name, "csr"), "-CA", *authority, "-days", str(days),
                      "-extfile", extensions, "-out", self._path(name, "pem"))
        return Tls(*(Path(self._path(*of)) for of in ((self._name, "pem"), (name, "pem"), (name, "key"))), daemon)

    def _path(self, name: str, ending: str) -> str:
        return str(self._directory / f"{self._name}-{name}.{ending}")

    def _key(self, name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self._path(name, "key")]

    @staticmethod
    def _openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"), "lab")


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"), "other")


def listen(tls: Tls) -> tuple[zenoh.Session, str]:
    """What `egogrid run` does, as far as a peer notices."""
    files = {"root_ca_certificate": tls.root_ca_certificate, "listen_certificate": tls.certificate, "listen_private_key": tls.private_key}
    settings = {
        "mode": "peer", "scouting/multicast/enabled": False, "scouting/gossip/enabled": False,
        "transport/link/tls": {name: str(path) for name, path in files.items()} | {"enable_mtls": True},
    }
    config = zenoh.Config()
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"tls/127.0.0.1:{free.getsockname()[1]}"
    config.insert_json5("listen/endpoints", json.dumps([endpoint]))
    return zenoh.open(config), endpoint


@pytest.fixture(scope="module")
def daemon(pki):
    session, endpoint = listen(pki.issue("daemon"))
    with session:
        yield session, endpoint


def command(sequence: int) -> bytes:
    twist = Twist(Vector3(0.1, 0.0, 0.0), Vector3(0.0, 0.0, 0.0))
    return encode(Command(Header(calendar_stamp(), "base"), 7, sequence, twist, 1.0, 1000.0, False, None, ""))


def follow(session: zenoh.Session, publisher: zenoh.Publisher, seconds: float) -> bool:
    """Whether a command is in force at the robot's end."""
    robot = RobotEnd(session, "arm", CommandFollower(FollowerLimits(1.0, 1.0, 1000.0)))
    sequence, end = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            sequence += 1
            publisher.put(command(sequence))
            time.sleep(0.05)
            if robot.command() is not None:
                return True
        return False
    finally:
        robot.close()


def test_with_certificates_on_both_sides_a_command_arrives_and_a_state_goes_back(pki, daemon):
    listening, endpoint = daemon
    states = []
    heard = listening.declare_subscriber("egogrid/arm/state", lambda sample: states.append(bytes(sample.payload)))
    publisher = listening.declare_publisher("egogrid/arm/command")
    with open_session(endpoint, pki.issue("robot")) as session:
        assert follow(session, publisher, TIMEOUT_S)
        robot = RobotEnd(session, "arm", CommandFollower(FollowerLimits(1.0, 1.0, 1000.0)))
        end = time.monotonic() + TIMEOUT_S
        while not states and time.monotonic() < end:
            robot.state(np.eye(4), 1.0)
            time.sleep(0.05)
        robot.close()
    assert states
    heard.undeclare()
    publisher.undeclare()


def test_only_the_daemons_name_may_send_a_command(pki, daemon):
    listening, endpoint = daemon
    publisher = listening.declare_publisher("egogrid/arm/command")
    with open_session(endpoint, pki.issue("robot2", daemon="another-daemon")) as session:
        assert not follow(session, publisher, 2.0)
    publisher.undeclare()


def test_a_refusal_says_why(pki, other, daemon):
    _, endpoint = daemon
    port = endpoint.rsplit(":", 1)[1]
    with pytest.raises(Refused, match="its certificate is not accepted.*issuer|self-signed"):
        open_session(endpoint, other.issue("robot"))
    with pytest.raises(Refused, match="mismatch.*subjectAltName"):
        open_session(f"tls/localhost:{port}", pki.issue("robot3"))
    with pytest.raises(Refused, match="nobody listens there"):
        open_session("tls/127.0.0.1:1", pki.issue("robot4"))
    both = other.issue("robot5")
    roots = both.certificate.with_suffix(".both")
    roots.write_text(pki.issue("x").root_ca_certificate.read_text() + both.root_ca_certificate.read_text())
    with pytest.raises(Refused, match="it refuses our certificate: .*UNKNOWN_CA"):
        open_session(endpoint, Tls(roots, both.certificate, both.private_key, "daemon"))


def test_a_file_that_is_not_in_order_is_named_before_anything_is_opened(pki, other, tmp_path):
    good = pki.issue("daemon2")
    good.check()
    root, certificate, key = good.root_ca_certificate, good.certificate, good.private_key
    swapped = tmp_path / "swapped.key"
    swapped.write_bytes(certificate.read_bytes())
    swapped.chmod(0o600)
    for tls, says in [
        (Tls(tmp_path / "no.pem", certificate, key, "d"), "root_ca_certificate .*no such file"),
        (Tls(key, certificate, key, "d"), "root_ca_certificate .*holds no certificate"),
        (Tls(root, certificate, pki.issue("x1").private_key, "d"), "is not the key of the certificate"),
        (Tls(root, certificate, swapped, "d"), "are not both PEM"),
        (Tls(other.issue("x2").root_ca_certificate, certificate, key, "d"), "not signed by the authority"),
        (Tls(root, certificate, key, " "), "daemon's certificate name is empty"),
        (Tls(root, certificate, Path("a;b.key"), "d"), "rename it"),
        (pki.issue("x3", days=-1), "expired"),
    ]:
        with pytest.raises(BadCertificate, match=says):
            tls.check()
    for mode in (0o644, 0o640, 0o604):
        key.chmod(mode)
        with pytest.raises(BadCertificate, match=f"mode {mode:03o}, so others can read it"):
            good.check()


def test_beyond_loopback_needs_certificates_and_loopback_takes_none(pki):
    tls = pki.issue("robot6")
    for endpoint in ("tls/192.168.1.10:7447", "tls/[fd00::7]:7447", "tls/daemon.lab:7447"):
        assert checked_endpoint(endpoint, tls) == endpoint
        with pytest.raises(BadEndpoint, match="needs certificates"):
            checked_endpoint(endpoint)
    for endpoint in ("tcp/192.168.1.10:7447", "tls/a:1?x=1", "tls/a#b=c:1", "tls/:1", "tls/A:1", "tls/a:0", "tls/1.2.3:1", "tcp/127.0.0.1:7447"):
        with pytest.raises(BadEndpoint):
            checked_endpoint(endpoint, tls)


def test_the_command_line_takes_all_three_files_or_none():
    args = parser("a worker").parse_args(["--connect", "tls/127.0.0.1:1", "--certificate", "a.pem"])
    with pytest.raises(NoSession, match="belong together"):
        connection(args)
