//! The listeners, and how a request becomes an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cache::Key;
use crate::forward::Forwarder;
use crate::lookup::{Found, Lookup, MAX_ALIASES};
use crate::message::{Request, encode, read};
use crate::places::Places;
use crate::zone::Zone;

/// How many UDP requests wait for upstreams at a time, and how many of one client; more fail. Each may have a socket of
/// its own, and a connection two: together half of the descriptors that the least generous systems allow.
const MAX_WAITING: (usize, usize) = (256, 32);
/// How many TCP connections are served at a time, and how many of one client; more are closed.
const MAX_CONNECTIONS: (usize, usize) = (128, 16);
/// How long a TCP connection may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// The sockets of one address.
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// Listens on each address by UDP and TCP; port 0 is the same free one for both.
///
/// # Errors
/// An address is not ours or is in use.
pub async fn bind(addresses: &[SocketAddr]) -> Result<Vec<Sockets>> {
    let mut all = Vec::new();
    for address in addresses {
        let tcp = TcpListener::bind(address).await;
        let tcp = tcp.with_context(|| format!("failed to listen for DNS on {address} by TCP"))?;
        let address = tcp.local_addr()?;
        let udp = UdpSocket::bind(address).await;
        let udp = udp.with_context(|| format!("failed to listen for DNS on {address} by UDP"))?;
        all.push(Sockets { udp, tcp });
    }
    Ok(all)
}

/// Answers requests.
pub struct Server {
    zone: Arc<RwLock<Zone>>,
    lookup: Lookup,
    forwarder: Forwarder,
    serial: u32,
    waiting: Arc<Places>,
    connections: Arc<Places>,
}

/// What is known without asking anyone.
struct Local {
    answer: Message,
    /// The name that remains to be asked for upstream.
    open: Option<Name>,
}

