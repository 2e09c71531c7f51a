//! One HTTP/2 connection to one member.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::config::Endpoint;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How often a silent connection is tried, and how long the answer may take. A member ends connections that are tried more
/// often than every five seconds.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
/// Bytes of an answer that may be under way.
const WINDOW: u32 = 4 << 20;
/// The largest answer. Lists are read in pages that fit, and what changes comes in parts.
pub const MAX_ANSWER: usize = 64 << 20;

/// A member, and the connection to it. Clones share it.
#[derive(Clone)]
pub struct Connection {
    /// The number of the endpoint.
    pub endpoint: usize,
    sender: Sender,
    origin: Uri,
    /// Tells connections apart.
    identity: Arc<()>,
    /// Who asks, where the cluster knows users.
    pub token: Option<AsciiMetadataValue>,
}

impl Connection {
    /// Connects to a member.
    ///
    /// # Errors
    /// It cannot be reached, is not whom it should be, or does not answer in time.
    pub async fn open(
        number: usize,
        endpoint: &Endpoint,
        tls: &Arc<rustls::ClientConfig>,
    ) -> Result<Connection, String> {
        let opened = timeout(CONNECT, connect(endpoint, tls)).await;
        let sender = match opened {
            Ok(Ok(sender)) => sender,
            Ok(Err(error)) => return Err(format!("{}: {error}", endpoint.url)),
            Err(_) => return Err(format!("{}: no connection within {CONNECT:?}", endpoint.url)),
        };
        Ok(Connection {
            endpoint: number,
            sender: Sender(sender),
            origin: endpoint.url.clone(),
            identity: Arc::default(),
            token: None,
        })
    }

    /// Whether nothing further can be asked.
    pub fn is_closed(&self) -> bool {
        self.sender.0.is_closed()
    }

    /// Whether both are one.
    pub fn is_same(&self, other: &Connection) -> bool {
        Arc::ptr_eq(&self.identity, &other.identity)
    }

    fn grpc(&self) -> Grpc<Sender> {
        Grpc::with_origin(self.sender.clone(), self.origin.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// A request that is refused by a member that has no leader.
    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("hasleader", AsciiMetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    /// Asks once.
    pub async fn ask<A, B>(&self, method: &'static str, message: A) -> Result<B, Status>
    where
        A: Message + Send + Sync + 'static,
        B: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(Status::from_error)?;
        let codec = ProstCodec::<A, B>::default();
        let answer = grpc.unary(self.request(message), PathAndQuery::from_static(method), codec).await?;
        Ok(answer.into_inner())
    }

    /// Asks once for answers without end.
    pub async fn stream<A, B>(&self, method: &'static str, message: A) -> Result<Streaming<B>, Status>
    where
        A: Message + Send + Sync + 'static,
        B: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(Status::from_error)?;
        // The answers end when the questions do.
        let questions = stream::iter([message]).chain(stream::pending());
        let codec = ProstCodec::<A, B>::default();
        let answer = grpc.streaming(self.request(questions), PathAndQuery::from_static(method), codec).await?;
        Ok(answer.into_inner())
    }
}

async fn connect(endpoint: &Endpoint, tls: &Arc<rustls::ClientConfig>) -> Result<SendRequest<Body>, Box<dyn StdError>> {
    let stream = TcpStream::connect((&*endpoint.host, endpoint.port)).await?;
    stream.set_nodelay(true)?;
    if endpoint.url.scheme() != Some(&Scheme::HTTPS) {
        return handshake(stream).await;
    }
    let name = ServerName::try_from(endpoint.host.clone())?;
    handshake(TlsConnector::from(tls.clone()).connect(name, stream).await?).await
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, Box<dyn StdError>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to etcd ended");
        }
    });
    Ok(sender)
}

/// A request that was never sent: nothing came of it.
#[derive(Debug)]
pub struct NotSent(hyper::Error);

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for NotSent {}

/// Whether a request surely was not sent.
pub fn was_not_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<NotSent>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Sends requests, and tells those that were not sent from those of which nothing is known.
#[derive(Clone)]
struct Sender(SendRequest<Body>);

impl tower::Service<Request<Body>> for Sender {
    type Response = Response<Incoming>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(|error| NotSent(error).into())
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let sent = self.0.try_send_request(request);
        Box::pin(async move {
            sent.await.map_err(|mut error| match error.take_message() {
                Some(_) => NotSent(error.into_error()).into(),
                None => error.into_error().into(),
            })
        })
    }
}
