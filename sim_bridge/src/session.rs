//! What a zenoh session may do: named endpoints, on loopback or with TLS on both sides, and nothing else. No I/O; `endpoint`
//! opens it and reads the certificates.
//!
//! From: the deployment file. To: a zenoh configuration without discovery of any kind, and the keys of one robot.

mod access;
mod error;
mod keys;
mod place;

pub use access::AccessConfig;
pub use error::SessionError;
pub use keys::{CommandType, KeyConfig, KeyError, Keys, KeysConfig, StateType, TypedKey};
pub use place::{Endpoint, LoopbackEndpoint, TlsEndpoint};

use crate::limits::PAYLOAD_BYTES_MAX;
use serde::Deserialize;
use std::path::{Path, PathBuf};

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
    /// Certificates; needed by every endpoint `tls/HOST:PORT`.
    pub tls: Option<TlsConfig>,
    /// Who may do what; needed by the same.
    pub access: Option<AccessConfig>,
}

/// Three PEM files, named as in zenoh's own configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificates of the authority that signed those of all peers.
    pub root_ca_certificate: PathBuf,
    /// Our own certificate, and those between it and the authority's.
    pub certificate: PathBuf,
    /// Its key; nobody but the owner may read it.
    pub private_key: PathBuf,
}

impl TlsConfig {
    /// The same files, relative to a directory.
    #[must_use]
    pub fn beside(&self, directory: &Path) -> Self {
        Self {
            root_ca_certificate: directory.join(&self.root_ca_certificate),
            certificate: directory.join(&self.certificate),
            private_key: directory.join(&self.private_key),
        }
    }
}

/// Endpoints that have been checked, and what protects them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    listen: Vec<Endpoint>,
    connect: Vec<Endpoint>,
    /// There if an endpoint needs them.
    protection: Option<(TlsConfig, AccessConfig)>,
}

impl SessionConfig {
    /// Listens on a free port of loopback: what a process uses that starts its own worker.
    pub fn loopback() -> Self {
        Self { listen: vec!["tcp/127.0.0.1:0".to_owned()], ..Self::default() }
    }

    /// What may be opened.
    ///
    /// # Errors
    /// An endpoint beyond loopback without certificates or access list, an unreadable one, or none at all.
    pub fn checked(&self) -> Result<Endpoints, SessionError> {
        let parse =
            |endpoints: &[String]| endpoints.iter().map(|text| Endpoint::parse(text)).collect::<Result<Vec<_>, _>>();
        let (listen, connect) = (parse(&self.listen)?, parse(&self.connect)?);
        if listen.is_empty() && connect.is_empty() {
            return Err(SessionError::Nowhere);
        }
        if let Some(endpoint) = connect.iter().find(|endpoint| endpoint.port() == 0) {
            return Err(SessionError::NoPort { endpoint: endpoint.to_string() });
        }
        if let Some(endpoint) = listen.iter().find(|endpoint| endpoint.address().is_none()) {
            return Err(SessionError::ListenName { endpoint: endpoint.to_string() });
        }
        let beyond = listen.iter().chain(&connect).find(|endpoint| matches!(endpoint, Endpoint::Tls(_)));
        let protection = match (beyond, &self.tls, &self.access) {
            (None, None, None) => None,
            (None, Some(_), _) => return Err(SessionError::Unused { unused: "tls" }),
            (None, None, Some(_)) => return Err(SessionError::Unused { unused: "access" }),
            (Some(endpoint), None, _) => {
                return Err(SessionError::Unprotected { endpoint: endpoint.to_string(), missing: "tls" });
            }
            (Some(endpoint), _, None) => {
                return Err(SessionError::Unprotected { endpoint: endpoint.to_string(), missing: "access" });
            }
            (Some(_), Some(tls), Some(access)) => {
                access.check()?;
                Some((tls.clone(), access.clone()))
            }
        };
        Ok(Endpoints { listen, connect, protection })
    }
}

impl Endpoints {
    /// Where to listen.
    pub fn listen(&self) -> &[Endpoint] {
        &self.listen
    }

    /// Where to connect to.
    pub fn connect(&self) -> &[Endpoint] {
        &self.connect
    }

    /// Certificates, if an endpoint needs them.
    pub fn tls(&self) -> Option<&TlsConfig> {
        self.protection.as_ref().map(|(tls, _)| tls)
    }

    /// Who may do what, if an endpoint needs that.
    pub fn access(&self) -> Option<&AccessConfig> {
        self.protection.as_ref().map(|(_, access)| access)
    }

    /// The first endpoint that is not loopback.
    pub fn beyond(&self) -> Option<&Endpoint> {
        self.listen.iter().chain(&self.connect).find(|endpoint| matches!(endpoint, Endpoint::Tls(_)))
    }

    /// The same with other places to listen.
    #[must_use]
    pub fn with_listen(mut self, listen: Vec<Endpoint>) -> Self {
        self.listen = listen;
        self
    }

