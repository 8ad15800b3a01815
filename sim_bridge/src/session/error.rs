//! Why there is no session: what was found, what was expected, what to do.

use std::path::PathBuf;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// An endpoint that other machines could reach, or that is on one, without TLS.
    #[error(
        "endpoint {endpoint} is not on loopback; beyond this machine use tls/HOST:PORT with `tls` and `access`, \
             on this machine tcp/127.0.0.1:PORT"
    )]
    NotLoopback {
        /// As written.
        endpoint: String,
    },
    /// Not an endpoint that is understood.
    #[error(
        "endpoint {endpoint:?} is neither tcp/ADDRESS:PORT with a numeric loopback address, e.g. tcp/127.0.0.1:7447, nor \
             tls/HOST:PORT; options (?, #) are not accepted"
    )]
    Endpoint {
        /// As written.
        endpoint: String,
    },
    /// Port 0 makes sense only for listening.
    #[error("endpoint {endpoint} has port 0: connect to the port that the other side listens on")]
    NoPort {
        /// As written.
        endpoint: String,
    },
    /// A place to listen that is a name.
    #[error(
        "endpoint {endpoint} listens on a name; use the numeric address of a network interface, or 0.0.0.0 for all"
    )]
    ListenName {
        /// As written.
        endpoint: String,
    },
    /// Neither listens nor connects.
    #[error("no endpoint: set `listen` or `connect`, e.g. listen = [\"tcp/127.0.0.1:0\"]")]
    Nowhere,
    /// TLS without certificates, or without saying who may do what.
    #[error(
        "endpoint {endpoint} needs `{missing}`, and there is none; see docs/connect-your-robot.md, \"Beyond this machine\""
    )]
    Unprotected {
        /// As written.
        endpoint: String,
        /// `tls` or `access`.
        missing: &'static str,
    },
    /// Certificates that nothing uses: a file that means more protection than it gives.
    #[error("`{unused}` is set, but no endpoint is tls/HOST:PORT; write one, or take `{unused}` away")]
    Unused {
        /// `tls` or `access`.
        unused: &'static str,
    },
    /// A name that no certificate can have.
    #[error("certificate name {name:?} in access.{role}: use 1 to 64 of A-Z a-z 0-9 space . _ @ and -")]
    CertificateName {
        /// As written.
        name: String,
        /// Where.
        role: String,
    },
    /// Nobody may do anything.
    #[error(
        "`access` names nobody, so nobody could be heard; list the certificate names (CN) of your cameras and robot"
    )]
    NobodyMay,
    /// A session beyond loopback that was opened without the keys of a robot, which its access list is about.
    #[error("this session may only use loopback, and endpoint {endpoint} is beyond it")]
    LoopbackOnly {
        /// As written.
        endpoint: String,
    },
    /// One of the three files.
    #[error("{what} {path}: {problem}", path = path.display())]
    Credential {
        /// `root_ca_certificate`, `certificate` or `private_key`.
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// Found, expected, what to do.
        problem: String,
    },
    /// Not a robot's name.
    #[error("robot name {name:?}: use 1 to 64 of a-z, 0-9, _ and -; it is part of every key")]
    RobotName {
        /// As written.
        name: String,
    },
    /// Zenoh said no.
    #[error("zenoh does not open on {endpoints:?}: {detail}; is the port in use? Port 0 takes a free one")]
    Open {
        /// All of them.
        endpoints: Vec<String>,
        /// Its words.
        detail: String,
    },
    /// Nobody there, or they do not want us.
    #[error("no connection to {endpoints:?}: {why}")]
    Connect {
        /// All of them.
        endpoints: Vec<String>,
        /// For each, what it says.
        why: String,
    },
    /// No free port.
    #[error("no free TCP port on {address}: {detail}")]
    NoFreePort {
        /// Of the interface.
        address: String,
        /// The system's words.
        detail: String,
    },
}
