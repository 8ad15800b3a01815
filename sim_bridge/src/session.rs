//! What a zenoh session may do: named endpoints on loopback, and nothing else. No I/O; `endpoint` opens it.
//!
//! From: the deployment file. To: a zenoh configuration without discovery of any kind, and the keys of one robot.

use crate::limits::PAYLOAD_BYTES_MAX;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};

/// Endpoints as the file says them. Unknown keys are errors, so a typo cannot become a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionConfig {
    /// Where to accept connections, e.g. `tcp/127.0.0.1:7447`; port 0 = any free one.
    #[serde(default)]
    pub listen: Vec<String>,
    /// Where to connect to.
    #[serde(default)]
    pub connect: Vec<String>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// An endpoint that other machines could reach, or that is on one.
    #[error(
        "endpoint {endpoint} is not on loopback; beyond this machine needs mutual TLS and an access-control list, not built yet: \
             use tcp/127.0.0.1:PORT"
    )]
    NotLoopback {
        /// As written.
        endpoint: String,
    },
    /// Not an endpoint that is understood.
    #[error(
        "endpoint {endpoint:?} is not tcp/ADDRESS:PORT with a numeric address, e.g. tcp/127.0.0.1:7447; \
             names and options (?, #) are not accepted"
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
    /// Neither listens nor connects.
    #[error("no endpoint: set `listen` or `connect`, e.g. listen = [\"tcp/127.0.0.1:0\"]")]
    Nowhere,
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
    /// No free port.
    #[error("no free TCP port on loopback: {detail}")]
    NoFreePort {
        /// The system's words.
        detail: String,
    },
}

/// A TCP endpoint on this machine's loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopbackEndpoint {
    address: SocketAddr,
}

impl LoopbackEndpoint {
    /// Reads `tcp/ADDRESS:PORT`.
    ///
    /// # Errors
    /// Anything else, and any address that is not loopback.
    pub fn parse(endpoint: &str) -> Result<Self, SessionError> {
        let address = endpoint.strip_prefix("tcp/").and_then(|text| text.parse::<SocketAddr>().ok());
        let Some(address) = address else {
            return Err(SessionError::Endpoint { endpoint: endpoint.to_owned() });
        };
        let loopback = match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback() && address.to_string() == format!("[::1]:{}", address.port()),
        };
        if !loopback {
            return Err(SessionError::NotLoopback { endpoint: endpoint.to_owned() });
        }
        Ok(Self { address })
    }

    /// Address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same address with another port.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.address.set_port(port);
        self
    }
}

impl std::fmt::Display for LoopbackEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tcp/{}", self.address)
    }
}

/// Endpoints that have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    listen: Vec<LoopbackEndpoint>,
    connect: Vec<LoopbackEndpoint>,
}

impl SessionConfig {
    /// Listens on a free port of loopback: what a process uses that starts its own worker.
    pub fn loopback() -> Self {
        Self { listen: vec!["tcp/127.0.0.1:0".to_owned()], connect: Vec::new() }
    }

    /// What may be opened.
    ///
    /// # Errors
    /// An endpoint beyond loopback or unreadable, or none at all.
    pub fn checked(&self) -> Result<Endpoints, SessionError> {
        let parse = |endpoints: &[String]| {
            endpoints.iter().map(|text| LoopbackEndpoint::parse(text)).collect::<Result<Vec<_>, _>>()
        };
        let (listen, connect) = (parse(&self.listen)?, parse(&self.connect)?);
        if listen.is_empty() && connect.is_empty() {
            return Err(SessionError::Nowhere);
        }
        match connect.iter().find(|endpoint| endpoint.address.port() == 0) {
            Some(endpoint) => Err(SessionError::NoPort { endpoint: endpoint.to_string() }),
            None => Ok(Endpoints { listen, connect }),
        }
    }
}

impl Endpoints {
    /// Where to listen.
    pub fn listen(&self) -> &[LoopbackEndpoint] {
        &self.listen
    }

    /// The same with other places to listen.
    #[must_use]
    pub fn with_listen(mut self, listen: Vec<LoopbackEndpoint>) -> Self {
        self.listen = listen;
        self
    }

