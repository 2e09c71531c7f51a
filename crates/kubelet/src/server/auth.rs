//! Who may use the kubelet's API: holders of a client certificate of the cluster's authority, or of a token that the API server
//! knows, when that says that they may. Only administrators and the API server itself are not asked about.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::reviews::{Reviews, Right};
use super::{Body, text};
use crate::config::KubeletConfig;

/// Everyone who proved who they are.
const AUTHENTICATED: &str = "system:authenticated";

/// Who makes a request; nobody without a verified certificate or a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Caller {
    /// Whether it may do everything, whatever the API server says; `apiserver` is the API server's user.
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
    let groups = subject.iter_organization().filter_map(|name| name.as_str().ok());
    let groups = groups.chain([AUTHENTICATED]).map(str::to_owned).collect();
    Caller { user, groups, ..Caller::default() }
}

/// Says who makes a request and lets it pass, or answers it. A token counts, where there is one, and not the certificate.
///
/// # Errors
/// The answer to those who may not.
#[allow(clippy::result_large_err, reason = "the refusal is the response itself")]
pub(super) async fn admit(
    reviews: &Reviews,
    apiserver: &str,
    by_certificate: &Caller,
    headers: &HeaderMap,
    method: &Method,
    path: &str,
) -> Result<(), Response<Body>> {
    let unauthorized = || text(StatusCode::UNAUTHORIZED, "Unauthorized");
    let caller = match bearer(headers) {
        Some(token) => reviews.user(token).await.ok_or_else(unauthorized)?,
        None if by_certificate.user.is_empty() => return Err(unauthorized()),
        None => by_certificate.clone(),
    };
    if caller.may_use(apiserver) {
        return Ok(());
    }
    let (verb, subresources) = (verb(method), subresources(path));
    let what =
        format!("(user={}, verb={verb}, resource=nodes, subresource(s)=[{}])", caller.user, subresources.join(" "));
    for subresource in subresources {
        match reviews.may(&caller, Right { verb, subresource }).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "failed to ask who may use the kubelet's API");
                return Err(text(StatusCode::INTERNAL_SERVER_ERROR, format!("Authorization error {what}")));
            }
        }
    }
    Err(text(StatusCode::FORBIDDEN, format!("Forbidden {what}")))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The API's name of what a method does.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The subresources of a node any of which allows to use a path, the narrowest first.
fn subresources(path: &str) -> &'static [&'static str] {
    match path.split('/').nth(1).unwrap_or_default() {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "pods" | "runningpods" => &["pods", "proxy"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        _ => &["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Request};
    use http_body_util::{BodyExt, Full};
    use kube::client::Body as ClientBody;
    use serde_json::{Value, json};

    /// An API server that knows the token `t` of `scraper`, who may get the metrics of the node `n` and nothing else.
    fn reviews() -> Reviews {
        let service = tower::service_fn(|request: Request<ClientBody>| async move {
            let path = request.uri().path().to_owned();
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            let mut review: Value = serde_json::from_slice(&bytes).unwrap();
            let spec = &review["spec"];
            review["status"] = if path.ends_with("tokenreviews") {
                let user = json!({"username": "scraper", "groups": ["g"]});
                json!({"authenticated": spec["token"] == "t", "user": user})
            } else {
                let wanted =
                    json!({"verb": "get", "version": "v1", "resource": "nodes", "subresource": "metrics", "name": "n"});
                json!({"allowed": spec["user"] == "scraper" && spec["resourceAttributes"] == wanted})
            };
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(bytes::Bytes::from(review.to_string()))))
        });
        Reviews::new(coracle_client::in_process(service), "n")
    }

    async fn check(user: &str, group: &str, token: &str, path: &str) -> Result<(), u16> {
        let caller = Caller { user: user.into(), groups: vec![group.into()], ..Caller::default() };
        let mut headers = HeaderMap::new();
        if !token.is_empty() {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        }
        let reviews = reviews();
        let admitted = admit(&reviews, "apiserver", &caller, &headers, &Method::GET, path).await;
        admitted.map_err(|response| response.status().as_u16())
    }

    #[tokio::test]
    async fn administrators_and_the_api_server_may_and_others_are_asked_about() {
        for path in ["/healthz", "/pods"] {
            assert_eq!(check("", "", "", path).await, Err(401));
        }
        assert_eq!(check("mallory", "system:nodes", "", "/exec/a/b/c").await, Err(403));
        assert_eq!(check("admin", "system:masters", "", "/exec/a/b/c").await, Ok(()));
        assert_eq!(check("apiserver", "", "", "/pods").await, Ok(()));
        assert_eq!(check("scraper", "", "", "/metrics/cadvisor").await, Ok(()));
    }

    #[tokio::test]
    async fn a_token_is_whose_the_api_server_says() {
        assert_eq!(check("", "", "t", "/metrics").await, Ok(()));
        assert_eq!(check("", "", "t", "/pods").await, Err(403));
        assert_eq!(check("", "", "x", "/metrics").await, Err(401));
        // Whoever shows a token is that one, whatever the certificate says.
        assert_eq!(check("admin", "system:masters", "t", "/pods").await, Err(403));
    }

    #[tokio::test]
    async fn a_refusal_says_who_may_not_do_what() {
        let caller = Caller { user: "joe".into(), ..Caller::default() };
        let refused = admit(&reviews(), "apiserver", &caller, &HeaderMap::new(), &Method::GET, "/pods").await;
        let body = refused.unwrap_err().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "Forbidden (user=joe, verb=get, resource=nodes, subresource(s)=[pods proxy])");
    }
}
