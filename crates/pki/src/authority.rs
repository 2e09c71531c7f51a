//! The certificate authority of a cluster and the certificates that it signs.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;

use crate::issue::{Issuer, Template, alternative_names, public_key, subject};
use crate::{Pair, Request, TokenKey, validity};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long certificates are valid, as kubeadm's: those of servers and clients, and that of the authority.
const LEAF: Duration = DAY.saturating_mul(365);
const AUTHORITY: Duration = DAY.saturating_mul(3650);
/// A certificate with less time left is made anew.
const RENEWAL: Duration = DAY.saturating_mul(30);
/// How far back certificates are valid, for clients whose clocks are behind: own ones, and requested ones as upstream's.
const OWN_BACKDATE: Duration = Duration::from_secs(3600);
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// The end of certificates that live less is not set back along with their begin.
const SHORT: Duration = Duration::from_secs(8 * 3600);
/// The least that is given.
const LEAST: Duration = Duration::from_secs(10 * 60);

/// The certificate authority, kept in a directory as `ca.crt` and `ca.key` (mode 0600).
pub struct Authority {
    /// The certificate, PEM.
    pub certificate: String,
    dir: PathBuf,
    issuer: Issuer,
}

/// The common name of the server where it passes requests on.
pub const FRONT_PROXY: &str = "front-proxy-client";

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the authority of a directory, making it when the directory has neither its certificate nor its key.
    ///
    /// # Errors
    /// The directory cannot be written, or what it holds is not an authority or only half of one: one that clients trust is
    /// never replaced by another.
    pub fn open(dir: &Path) -> Result<Authority> {
        fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
        Authority::named(dir, "ca", "kubernetes")
    }

    /// The authority of one server that passes requests on to others, which believe what it says of users; it is kept beside
    /// this one as `front-proxy-ca`, and signs for nobody else.
    ///
    /// # Errors
    /// As for [`Authority::open`].
    pub fn front_proxy(&self) -> Result<Authority> {
        Authority::named(&self.dir, "front-proxy-ca", "front-proxy-ca")
    }

    fn named(dir: &Path, name: &str, common_name: &str) -> Result<Authority> {
        let pair = load_or_make(dir, name, || make_authority(common_name))?;
        let key = KeyPair::from_pem(&pair.key)
            .with_context(|| format!("{}/{name}.key is not a private key", dir.display()))?;
        let issuer = Issuer::new(&pair.certificate, key)
            .with_context(|| format!("{}/{name}.crt is not a certificate", dir.display()))?;
        Ok(Authority { certificate: pair.certificate, dir: dir.to_owned(), issuer })
    }

    /// A server's certificate for names and addresses. It is made anew whenever it is asked for, because
    /// addresses may have changed.
    ///
    /// # Errors
    /// A name is none of DNS.
    pub fn server(&self, common_name: &str, groups: &[&str], names: &[String], addresses: &[IpAddr]) -> Result<Pair> {
        self.make(common_name, groups, "server auth", names, addresses)
    }

    /// A client's certificate, kept as `NAME.crt` and `NAME.key`, and made anew when it ends in less than 30 days.
    ///
    /// # Errors
    /// What the directory holds under the name cannot be read, or is half of a pair.
    pub fn client(&self, name: &str, common_name: &str, groups: &[&str]) -> Result<Pair> {
        if let Some(pair) = Pair::load(&self.dir, name)? {
            let path = self.dir.join(format!("{name}.crt"));
            let (_, ends) =
                validity(&pair.certificate).with_context(|| format!("{} is not a certificate", path.display()))?;
            if ends.duration_since(SystemTime::now()).is_ok_and(|left| left > RENEWAL) {
                return Ok(pair);
            }
        }
        let pair = self.make(common_name, groups, "client auth", &[], &[])?;
        pair.save(&self.dir, name)?;
        Ok(pair)
    }

    /// How long certificates of this authority may still be used before those who have them should ask for new ones.
    pub fn renewal_of(ends: SystemTime) -> Duration {
        ends.duration_since(SystemTime::now()).unwrap_or_default().saturating_sub(RENEWAL)
    }

    /// The key that signs service account tokens, kept as `sa.key`.
    ///
    /// # Errors
    /// It cannot be read, and is never replaced then.
    pub fn service_account_key(&self) -> Result<TokenKey> {
        let pair = load_or_make(&self.dir, "sa", || make_authority("kubernetes"))?;
        TokenKey::new(&KeyPair::from_pem(&pair.key).context("sa.key is not a private key")?.serialize_der())
    }

    /// Signs what a request asks for, in PEM: its subject and alternative names with the usages given, by Kubernetes' names,
    /// for the time wanted, which is at least ten minutes and at most a year, or for a year.
    ///
    /// # Errors
    /// The request is not signed with its key, a usage is unknown, or the authority itself has ended.
    pub fn sign<S: AsRef<str>>(&self, request: &Request, usages: &[S], wanted: Option<Duration>) -> Result<String> {
        let (now, ends) = (SystemTime::now(), self.issuer.ends());
        if now >= ends {
            bail!(
                "the signer has expired: its certificate ended {:?} ago",
                now.duration_since(ends).unwrap_or_default()
            );
        }
        let lifetime = wanted.map_or(LEAF, |wanted| wanted.clamp(LEAST, LEAF));
        let until = if lifetime < SHORT { lifetime } else { lifetime.saturating_sub(BACKDATE) };
        self.issuer.issue(Template {
            subject: request.subject.clone(),
            key: request.proven_key()?,
            names: request.names.clone(),
            usages,
            not_before: now.checked_sub(BACKDATE).unwrap_or(now),
            not_after: now.checked_add(until).unwrap_or(ends).min(ends),
        })
    }

    fn make(
        &self,
        common_name: &str,
        groups: &[&str],
        usage: &str,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Pair> {
        self.make_for(LEAF, common_name, groups, usage, names, addresses)
    }

    fn make_for(
        &self,
        lifetime: Duration,
        common_name: &str,
        groups: &[&str],
        usage: &str,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Pair> {
        let (key, now) = (KeyPair::generate()?, SystemTime::now());
        let certificate = self.issuer.issue(Template {
            subject: subject(common_name, groups)?,
            key: public_key(&key)?,
            names: alternative_names(names, addresses)?,
            usages: &["digital signature", "key encipherment", usage],
            not_before: now.checked_sub(OWN_BACKDATE).unwrap_or(now),
            not_after: now.checked_add(lifetime).unwrap_or(now).min(self.issuer.ends()),
        })?;
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

fn make_authority(common_name: &str) -> Result<Pair> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    params.not_before = OffsetDateTime::from(now.checked_sub(OWN_BACKDATE).unwrap_or(now));
    params.not_after = OffsetDateTime::from(now.checked_add(AUTHORITY).unwrap_or(now));
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn load_or_make(dir: &Path, name: &str, make: impl FnOnce() -> Result<Pair>) -> Result<Pair> {
    if let Some(pair) = Pair::load(dir, name)? {
        return Ok(pair);
    }
    let pair = make()?;
    pair.save(dir, name)?;
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Current, NewRequest};

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

    /// Days that a certificate has left.
    fn left(certificate: &str) -> u64 {
        let (_, ends) = validity(certificate).unwrap();
        ends.duration_since(SystemTime::now()).unwrap().as_secs() / DAY.as_secs()
    }

    #[test]
    fn a_clients_certificate_is_made_anew_before_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let first = authority.client("a", "a", &[]).unwrap();
        assert_eq!(authority.client("a", "a", &[]).unwrap().certificate, first.certificate);
        assert!((364..=365).contains(&left(&first.certificate)));
        let old = authority.make_for(DAY * 29, "a", &[], "client auth", &[], &[]).unwrap();
        old.save(dir.path(), "a").unwrap();
        assert_eq!(left(&authority.client("a", "a", &[]).unwrap().certificate), left(&first.certificate));
        assert!((3649..=3650).contains(&left(&authority.certificate)));
    }

    #[test]
    fn a_request_is_signed_as_it_stands_for_the_time_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let names = ["a.example".to_owned()];
        let address = "192.0.2.7".parse().unwrap();
        let new = NewRequest::new("system:node:a", "system:nodes", &names, &[address]).unwrap();
        let request = Request::parse(new.request.as_bytes()).unwrap();
        let sign = |wanted| authority.sign(&request, &["server auth", "digital signature"], wanted).unwrap();
        let signed = sign(None);
        let (_, pem) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:a");
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len();
        assert_eq!((names, certificate.is_ca()), (2, false));
        let extended = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.client_auth);
        let (_, own) = x509_parser::pem::parse_x509_pem(authority.certificate.as_bytes()).unwrap();
        certificate.verify_signature(Some(own.parse_x509().unwrap().public_key())).unwrap();
        // What TLS makes of it.
        Current::new(&Pair { certificate: signed, key: new.key }).unwrap();
        for (wanted, seconds) in [(60, 600), (3600, 3600), (9 * 3600, 9 * 3600 - 300), (1 << 40, 365 * 86_400 - 300)] {
            let (begins, ends) = validity(&sign(Some(Duration::from_secs(wanted)))).unwrap();
            let now = begins + BACKDATE;
            let given = ends.duration_since(now).unwrap().as_secs();
            assert_eq!(given, seconds);
        }
    }

    #[test]
    fn all_groups_are_certified() {
        let dir = tempfile::tempdir().unwrap();
        let pair = Authority::open(dir.path()).unwrap().client("a", "a", &["g", "h"]).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pair.certificate.as_bytes()).unwrap();
        assert_eq!(pem.parse_x509().unwrap().subject().to_string(), "O=g, O=h, CN=a");
    }
}
