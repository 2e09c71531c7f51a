//! Who may use the kubelet's API: holders of a client certificate of the cluster's authority who are in
//! `system:masters`, or are the API server. Health is for everyone.

use std::sync::Arc;

use anyhow::{Context, Result};
use http::{Method, Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Body, text};
use crate::config::KubeletConfig;

/// The user and groups of a verified client certificate; empty without one.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    user: String,
    groups: Vec<String>,
}

impl Caller {
    /// Whether it may use more than the health page; `apiserver` is the API server's user.
    pub(super) fn may_use(&self, apiserver: &str) -> bool {
        let master = self.groups.iter().any(|group| group == "system:masters");
        !self.user.is_empty() && (master || self.user == apiserver)
    }
}

/// TLS with client certificates, which are verified but may be absent.
pub(super) fn tls_config(config: &KubeletConfig) -> Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&config.client_ca_pem) {
        roots
            .add(certificate.context("the kubelet's client CA is not PEM")?)
            .context("the kubelet's client CA is refused")?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .context("the kubelet's client CA holds no certificate")?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(config.serving.clone());
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// Reads user (common name) and groups (organizations) of a certificate that TLS has verified.
pub(super) fn caller(certificates: Option<&[CertificateDer<'_>]>) -> Caller {
    let Some(certificate) = certificates.and_then(|list| list.first()) else { return Caller::default() };
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Caller::default() };
    let subject = parsed.subject();
    let user = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned();
    let groups = subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    Caller { user, groups }
}

/// Lets the request pass, or answers it.
#[allow(clippy::result_large_err, reason = "the refusal is the response itself")]
pub(super) fn authorize(caller: &Caller, apiserver: &str, method: &Method, path: &str) -> Result<(), Response<Body>> {
    if path == "/healthz" || path.starts_with("/healthz/") {
        return Ok(());
    }
    if caller.user.is_empty() {
        return Err(text(StatusCode::UNAUTHORIZED, "Unauthorized"));
    }
    if caller.may_use(apiserver) {
        return Ok(());
    }
    let verb = if method == Method::GET { "get" } else { "create" };
    let resource = match path.split('/').nth(1) {
        Some("stats") => "stats",
        Some("metrics") => "metrics",
        _ => "proxy",
    };
    let message = format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource={resource})", caller.user);
    Err(text(StatusCode::FORBIDDEN, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_masters_and_the_api_server_may_pass() {
        let check = |user: &str, group: &str, path: &str| {
            let caller = Caller { user: user.into(), groups: vec![group.into()] };
            authorize(&caller, "kube-apiserver-kubelet-client", &Method::GET, path)
                .map_err(|response| response.status().as_u16())
        };
        assert_eq!(check("", "", "/healthz"), Ok(()));
        assert_eq!(check("", "", "/pods"), Err(401));
        assert_eq!(check("mallory", "system:nodes", "/exec/a/b/c"), Err(403));
        assert_eq!(check("admin", "system:masters", "/exec/a/b/c"), Ok(()));
        assert_eq!(check("kube-apiserver-kubelet-client", "", "/pods"), Ok(()));
    }
}
