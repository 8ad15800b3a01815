//! Opens the one zenoh session of a process: on loopback, or beyond it with certificates and an access list.

use super::credentials::Credentials;
use super::refusal;
use super::wire_watch::{short, wire_refusals};
use crate::session::{Endpoint, Endpoints, Keys, LoopbackEndpoint, SessionConfig, SessionError};
use std::collections::BTreeMap;
use std::net::TcpListener;
use zenoh::Wait;

/// A free port can be taken by somebody else between finding and using it.
const OPEN_TRIES_MAX: u32 = 5;
/// Peers without a role that are named in remarks.
const STRANGERS_MAX: usize = 16;

/// An open session. Cheap to clone; closes with the last clone.
#[derive(Debug, Clone)]
pub struct BridgeSession {
    zenoh: zenoh::Session,
    endpoints: Endpoints,
}

impl BridgeSession {
    /// Opens what `config` says, which is on loopback.
    ///
    /// # Errors
    /// Endpoints beyond loopback, a port in use, nobody there to connect to.
    pub fn open(config: &SessionConfig) -> Result<Self, SessionError> {
        open(config, None)
    }

    /// Opens what `config` says, also beyond loopback: `keys` are what the access list is about.
    ///
    /// # Errors
    /// As [`Self::open`]; endpoints beyond loopback without certificates or access list, certificates that are not in order,
    /// a peer that refuses ours.
    pub fn open_for(config: &SessionConfig, keys: &Keys) -> Result<Self, SessionError> {
        open(config, Some(keys))
    }

    /// Checks everything that can be checked without a connection: endpoints, access list, certificates.
    ///
    /// # Errors
    /// As [`Self::open_for`].
    pub fn check(config: &SessionConfig, keys: &Keys) -> Result<(), SessionError> {
        let endpoints = config.checked()?;
        endpoints.tls().map(Credentials::read).transpose()?;
        endpoints.zenoh_config(Some(keys)).map(|_| ())
    }

    /// Where others on this machine can connect to without certificates, if this session listens there.
    pub fn listen_endpoint(&self) -> Option<LoopbackEndpoint> {
        self.endpoints.listen().iter().find_map(|endpoint| match endpoint {
            Endpoint::Loopback(endpoint) => Some(*endpoint),
            Endpoint::Tls(_) => None,
        })
    }

    /// Everywhere that this session listens.
    pub fn listens_on(&self) -> Vec<String> {
        self.endpoints.listen().iter().map(ToString::to_string).collect()
    }

    /// The session itself, for what this crate does not wrap.
    pub fn zenoh(&self) -> &zenoh::Session {
        &self.zenoh
    }

    /// What was refused at the border, by kind: `handshakes_refused`, `messages_denied`. Needs [`super::WireWatch`].
    pub fn refusal_counts(&self) -> BTreeMap<&'static str, u64> {
        let refusals = wire_refusals();
        [("handshakes_refused", refusals.handshakes), ("messages_denied", refusals.messages)].into()
    }

    /// In words: peers without a role, and what was refused. Empty on loopback.
    pub fn refusal_remarks(&self) -> Vec<String> {
        let Some(access) = self.endpoints.access() else { return Vec::new() };
        let links = self.zenoh.info().links().wait();
        let strangers = links.filter(|link| link.src().protocol().as_str() == "tls").filter_map(|link| {
            match link.auth_identifier() {
                Some(name) if access.names().any(|known| known == name) => None,
                Some(name) => Some(format!("\"{}\"", short(name))),
                None => Some("a certificate without a name".to_owned()),
            }
        });
        let connected = |who| format!("{who} is connected and in no list of `wire.access`: nothing of it is heard");
        let mut remarks: Vec<String> = strangers.take(STRANGERS_MAX).map(connected).collect();
        let refusals = wire_refusals();
        for ((peer, what), count) in &refusals.kinds {
            remarks.push(match peer {
                None => format!("{what}: {count} times"),
                Some(peer) => {
                    let name = refusals.names.get(peer).map_or("a peer without a name", String::as_str);
                    format!("`wire.access` does not allow it to \"{name}\": {what}: dropped {count} times")
                }
            });
        }
        remarks
    }
}

fn open(config: &SessionConfig, keys: Option<&Keys>) -> Result<BridgeSession, SessionError> {
    let asked = config.checked()?;
    let credentials = asked.tls().map(Credentials::read).transpose()?;
    let mut last_error = None;
    let any_port = asked.listen().iter().any(|endpoint| endpoint.port() == 0);
    for _ in 0..if any_port { OPEN_TRIES_MAX } else { 1 } {
        let listen = asked.listen().iter().cloned().map(with_free_port).collect::<Result<_, _>>()?;
        let endpoints = asked.clone().with_listen(listen);
        match zenoh::open(endpoints.zenoh_config(keys)?).wait() {
            Ok(zenoh) => return Ok(BridgeSession { zenoh, endpoints }),
            Err(error) => {
                last_error = Some(SessionError::Open { endpoints: endpoints.names(), detail: error.to_string() })
            }
        }
    }
    if asked.listen().is_empty() {
        let said = asked.connect().iter().map(|endpoint| refusal::why(endpoint, credentials.as_ref()));
        let why = said.collect::<Vec<_>>().join("; ");
        return Err(SessionError::Connect { endpoints: asked.names(), why });
    }
    Err(last_error.unwrap_or(SessionError::Nowhere))
}

/// Zenoh does not tell which port it got for port 0, so the port is chosen here.
fn with_free_port(endpoint: Endpoint) -> Result<Endpoint, SessionError> {
    let Some(asked) = endpoint.address().filter(|address| address.port() == 0) else { return Ok(endpoint) };
    let bound = TcpListener::bind(asked).and_then(|listener| listener.local_addr());
    let free = bound
        .map_err(|error| SessionError::NoFreePort { address: asked.ip().to_string(), detail: error.to_string() })?;
    Ok(endpoint.with_port(free.port()))
}
