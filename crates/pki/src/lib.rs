//! The certificates of a cluster: its authority, requests for certificates and what they ask for, and a certificate in use that
//! is replaced while connections go on.
//!
//! Owns: files of keys and certificates, X.509, and which usages Kubernetes' names mean.
//! Never: decides who gets a certificate; that is said in the API.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod authority;
mod current;
mod files;
mod issue;
mod joining;
mod request;
mod token_key;
mod trust;
mod usages;

pub use authority::{Authority, FRONT_PROXY};
pub use current::Current;
pub use files::Pair;
pub use joining::{BootstrapToken, parse_hash, pinned, public_key_hash};
pub use request::{Identity, NewRequest, Request};
pub use token_key::TokenKey;
pub use trust::{Trust, client_config};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// From when to when the first certificate of a PEM text is valid.
///
/// # Errors
/// It is not one.
pub fn validity(certificate: &str) -> Result<(SystemTime, SystemTime)> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).context("it is not PEM")?;
    let certificate = pem.parse_x509().context("it is not a certificate")?;
    let time = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    };
    let validity = certificate.validity();
    Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
}
