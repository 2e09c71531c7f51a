//! A server that is asked in JSON and answers in JSON, over HTTP with or without TLS.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::{BoxError, Service};

use crate::stream::Stream;

const IDLE: Duration = Duration::from_secs(90);

/// A server below one URL; connections are kept for the next question.
pub struct JsonPeer {
    http: Client<Connector, Full<Bytes>>,
    url: String,
    longest: usize,
    timeout: Duration,
}

impl JsonPeer {
    /// The server below a URL, by TLS where there is a configuration for it, whose certificate is for `server_name`, or else for
    /// the host of the URL. Answers are at most so many bytes, and come in time. Needs a tokio runtime.
    ///
    /// # Errors
    /// It is no URL of HTTP, or the name cannot be one.
    pub fn new(
        url: &str,
        tls: Option<ClientConfig>,
        server_name: Option<&str>,
        longest: usize,
        timeout: Duration,
    ) -> Result<JsonPeer> {
        let uri: Uri = url.parse().with_context(|| format!("the URL {url:?} is malformed"))?;
        ensure!(uri.host().is_some(), "the URL {url:?} names no host");
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            bail!("the URL {url:?} must begin with http:// or https://");
        }
        let name = server_name.map(|name| ServerName::try_from(name.to_owned())).transpose()?;
        let connector = Connector { tls: tls.map(|tls| TlsConnector::from(Arc::new(tls))), name };
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(JsonPeer { http, url: url.trim_end_matches('/').to_owned(), longest, timeout })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Posts a question to a path below the URL.
    ///
    /// # Errors
    /// There is no answer in time, it is not `200 OK`, it is too long, or it is not of the form.
    pub fn post<'a>(&'a self, path: &'a str, question: &Value) -> BoxFuture<'a, Result<Value>> {
        let question = question.to_string();
        Box::pin(self.exchange(path, question))
    }

    async fn exchange(&self, path: &str, question: String) -> Result<Value> {
        let url = format!("{}/{path}", self.url);
        let asked = async {
            let mut request = Request::new(Full::new(Bytes::from(question)));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = url.parse()?;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let answer = self.http.request(request).await?;
            if answer.status() != StatusCode::OK {
                bail!("code {}", answer.status().as_u16());
            }
            let body = Limited::new(answer.into_body(), self.longest).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the answer could not be read: {error}"))?;
            Ok(serde_json::from_slice(&body.to_bytes())?)
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => answer.with_context(|| format!("Post \"{url}\"")),
            Err(_) => bail!("Post \"{url}\": context deadline exceeded"),
        }
    }
}

#[derive(Clone)]
struct Connector {
    tls: Option<TlsConnector>,
    name: Option<ServerName<'static>>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Connector { tls, name } = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            tcp.set_nodelay(true)?;
            Ok(match tls {
                None => Stream::plain(tcp),
                Some(tls) => {
                    let name = name.map_or_else(|| ServerName::try_from(host), Ok)?;
                    Stream::tls(tls.connect(name, tcp).await?)
                }
            })
        })
    }
}
