//! Connections to backends, kept for the next request.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Dial;
use super::body::RequestBody;
use crate::backend::Protocol;

/// How many connections to one endpoint wait for a request on one thread.
const IDLE_PER_ENDPOINT: usize = 64;
/// How long one waits. Servers close theirs after five seconds or more; one that was closed is noticed before it is used.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Bytes of an answer's head.
const HEAD: usize = 64 << 10;

/// An endpoint and what is spoken with it.
pub type Key = (SocketAddr, Protocol);

/// A connection on which a request can be sent.
pub enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<RequestBody>),
    /// Many of them.
    Http2(http2::SendRequest<RequestBody>),
}

/// Why a request was not answered.
pub enum Failure {
    /// Nothing of it was sent, so that it may be sent elsewhere.
    Unsent(Box<Request<RequestBody>>),
    /// It may have had an effect.
    Sent(hyper::Error),
}

impl Sender {
    /// Sends a request and waits for the head of its answer.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<http::Response<hyper::body::Incoming>, Failure> {
        let sent = match self {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Failure::Unsent(Box::new(request)),
            None => Failure::Sent(error.into_error()),
        })
    }
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// The connections of one thread.
pub struct Pool {
    dial: Dial,
    /// How many connections may wait for a request.
    most: usize,
    idle: Mutex<Waiting>,
    tls: [Arc<ClientConfig>; 2],
}

#[derive(Default)]
struct Waiting {
    by_endpoint: HashMap<Key, Vec<Idle>>,
    count: usize,
}

impl Pool {
    /// None yet; so many may wait for a request.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(dial: Dial, most: usize) -> anyhow::Result<Pool> {
        let with = |protocol: &[u8]| {
            let mut config = coracle_pki::client_config(coracle_pki::Trust::Anybody, None)?;
            config.alpn_protocols = vec![protocol.to_vec()];
            anyhow::Ok(Arc::new(config))
        };
        Ok(Pool { dial, most, idle: Mutex::default(), tls: [with(b"http/1.1")?, with(b"h2")?] })
    }

    /// One that waits, if there is one.
    pub fn take(&self, key: Key) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let Waiting { by_endpoint, count } = &mut *idle;
        let waiting = by_endpoint.get_mut(&key)?;
        let (mut found, mut at) = (None, waiting.len());
        while at > 0 && found.is_none() {
            at -= 1;
            let is_over = waiting[at].since.elapsed() > IDLE_TIME;
            match &waiting[at].sender {
                Sender::Http1(sender) if sender.is_closed() || is_over => {
                    waiting.swap_remove(at);
                    *count -= 1;
                }
                Sender::Http1(sender) if sender.is_ready() => {
                    found = Some(waiting.swap_remove(at).sender);
                    *count -= 1;
                }
                // It is still at the end of its last request.
                Sender::Http1(_) => {}
                Sender::Http2(sender) if sender.is_closed() => {
                    waiting.swap_remove(at);
                    *count -= 1;
                }
                Sender::Http2(sender) => {
                    found = Some(Sender::Http2(sender.clone()));
                    waiting[at].since = Instant::now();
                }
            }
        }
        if waiting.is_empty() {
            by_endpoint.remove(&key);
        }
        found
    }

    /// Keeps one for the next request.
    pub fn put(&self, key: Key, sender: Sender) {
        let mut idle = self.idle.lock();
        if idle.count >= self.most {
            idle.sweep();
        }
        let Waiting { by_endpoint, count } = &mut *idle;
        let waiting = by_endpoint.entry(key).or_default();
        if *count < self.most && waiting.len() < IDLE_PER_ENDPOINT {
            waiting.push(Idle { sender, since: Instant::now() });
            *count += 1;
        }
    }

    /// Closes those that waited long enough.
    pub fn sweep(&self) {
        self.idle.lock().sweep();
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// It cannot be made in time.
    pub async fn connect(&self, (address, protocol): Key, within: Duration) -> io::Result<Sender> {
        let made = tokio::time::timeout(within, self.make(address, protocol)).await;
        made.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")))
    }

    async fn make(&self, address: SocketAddr, protocol: Protocol) -> io::Result<Sender> {
        let stream = self.dial.connect(address).await?;
        match protocol {
            Protocol::Http => http1(stream).await,
            Protocol::H2c => http2(stream).await,
            Protocol::Https => http1(self.secure(0, address, stream).await?).await,
            Protocol::H2 => http2(self.secure(1, address, stream).await?).await,
        }
    }

    async fn secure(
        &self,
        which: usize,
        address: SocketAddr,
        stream: TcpStream,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = ServerName::IpAddress(address.ip().into());
        TlsConnector::from(self.tls[which].clone()).connect(name, stream).await
    }
}

impl Waiting {
    fn sweep(&mut self) {
        let mut count = 0;
        self.by_endpoint.retain(|_, waiting| {
            waiting.retain(|idle| {
                let is_closed = match &idle.sender {
                    Sender::Http1(sender) => sender.is_closed(),
                    Sender::Http2(sender) => sender.is_closed(),
                };
                !is_closed && idle.since.elapsed() <= IDLE_TIME
            });
            count += waiting.len();
            !waiting.is_empty()
        });
        self.count = count;
    }
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> io::Result<Sender> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD).preserve_header_case(false);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    Ok(Sender::Http1(sender))
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> io::Result<Sender> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_header_list_size(HEAD as u32);
    builder.keep_alive_interval(Duration::from_secs(30));
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(Sender::Http2(sender))
}
