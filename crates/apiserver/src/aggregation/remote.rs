//! One group version that another server answers, and the way there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::meta::{self, int, text};
use coracle_pki::Current;
use http::header::{ACCEPT, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::ServerName;
use serde_json::Value;
use smol_str::SmolStr;
use tokio_rustls::TlsConnector;

use crate::auth::{MASTERS, User};
use crate::services::endpoint::Endpoint;
use crate::storage::Storage;
use crate::tls::{self, Trust};
use crate::upload::Upload;

const CONNECT: Duration = Duration::from_secs(30);
/// How long the server itself waits for an answer that describes another.
const DESCRIPTION: Duration = Duration::from_secs(5);
/// The longest description that is read, in bytes.
const MAX_DESCRIPTION: usize = 32 << 20;
/// The user as whom the server itself asks.
const AGGREGATOR: &str = "system:kube-aggregator";
/// What stays as it is in the key of an extra of a user that becomes the name of a header.
const HEADER_NAME: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'!').remove(b'$').remove(b'&');

/// One group version that another server answers.
pub(crate) struct Remote {
    /// Of the APIService.
    pub name: String,
    pub group: SmolStr,
    pub version: SmolStr,
    pub group_priority: i64,
    pub version_priority: i64,
    /// What its condition says.
    pub is_available: bool,
    pub namespace: String,
    pub service: String,
    pub port: i64,
    /// What says whom to believe.
    trusted: (String, bool),
    tls: Result<TlsConnector, String>,
}

impl Remote {
    /// That of an APIService, if it names a service. `before` is what it was.
    pub fn of(object: &Value, identity: &Arc<Current>, before: Option<&Remote>) -> Option<Remote> {
        let spec = &object["spec"];
        let service = spec["service"].as_object().map(|_| &spec["service"])?;
        let trusted = (text(spec, &["caBundle"]).to_owned(), spec["insecureSkipTLSVerify"] == true);
        // Its status changes more often than its certificates.
        let tls = match before.filter(|before| before.trusted == trusted) {
            Some(before) => before.tls.clone(),
            None => connector(&trusted, identity).map_err(|error| format!("{error:#}")),
        };
        let available = meta::list(object, &["status", "conditions"]).iter().find(|one| one["type"] == "Available");
        Some(Remote {
            name: meta::name(object).to_owned(),
            group: text(spec, &["group"]).into(),
            version: text(spec, &["version"]).into(),
            group_priority: int(spec, &["groupPriorityMinimum"]).unwrap_or(0),
            version_priority: int(spec, &["versionPriority"]).unwrap_or(0),
            is_available: available.is_some_and(|condition| condition["status"] == "True"),
            namespace: text(service, &["namespace"]).to_owned(),
            service: text(service, &["name"]).to_owned(),
            port: int(service, &["port"]).unwrap_or(443),
            trusted,
            tls,
        })
    }

    /// The name that the server's certificate must be for.
    fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Where it is, as messages show it.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", self.host(), self.port)
    }

    /// Sends a request that a user has made.
    ///
    /// # Errors
    /// The server is not reached, is not the one that is trusted, or ends the connection.
    pub async fn send(
        &self,
        storage: &Storage,
        user: &User,
        mut request: Request<Upload>,
    ) -> Result<Response<Incoming>> {
        tell(user, request.headers_mut())?;
        request.headers_mut().insert(HOST, HeaderValue::from_str(&self.host())?);
        let connect = async {
            let tls = self.tls.as_ref().map_err(|why| anyhow!("{why}"))?;
            let endpoint = Endpoint::of(storage, &self.namespace, &self.service, self.port);
            let stream = endpoint.map_err(|why| anyhow!("{why}"))?.connect().await?;
            anyhow::Ok(tls.connect(ServerName::try_from(self.host())?, stream).await?)
        };
        let stream = tokio::time::timeout(CONNECT, connect).await;
        let stream = stream.with_context(|| format!("no connection in {CONNECT:?}"))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }

    /// Reads a document that describes the server.
    ///
    /// # Errors
    /// The server is not reached, or answers otherwise than with success in time.
    pub async fn describe(&self, storage: &Storage, path: &str) -> Result<Bytes> {
        let read = async {
            let request = Request::get(path).header(ACCEPT, "application/json").body(Upload::default())?;
            let user = User::new(AGGREGATOR, &[MASTERS]);
            let response = self.send(storage, &user, request).await?;
            let status = response.status();
            if !status.is_success() {
                anyhow::bail!("bad status from {}: {}", self.url(path), status.as_u16());
            }
            let body = Limited::new(response.into_body(), MAX_DESCRIPTION).collect().await;
            Ok(body.map_err(|error| anyhow!("{error}"))?.to_bytes())
        };
        tokio::time::timeout(DESCRIPTION, read)
            .await
            .map_err(|_| anyhow!("Get \"{}\": context deadline exceeded", self.url(path)))?
    }
}

fn connector((bundle, skips): &(String, bool), identity: &Arc<Current>) -> Result<TlsConnector> {
    let pem = STANDARD.decode(bundle).context("unable to load root certificates")?;
    let trust = match (skips, pem.is_empty()) {
        (true, _) => Trust::Anybody,
        (false, true) => Trust::System,
        (false, false) => Trust::Authorities(&pem),
    };
    tls::connector(trust, Some(identity.clone()))
}

/// Says who makes a request, in place of whatever its sender said of that.
fn tell(user: &User, headers: &mut HeaderMap) -> Result<()> {
    let is_ours =
        |name: &&HeaderName| name.as_str().starts_with("x-remote-") || name.as_str().starts_with("impersonate-");
    for name in headers.keys().filter(is_ours).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| -> Result<()> {
        headers.append(HeaderName::try_from(name)?, HeaderValue::from_str(value)?);
        Ok(())
    };
    add("x-remote-user", &user.name)?;
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid)?;
    }
    for group in &user.groups {
        add("x-remote-group", group)?;
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", utf8_percent_encode(key, HEADER_NAME));
        values.iter().try_for_each(|value| add(&name, value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_says_for_themselves_who_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("admin"));
        headers.insert("x-remote-group", HeaderValue::from_static("system:masters"));
        headers.insert("x-remote-extra-scopes", HeaderValue::from_static("all"));
        headers.insert("impersonate-user", HeaderValue::from_static("admin"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let mut user = User::new("jane", &["dev", "ops"]);
        user.extra.push(("example.com/scopes".into(), vec!["view".into()]));
        tell(&user, &mut headers).expect("it is told");
        let all = |name: &str| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
        assert_eq!(
            (all("x-remote-user"), all("x-remote-group")),
            (vec!["jane"], vec!["dev", "ops", "system:authenticated"])
        );
        assert_eq!(all("x-remote-extra-example.com%2fscopes"), ["view"]);
        assert!(all("x-remote-extra-scopes").is_empty() && all("impersonate-user").is_empty());
        assert_eq!(all("accept"), ["*/*"]);
    }
}
