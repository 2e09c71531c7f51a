//! The way to a webhook: HTTPS to a URL, or to an endpoint of a service.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::meta::{int, text};
use http::Uri;
use http::header::{HeaderValue, USER_AGENT};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::peer::Peer;
use crate::storage::Storage;
use crate::tls::{self, Trust};

const AGENT: HeaderValue = HeaderValue::from_static("kube-apiserver-admission");

/// Asks one webhook.
pub(crate) struct Client {
    peer: Peer,
    path: String,
    /// As messages show it.
    url: String,
    /// The longest answer that is read, in bytes.
    longest: usize,
}

impl Client {
    /// The client of a `clientConfig`, which reads answers of so many bytes at most.
    ///
    /// # Errors
    /// It names no place, or certificates that are none.
    pub fn of(config: &Value, longest: usize) -> Result<Client, String> {
        let tls = connector(text(config, &["caBundle"]))?;
        let (peer, path) = match config["url"].as_str() {
            Some(url) => {
                let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
                let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
                (Peer::of_url(url, tls)?, path)
            }
            None => of_service(&config["service"], tls)?,
        };
        let url = format!("https://{}{path}", peer.authority());
        Ok(Client { peer: peer.with(USER_AGENT, AGENT), path, url, longest })
    }

    /// Sends a review and reads the answer.
    ///
    /// # Errors
    /// What went wrong, worded as a Go client does.
    pub async fn post(&self, storage: &Storage, review: String, timeout: Duration) -> Result<Value, String> {
        let seconds = timeout.as_secs();
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let query = format!("{separator}timeout={seconds}s");
        let told = |why: &str| format!("Post \"{}{query}\": {why}", self.url);
        let path = format!("{}{query}", self.path);
        let asked = self.peer.ask(Some(storage), &path, Some(Bytes::from(review)), self.longest);
        match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(answer)) => serde_json::from_slice(answer.success()?)
                .map_err(|error| format!("couldn't get version/kind; json parse error: {error}")),
            Ok(Err(error)) => Err(told(&error.to_string())),
            Err(_) => Err(told("context deadline exceeded")),
        }
    }
}

fn of_service(service: &Value, tls: TlsConnector) -> Result<(Peer, String), String> {
    let (namespace, name) = (text(service, &["namespace"]), text(service, &["name"]));
    let port = int(service, &["port"]).unwrap_or(443);
    let path = format!("/{}", text(service, &["path"]).trim_start_matches('/'));
    Ok((Peer::of_service(namespace, name, port, tls)?, path))
}

/// Trusts what the bundle has, or what the system trusts where there is none.
fn connector(bundle: &str) -> Result<TlsConnector, String> {
    let pem = STANDARD.decode(bundle).map_err(|error| format!("unable to load root certificates: {error}"))?;
    let trust = if pem.is_empty() { Trust::System } else { Trust::Authorities(&pem) };
    tls::connector(trust, None).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bundle_that_is_none_is_told() {
        let config = json!({"service": {"name": "s", "namespace": "n"}, "caBundle": "eA=="});
        let error = Client::of(&config, 1).err();
        assert_eq!(error.as_deref(), Some("unable to load root certificates: unable to parse bytes as PEM block"));
        let client = Client::of(&json!({"service": {"name": "s", "namespace": "n", "path": "hook"}}), 1).ok();
        assert_eq!(client.map(|client| client.url), Some("https://s.n.svc:443/hook".to_owned()));
    }
}
