//! Certificates by the name that a client asks for, as the tables have them at the moment of the handshake.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Shared;
use crate::entrance::{Door, Speaks};
use crate::route::host::normalized;

/// How large a certificate's chain and key may be.
const MAX: usize = 256 << 10;

/// Certificate and key as a secret has them, in PEM.
///
/// # Errors
/// They are not readable, or do not belong together. What the key is, no error says.
pub fn certified(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>> {
    if chain.len() > MAX || key.len() > MAX {
        bail!("certificate or key are larger than {MAX} bytes");
    }
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).context("tls.crt has no certificate in PEM")?;
    let Ok(key) = PrivateKeyDer::from_pem_slice(key) else { bail!("tls.key has no private key in PEM") };
    let provider = rustls::crypto::ring::default_provider();
    let key = CertifiedKey::from_der(chain, key, &provider).map_err(|_| {
        anyhow::anyhow!("tls.crt and tls.key do not belong together, or are of a kind that is not supported")
    })?;
    Ok(Arc::new(key))
}

/// A certificate that nobody trusts, for hosts that have none.
///
/// # Errors
/// There is no randomness.
pub fn self_signed() -> Result<Arc<CertifiedKey>> {
    let mut params = rcgen::CertificateParams::new(vec!["ingress.local".to_owned()])?;
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::CommonName, "Coracle default certificate");
    params.distinguished_name = name;
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    certified(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
}

/// How TLS is spoken at a door.
///
/// # Errors
/// TLS cannot be set up.
pub fn config(shared: Arc<Shared>, door: Door) -> Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Resolver { shared, door }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

struct Resolver {
    shared: Arc<Shared>,
    door: Door,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("door", &self.door).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let tables = self.shared.tables.load();
        let Speaks::Https(certificates) = &tables.entrances.get(&self.door)?.speaks else { return None };
        let name = hello.server_name().and_then(normalized).unwrap_or_default();
        certificates.fitting(&name).next().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_nothing_of_the_key() {
        let made = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let error = certified(b"", made.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "tls.crt has no certificate in PEM");
        let params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
        let other = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let error = format!("{:#}", certified(other.pem().as_bytes(), made.as_bytes()).unwrap_err());
        assert!(error.contains("do not belong together") && !error.contains("PRIVATE"), "{error}");
        self_signed().unwrap();
    }
}
