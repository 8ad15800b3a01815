//! An authority and its certificates, made when a test runs and gone with it.

use egogrid_sim_bridge::session::TlsConfig;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// From now.
#[derive(Clone, Copy)]
pub(crate) struct Days(i64);

pub(crate) fn days(count: i64) -> Days {
    Days(count)
}

/// One authority.
pub(crate) struct Pki {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    issued: AtomicU32,
}

impl Pki {
    pub(crate) fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key), issued: AtomicU32::new(0) }
    }

    /// A certificate for 127.0.0.1 that is valid now.
    pub(crate) fn issue(&self, name: &str) -> TlsConfig {
        self.issue_valid(name, days(-1), days(1))
    }

    pub(crate) fn issue_valid(&self, name: &str, from: Days, to: Days) -> TlsConfig {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        self.write(name, from, to, vec![ServerAuth, ClientAuth])
    }

    pub(crate) fn issue_for_clients_only(&self, name: &str) -> TlsConfig {
        self.write(name, days(-1), days(1), vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    fn write(&self, name: &str, from: Days, to: Days, usages: Vec<ExtendedKeyUsagePurpose>) -> TlsConfig {
        let at = |Days(days): Days| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let seconds = i64::try_from(now).unwrap() + days * 86_400;
            (SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds.try_into().unwrap())).into()
        };
        let mut params = named(name);
        params.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = usages;
        (params.not_before, params.not_after) = (at(from), at(to));
        let key = KeyPair::generate().unwrap();
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let path = |ending: &str| self.dir.path().join(format!("{name}-{number}.{ending}"));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(path("pem"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        TlsConfig { root_ca_certificate: self.root(), certificate: path("pem"), private_key: path("key") }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