    /// The zenoh configuration: these endpoints, no scouting, no administration, bounded messages.
    ///
    /// # Errors
    /// Zenoh does not know one of the settings: another version of it.
    pub fn zenoh_config(&self) -> Result<zenoh::Config, SessionError> {
        let list = |endpoints: &[LoopbackEndpoint]| {
            let quoted: Vec<String> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
            format!("[{}]", quoted.join(","))
        };
        let settings = [
            // Who listens nowhere is a client of the one that it connects to: a router passes messages between its clients,
            // but not between peers that cannot see each other.
            ("mode", if self.listen.is_empty() { "\"client\"" } else { "\"peer\"" }.to_owned()),
            ("scouting/multicast/enabled", "false".to_owned()),
            ("scouting/gossip/enabled", "false".to_owned()),
            ("listen/endpoints", list(&self.listen)),
            ("connect/endpoints", list(&self.connect)),
            ("connect/timeout_ms", CONNECT_MS_MAX.to_string()),
            ("connect/exit_on_failure", "true".to_owned()),
            ("adminspace/enabled", "false".to_owned()),
            // Twice our own limit: what is over ours must still arrive, to be refused with a reason.
            ("transport/link/rx/max_message_size", (2 * PAYLOAD_BYTES_MAX).to_string()),
            ("transport/shared_memory/enabled", "true".to_owned()),
            // Queries and replies stay on TCP: a promoted one is dropped without a word when the receiver is not
            // scheduled for 100 ms (zenoh issue 2628), which on a busy machine ends an episode. Topics may lose a frame.
            ("transport/shared_memory/transport_optimization/messages", "[\"put\"]".to_owned()),
            // A publication that does not fit is dropped at once: the loop does not wait for a listener.
            ("transport/link/tx/queue/congestion_control/drop/wait_before_drop", "0".to_owned()),
            ("transport/link/tx/queue/congestion_control/drop/max_wait_before_drop_fragments", "0".to_owned()),
        ];
        let mut config = zenoh::Config::default();
        for (key, value) in settings {
            config.insert_json5(key, &value).map_err(|error| SessionError::Open {
                endpoints: self.names(),
                detail: format!("setting {key} = {value}: {error}"),
            })?;
        }
        Ok(config)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.listen.iter().chain(&self.connect).map(ToString::to_string).collect()
    }
}

/// How long a session that connects tries.
const CONNECT_MS_MAX: u32 = 5_000;

/// Whether `name` can stand between two slashes of a key and means only itself.
pub(crate) fn is_key_part(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// Name of one robot, real or simulated; part of every key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RobotName(String);

impl RobotName {
    /// 1 to 64 of `a-z`, `0-9`, `_` and `-`.
    ///
    /// # Errors
    /// Anything else: `*` or `/` would reach other robots' keys.
    pub fn new(name: &str) -> Result<Self, SessionError> {
        if is_key_part(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err(SessionError::RobotName { name: name.to_owned() })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `egogrid/<robot>/<rest>`.
    pub fn key(&self, rest: &str) -> String {
        format!("egogrid/{}/{rest}", self.0)
    }
}

impl std::fmt::Display for RobotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_beyond_loopback_is_accepted() {
        for endpoint in ["tcp/127.0.0.1:7447", "tcp/127.8.9.10:1", "tcp/[::1]:7447", "tcp/127.0.0.1:0"] {
            assert_eq!(LoopbackEndpoint::parse(endpoint).unwrap().to_string(), endpoint);
        }
        for endpoint in
            ["tcp/0.0.0.0:7447", "tcp/[::]:7447", "tcp/192.168.0.7:7447", "tcp/128.0.0.1:1", "tcp/[fe80::1%1]:1"]
        {
            assert!(matches!(LoopbackEndpoint::parse(endpoint), Err(SessionError::NotLoopback { .. })), "{endpoint}");
        }
        let unreadable = [
            "",
            "tcp/",
            "tcp/127.0.0.1",
            "tcp/localhost:7447",
            "udp/127.0.0.1:7447",
            "tls/127.0.0.1:7447",
            "127.0.0.1:7447",
            "tcp/127.0.0.1:65536",
            "tcp/127.0.0.1:7447?rel=0",
            "tcp/127.0.0.1:7447#iface=eth0",
            "unixsock-stream//x",
            "tcp/127.0.0.1:7447,tcp/0.0.0.0:1",
        ];
        for endpoint in unreadable {
            assert!(matches!(LoopbackEndpoint::parse(endpoint), Err(SessionError::Endpoint { .. })), "{endpoint}");
        }
    }

    #[test]
    fn a_configuration_without_a_way_in_or_out_is_refused() {
        assert!(matches!(SessionConfig::default().checked(), Err(SessionError::Nowhere)));
        let config = SessionConfig { connect: vec!["tcp/127.0.0.1:0".into()], ..SessionConfig::default() };
        assert!(matches!(config.checked(), Err(SessionError::NoPort { .. })));
    }

    #[test]
    fn a_robot_name_cannot_reach_other_keys() {
        assert_eq!(RobotName::new("sim-0_a").unwrap().key("status"), "egogrid/sim-0_a/status");
        for name in ["", "a/b", "*", "a*", "$", "?", "#", "A", "ä", " ", &"x".repeat(65)] {
            assert!(RobotName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_zenoh_configuration_knows_every_setting_and_finds_nobody_by_itself() {
        let config = SessionConfig::loopback().checked().unwrap().zenoh_config().unwrap();
        let setting = |key: &str| config.get_json(key).unwrap();
        assert_eq!(setting("scouting/multicast/enabled"), "false");
        assert_eq!(setting("scouting/gossip/enabled"), "false");
        assert_eq!(setting("adminspace/enabled"), "false");
        assert!(setting("listen/endpoints").contains("tcp/127.0.0.1:0"), "{}", setting("listen/endpoints"));
    }
}
