//! What the command line asks of the API, as administrator.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coracle_client::{Remote, remote};
use kube::Client;

use crate::control::Access;

/// How an administrator reaches the API.
///
/// # Errors
/// The daemon told nonsense.
pub fn access(access: &Access) -> Result<Remote> {
    let pem = |text: &str| STANDARD.decode(text).context("the daemon's certificates are not base64");
    Ok(Remote {
        server: access.server.clone(),
        ca_pem: pem(&access.authority)?,
        client_cert_pem: Some(pem(&access.certificate)?),
        client_key_pem: Some(pem(&access.key)?),
        ..Remote::default()
    })
}

/// Asks something, on a thread that does nothing else.
///
/// # Errors
/// Those of `ask`, and that there can be no client.
pub fn run<T>(access: &Access, ask: impl AsyncFnOnce(Client) -> Result<T>) -> Result<T> {
    run_on(&self::access(access)?, ask)
}

/// The same on any server.
///
/// # Errors
/// Those of `ask`, and that there can be no client.
pub fn run_on<T>(server: &Remote, ask: impl AsyncFnOnce(Client) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { ask(remote(server)?).await })
}
