//! Where an etcd cluster is, and who asks it.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Error, Result};

/// The port that members answer clients on.
const PORT: u16 = 2379;

/// How to reach an etcd cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://` or `https://` URLs of members; the first that answers is asked.
    pub endpoints: Vec<String>,
    /// Certificates, in PEM, of the authorities that sign those of the members.
    pub authorities: Option<Vec<u8>>,
    /// The certificate shown to members and its key, in PEM.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
    /// A user of etcd's and the password, where it asks for one.
    pub user: Option<(String, String)>,
    /// What all keys begin with, such as `/registry/`. Feeds tell of no others.
    pub root: String,
    /// What keys begin with in etcd instead of `root`, if anything else.
    pub prefix: Option<String>,
    /// How long history is kept at least, and at most twice as long; zero leaves that to others.
    pub compaction: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            endpoints: Vec::new(),
            authorities: None,
            client: None,
            user: None,
            root: "/".into(),
            prefix: None,
            compaction: Duration::from_secs(300),
        }
    }
}

/// A member.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub url: Uri,
    pub host: String,
    pub port: u16,
}

impl Config {
    /// The members.
    ///
    /// # Errors
    /// There is none, or what is named is no URL of one.
    pub(super) fn members(&self) -> Result<Vec<Endpoint>> {
        let members = self.endpoints.iter().map(|url| endpoint(url, self.authorities.is_some()));
        let members: Vec<Endpoint> = members.collect::<Result<_, _>>().map_err(Error::Refused)?;
        if members.is_empty() {
            return Err(Error::Refused("no server of etcd is named".into()));
        }
        Ok(members)
    }

    /// Whom to trust and what to show.
    ///
    /// # Errors
    /// A certificate or key cannot be read, or the two do not belong together.
    pub(super) fn tls(&self) -> Result<Arc<rustls::ClientConfig>> {
        self.try_tls().map(Arc::new).map_err(Error::Refused)
    }

    fn try_tls(&self) -> Result<rustls::ClientConfig, String> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authorities.as_deref().unwrap_or_default()) {
            let certificate = certificate.map_err(|error| format!("the authority of etcd is not in PEM: {error}"))?;
            roots.add(certificate).map_err(|error| format!("the authority of etcd cannot be used: {error}"))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut tls = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
                let chain = chain.map_err(|error| format!("the certificate for etcd is not in PEM: {error}"))?;
                let key = PrivateKeyDer::from_pem_slice(key);
                let key = key.map_err(|error| format!("the key for etcd is not in PEM: {error}"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("the certificate for etcd and its key cannot be used: {error}"))?
            }
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(tls)
    }
}

/// A member by its URL; without a scheme it speaks plain HTTP, as upstream has it.
fn endpoint(text: &str, has_authority: bool) -> Result<Endpoint, String> {
    let bad = || format!("{text:?} is not the URL of a server of etcd, such as https://10.0.0.1:2379");
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Uri = url.trim_end_matches('/').parse().map_err(|_| bad())?;
    let secure = url.scheme() == Some(&Scheme::HTTPS);
    if !secure && url.scheme() != Some(&Scheme::HTTP) || url.path() != "/" || url.query().is_some() {
        return Err(bad());
    }
    if secure && !has_authority {
        return Err(format!("{text}: name the authority that signs the certificates of etcd's servers"));
    }
    let host = url.host().ok_or_else(bad)?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(PORT);
    Ok(Endpoint { url, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_by_urls() {
        let of = |text| endpoint(text, true).map(|found| (found.host, found.port, found.url.to_string()));
        assert_eq!(of("http://a:2").unwrap(), ("a".into(), 2, "http://a:2/".into()));
        assert_eq!(of("https://[::1]:3/").unwrap(), ("::1".into(), 3, "https://[::1]:3/".into()));
        assert_eq!(of("127.0.0.1:4").unwrap(), ("127.0.0.1".into(), 4, "http://127.0.0.1:4/".into()));
        assert_eq!(of("https://a").unwrap().1, PORT);
        for bad in ["", "ftp://a:1", "http://a:1/b", "http://", "http://a b", "unix:///run/etcd"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_an_authority_no_certificate_is_believed() {
        let config = Config { endpoints: vec!["https://a:1".into()], ..Config::default() };
        assert!(matches!(config.members(), Err(Error::Refused(why)) if why.contains("authority")));
        let config = Config { endpoints: vec![], ..Config::default() };
        assert!(config.members().is_err());
        let config = Config { client: Some((b"x".to_vec(), b"y".to_vec())), ..Config::default() };
        assert!(config.tls().is_err());
    }
}
