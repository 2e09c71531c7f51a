//! The certificate authority of a cluster and the certificates it signs.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

/// How long certificates are valid, as kubeadm's: those of servers and clients, and that of the authority.
const LEAF: Duration = Duration::days(365);
const AUTHORITY: Duration = Duration::days(3650);
/// A client's certificate with less time left is made anew.
const RENEWAL: Duration = Duration::days(30);

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The PKCS#8 private key.
    pub key: String,
}

/// The common name of the server where it passes requests on.
pub const FRONT_PROXY: &str = "front-proxy-client";

/// Who the server is where it passes requests on.
pub struct FrontProxy {
    /// The certificate of the authority, PEM.
    pub authority: String,
    /// The server's own.
    pub pair: Pair,
}

/// The certificate authority, kept in a directory as `ca.crt` and `ca.key` (mode 0600).
pub struct Authority {
    /// The certificate, PEM.
    pub certificate: String,
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Opens the authority of a directory, making it when the directory has neither its certificate nor its key.
    ///
    /// # Errors
    /// The directory cannot be written, or what it holds is not an authority or only half of one: one that clients trust is
    /// never replaced by another.
    pub fn open(dir: &Path) -> Result<Authority> {
        fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
        Authority::named(dir, "ca")
    }

    fn named(dir: &Path, name: &str) -> Result<Authority> {
        let pair = load_or_make(dir, name, || make_authority(name))?;
        let key = KeyPair::from_pem(&pair.key)
            .with_context(|| format!("{}/{name}.key is not a private key", dir.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key)
            .with_context(|| format!("{}/{name}.crt is not a certificate", dir.display()))?;
        Ok(Authority { certificate: pair.certificate, dir: dir.to_owned(), issuer })
    }

    /// A server's certificate for names and addresses. It is made anew whenever it is asked for, because
    /// addresses may have changed.
    pub fn server(&self, common_name: &str, groups: &[&str], names: &[String], addresses: &[IpAddr]) -> Result<Pair> {
        let mut params = params(common_name, groups, LEAF);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A client's certificate, kept as `NAME.crt` and `NAME.key`, and made anew when it ends in less than 30 days.
    ///
    /// # Errors
    /// What the directory holds under the name cannot be read, or is half of a pair.
    pub fn client(&self, name: &str, common_name: &str, groups: &[&str]) -> Result<Pair> {
        if let Some(pair) = load(&self.dir, name)? {
            let path = self.dir.join(format!("{name}.crt"));
            if ends(&pair.certificate).with_context(|| format!("{} is not a certificate", path.display()))?
                > OffsetDateTime::now_utc().saturating_add(RENEWAL)
            {
                return Ok(pair);
            }
        }
        let mut params = params(common_name, groups, LEAF);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let pair = self.sign(params)?;
        save(&self.dir, name, &pair)?;
        Ok(pair)
    }

    /// The key that signs service account tokens (PKCS#8 DER), kept as `sa.key`.
    pub fn service_account_key(&self) -> Result<Vec<u8>> {
        let pair = load_or_make(&self.dir, "sa", || make_authority("sa"))?;
        Ok(KeyPair::from_pem(&pair.key).context("sa.key is not a private key")?.serialize_der())
    }

    /// Who the server is when it passes requests on to others, which believe it what it says of users: a certificate of an
    /// authority for nothing else, kept as `front-proxy-ca` beside the other.
    pub fn front_proxy(&self) -> Result<FrontProxy> {
        let authority = Authority::named(&self.dir, "front-proxy-ca")?;
        let pair = authority.client("front-proxy-client", FRONT_PROXY, &[])?;
        Ok(FrontProxy { authority: authority.certificate, pair })
    }

    fn sign(&self, params: CertificateParams) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn make_authority(name: &str) -> Result<Pair> {
    let key = KeyPair::generate()?;
    let mut params = params(if name == "ca" { "kubernetes" } else { name }, &[], AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(common_name: &str, groups: &[&str], validity: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    for group in groups {
        name.push(DnType::OrganizationName, *group);
    }
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from(uuid::Uuid::new_v4().as_bytes()[1..].to_vec()));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    // An hour back, for clients whose clocks are behind.
    let now = OffsetDateTime::now_utc();
    params.not_before = now.saturating_sub(Duration::HOUR);
    params.not_after = now.saturating_add(validity);
    params
}

fn load_or_make(dir: &Path, name: &str, make: impl FnOnce() -> Result<Pair>) -> Result<Pair> {
    if let Some(pair) = load(dir, name)? {
        return Ok(pair);
    }
    let pair = make()?;
    save(dir, name, &pair)?;
    Ok(pair)
}

/// The pair of a name; `None` when the directory has neither half of it.
fn load(dir: &Path, name: &str) -> Result<Option<Pair>> {
    let [certificate_path, key_path] = ["crt", "key"].map(|kind| dir.join(format!("{name}.{kind}")));
    match (read(&certificate_path)?, read(&key_path)?) {
        (Some(certificate), Some(key)) => Ok(Some(Pair { certificate, key })),
        (None, None) => Ok(None),
        (certificate, _) => {
            let (there, missing) =
                if certificate.is_some() { (certificate_path, key_path) } else { (key_path, certificate_path) };
            bail!(
                "{} is there and {} is not: put it back, or remove both to have new ones made",
                there.display(),
                missing.display()
            )
        }
    }
}

/// A file's text; `None` when it does not exist.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

/// Both halves are on disk before either has its name: a process that is killed hardly ever leaves one alone.
fn save(dir: &Path, name: &str, pair: &Pair) -> Result<()> {
    let files = [("key", &pair.key), ("crt", &pair.certificate)].map(|(kind, text)| {
        let path = dir.join(format!("{name}.{kind}"));
        (dir.join(format!("{name}.{kind}.tmp")), path, text)
    });
    for (temporary, path, text) in &files {
        write(temporary, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    for (temporary, path, _) in &files {
        fs::rename(temporary, path).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

fn ends(certificate: &str) -> Result<OffsetDateTime> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())?;
    Ok(pem.parse_x509()?.validity().not_after.to_datetime())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure<T>(result: Result<T>) -> String {
        format!("{:#}", result.err().expect("it is refused"))
    }

    #[test]
    fn an_authority_is_never_replaced_by_accident() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = Authority::open(dir.path()).unwrap().certificate;
        assert_eq!(Authority::open(dir.path()).unwrap().certificate, certificate);
        for (lost, kept) in [("ca.key", "ca.crt"), ("ca.crt", "ca.key")] {
            let (path, aside) = (dir.path().join(lost), dir.path().join("aside"));
            fs::rename(&path, &aside).unwrap();
            let why = failure(Authority::open(dir.path()));
            assert!(why.contains(&format!("{kept} is there and")) && why.contains(&format!("{lost} is not")), "{why}");
            // Not a file, so that it cannot be read.
            fs::create_dir(&path).unwrap();
            assert!(failure(Authority::open(dir.path())).contains(&format!("failed to read {}", path.display())));
            fs::remove_dir(&path).unwrap();
            fs::rename(&aside, &path).unwrap();
        }
        fs::write(dir.path().join("ca.crt"), "").unwrap();
        assert!(failure(Authority::open(dir.path())).contains("ca.crt is not a certificate"));
    }

    #[test]
    fn a_clients_certificate_is_made_anew_before_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let left = |pair: &Pair| (ends(&pair.certificate).unwrap() - OffsetDateTime::now_utc()).whole_days();
        let first = authority.client("a", "a", &[]).unwrap();
        assert_eq!(authority.client("a", "a", &[]).unwrap().certificate, first.certificate);
        assert!((364..=365).contains(&left(&first)));
        let old = authority.sign(params("a", &[], Duration::days(29))).unwrap();
        save(dir.path(), "a", &old).unwrap();
        assert_eq!(left(&authority.client("a", "a", &[]).unwrap()), left(&first));
        let own = Pair { certificate: authority.certificate.clone(), key: String::new() };
        assert!((3649..=3650).contains(&left(&own)));
    }
}
