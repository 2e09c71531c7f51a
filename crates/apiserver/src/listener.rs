//! The HTTPS socket: TLS with optional client certificates, HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use coracle_pki::Current;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::header::HOST;
use http::{Request, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::auth::certificate_left;
use crate::auth::request_header::{FromProxy, Peer};
use crate::body::{Body, BoxError};
use crate::connections::{Connections, Limits, Place};
use crate::metrics::{METRICS, Pages};
use crate::negotiate;
use crate::server::Server;

/// How long the TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may ask for nothing, or be at one request's head: before it has shown credentials, and
/// afterwards as upstream's.
const IDLE_UNPROVEN: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(90);
/// How long a connection that was told to end may take for it.
const GOODBYE: Duration = Duration::from_secs(5);
/// Requests at once on one connection, as upstream's.
const STREAMS: u32 = 1000;
/// Bytes that a connection holds for what is read or written next.
const BUFFER: usize = 64 << 10;
/// Bytes that clients may send before somebody takes them, on one stream and on one connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A TLS configuration that shows the current certificate and verifies those of clients who have one.
fn tls(roots: Arc<RootCertStore>, serving: Arc<Current>) -> Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).allow_unauthenticated().build()?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

impl Server {
    /// Answers connections of a socket until the future is dropped. Those that begin after the certificate was replaced are
    /// shown the new one.
    ///
    /// # Errors
    /// The authority's certificate is not usable.
    pub fn serve(&self, listener: TcpListener, serving: Arc<Current>) -> BoxFuture<'static, Result<()>> {
        self.serve_pages(listener, serving, Pages::All)
    }

    /// The same of one part of the process: who may ask here is who may ask the API server for the same paths.
    ///
    /// # Errors
    /// The authority's certificate is not usable.
    pub fn serve_pages(
        &self,
        listener: TcpListener,
        serving: Arc<Current>,
        pages: Pages,
    ) -> BoxFuture<'static, Result<()>> {
        Box::pin(self.clone().accept(listener, serving, pages))
    }

    async fn accept(self, listener: TcpListener, serving: Arc<Current>, pages: Pages) -> Result<()> {
        let config = tls(self.authorities().roots(), serving).context("failed to set up TLS")?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let connections = Connections::new(Limits::of_process(), self.inside().to_vec());
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a client that left already.
                    tracing::debug!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            // A socket of IPv6 takes IPv4, too.
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            let Some(place) = connections.admit(from.ip()).map(Arc::new) else {
                tracing::debug!(%from, "no place for a connection: all have shown credentials");
                continue;
            };
            let (server, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                let mut evicted = rarely(place.evicted());
                let ended = tokio::select! {
                    biased;
                    ended = server.connection(stream, acceptor, &place, pages) => ended,
                    _ = evicted.next() => Err(anyhow::anyhow!("it made room for another")),
                };
                if let Err(error) = ended {
                    tracing::debug!(%from, %error, "a connection ended");
                }
            });
        }
    }

    async fn connection(
        &self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        place: &Arc<Place>,
        pages: Pages,
    ) -> Result<()> {
        stream.set_nodelay(true)?;
        let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
        let shaken = shaken.with_context(|| format!("no TLS handshake in {HANDSHAKE:?}"));
        let stream = shaken.and_then(|stream| Ok(stream?)).inspect_err(|_| METRICS.handshake_errors.inc())?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let left = chain.first().and_then(|der| certificate_left(der));
        let peer = self.authorities().peer(chain);
        let user = match &peer {
            Peer::User(user) => Some(user.clone()),
            Peer::Proxy | Peer::Nobody => None,
        };
        let is_proxy = matches!(peer, Peer::Proxy);
        match &user {
            Some(user) => place.prove(user).map_err(|status| anyhow::anyhow!(status.message))?,
            None if is_proxy => place.prove_proxy(),
            None => {}
        }
        let activity = Arc::new(Activity::default());
        let service = service_fn(|mut request: Request<Incoming>| {
            let (server, user, request_going_on) = (self.clone(), user.clone(), Going::on(&activity));
            request.extensions_mut().insert(place.clone());
            left.iter().for_each(|left| METRICS.certificates.observe(left.as_secs_f64()));
            if is_proxy {
                request.extensions_mut().insert(FromProxy);
            }
            if pages != Pages::All {
                request.extensions_mut().insert(pages);
            }
            async move {
                let plain = |code, text| negotiate::respond(code, "text/plain; charset=utf-8", text);
                let response = match host_fault(&request) {
                    Some(fault) => plain(StatusCode::BAD_REQUEST, fault),
                    None if !pages.has(request.uri().path()) => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
                    None => server.handle(request, user).await,
                };
                Ok::<_, Infallible>(response.map(|body| Answer { body, _going: request_going_on }))
            }
        });
        let builder = builder();
        let io = TokioIo::new(Connection { stream, _place: place.clone() });
        let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(io, service));
        let mut over = rarely(async {
            tokio::select! {
                () = activity.idle(place) => {}
                // Who it was is known no longer.
                () = tokio::time::sleep(left.unwrap_or(Duration::MAX)) => {}
            }
        });
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended.map_err(|error| anyhow::anyhow!(error)),
            _ = over.next() => {}
        }
        drop(over);
        connection.as_mut().graceful_shutdown();
        let ended = tokio::time::timeout(GOODBYE, connection)
            .await
            .context("it asked for nothing, or its certificate has ended")?;
        ended.map_err(|error| anyhow::anyhow!(error))
    }
}

/// Something that is looked at only when it was woken itself, and not with each byte of the connection beside it.
fn rarely<F: Future<Output = ()>>(future: F) -> FuturesUnordered<F> {
    FuturesUnordered::from_iter([future])
}

/// What is wrong with the host that a request names; RFC 9112, section 3.2.
fn host_fault<B>(request: &Request<B>) -> Option<&'static str> {
    if request.version() != Version::HTTP_11 {
        return None;
    }
    match request.headers().get_all(HOST).iter().count() {
        0 => Some("400 Bad Request: missing required Host header"),
        1 => None,
        _ => Some("400 Bad Request: too many Host headers"),
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // A head that does not end counts as idleness, which needs no timer for each request.
    builder.http1().header_read_timeout(None).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}

/// What goes on in a connection.
#[derive(Default)]
struct Activity {
    requests: AtomicUsize,
    /// When the last request ended, or the connection began.
    since: Mutex<Option<Instant>>,
}

impl Activity {
    /// Waits until nothing was asked for too long.
    async fn idle(&self, place: &Place) {
        let begun = Instant::now();
        loop {
            let limit = if place.is_proven() { IDLE } else { IDLE_UNPROVEN };
            let left = match self.requests.load(Ordering::Acquire) {
                0 => limit.saturating_sub(self.since.lock().unwrap_or(begun).elapsed()),
                _ => limit,
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// A request that is being answered, until the last of its answer was handed on.
struct Going(Arc<Activity>);

impl Going {
    fn on(activity: &Arc<Activity>) -> Going {
        activity.requests.fetch_add(1, Ordering::AcqRel);
        Going(activity.clone())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        *self.0.since.lock() = Some(Instant::now());
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Answer {
    body: Body,
    _going: Going,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that keeps its place, also when it is handed to a tunnel.
struct Connection<S> {
    stream: S,
    _place: Arc<Place>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
