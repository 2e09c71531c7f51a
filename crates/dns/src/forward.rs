//! Asking the upstream servers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cache::{Cache, Key};
use crate::message::our_edns;

/// How long an upstream may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long one that did not answer is asked last.
const PENALTY: Duration = Duration::from_secs(10);

type Answer = Option<Arc<Message>>;

/// Asks upstreams in order; equal questions at the same time are asked once.
///
/// That also ends loops: a question that comes back to us by way of an upstream joins the one that is under way.
pub struct Forwarder {
    upstreams: Vec<Upstream>,
    cache: Cache,
    under_way: Mutex<HashMap<Key, watch::Receiver<Answer>>>,
    secret: RandomState,
    counter: AtomicU64,
}

struct Upstream {
    address: SocketAddr,
    failed: Mutex<Option<Instant>>,
}

/// The upstreams that are not ourselves.
pub fn usable(upstreams: &[SocketAddr], listen: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_ours = |upstream: &SocketAddr| {
        listen.iter().any(|own| {
            own.port() == upstream.port()
                && (own.ip() == upstream.ip() || own.ip().is_unspecified() && upstream.ip().is_loopback())
        })
    };
    let mut found = Vec::new();
    for upstream in upstreams {
        if is_ours(upstream) {
            tracing::warn!(%upstream, "this upstream name server is the cluster's own and is not asked");
        } else if !found.contains(upstream) {
            found.push(*upstream);
        }
    }
    found
}

impl Forwarder {
    /// Asks these servers.
    pub fn new(upstreams: Vec<SocketAddr>) -> Forwarder {
        let upstreams = upstreams.into_iter().map(|address| Upstream { address, failed: Mutex::new(None) });
        Forwarder {
            upstreams: upstreams.collect(),
            cache: Cache::default(),
            under_way: Mutex::default(),
            secret: RandomState::new(),
            counter: AtomicU64::new(0),
        }
    }

    /// A kept answer.
    pub fn cached(&self, key: &Key) -> Option<Message> {
        self.cache.get(key, Instant::now())
    }

    /// The upstreams' answer; `None` when none of them gives one.
    pub async fn ask(&self, key: &Key) -> Answer {
        let (sender, receiver) = watch::channel(None);
        let joined = match self.under_way.lock().entry(key.clone()) {
            Entry::Occupied(entry) => Some(entry.get().clone()),
            Entry::Vacant(entry) => {
                entry.insert(receiver);
                None
            }
        };
        if let Some(mut joined) = joined {
            // When the one that asks is gone, there is no answer.
            return joined.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        }
        let _leave = Leave { forwarder: self, key };
        let answer = self.ask_all(key).await.map(Arc::new);
        if let Some(message) = &answer {
            self.cache.put(key.clone(), message, Instant::now());
        }
        sender.send_replace(answer.clone());
        answer
    }

    async fn ask_all(&self, key: &Key) -> Option<Message> {
        let now = Instant::now();
        let mut order: Vec<&Upstream> = self.upstreams.iter().collect();
        order.sort_by_key(|upstream| upstream.failed.lock().is_some_and(|at| now.duration_since(at) < PENALTY));
        let mut last = None;
        for upstream in order {
            match self.exchange(upstream.address, key).await {
                Ok(answer) => {
                    *upstream.failed.lock() = None;
                    match answer.metadata.response_code {
                        ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp => last = Some(answer),
                        _ => return Some(answer),
                    }
                }
                Err(error) => {
                    tracing::debug!(upstream = %upstream.address, name = %key.name, %error, "no answer");
                    *upstream.failed.lock() = Some(Instant::now());
                }
            }
        }
        last
    }

    async fn exchange(&self, upstream: SocketAddr, key: &Key) -> io::Result<Message> {
        let query = self.query(key, true);
        let mut answer = timeout(TIMEOUT, by_udp(upstream, &query)).await??;
        if answer.metadata.response_code == ResponseCode::FormErr {
            // Servers older than EDNS answer like this.
            let plain = self.query(key, false);
            answer = timeout(TIMEOUT, by_udp(upstream, &plain)).await??;
        }
        if answer.metadata.truncation && key.complete {
            answer = timeout(TIMEOUT, by_tcp(upstream, &query)).await??;
        }
        Ok(answer)
    }

    fn query(&self, key: &Key, edns: bool) -> Message {
        // A keyed hash of a counter: nobody without the key can tell the next one.
        let id = self.secret.hash_one(self.counter.fetch_add(1, Ordering::Relaxed)) as u16;
        let mut query = Message::new(id, MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(key.name.clone(), key.kind));
        if edns {
            query.set_edns(our_edns(key.dnssec));
        }
        query
    }
}

/// Forgets a question that is no longer under way, also when its client left.
struct Leave<'a> {
    forwarder: &'a Forwarder,
    key: &'a Key,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.forwarder.under_way.lock().remove(self.key);
    }
}

async fn by_udp(upstream: SocketAddr, query: &Message) -> io::Result<Message> {
    let any: IpAddr = if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A socket of its own gives each question a port of its own, which the kernel picks at random.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(&query.to_vec().map_err(io::Error::other)?).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = matching(&buffer[..length], query) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(upstream: SocketAddr, query: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(upstream).await?;
    let bytes = query.to_vec().map_err(io::Error::other)?;
    let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
    framed.extend(bytes);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await?;
    matching(&buffer, query).ok_or_else(|| io::Error::other("the answer is not to our question"))
}

/// The packet as a message, when it answers the query.
fn matching(packet: &[u8], query: &Message) -> Option<Message> {
    let answer = Message::from_vec(packet).ok()?;
    let ours = answer.metadata.id == query.metadata.id && answer.metadata.message_type == MessageType::Response;
    // A refusal may leave the question out.
    (ours && (answer.queries == query.queries || answer.queries.is_empty())).then_some(answer)
}
