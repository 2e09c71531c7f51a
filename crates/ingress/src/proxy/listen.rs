//! Where clients come: one socket a thread at one port, and which door a connection is for by the address that its client
//! asked for.
//!
//! The port is one of the node. Who comes there directly and not by an address of a service is turned away: the kernel
//! says where a connection was led from (`SO_ORIGINAL_DST`), so that nothing is reached but where somebody asked for it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;

use super::forward::Shown;
use super::pool::Pool;
use super::tunnel::GOODBYE;
use super::unread::{Streams, UNREAD};
use super::{Peer, Shared, Worker, tls, tunnel};
use crate::backend::Backend;
use crate::entrance::{Door, Speaks};
use crate::metrics::METRICS;
use crate::route::host::normalized;

/// How long the TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD: usize = 64 << 10;
/// Bytes that clients may send before a backend takes them, on one stream and on one connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
const BACKLOG: u32 = 4096;
/// Threads at most: a node does other things as well.
const THREADS: usize = 4;

/// The threads, until it is dropped; then connections are told to end.
pub struct Listening {
    /// Where.
    pub port: u16,
    _end: watch::Sender<()>,
}

/// Starts to listen at a port of an address, or at another one if that is taken. With a fixed door, all connections are
/// for that one; else their own address decides.
///
/// # Errors
/// Nothing can be listened on.
pub fn listen(shared: &Arc<Shared>, address: Ipv4Addr, port: u16, fixed: Option<Door>) -> Result<Listening> {
    let first = match socket(address, port) {
        Err(error) if port != 0 => {
            tracing::warn!(%address, port, %error, "another port is listened on, as this one is taken");
            socket(address, 0)
        }
        made => made,
    };
    let first = first.with_context(|| format!("failed to listen on {address}"))?;
    let port = first.local_addr()?.port();
    let (end, ended) = watch::channel(());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let mut sockets = vec![first];
    for _ in 1..threads {
        sockets.push(socket(address, port).with_context(|| format!("failed to listen on {address}:{port}"))?);
    }
    for (number, socket) in sockets.into_iter().enumerate() {
        let worker = Arc::new(Worker {
            shared: shared.clone(),
            pool: Arc::new(Pool::new(shared.dial.clone(), shared.places.limits.idle / threads)?),
        });
        let (fixed, ended) = (fixed.clone(), ended.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("ingress-{number}")).spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(socket) {
                    Ok(listener) => accept(worker, listener, fixed, ended).await,
                    Err(error) => tracing::error!(%error, "a thread of the ingress has no socket"),
                }
            });
        })?;
    }
    Ok(Listening { port, _end: end })
}

fn socket(address: Ipv4Addr, port: u16) -> io::Result<std::net::TcpListener> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(address, port))?;
    rustix::net::listen(&socket, BACKLOG as i32)?;
    Ok(socket.into())
}

