//! The certificate authority of a cluster and the certificates it signs.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The PKCS#8 private key.
    pub key: String,
}

/// The certificate authority, kept in a directory as `ca.crt` and `ca.key` (mode 0600).
pub struct Authority {
    /// The certificate, PEM.
    pub certificate: String,
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Opens the authority of a directory, making it on first use.
    ///
    /// # Errors
    /// The directory cannot be written, or what it holds is not an authority.
    pub fn open(dir: &Path) -> Result<Authority> {
        fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
        let pair = load_or(dir, "ca", make_authority)?;
        let key =
            KeyPair::from_pem(&pair.key).with_context(|| format!("{}/ca.key is not a private key", dir.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key)
            .with_context(|| format!("{}/ca.crt is not a certificate", dir.display()))?;
        Ok(Authority { certificate: pair.certificate, dir: dir.to_owned(), issuer })
    }

    /// A server's certificate for names and addresses. It is made anew whenever it is asked for, because
    /// addresses may have changed.
    pub fn server(&self, common_name: &str, groups: &[&str], names: &[String], addresses: &[IpAddr]) -> Result<Pair> {
        let mut params = params(common_name, groups);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A client's certificate, kept as `NAME.crt` and `NAME.key`.
    pub fn client(&self, name: &str, common_name: &str, groups: &[&str]) -> Result<Pair> {
        load_or(&self.dir, name, || {
            let mut params = params(common_name, groups);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            self.sign(params)
        })
    }

    /// The key that signs service account tokens (PKCS#8 DER), kept as `sa.key`.
    pub fn service_account_key(&self) -> Result<Vec<u8>> {
        let pair = load_or(&self.dir, "sa", make_authority)?;
        Ok(KeyPair::from_pem(&pair.key).context("sa.key is not a private key")?.serialize_der())
    }

    fn sign(&self, params: CertificateParams) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn make_authority() -> Result<Pair> {
    let key = KeyPair::generate()?;
    let mut params = params("kubernetes", &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(common_name: &str, groups: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    for group in groups {
        name.push(DnType::OrganizationName, *group);
    }
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from(uuid::Uuid::new_v4().as_bytes()[1..].to_vec()));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 1, 1));
    params
}

fn load_or(dir: &Path, name: &str, make: impl FnOnce() -> Result<Pair>) -> Result<Pair> {
    let (certificate_path, key_path) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
    if let (Ok(certificate), Ok(key)) = (fs::read_to_string(&certificate_path), fs::read_to_string(&key_path)) {
        return Ok(Pair { certificate, key });
    }
    let pair = make()?;
    // The certificate last: a pair that is half there is made anew.
    write(&key_path, &pair.key)?;
    write(&certificate_path, &pair.certificate)?;
    Ok(pair)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("failed to write {}", path.display()))
}
