//! Why a peer does not let us in. Zenoh tries again until its time is over and says only that; one handshake of our own tells.
//!
//! From: an endpoint that zenoh could not connect to. To: words. Used after a failure only, never for a connection.

use super::credentials::{Credentials, provider};
use crate::session::{Endpoint, TlsEndpoint};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, Error};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for each step.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What `endpoint` says to us.
pub(super) fn why(endpoint: &Endpoint, credentials: Option<&Credentials>) -> String {
    let said = match (endpoint, credentials) {
        (Endpoint::Loopback(loopback), _) => match tcp(&[loopback.address()]) {
            Ok(_) => {
                "something listens there, but speaks no zenoh over plain TCP; a TLS port wants tls/HOST:PORT".to_owned()
            }
            Err(error) => error,
        },
        (Endpoint::Tls(tls), Some(credentials)) => handshake(tls, credentials).unwrap_or_else(|error| error),
        (Endpoint::Tls(_), None) => "there are no certificates to connect with".to_owned(),
    };
    format!("{endpoint}: {said}")
}

fn tcp(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut last = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(address, WAIT_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("nobody listens there ({error}); is the other side running?"),
        }
    }
    Err(last)
}

fn handshake(endpoint: &TlsEndpoint, credentials: &Credentials) -> Result<String, String> {
    let host = endpoint.host();
    let named = (host.as_str(), endpoint.port()).to_socket_addrs();
    let addresses: Vec<SocketAddr> = named.map_err(|error| format!("its name is not known: {error}"))?.collect();
    let mut stream = tcp(&addresses)?;
    for set in [stream.set_read_timeout(Some(WAIT_MAX)), stream.set_write_timeout(Some(WAIT_MAX))] {
        set.map_err(|error| error.to_string())?;
    }
    let unusable = |error: &dyn std::fmt::Display| format!("no handshake can be made: {error}");
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_root_certificates(Arc::clone(&credentials.roots))
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(|error| unusable(&error))?;
    let name = ServerName::try_from(host.clone()).map_err(|error| unusable(&error))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|error| unusable(&error))?;
    // In TLS 1.3 the handshake is over for us before the other side has judged our certificate: its alert is read after.
    let result = match connection.complete_io(&mut stream) {
        Ok(_) => rustls::Stream::new(&mut connection, &mut stream).read(&mut [0; 1]).map(|_| ()),
        Err(error) => Err(error),
    };
    let Err(error) = result else { return Ok(accepted()) };
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
        return Ok(accepted());
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    Err(inner.map_or_else(|| format!("the handshake broke off: {error}"), |error| words(error, &host)))
}

fn accepted() -> String {
    "certificates are accepted on both sides, and no zenoh session comes of it; is it another version, or too busy?"
        .to_owned()
}

fn words(error: &Error, host: &str) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is not signed by the authority in our root_ca_certificate; is it the right file, or the wrong machine?"
                .to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            format!(
                "its certificate is not valid for {host:?}; connect to a name or address that it has, or make it with that one as \
                 subjectAltName"
            )
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired; make a new one there, or set this machine's clock".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "its certificate is not valid yet; set the clocks of both machines".to_owned()
        }
        Error::AlertReceived(AlertDescription::UnknownCA) => {
            "it does not know the authority of our certificate; both sides need certificates of one authority".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "our certificate has expired by its clock; set the clocks of both machines".to_owned()
        }
        Error::AlertReceived(alert) => format!("it refuses our certificate: {alert:?}"),
        Error::InvalidMessage(_) => "it does not speak TLS; is it tcp/ADDRESS:PORT?".to_owned(),
        other => format!("the handshake failed: {other}"),
    }
}