async fn accept(worker: Arc<Worker>, listener: TcpListener, fixed: Option<Door>, ended: watch::Receiver<()>) {
    let acceptors = Arc::new(Acceptors::default());
    let mut over = ended.clone();
    let mut sweep = tokio::time::interval(Duration::from_secs(30));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            _ = sweep.tick() => {
                worker.pool.sweep();
                continue;
            }
            _ = over.changed() => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a client that left already.
                tracing::debug!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let (worker, acceptors, fixed, ended) = (worker.clone(), acceptors.clone(), fixed.clone(), ended.clone());
        connections.spawn(async move {
            if let Err(error) = connection(worker, acceptors, stream, from, fixed, ended).await {
                tracing::debug!(%from, %error, "a connection ended");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// How TLS is spoken at each door: what was agreed on with clients is remembered there.
#[derive(Default)]
struct Acceptors(Mutex<HashMap<Door, TlsAcceptor>>);

impl Acceptors {
    fn get(&self, shared: &Arc<Shared>, door: &Door) -> Result<TlsAcceptor> {
        let mut known = self.0.lock();
        if let Some(acceptor) = known.get(door) {
            return Ok(acceptor.clone());
        }
        // Doors that are no more have none.
        let tables = shared.tables.load();
        known.retain(|door, _| tables.entrances.contains_key(door));
        let acceptor = TlsAcceptor::from(tls::config(shared.clone(), door.clone())?);
        known.insert(door.clone(), acceptor.clone());
        Ok(acceptor)
    }
}

/// The address to which a client came, before it was led here.
fn asked_for(stream: &TcpStream) -> Option<SocketAddrV4> {
    rustix::net::sockopt::ip_original_dst(stream).ok()
}

async fn connection(
    worker: Arc<Worker>,
    acceptors: Arc<Acceptors>,
    stream: TcpStream,
    from: SocketAddr,
    fixed: Option<Door>,
    ended: watch::Receiver<()>,
) -> Result<()> {
    let shared = worker.shared.clone();
    let own = stream.local_addr()?;
    let (door, port) = match fixed {
        Some(door) => (Some(door), own.port()),
        None => {
            let asked = asked_for(&stream);
            let door = asked.and_then(|asked| shared.tables.load().addresses.get(&asked).cloned());
            (door, asked.map_or(own.port(), |asked| asked.port()))
        }
    };
    let entrance = door.as_ref().and_then(|door| shared.tables.load().entrances.get(door).cloned());
    let (Some(door), Some(entrance)) = (door, entrance) else {
        METRICS.refused.inc();
        return reset(&stream);
    };
    let Some(place) = shared.places.admit(from.ip()) else { return reset(&stream) };
    stream.set_nodelay(true)?;
    // Where no time is bounded, a client that is gone without a word is noticed all the same.
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&stream, UNREAD)?;
    let is_tls = matches!(entrance.speaks, Speaks::Https(_));
    let peer = |server_name| {
        Arc::new(Peer {
            address: from,
            door: door.clone(),
            is_tls,
            server_name,
            port,
            activity: Arc::new(place.activity()),
            tunnel: Mutex::default(),
            shown: Shown::new(from, port, is_tls),
        })
    };
    let stream = Bounded { stream, waits: None };
    match &entrance.speaks {
        Speaks::Http => {
            drop(entrance);
            serve(worker, peer(None), stream, ended).await?;
        }
        Speaks::Https(_) => {
            drop(entrance);
            let acceptor = acceptors.get(&shared, &door)?;
            let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
            let shaken = shaken.with_context(|| format!("no TLS handshake in {HANDSHAKE:?}"));
            let stream = shaken.and_then(|stream| Ok(stream?)).inspect_err(|_| METRICS.handshakes.inc())?;
            let server_name = stream.get_ref().1.server_name().and_then(normalized);
            serve(worker, peer(server_name), stream, ended).await?;
        }
        Speaks::Tls(_) => {
            // It has a connection to a backend, as a request has.
            let Some(_busy) = shared.places.begin(&Arc::new(place.activity())) else { return reset(&stream.stream) };
            let name = tokio::time::timeout(HANDSHAKE, server_name(&stream.stream)).await??;
            let Speaks::Tls(backends) = &entrance.speaks else { return Ok(()) };
            let to = backends.fitting(&name).next().and_then(|all| one_of(all));
            let to = to.with_context(|| format!("no route leads to {name:?}"))?;
            drop(entrance);
            let other = shared.dial.connect(to);
            let other = tokio::time::timeout(Duration::from_secs(5), other).await??;
            tunnel::connect(stream, other, Duration::from_secs(600), tunnel::end(ended)).await;
        }
    }
    drop(place);
    Ok(())
}

/// Ends a connection at once, without a trace of it in the kernel.
fn reset(stream: &TcpStream) -> Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

fn one_of(backends: &[(u32, Arc<Backend>)]) -> Option<SocketAddr> {
    let total: u64 = backends.iter().map(|(weight, _)| u64::from(*weight)).sum();
    let mut at = u64::from(uuid::Uuid::new_v4().as_fields().0).checked_rem(total)?;
    let (_, backend) = backends.iter().find(|(weight, _)| match at.checked_sub(u64::from(*weight)) {
        Some(rest) => {
            at = rest;
            false
        }
        None => true,
    })?;
    let endpoints = backend.endpoints();
    endpoints.addresses.get(backend.next(endpoints.addresses.len())).copied()
}

/// The name that a client asks for in its first message, which stays in the socket.
async fn server_name(stream: &TcpStream) -> Result<smol_str::SmolStr> {
    let mut buffer = vec![0; 16 << 10];
    let mut before = 0;
    loop {
        stream.readable().await?;
        let length = stream.peek(&mut buffer).await?;
        anyhow::ensure!(length > 0, "the client said nothing");
        if length > before {
            let mut acceptor = rustls::server::Acceptor::default();
            acceptor.read_tls(&mut &buffer[..length])?;
            if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error)? {
                let hello = accepted.client_hello();
                return Ok(hello.server_name().and_then(normalized).unwrap_or_default());
            }
        }
        anyhow::ensure!(length < buffer.len(), "the first message of a client is too long");
        before = length;
        // What is peeked at stays readable.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    worker: Arc<Worker>,
    peer: Arc<Peer>,
    stream: S,
    mut ended: watch::Receiver<()>,
) -> Result<()> {
    let own = peer.clone();
    let service = service_fn(move |request: Request<Incoming>| worker.clone().answer(peer.clone(), request));
    let builder = builder();
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => Some(served),
        () = own.activity.idle() => None,
        _ = ended.changed() => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GOODBYE, connection).await.context("it did not end when it was told to")?
        }
    };
    served.map_err(|error| anyhow::anyhow!(error))?;
    // What goes over to another protocol keeps the place of its connection.
    let tunnel = own.tunnel.lock().take();
    if let Some(tunnel) = tunnel {
        tunnel.run(ended).await;
    }
    Ok(())
}

fn builder() -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams);
    // A head that does not end counts as idleness, which needs no timer for each request.
    builder.http1().header_read_timeout(None).max_buf_size(HEAD).half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(HEAD as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(HEAD)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}

/// A stream that fails when what is written is not read.
struct Bounded<S> {
    stream: S,
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Bounded<S> {
    fn wait<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut TaskContext<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waits = None;
            return polled;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + UNREAD)));
        match waits.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, data);
        self.wait(polled, cx)
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
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.wait(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