impl Server {
    /// Answers from these parts.
    pub fn new(zone: Arc<RwLock<Zone>>, lookup: Lookup, forwarder: Forwarder) -> Arc<Server> {
        let serial = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs() as u32);
        let waiting = Places::new(MAX_WAITING.0, MAX_WAITING.1);
        let connections = Places::new(MAX_CONNECTIONS.0, MAX_CONNECTIONS.1);
        Arc::new(Server { zone, lookup, forwarder, serial, waiting, connections })
    }

    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// A listener fails for good.
    pub async fn serve(self: Arc<Server>, sockets: Vec<Sockets>) -> Result<()> {
        let mut tasks = JoinSet::new();
        for Sockets { udp, tcp } in sockets {
            tasks.spawn(self.clone().serve_udp(Arc::new(udp)));
            tasks.spawn(self.clone().serve_tcp(tcp));
        }
        match tasks.join_next().await {
            Some(ended) => ended?,
            None => std::future::pending().await,
        }
    }

    async fn serve_udp(self: Arc<Server>, socket: Arc<UdpSocket>) -> Result<()> {
        let mut forwarded = JoinSet::new();
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            while forwarded.try_join_next().is_some() {}
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An earlier answer could not be delivered; that concerns its client only.
                Err(error) => {
                    tracing::debug!(%error, "failed to receive");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
            };
            let request = match read(&buffer[..length]) {
                Ok(request) => request,
                Err(refusal) => {
                    if let Some(refusal) = refusal {
                        let _ = socket.send_to(&refusal, client).await;
                    }
                    continue;
                }
            };
            let local = self.local(&request, false);
            if local.open.is_none() {
                let _ = socket.send_to(&encode(local.answer, request.udp_limit), client).await;
                continue;
            }
            let Some(place) = self.waiting.take(client.ip()) else {
                let _ = socket.send_to(&encode(request.answer(ResponseCode::ServFail), 512), client).await;
                continue;
            };
            let (server, socket) = (self.clone(), socket.clone());
            forwarded.spawn(async move {
                let answer = server.finish(&request, local, false).await;
                let _ = socket.send_to(&encode(answer, request.udp_limit), client).await;
                drop(place);
            });
        }
    }

    async fn serve_tcp(self: Arc<Server>, listener: TcpListener) -> Result<()> {
        let mut served = JoinSet::new();
        loop {
            while served.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, client)) => {
                    let Some(place) = self.connections.take(client.ip()) else { continue };
                    let server = self.clone();
                    served.spawn(async move {
                        let _ = server.connection(stream).await;
                        drop(place);
                    });
                }
                // For example too many open files: some will close.
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a DNS connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Requests of one connection, one after the other (RFC 7766 lets clients send several).
    async fn connection(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let length = timeout(IDLE, stream.read_u16()).await??;
            let mut packet = vec![0; length.into()];
            timeout(IDLE, stream.read_exact(&mut packet)).await??;
            let answer = match read(&packet) {
                Ok(request) => {
                    let local = self.local(&request, true);
                    encode(self.finish(&request, local, true).await, usize::from(u16::MAX))
                }
                Err(Some(refusal)) => refusal,
                Err(None) => return Ok(()),
            };
            let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
            framed.extend(answer);
            timeout(IDLE, stream.write_all(&framed)).await??;
        }
    }

    /// Answers as far as the zone and the cache go.
    fn local(&self, request: &Request, complete: bool) -> Local {
        let mut answer = request.answer(ResponseCode::NoError);
        let mut name = request.query.name.clone();
        let kind = request.query.query_type;
        for _ in 0..=MAX_ALIASES {
            let found = self.lookup.find(&self.zone.read(), &name, kind, self.serial);
            if found != Found::Elsewhere {
                answer.metadata.authoritative = true;
            }
            match found {
                Found::Records(records, additional) => {
                    if records.is_empty() {
                        answer.add_authority(self.lookup.authority(self.serial));
                    }
                    answer.add_answers(records);
                    answer.add_additionals(additional);
                    return Local { answer, open: None };
                }
                Found::NoSuchName => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    answer.add_authority(self.lookup.authority(self.serial));
                    return Local { answer, open: None };
                }
                Found::Alias(record, target) => {
                    answer.add_answer(*record);
                    name = target;
                }
                Found::Elsewhere => {
                    let kept = self.forwarder.cached(&key(request, &name, complete));
                    let open = kept.is_none().then_some(name);
                    if let Some(kept) = kept {
                        join(&mut answer, &kept);
                    }
                    return Local { answer, open };
                }
            }
        }
        Local { answer: request.answer(ResponseCode::ServFail), open: None }
    }

    /// Asks upstream for what is open.
    async fn finish(&self, request: &Request, local: Local, complete: bool) -> Message {
        let Local { mut answer, open } = local;
        if let Some(name) = open {
            match self.forwarder.ask(&key(request, &name, complete)).await {
                Some(found) => join(&mut answer, &found),
                None => answer.metadata.response_code = ResponseCode::ServFail,
            }
        }
        answer
    }
}

fn key(request: &Request, name: &Name, complete: bool) -> Key {
    Key { name: name.clone(), kind: request.query.query_type, dnssec: request.dnssec, complete }
}

/// Adds what an upstream said.
fn join(answer: &mut Message, found: &Message) {
    answer.metadata.response_code = found.metadata.response_code;
    answer.metadata.truncation |= found.metadata.truncation;
    answer.metadata.authentic_data = found.metadata.authentic_data;
    let own_name = answer.queries.first().map(|query| query.name.clone());
    // A kept answer may be to the same name in another case; the client gets its own back.
    let restore = |record: &Record| {
        let mut record = record.clone();
        if let Some(own) = own_name.as_ref().filter(|own| record.name == **own) {
            record.name = own.clone();
        }
        record
    };
    answer.add_answers(found.answers.iter().map(restore));
    answer.add_authorities(found.authorities.iter().cloned());
    answer.add_additionals(found.additionals.iter().filter(|record| record.record_type() != RecordType::OPT).cloned());
}

#[cfg(test)]
mod tests;