    /// The zenoh configuration: these endpoints, no scouting, no administration, bounded messages; certificates and access
    /// list where an endpoint needs them.
    ///
    /// # Errors
    /// Zenoh does not know one of the settings: another version of it. Endpoints beyond loopback, and no keys.
    pub fn zenoh_config(&self, keys: Option<&Keys>) -> Result<zenoh::Config, SessionError> {
        let list = |endpoints: &[Endpoint]| {
            let quoted: Vec<String> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
            format!("[{}]", quoted.join(","))
        };
        let mut settings = vec![
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
        if let Some((tls, access)) = &self.protection {
            let Some(keys) = keys else {
                let endpoint = self.beyond().map(ToString::to_string).unwrap_or_default();
                return Err(SessionError::LoopbackOnly { endpoint });
            };
            settings.push(("transport/link/tls", tls.zenoh().to_string()));
            settings.push(("access_control", access.zenoh(keys).to_string()));
        }
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

impl TlsConfig {
    /// Zenoh's `transport/link/tls`: both sides show a certificate, names are verified, and a connection ends with its
    /// certificate. One certificate serves both directions.
    fn zenoh(&self) -> serde_json::Value {
        let [root, certificate, key] =
            [&self.root_ca_certificate, &self.certificate, &self.private_key].map(|path| path.display().to_string());
        serde_json::json!({
            "root_ca_certificate": root,
            "listen_certificate": certificate,
            "listen_private_key": key,
            "connect_certificate": certificate,
            "connect_private_key": key,
            "enable_mtls": true,
            "verify_name_on_connect": true,
            "close_link_on_expiration": true,
        })
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
    fn a_configuration_without_a_way_in_or_out_is_refused() {
        assert!(matches!(SessionConfig::default().checked(), Err(SessionError::Nowhere)));
        let config = SessionConfig { connect: vec!["tcp/127.0.0.1:0".into()], ..SessionConfig::default() };
        assert!(matches!(config.checked(), Err(SessionError::NoPort { .. })));
    }

    fn tls() -> TlsConfig {
        let [root_ca_certificate, certificate, private_key] = ["ca.pem", "daemon.pem", "daemon.key"].map(PathBuf::from);
        TlsConfig { root_ca_certificate, certificate, private_key }
    }

    fn access() -> AccessConfig {
        AccessConfig { robots: vec!["arm".to_owned()], ..AccessConfig::default() }
    }

    /// By type: there are no `Endpoints` beyond loopback without the two, and no two without such an endpoint.
    #[test]
    fn beyond_loopback_needs_certificates_and_an_access_list() {
        let here = || vec!["tcp/127.0.0.1:1".to_owned()];
        let far = || vec!["tls/0.0.0.0:1".to_owned()];
        let config = |listen, tls, access| SessionConfig { listen, connect: Vec::new(), tls, access }.checked();
        assert!(config(far(), Some(tls()), Some(access())).is_ok());
        assert!(matches!(config(far(), None, Some(access())), Err(SessionError::Unprotected { missing: "tls", .. })));
        assert!(matches!(config(far(), Some(tls()), None), Err(SessionError::Unprotected { missing: "access", .. })));
        assert!(matches!(config(here(), Some(tls()), None), Err(SessionError::Unused { unused: "tls" })));
        assert!(matches!(config(here(), None, Some(access())), Err(SessionError::Unused { unused: "access" })));
        let nobody = Some(AccessConfig::default());
        assert!(matches!(config(far(), Some(tls()), nobody), Err(SessionError::NobodyMay)));
        for name in ["", " arm", "a\"b", "ä", "a,b", "*", &"x".repeat(65)] {
            let access = AccessConfig { watchers: vec![name.to_owned()], ..access() };
            let error = config(far(), Some(tls()), Some(access)).unwrap_err();
            assert!(error.to_string().contains("access.watchers"), "{name:?}: {error}");
        }
        let name = vec!["tls/daemon.lab:1".to_owned()];
        assert!(matches!(config(name, Some(tls()), Some(access())), Err(SessionError::ListenName { .. })));
    }

    /// Zenoh's own reader takes what we write, and what is in no rule is denied.
    #[test]
    fn the_access_list_denies_by_default_and_certificates_are_asked_of_both_sides() {
        let cameras = [("front".to_owned(), vec!["front-camera".to_owned()])].into();
        let [operators, watchers] = ["alice", "desk"].map(|name| vec![name.to_owned()]);
        let access = AccessConfig { cameras, operators, watchers, ..access() };
        let listen = vec!["tls/0.0.0.0:1".to_owned()];
        let config = SessionConfig { listen, connect: Vec::new(), tls: Some(tls()), access: Some(access) };
        let keys = Keys::from(&RobotName::new("arm").unwrap());
        let endpoints = config.checked().unwrap();
        let config = endpoints.zenoh_config(Some(&keys)).unwrap();
        let tls = config.get_json("transport/link/tls").unwrap();
        assert!(tls.contains("\"enable_mtls\":true") && tls.contains("\"verify_name_on_connect\":true"), "{tls}");
        let list: serde_json::Value = serde_json::from_str(&config.get_json("access_control").unwrap()).unwrap();
        assert_eq!((&list["enabled"], &list["default_permission"]), (&true.into(), &"deny".into()));
        let rules = list["rules"].as_array().unwrap();
        let camera: Vec<_> =
            rules.iter().filter(|rule| rule["id"].as_str().unwrap().starts_with("camera front")).collect();
        assert_eq!(camera.len(), 1);
        assert!(camera.iter().all(|rule| rule["key_exprs"].as_array().unwrap().len() == 3), "{camera:?}");
        assert!(matches!(endpoints.zenoh_config(None), Err(SessionError::LoopbackOnly { .. })));
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
        let config = SessionConfig::loopback().checked().unwrap().zenoh_config(None).unwrap();
        let setting = |key: &str| config.get_json(key).unwrap();
        assert_eq!(setting("scouting/multicast/enabled"), "false");
        assert_eq!(setting("scouting/gossip/enabled"), "false");
        assert_eq!(setting("adminspace/enabled"), "false");
        assert!(setting("listen/endpoints").contains("tcp/127.0.0.1:0"), "{}", setting("listen/endpoints"));
    }
}
