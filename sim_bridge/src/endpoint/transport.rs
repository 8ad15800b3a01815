//! Opens the one zenoh session of a process, on loopback.

use crate::session::{Endpoints, LoopbackEndpoint, SessionConfig, SessionError};
use std::net::TcpListener;
use zenoh::Wait;

/// A free port can be taken by somebody else between finding and using it.
const OPEN_TRIES_MAX: u32 = 5;

/// An open session. Cheap to clone; closes with the last clone.
#[derive(Debug, Clone)]
pub struct BridgeSession {
    zenoh: zenoh::Session,
    endpoints: Endpoints,
}

impl BridgeSession {
    /// Opens what `config` says.
    ///
    /// # Errors
    /// Endpoints beyond loopback, a port in use, nobody there to connect to.
    pub fn open(config: &SessionConfig) -> Result<Self, SessionError> {
        let asked = config.checked()?;
        let mut last_error = None;
        let any_port = asked.listen().iter().any(|endpoint| endpoint.address().port() == 0);
        for _ in 0..if any_port { OPEN_TRIES_MAX } else { 1 } {
            let listen = asked.listen().iter().copied().map(with_free_port).collect::<Result<_, _>>()?;
            let endpoints = asked.clone().with_listen(listen);
            match zenoh::open(endpoints.zenoh_config()?).wait() {
                Ok(zenoh) => return Ok(Self { zenoh, endpoints }),
                Err(error) => {
                    last_error = Some(SessionError::Open { endpoints: endpoints.names(), detail: error.to_string() })
                }
            }
        }
        Err(last_error.unwrap_or(SessionError::Nowhere))
    }

    /// Where others can connect to, if this session listens.
    pub fn listen_endpoint(&self) -> Option<LoopbackEndpoint> {
        self.endpoints.listen().first().copied()
    }

    /// The session itself, for what this crate does not wrap.
    pub fn zenoh(&self) -> &zenoh::Session {
        &self.zenoh
    }
}

/// Zenoh does not tell which port it got for port 0 on loopback, so the port is chosen here.
fn with_free_port(endpoint: LoopbackEndpoint) -> Result<LoopbackEndpoint, SessionError> {
    if endpoint.address().port() != 0 {
        return Ok(endpoint);
    }
    let bound = TcpListener::bind(endpoint.address()).and_then(|listener| listener.local_addr());
    let address = bound.map_err(|error| SessionError::NoFreePort { detail: error.to_string() })?;
    Ok(endpoint.with_port(address.port()))
}
