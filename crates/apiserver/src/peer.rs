//! The way to another server that this one asks: HTTPS to a URL, or to an endpoint of a service. Connections are kept for the
//! next question, and answers are bounded.

use std::io;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::services::endpoint::Endpoint;
use crate::storage::Storage;

/// Connections that are kept while nobody uses them.
const MAX_IDLE: usize = 16;

/// Where a server is.
enum Place {
    Url { host: String, port: u16 },
    Service { namespace: String, name: String, port: i64 },
}

/// Another server.
pub(crate) struct Peer {
    place: Place,
    /// What its certificate must be for; nothing where it has none.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    authority: String,
    /// What goes with every question.
    headers: HeaderMap,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// An answer that was read.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Peer {
    /// The server of a URL. Nothing is encrypted where its scheme is `http`.
    ///
    /// # Errors
    /// It names no server.
    pub fn of_url(url: &str, tls: TlsConnector) -> Result<Peer, String> {
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let host = uri.host().ok_or("the URL names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let is_plain = uri.scheme_str() == Some("http");
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let server = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        let tls = (!is_plain).then_some((tls, server));
        let place = Place::Url { host, port };
        Ok(Peer { place, tls, authority, headers: HeaderMap::new(), idle: Mutex::default() })
    }

    /// A service.
    ///
    /// # Errors
    /// Its name cannot be that of a server.
    pub fn of_service(namespace: &str, name: &str, port: i64, tls: TlsConnector) -> Result<Peer, String> {
        let host = format!("{name}.{namespace}.svc");
        let authority = format!("{host}:{port}");
        let server = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let place = Place::Service { namespace: namespace.to_owned(), name: name.to_owned(), port };
        Ok(Peer { place, tls: Some((tls, server)), authority, headers: HeaderMap::new(), idle: Mutex::default() })
    }

    /// The same with a certificate for another name.
    ///
    /// # Errors
    /// It cannot be that of a server.
    pub fn named(self, server: &str) -> Result<Peer, String> {
        let server = ServerName::try_from(server.to_owned()).map_err(|error| error.to_string())?;
        Ok(Peer { tls: self.tls.map(|(tls, _)| (tls, server)), ..self })
    }

    /// The same with a header that goes with every question.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Peer {
        self.headers.insert(name, value);
        self
    }

    /// Host and port, as URLs have them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Asks for a path, or sends JSON to it, and reads an answer of at most `max` bytes. Services are looked up in a storage.
    ///
    /// # Errors
    /// It is not reached, or not the one that is trusted, or does not answer.
    pub async fn ask(
        &self,
        storage: Option<&Storage>,
        path: &str,
        question: Option<Bytes>,
        max: usize,
    ) -> io::Result<Answer> {
        let kept = self.idle.lock().pop().filter(|sender| !sender.is_closed());
        if let Some(sender) = kept {
            // The other side may have closed it meanwhile: that says nothing of the server.
            if let Ok(answer) = self.send(sender, path, question.clone(), max).await {
                return Ok(answer);
            }
        }
        self.send(self.connect(storage).await?, path, question, max).await
    }

    async fn send(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        path: &str,
        question: Option<Bytes>,
        max: usize,
    ) -> io::Result<Answer> {
        let mut request = Request::builder().uri(path).header(HOST, &self.authority);
        request = request.header(ACCEPT, "application/json, */*");
        if question.is_some() {
            request = request.method(Method::POST).header(CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(Full::new(question.unwrap_or_default())).map_err(io::Error::other)?;
        request.headers_mut().extend(self.headers.clone());
        sender.ready().await.map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), max).collect().await.map_err(io::Error::other)?.to_bytes();
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(sender);
        }
        Ok(Answer { status, body })
    }

    async fn connect(&self, storage: Option<&Storage>) -> io::Result<SendRequest<Full<Bytes>>> {
        let endpoint = match (&self.place, storage) {
            (Place::Url { host, port }, _) => Endpoint::Named(host.clone(), *port),
            (Place::Service { namespace, name, port }, Some(storage)) => {
                Endpoint::of(storage, namespace, name, *port).map_err(io::Error::other)?
            }
            (Place::Service { .. }, None) => return Err(io::Error::other("services are not known here")),
        };
        let stream = endpoint.connect().await.map_err(|error| not_reached(&endpoint, &error))?;
        match &self.tls {
            None => begin(stream).await,
            Some((tls, server)) => begin(tls.connect(server.clone(), stream).await.map_err(not_trusted)?).await,
        }
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

/// Why who answers is not believed to be who is asked.
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

async fn begin<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Answer {
    /// What a success says.
    ///
    /// # Errors
    /// What the other side says of its failure.
    pub fn success(&self) -> Result<&Bytes, String> {
        if self.status.is_success() {
            return Ok(&self.body);
        }
        let text = String::from_utf8_lossy(&self.body).trim().chars().take(512).collect::<String>();
        Err(if text.is_empty() { format!("an error on the server ({})", self.status) } else { text })
    }
}
