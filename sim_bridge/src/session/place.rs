//! Where a session listens or connects: plain TCP on this machine's loopback, or TLS. Nothing else can be written down.
//!
//! From: `tcp/ADDRESS:PORT`, `tls/HOST:PORT`. To: [`Endpoint`], which zenoh gets as text.

use super::SessionError;
use std::net::{IpAddr, SocketAddr};

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

/// A TLS endpoint. The certificate of whoever listens there must be valid for the host as it is written here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsEndpoint {
    host: Host,
    port: u16,
}

/// What a certificate can be valid for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl TlsEndpoint {
    /// Reads `tls/HOST:PORT`: a numeric address, or a name in lower case.
    ///
    /// # Errors
    /// Anything else; options (`?`, `#`) are not accepted.
    pub fn parse(endpoint: &str) -> Result<Self, SessionError> {
        let refused = || SessionError::Endpoint { endpoint: endpoint.to_owned() };
        let text = endpoint.strip_prefix("tls/").ok_or_else(refused)?;
        if let Ok(address) = text.parse::<SocketAddr>() {
            // A scope (`%1`) would be lost on the way to zenoh.
            let plain = address.to_string() == SocketAddr::new(address.ip(), address.port()).to_string();
            return match plain {
                true => Ok(Self { host: Host::Address(address.ip()), port: address.port() }),
                false => Err(refused()),
            };
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && is_host_name(name) => Ok(Self { host: Host::Name(name.to_owned()), port }),
            _ => Err(refused()),
        }
    }

    /// Host as in the certificate: no brackets around an IPv6 address.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Address and port, if the host is an address.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Address(address) => Some(SocketAddr::new(address, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl std::fmt::Display for TlsEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Address(address) => write!(f, "tls/{}", SocketAddr::new(*address, self.port)),
            Host::Name(name) => write!(f, "tls/{name}:{}", self.port),
        }
    }
}

/// Labels of `a-z 0-9 -`, joined by dots, the last one not a number.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (1..=253).contains(&name.len()) && name.split('.').all(label) && !number
}

/// Where a session may listen or connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// This machine.
    Loopback(LoopbackEndpoint),
    /// Anywhere, with certificates on both sides.
    Tls(TlsEndpoint),
}

impl Endpoint {
    /// Reads either.
    ///
    /// # Errors
    /// Anything else, and plain TCP beyond loopback.
    pub fn parse(endpoint: &str) -> Result<Self, SessionError> {
        match endpoint.starts_with("tls/") {
            true => TlsEndpoint::parse(endpoint).map(Self::Tls),
            false => LoopbackEndpoint::parse(endpoint).map(Self::Loopback),
        }
    }

    /// Port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Loopback(endpoint) => endpoint.address().port(),
            Self::Tls(endpoint) => endpoint.port(),
        }
    }

    /// Address and port, if the host is no name.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Loopback(endpoint) => Some(endpoint.address()),
            Self::Tls(endpoint) => endpoint.address(),
        }
    }

    /// The same with another port.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        match self {
            Self::Loopback(endpoint) => Self::Loopback(endpoint.with_port(port)),
            Self::Tls(endpoint) => Self::Tls(TlsEndpoint { port, ..endpoint }),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loopback(endpoint) => endpoint.fmt(f),
            Self::Tls(endpoint) => endpoint.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_beyond_loopback_is_accepted_without_tls() {
        for endpoint in ["tcp/127.0.0.1:7447", "tcp/127.8.9.10:1", "tcp/[::1]:7447", "tcp/127.0.0.1:0"] {
            assert_eq!(Endpoint::parse(endpoint).unwrap().to_string(), endpoint);
        }
        for endpoint in
            ["tcp/0.0.0.0:7447", "tcp/[::]:7447", "tcp/192.168.0.7:7447", "tcp/128.0.0.1:1", "tcp/[fe80::1%1]:1"]
        {
            assert!(matches!(Endpoint::parse(endpoint), Err(SessionError::NotLoopback { .. })), "{endpoint}");
        }
        let unreadable = [
            "",
            "tcp/",
            "tcp/127.0.0.1",
            "tcp/localhost:7447",
            "udp/127.0.0.1:7447",
            "127.0.0.1:7447",
            "tcp/127.0.0.1:65536",
            "tcp/127.0.0.1:7447?rel=0",
            "tcp/127.0.0.1:7447#iface=eth0",
            "unixsock-stream//x",
            "tcp/127.0.0.1:7447,tcp/0.0.0.0:1",
            "quic/127.0.0.1:7447",
        ];
        for endpoint in unreadable {
            assert!(matches!(Endpoint::parse(endpoint), Err(SessionError::Endpoint { .. })), "{endpoint}");
        }
    }

    #[test]
    fn a_tls_endpoint_is_a_host_and_a_port_and_nothing_else() {
        for endpoint in
            ["tls/192.168.0.7:7447", "tls/[fd00::7]:7447", "tls/0.0.0.0:7447", "tls/daemon.lab:7447", "tls/arm-1:1"]
        {
            assert_eq!(Endpoint::parse(endpoint).unwrap().to_string(), endpoint);
        }
        for endpoint in [
            "tls/",
            "tls/:7447",
            "tls/daemon",
            "tls/Daemon:7447",
            "tls/a..b:1",
            "tls/-a:1",
            "tls/a-:1",
            "tls/1.2.3:1",
            "tls/a:+1",
            "tls/a:65536",
            "tls/a:1?x=1",
            "tls/a:1#verify_name_on_connect=false",
            "tls/a#verify_name_on_connect=false:1",
            "tls/a;b:1",
            "tls/[fe80::1%1]:1",
            "tls/a:1,tls/b:1",
        ] {
            assert!(matches!(Endpoint::parse(endpoint), Err(SessionError::Endpoint { .. })), "{endpoint}");
        }
    }
}
