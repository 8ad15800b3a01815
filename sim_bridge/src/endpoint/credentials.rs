//! Our certificates, read and checked before zenoh sees them: a wrong file is named at start, not met as a timeout.
//!
//! From: the three PEM files of [`TlsConfig`]. To: what a handshake needs. Nothing of a key is ever printed.

use crate::session::{SessionError, TlsConfig};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A PEM file that is larger is something else.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Zenoh puts a path into a list of parameters, whose separators cannot be in it.
const NOT_IN_PATHS: [char; 5] = [';', '#', '?', '|', '='];

/// The cryptography that zenoh uses, too.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a handshake needs.
pub(super) struct Credentials {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// Reads and checks the files: there, private, of one pair, signed by the authority, valid now, for both directions.
    pub(super) fn read(config: &TlsConfig) -> Result<Self, SessionError> {
        let root = PemFile { what: "root_ca_certificate", path: &config.root_ca_certificate };
        let certificate = PemFile { what: "certificate", path: &config.certificate };
        let private_key = PemFile { what: "private_key", path: &config.private_key };

        let mut roots = RootCertStore::empty();
        for authority in root.certificates()? {
            roots.add(authority).map_err(|error| root.wrong(format!("is no certificate of an authority: {error}")))?;
        }
        let roots = Arc::new(roots);
        let chain = certificate.certificates()?;
        private_key.require_private()?;
        let key = private_key.key()?;
        match CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider()) {
            Ok(_) => {}
            Err(Error::InconsistentKeys(_)) => {
                let certificate = config.certificate.display();
                return Err(private_key
                    .wrong(format!("is not the key of the certificate {certificate}; name files of one pair")));
            }
            Err(error) => {
                return Err(private_key.wrong(format!("is no key that is understood: {error}; use ECDSA P-256")));
            }
        }
        for usage in ["clientAuth", "serverAuth"] {
            let verified = verify(&chain, &roots, usage);
            verified.map_err(|error| certificate.wrong(problem(&error, usage, &config.root_ca_certificate)))?;
        }
        Ok(Self { roots, chain, key })
    }
}

/// As the other side will.
fn verify(chain: &[CertificateDer<'_>], roots: &Arc<RootCertStore>, usage: &str) -> Result<(), Error> {
    let general = |error: &dyn std::fmt::Display| Error::General(error.to_string());
    let Some((own, between)) = chain.split_first() else { return Err(Error::NoCertificatesPresented) };
    let now = UnixTime::now();
    if usage == "clientAuth" {
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider()).build();
        return verifier.map_err(|error| general(&error))?.verify_client_cert(own, between, now).map(|_| ());
    }
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider()).build();
    let verifier = verifier.map_err(|error| general(&error))?;
    let name = ServerName::try_from("localhost").map_err(|error| general(&error))?;
    match verifier.verify_server_cert(own, between, &name, &[], now) {
        // Under which name others will look for us is not known here; they check it. The name comes last.
        Err(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Ok(()),
        result => result.map(|_| ()),
    }
}

fn problem(error: &Error, usage: &str, root: &Path) -> String {
    let since = |from: UnixTime, to: UnixTime| {
        let hours = Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())).as_secs() / 3600;
        format!("{} days and {} hours", hours / 24, hours % 24)
    };
    let Error::InvalidCertificate(error) = error else { return format!("is not accepted: {error}") };
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("expired {} ago; make a new one, or set this machine's clock", since(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("is not valid for another {}; set this machine's clock", since(*time, *not_before))
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "is not signed by the authority in {}; sign it with that authority's key, or name its file",
            root.display()
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("may not be used for {usage}; make it with extendedKeyUsage = serverAuth, clientAuth")
        }
        other => format!("is not accepted: {other:?}; make it as docs/connect-your-robot.md says"),
    }
}

/// One of the three files, with its name in the configuration.
struct PemFile<'a> {
    what: &'static str,
    path: &'a Path,
}

impl PemFile<'_> {
    fn wrong(&self, problem: String) -> SessionError {
        SessionError::Credential { what: self.what, path: self.path.to_owned(), problem }
    }

    fn bytes(&self) -> Result<Vec<u8>, SessionError> {
        let text = self.path.to_str().filter(|text| !text.contains(NOT_IN_PATHS));
        text.ok_or_else(|| self.wrong(format!("the path must be UTF-8 without {NOT_IN_PATHS:?}; rename it")))?;
        let size = fs::metadata(self.path).map_err(|error| self.unreadable(&error))?.len();
        if size > FILE_BYTES_MAX {
            return Err(self.wrong(format!("has {size} bytes, at most {FILE_BYTES_MAX} are read; expected a PEM file")));
        }
        fs::read(self.path).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &std::io::Error) -> SessionError {
        self.wrong(match error.kind() {
            ErrorKind::NotFound => {
                "there is no such file; expected a PEM file, made as docs/connect-your-robot.md says".to_owned()
            }
            ErrorKind::PermissionDenied => {
                "this user may not read it; give it to the user that runs this process".to_owned()
            }
            _ => format!("cannot be read: {error}"),
        })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, SessionError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes()?).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.wrong("holds no certificate; expected PEM with -----BEGIN CERTIFICATE-----".to_owned())),
            Err(error) => Err(self.wrong(format!("is damaged: {error}"))),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, SessionError> {
        // The reader's own words could quote what is in the file.
        PrivateKeyDer::from_pem_slice(&self.bytes()?).map_err(|_| {
            self.wrong(
                "holds no private key; expected PEM with -----BEGIN PRIVATE KEY-----, without a passphrase".to_owned(),
            )
        })
    }

    /// A key that others can read is no secret.
    fn require_private(&self) -> Result<(), SessionError> {
        let mode = fs::metadata(self.path).map_err(|error| self.unreadable(&error))?.mode() & 0o777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        let path = self.path.display();
        Err(self.wrong(format!("has mode {mode:03o}, so others can read it; expected 600: chmod 600 {path}")))
    }
}
