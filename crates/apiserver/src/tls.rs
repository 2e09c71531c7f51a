//! How this server meets others by TLS.

use std::sync::Arc;

use anyhow::Result;
use coracle_pki::Current;
pub(crate) use coracle_pki::Trust;
use tokio_rustls::TlsConnector;

/// Connects to servers that are trusted, and shows who this one is where it has an identity.
///
/// # Errors
/// There is no certificate in the PEM.
pub(crate) fn connector(trust: Trust<'_>, identity: Option<Arc<Current>>) -> Result<TlsConnector> {
    Ok(TlsConnector::from(Arc::new(coracle_pki::client_config(trust, identity)?)))
}
