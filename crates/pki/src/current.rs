//! A certificate in use: connections that begin after it was replaced show the new one, and the others go on.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use arc_swap::ArcSwapOption;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{Pair, validity};

/// The certificate that a server or client shows now; none yet, as long as it waits for its first.
pub struct Current {
    key: ArcSwapOption<CertifiedKey>,
    /// From when to when it is valid.
    validity: ArcSwapOption<(SystemTime, SystemTime)>,
}

impl Current {
    /// Without a certificate: handshakes fail until there is one.
    pub fn empty() -> Arc<Current> {
        Arc::new(Current { key: ArcSwapOption::empty(), validity: ArcSwapOption::empty() })
    }

    /// With one.
    ///
    /// # Errors
    /// It is not usable.
    pub fn new(pair: &Pair) -> Result<Arc<Current>> {
        let current = Current::empty();
        current.replace(pair)?;
        Ok(current)
    }

    /// Takes another one from here on.
    ///
    /// # Errors
    /// Certificate and key are not readable, or do not belong together; then the former stays.
    pub fn replace(&self, pair: &Pair) -> Result<()> {
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .context("the certificate is not PEM")?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).context("the key is not PEM")?;
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).context("certificate and key do not fit")?;
        let validity = validity(&pair.certificate)?;
        self.key.store(Some(Arc::new(key)));
        self.validity.store(Some(Arc::new(validity)));
        Ok(())
    }

    /// From when to when the certificate is valid.
    pub fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        self.validity.load().as_deref().copied()
    }

    /// Until when the certificate is valid.
    pub fn ends(&self) -> Option<SystemTime> {
        self.validity().map(|(_, ends)| ends)
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("ends", &self.ends()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key.load_full()
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key.load_full()
    }

    fn has_certs(&self) -> bool {
        self.key.load().is_some()
    }
}
