//! Users of whom a server in front of this one tells: it shows a certificate of an authority for nothing else, and says in
//! headers whose the request is.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy>

use std::sync::Arc;

use anyhow::Context as _;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::{User, user_of_certificate};

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

/// That a connection is one of a server in front. Only the listener says so of a request.
#[derive(Clone, Copy, Debug)]
pub struct FromProxy;

/// Whose certificate a client has shown.
#[derive(Clone, Debug)]
pub enum Peer {
    /// That of a user.
    User(Arc<User>),
    /// That of a server in front.
    Proxy,
    /// None, or one that names nobody.
    Nobody,
}

/// Tells certificates of users from those of servers in front, which are of another authority.
pub struct Authorities {
    clients: Arc<dyn ClientCertVerifier>,
    proxies: Arc<dyn ClientCertVerifier>,
    allowed_names: Vec<String>,
    all: Arc<RootCertStore>,
}

impl Authorities {
    /// By the certificates, in PEM, of both authorities, and the common names of servers in front; without any, all are.
    ///
    /// # Errors
    /// A certificate is not usable.
    pub fn new(clients: &str, proxies: &str, allowed_names: Vec<String>) -> anyhow::Result<Authorities> {
        let mut all = roots(clients)?;
        all.roots.extend(roots(proxies)?.roots);
        Ok(Authorities { clients: verifier(clients)?, proxies: verifier(proxies)?, allowed_names, all: Arc::new(all) })
    }

    /// The roots of both, one of which every client's certificate has.
    pub fn roots(&self) -> Arc<RootCertStore> {
        self.all.clone()
    }

    /// Whose a chain of certificates is.
    pub fn peer(&self, chain: &[CertificateDer<'_>]) -> Peer {
        let Some((own, others)) = chain.split_first() else { return Peer::Nobody };
        let verified_by =
            |verifier: &dyn ClientCertVerifier| verifier.verify_client_cert(own, others, UnixTime::now()).is_ok();
        let Some(user) = user_of_certificate(own) else { return Peer::Nobody };
        if verified_by(&*self.clients) {
            return Peer::User(Arc::new(user));
        }
        let is_allowed = self.allowed_names.is_empty() || self.allowed_names.contains(&user.name);
        if is_allowed && verified_by(&*self.proxies) { Peer::Proxy } else { Peer::Nobody }
    }
}

fn roots(authority: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

fn verifier(authority: &str) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots(authority)?);
    WebPkiClientVerifier::builder_with_provider(roots, provider).build().context("an authority has no certificate")
}

/// The user that the headers of a server in front name; `None` when they name none. The headers are removed.
pub fn take(headers: &mut HeaderMap) -> Option<User> {
    let values = |headers: &HeaderMap, name: &HeaderName| -> Vec<String> {
        let all = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        all.filter(|value| !value.is_empty()).collect()
    };
    let name = headers.get(&USER).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let name = name.filter(|name| !name.is_empty())?;
    let uid = values(headers, &UID).into_iter().next().unwrap_or_default();
    let mut user = User { name, uid, groups: values(headers, &GROUP), extra: Vec::new() };
    let extra: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(EXTRA)).cloned().collect();
    for name in &extra {
        let key = name.as_str().strip_prefix(EXTRA).unwrap_or_default();
        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
        user.extra.push((key, values(headers, name)));
    }
    for name in extra.iter().chain(&[USER, UID, GROUP]) {
        headers.remove(name);
    }
    user.add_general_group();
    Some(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_pki::{Authority, Pair};
    use http::HeaderValue;

    fn chain(pair: &Pair) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_certificate_is_a_users_or_a_proxys_by_its_authority() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (clients, proxies) = (Authority::open(one.path()).unwrap(), Authority::open(other.path()).unwrap());
        let authorities =
            Authorities::new(&clients.certificate, &proxies.certificate, vec!["front-proxy-client".into()]).unwrap();
        let peer = |authority: &Authority, name: &str| {
            let pair = authority.client(name, name, &["system:masters"]).unwrap();
            match authorities.peer(&chain(&pair)) {
                Peer::User(user) => user.name.clone(),
                Peer::Proxy => "proxy".into(),
                Peer::Nobody => "nobody".into(),
            }
        };
        assert_eq!(peer(&clients, "joe"), "joe");
        // Nobody becomes a user, or an administrator, by the authority of proxies.
        assert_eq!(peer(&proxies, "joe"), "nobody");
        assert_eq!(peer(&proxies, "front-proxy-client"), "proxy");
        assert_eq!(peer(&clients, "front-proxy-client"), "front-proxy-client");
    }

    #[test]
    fn headers_name_the_user() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "joe"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-extra-acme.com%2fproject", "p"),
            ("accept", "*/*"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let joe = take(&mut headers).unwrap();
        assert_eq!((joe.name.as_str(), joe.uid.as_str()), ("joe", "7"));
        assert_eq!(joe.groups, ["a", "b", "system:authenticated"]);
        assert_eq!(joe.extra, [("acme.com/project".to_owned(), vec!["p".to_owned()])]);
        assert_eq!(headers.len(), 1);
        assert_eq!(take(&mut headers), None);
    }
}
