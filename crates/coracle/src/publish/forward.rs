//! What the daemon does with published ports: it takes connections on to the node.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use coracle_client::Informers;
use coracle_network::proxy::MARK_TO_NETWORK;
use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::behind::Behind;
use super::datagrams;
use super::grammar::Protocol;
use super::guests::{Entered, Guests};
use super::places::Places;
use super::sockets::Published;

/// How long whoever is connected to may take to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// After how much silence both ends are asked whether they are still there, and how often.
const SILENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(15);
/// How long is waited when nothing can be taken, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the traffic of one port goes.
#[derive(Clone)]
pub(super) struct Target {
    /// The node's addresses, the primary one first.
    pub node: Arc<[IpAddr]>,
    pub port: u16,
    pub protocol: Protocol,
    pub behind: Behind,
    /// Ingresses and Gateways are served by another node.
    pub ways_in_elsewhere: bool,
    /// What all ports share.
    pub places: Places,
}

/// Who may answer.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub address: SocketAddr,
    /// Another node answers for the address on the network, which is to see that it was dialled.
    to_network: bool,
}

impl Target {
    /// Who may answer, in the order in which they are asked. The service is looked up when nobody else has answered.
    pub fn all(&self) -> impl Iterator<Item = Candidate> + '_ {
        let service = std::iter::once_with(|| self.behind.find(self.protocol, self.port)).flatten();
        let all = self.node.iter().map(|address| (*address, false)).chain(service);
        all.map(|(address, is_way_in)| Candidate {
            address: SocketAddr::new(address, self.port),
            to_network: is_way_in && self.ways_in_elsewhere,
        })
    }
}

/// Takes what comes to the ports on to the node, on a thread of its own, as no load of theirs may hold up the API server.
/// `beside_server` is whether the node serves Ingresses and Gateways, if any does.
///
/// # Errors
/// A socket is none; the thread ends.
pub async fn run(
    published: Vec<Published>,
    node: Vec<IpAddr>,
    informers: Informers,
    beside_server: bool,
) -> Result<()> {
    if published.is_empty() {
        return std::future::pending().await;
    }
    let (behind, node) = (Behind::new(&informers), Arc::<[IpAddr]>::from(node));
    let places = Places::of_process();
    let guests = Guests::new(places.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, ended) = oneshot::channel();
    let work = move || {
        let result = runtime.block_on(async {
            let mut ports = JoinSet::new();
            for one in published {
                let target = Target {
                    node: node.clone(),
                    port: one.node_port,
                    protocol: one.protocol()?,
                    behind: behind.clone(),
                    ways_in_elsewhere: !beside_server,
                    places: places.clone(),
                };
                match target.protocol {
                    Protocol::Tcp => {
                        drop(ports.spawn(connections(TcpListener::from(one.socket), target, guests.clone())))
                    }
                    Protocol::Udp => drop(ports.spawn(datagrams::forward(one.socket.into(), target))),
                }
            }
            ports.join_next().await.context("there are no ports")??
        });
        drop(sender.send(result));
    };
    std::thread::Builder::new().name("published-ports".into()).spawn(work)?;
    ended.await.context("the thread of published ports ended")?
}

async fn connections(listener: TcpListener, target: Target, guests: Guests) -> Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (client, source) = match listener.accept().await {
            Ok((client, source)) => (client, source.ip()),
            Err(error) => {
                tracing::debug!(port = target.port, "a published port takes no connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(guest) = guests.enter(target.port, source).await else {
            tracing::debug!(port = target.port, %source, "a published port has no room for one more connection of this client");
            let _ = sockopt::set_socket_linger(&client, Some(Duration::ZERO));
            continue;
        };
        let target = target.clone();
        tokio::spawn(async move {
            if let Err(error) = connection(client, &target, &guest).await {
                tracing::debug!(port = target.port, "a connection of a published port ended: {error}");
            }
        });
    }
}

/// One connection, until both ends have said all that they had to say, or others need its place.
async fn connection(mut client: TcpStream, target: &Target, guest: &Entered) -> io::Result<()> {
    let connected = tokio::select! {
        connected = connect(target) => connected,
        () = guest.shown_out() => Err(shown_out()),
    };
    let mut backend = match connected {
        Ok(backend) => backend,
        Err(error) => {
            // As who connects to a port where nobody listens is told.
            let _ = sockopt::set_socket_linger(&client, Some(Duration::ZERO));
            return Err(error);
        }
    };
    for stream in [&client, &backend] {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, SILENCE)?;
        sockopt::set_tcp_keepintvl(stream, AGAIN)?;
    }
    let copied = {
        let (mut client, mut backend) = (guest.listen(&mut client), guest.listen(&mut backend));
        tokio::select! {
            copied = tokio::io::copy_bidirectional(&mut client, &mut backend) => copied,
            () = guest.shown_out() => Err(shown_out()),
        }
    };
    if copied.is_err() {
        // What one end broke off does not look to the other as if it were complete.
        for stream in [&client, &backend] {
            let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
    copied.map(drop)
}

fn shown_out() -> io::Error {
    io::Error::other("others needed its place")
}

/// Connects to the first who is there.
async fn connect(target: &Target) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::ConnectionRefused);
    for candidate in target.all() {
        match tokio::time::timeout(CONNECT, dial(candidate)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

async fn dial(to: Candidate) -> io::Result<TcpStream> {
    let socket = if to.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if to.to_network {
        socket2::SockRef::from(&socket).set_mark(MARK_TO_NETWORK)?;
    }
    socket.connect(to.address).await
}
