//! The way to a webhook: HTTPS to a URL, or to an endpoint of a service. Connections are kept for the next review.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::meta::{int, text};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::operation::SERVER;
use crate::services::endpoint::Endpoint;
use crate::storage::Storage;
use crate::tls::{self, Trust};

/// Connections that are kept while nobody uses them.
const MAX_IDLE: usize = 16;

/// Where a webhook is.
enum Place {
    Url { host: String, port: u16 },
    Service { namespace: String, name: String, port: i64 },
}

/// Asks one webhook.
pub(crate) struct Client {
    place: Place,
    /// What its certificate must be for.
    server: ServerName<'static>,
    authority: String,
    path: String,
    /// As messages show it.
    url: String,
    tls: TlsConnector,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
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
        let (place, authority, path) = match config["url"].as_str() {
            Some(url) => of_url(url)?,
            None => of_service(&config["service"]),
        };
        let host = match &place {
            Place::Url { host, .. } => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            Place::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        };
        let server = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let url = format!("https://{authority}{path}");
        Ok(Client { place, server, authority, path, url, tls, idle: Mutex::default(), longest })
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
        let review = Bytes::from(review);
        match tokio::time::timeout(timeout, self.exchange(storage, &query, review)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(told(&error.to_string())),
            Err(_) => Err(told("context deadline exceeded")),
        }
    }

    /// One exchange; the inner error is of an answer that was read.
    async fn exchange(&self, storage: &Storage, query: &str, review: Bytes) -> io::Result<Result<Value, String>> {
        let kept = self.idle.lock().pop().filter(|sender| !sender.is_closed());
        let response = match kept {
            Some(sender) => match self.send(sender, query, review.clone()).await {
                // The other side may have closed it meanwhile: that says nothing of the webhook.
                Err(_) => self.send(self.connect(storage).await?, query, review).await?,
                answered => answered?,
            },
            None => self.send(self.connect(storage).await?, query, review).await?,
        };
        let (status, body) = response;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).trim().chars().take(512).collect::<String>();
            let why = if text.is_empty() { format!("an error on the server ({status})") } else { text };
            return Ok(Err(why));
        }
        Ok(serde_json::from_slice(&body)
            .map_err(|error| format!("couldn't get version/kind; json parse error: {error}")))
    }

    async fn send(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        query: &str,
        review: Bytes,
    ) -> io::Result<(http::StatusCode, Bytes)> {
        let request = Request::post(format!("{}{query}", self.path))
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .header(USER_AGENT, format!("{SERVER}-admission"))
            .body(Full::new(review))
            .map_err(io::Error::other)?;
        sender.ready().await.map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), self.longest).collect().await.map_err(io::Error::other)?.to_bytes();
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(sender);
        }
        Ok((status, body))
    }

    async fn connect(&self, storage: &Storage) -> io::Result<SendRequest<Full<Bytes>>> {
        let endpoint = match &self.place {
            Place::Url { host, port } => Endpoint::Named(host.clone(), *port),
            Place::Service { namespace, name, port } => {
                Endpoint::of(storage, namespace, name, *port).map_err(io::Error::other)?
            }
        };
        let stream = endpoint.connect().await.map_err(|error| not_reached(&endpoint, &error))?;
        let stream = self.tls.connect(self.server.clone(), stream).await.map_err(not_trusted)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Why nobody answers, worded as a Go client does.
fn not_reached(endpoint: &Endpoint, error: &io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    io::Error::other(format!("dial tcp {endpoint}: {why}"))
}

/// Why who answers is not believed to be the webhook.
fn not_trusted(error: io::Error) -> io::Error {
    use rustls::{CertificateError, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let why = match inner {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        Some(Error::InvalidCertificate(why)) => format!("x509: {why}"),
        _ => return error,
    };
    io::Error::other(format!("tls: failed to verify certificate: {why}"))
}

fn of_url(url: &str) -> Result<(Place, String, String), String> {
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let host = uri.host().ok_or("the URL names no host")?.to_owned();
    let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let port = uri.port_u16().unwrap_or(443);
    Ok((Place::Url { host, port }, authority, path))
}

fn of_service(service: &Value) -> (Place, String, String) {
    let (namespace, name) = (text(service, &["namespace"]).to_owned(), text(service, &["name"]).to_owned());
    let port = int(service, &["port"]).unwrap_or(443);
    let path = format!("/{}", text(service, &["path"]).trim_start_matches('/'));
    let authority = format!("{name}.{namespace}.svc:{port}");
    (Place::Service { namespace, name, port }, authority, path)
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
