"""Certificates of a peer beyond this machine: checked before zenoh sees them, and asked about after a refusal.

From: three PEM files, named as in zenoh's own configuration, and the daemon's certificate name. To: zenoh's settings, or what is wrong
in words: zenoh itself only says that its time is over. The same rules and refusals as `sim_bridge/src/endpoint/credentials.rs`.
"""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

WAIT_S_MAX = 2.0
NOT_IN_PATHS = ";#?|="
"""Separators of the parameters that zenoh puts paths into."""


class NoSession(ValueError):
    """Found, expected, what to do."""


class BadCertificate(NoSession):
    """One of the three files is not in order."""


class Refused(NoSession):
    """The other side does not let us in, or is not who we look for."""


@dataclass(frozen=True)
class Tls:
    root_ca_certificate: Path
    """of the authority that signed both sides' certificates"""
    certificate: Path
    private_key: Path
    """readable for nobody but its owner"""
    daemon: str
    """the common name in the daemon's certificate: whoever has another one is not heard"""

    def settings(self) -> dict[str, object]:
        """For zenoh: both sides show a certificate, and only the daemon's name may send and hear anything."""
        everything = [
            "put", "delete", "declare_subscriber", "query", "declare_queryable", "reply", "liveliness_token",
            "declare_liveliness_subscriber", "liveliness_query",
        ]
        rule = {"id": "all", "messages": everything, "flows": ["ingress", "egress"], "permission": "allow", "key_exprs": ["**"]}
        return {
            "transport/link/tls": {
                "root_ca_certificate": str(self.root_ca_certificate), "connect_certificate": str(self.certificate),
                "connect_private_key": str(self.private_key), "enable_mtls": True, "verify_name_on_connect": True,
                "close_link_on_expiration": True,
            },
            "access_control": {
                "enabled": True, "default_permission": "deny", "rules": [rule],
                "subjects": [{"id": "daemon", "cert_common_names": [self.daemon], "link_protocols": ["tls"]}],
                "policies": [{"rules": ["all"], "subjects": ["daemon"]}],
            },
        }

    def check(self) -> None:
        """All three are there, private, of one pair, signed by the authority and valid now; or `BadCertificate` says which is not."""
        for what in ("root_ca_certificate", "certificate", "private_key"):
            path = getattr(self, what)
            if any(separator in str(path) for separator in NOT_IN_PATHS):
                raise BadCertificate(f"{what} {path}: the path must be without any of {NOT_IN_PATHS}; rename it")
            try:
                path.read_bytes()
            except FileNotFoundError:
                raise BadCertificate(f"{what} {path}: there is no such file; expected a PEM file, made as "
                                     "docs/connect-your-robot.md says") from None
            except OSError as error:
                raise BadCertificate(f"{what} {path}: cannot be read: {error.strerror}; give it to the user that runs this process") from None
        mode = self.private_key.stat().st_mode & 0o777
        if mode & 0o077:
            raise BadCertificate(f"private_key {self.private_key}: has mode {mode:03o}, so others can read it; expected 600: "
                                 f"chmod 600 {self.private_key}")
        if not self.daemon.strip():
            raise BadCertificate("the daemon's certificate name is empty; expected the common name (CN) in its certificate")
        self._shake_hands_with_itself()

    def context(self, purpose: int) -> ssl.SSLContext:
        """Of one side. Names are not verified here."""
        context = ssl.SSLContext(purpose)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self.root_ca_certificate)
        except ssl.SSLError:
            raise BadCertificate(f"root_ca_certificate {self.root_ca_certificate}: holds no certificate; expected PEM with "
                                 "-----BEGIN CERTIFICATE-----") from None
        try:
            # A key with a passphrase must not make this process wait for one.
            context.load_cert_chain(self.certificate, self.private_key, password=lambda: "")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise BadCertificate(f"private_key {self.private_key}: is not the key of the certificate {self.certificate}; name files "
                                     "of one pair") from None
            raise BadCertificate(f"certificate {self.certificate} and private_key {self.private_key}: are not both PEM, the key without "
                                 "a passphrase") from None
        return context

    def _shake_hands_with_itself(self) -> None:
        """In memory: what another side with the same authority would say, in both directions."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.context(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(to_client, to_server)
        server = self.context(ssl.PROTOCOL_TLS_SERVER).wrap_bio(to_server, to_client, server_side=True)
        try:
            for _ in range(4):
                for side in (client, server):
                    try:
                        side.do_handshake()
                    except ssl.SSLWantReadError:
                        pass
        except ssl.SSLCertVerificationError as error:
            raise BadCertificate(f"certificate {self.certificate}: {_words(error.verify_message, self.root_ca_certificate)}") from None
        except ssl.SSLError as error:
            raise BadCertificate(f"certificate {self.certificate}: is not accepted: {error.reason}") from None

    def why_refused(self, host: str, port: int) -> str:
        """One handshake of our own, after zenoh could make none."""
        try:
            stream = socket.create_connection((host, port), WAIT_S_MAX)
        except OSError as error:
            return f"nobody listens there ({error}); is the other side running?"
        context = self.context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = True
        try:
            with stream, context.wrap_socket(stream, server_hostname=host) as connection:
                # In TLS 1.3 the other side judges our certificate after our handshake is over.
                connection.recv(1)
        except ssl.SSLCertVerificationError as error:
            return f"its certificate {_words(error.verify_message, self.root_ca_certificate)}"
        except TimeoutError:
            return "certificates are accepted on both sides, and no zenoh session comes of it; is it another version, or too busy?"
        except ssl.SSLError as error:
            if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
                return "it does not speak TLS; is it tcp/ADDRESS:PORT?"
            return f"it refuses our certificate: {error.reason}; both sides need certificates of one authority that are valid by both clocks"
        except OSError as error:
            return f"the handshake broke off: {error}"
        return "the handshake broke off without a word"


def _words(said: str, root: Path) -> str:
    """OpenSSL's finding, with what to do."""
    what_to_do = {
        "expired": "make a new one, or set this machine's clock",
        "not yet valid": "set this machine's clock",
        "issuer": f"it is not signed by the authority in {root}; sign it with that authority's key, or name its file",
        "signature": f"it is not signed by the authority in {root}; sign it with that authority's key, or name its file",
        "self-signed": f"it is not signed by the authority in {root}; sign it with that authority's key, or name its file",
        "mismatch": "connect to a name or address that it has, or make it with this one as subjectAltName",
        "purpose": "make it with extendedKeyUsage = serverAuth, clientAuth",
    }
    remedy = next((remedy for word, remedy in what_to_do.items() if word in said), "make it as docs/connect-your-robot.md says")
    return f"is not accepted: {said}; {remedy}"
