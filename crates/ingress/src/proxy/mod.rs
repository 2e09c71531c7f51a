//! Answers requests: finds the route, does what its policy says, and passes the request on.

mod admit;
mod again;
mod body;
mod dial;
mod forward;
mod going;
mod listen;
mod mirror;
mod places;
mod pool;
mod room;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod unread;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, LOCATION, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::time::Instant;

use self::admit::Limiter;
pub use self::admit::Rate;
use self::again::Came;
use self::body::{Fate, RequestBody, ResponseBody, Used};
pub use self::dial::{Dial, Marks};
use self::going::Going;
pub use self::listen::{Listening, listen};
use self::places::{Activity, Places};
use self::pool::{Failure, Pool, Sender};
use self::room::{Room, Taken};
pub use self::tls::{certified, self_signed};
use self::tunnel::Tunnel;
use self::unread::Watched;
use crate::backend::{Backend, Endpoints, Protocol};
use crate::entrance::{Door, Entrance, Tables};
use crate::metrics::METRICS;
use crate::route::action::{Action, Policy, Redirect, Target, Weighted};
use crate::route::path::Path;
use crate::route::{Asked, Found, PATH_OF_REQUEST, Routes, host};

/// How many endpoints are tried until a connection can be made.
const TRIES: usize = 3;

/// What all threads of the proxy share.
#[derive(Default)]
pub struct Shared {
    /// What is served now.
    pub tables: ArcSwap<Tables>,
    dial: Dial,
    places: Arc<Places>,
    limiter: Limiter,
    room: Arc<Room>,
}

impl Shared {
    /// Nothing is served yet.
    pub fn new(dial: Dial) -> Shared {
        Shared { dial, ..Shared::default() }
    }
}

/// Who is at the other end of a connection.
struct Peer {
    address: SocketAddr,
    door: Door,
    is_tls: bool,
    /// The host that its handshake named.
    server_name: Option<SmolStr>,
    port: u16,
    activity: Arc<Activity>,
    /// What the connection becomes after the answer that is being written.
    tunnel: Mutex<Option<Tunnel>>,
    shown: forward::Shown,
}

/// A thread of the proxy.
struct Worker {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
}

/// Whether a request is for another listener of a Gateway than its connection was made to: a client may use one for all hosts
/// that the certificate has, but the listeners may ask different things of clients (RFC 9110, section 15.5.20).
fn is_misdirected(entrance: &Entrance, peer: &Peer, listener: &Arc<Routes>) -> bool {
    let own = peer.server_name.as_ref().and_then(|name| entrance.listeners.fitting(name).next());
    matches!(peer.door, Door::Gateway(..)) && own.is_some_and(|own| !Arc::ptr_eq(own, listener))
}

/// An answer that this proxy gives itself.
type Reply = Box<Response<Bytes>>;

fn reply(status: StatusCode) -> Reply {
    let text = format!("{} {}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut reply = Box::new(Response::new(if status.is_redirection() { Bytes::new() } else { text.into() }));
    *reply.status_mut() = status;
    if !status.is_redirection() {
        reply.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    reply
}

fn sent_to(status: StatusCode, location: &str) -> Reply {
    match HeaderValue::from_str(location) {
        Ok(location) => {
            let mut reply = reply(status);
            reply.headers_mut().insert(LOCATION, location);
            reply
        }
        Err(_) => reply(StatusCode::BAD_REQUEST),
    }
}

/// A fault of a backend as clients of gRPC are told of it: `UNAVAILABLE`, in headers alone.
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
fn of_call(fault: Reply) -> Reply {
    if !fault.status().is_server_error() {
        return fault;
    }
    let mut reply = Box::new(Response::new(Bytes::new()));
    let headers = reply.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    let why = fault.status().canonical_reason().unwrap_or_default();
    headers.insert("grpc-message", HeaderValue::from_static(why));
    reply
}

impl Worker {
    async fn answer(
        self: Arc<Worker>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> Result<Response<Watched<ResponseBody>>, Infallible> {
        let Some(busy) = self.shared.places.begin(&peer.activity) else {
            let full = reply(StatusCode::SERVICE_UNAVAILABLE);
            return Ok((*full).map(|text| Watched::of(ResponseBody::of(text, None))));
        };
        let host = host_of(&request).unwrap_or_default();
        let mut going =
            Going::new(peer.address.ip(), request.method().clone(), host.clone(), request.uri().path(), busy);
        let is_http1 = request.version() < Version::HTTP_2;
        let answered = self.route(&peer, &host, request, &mut going).await;
        let mut response = match answered {
            Ok(Passed { response, used, patience, ends }) => {
                let status = response.status();
                going.status = status;
                response.map(|body| ResponseBody::from_backend(body, used, patience, ends, going))
            }
            Err(reply) => {
                going.status = reply.status();
                (*reply).map(|text| ResponseBody::of(text, Some(going)))
            }
        };
        // The backend's may be another one.
        *response.version_mut() = if is_http1 { Version::HTTP_11 } else { Version::HTTP_2 };
        Ok(response.map(Watched::of))
    }

    /// Finds the route of a request and takes it. What is answered here comes back as an error.
    async fn route(
        &self,
        peer: &Peer,
        host: &str,
        request: Request<Incoming>,
        going: &mut Going,
    ) -> Result<Passed, Reply> {
        let fault = |status: StatusCode| Err(reply(status));
        if host.is_empty() || has_two_lengths(&request) {
            return fault(StatusCode::BAD_REQUEST);
        }
        if request.method() == Method::CONNECT {
            return fault(StatusCode::METHOD_NOT_ALLOWED);
        }
        let raw = if request.uri().path().is_empty() { "/" } else { request.uri().path() }.to_owned();
        if raw.len() > PATH_OF_REQUEST {
            return fault(StatusCode::URI_TOO_LONG);
        }
        let Some(path) = Path::of(&raw) else { return fault(StatusCode::BAD_REQUEST) };
        let tables = self.shared.tables.load();
        let Some(entrance) = tables.entrances.get(&peer.door).cloned() else { return fault(StatusCode::NOT_FOUND) };
        drop(tables);
        let asked = Asked {
            host,
            path: &path,
            method: request.method(),
            headers: request.headers(),
            query: request.uri().query(),
        };
        let listener = entrance.listeners.fitting(host).next();
        if listener.is_some_and(|listener| is_misdirected(&entrance, peer, listener)) {
            return fault(StatusCode::MISDIRECTED_REQUEST);
        }
        let Some(found) = listener.and_then(|routes| routes.find(&asked)) else {
            return fault(StatusCode::NOT_FOUND);
        };
        let action = found.action.clone();
        going.source = action.source.clone();
        let ways = admit::Ways::of(&found, &path);
        if !peer.is_tls && action.policy.to_https.takes(host, &path.compared) {
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            return Err(sent_to(StatusCode::PERMANENT_REDIRECT, &format!("https://{host}{}{query}", path.sent)));
        }
        let extra = admit::admit(&self.shared.limiter, peer, &action, &request)?;
        let passed = self.take(peer, host, &found, &path, &ways, request, going).await;
        match passed {
            Ok(mut passed) => {
                action.policy.response_headers.apply(passed.response.headers_mut());
                extra.apply(passed.response.headers_mut());
                Ok(passed)
            }
            Err(reply) => {
                let mut reply = if action.policy.is_grpc { of_call(reply) } else { reply };
                action.policy.response_headers.apply(reply.headers_mut());
                extra.apply(reply.headers_mut());
                Err(reply)
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn take(
        &self,
        peer: &Peer,
        host: &str,
        found: &Found<'_>,
        path: &Path<'_>,
        ways: &admit::Ways,
        request: Request<Incoming>,
        going: &mut Going,
    ) -> Result<Passed, Reply> {
        let action: &Action = found.action;
        if let Some(root) = action.policy.app_root.as_ref().filter(|_| path.compared == "/") {
            return Err(sent_to(StatusCode::FOUND, root));
        }
        match &action.target {
            Target::Answer(status) => Err(reply(*status)),
            Target::Redirect(redirect) => Err(redirected(redirect, peer, host, path, ways, &request)),
            Target::Backends(backends) => {
                let weighted = chosen(backends).ok_or_else(|| reply(StatusCode::INTERNAL_SERVER_ERROR))?;
                let backend = weighted.backend.clone().ok_or_else(|| reply(StatusCode::INTERNAL_SERVER_ERROR))?;
                going.backend = backend.name.clone();
                let sent_path = match &action.policy.rewrite {
                    Some(rewrite) => ways.rewritten(rewrite),
                    None => path.sent.clone().into_owned(),
                };
                let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
                let max = action.policy.max_body;
                if length.is_some_and(|length: u64| max != 0 && length > max) {
                    return Err(reply(StatusCode::PAYLOAD_TOO_LARGE));
                }
                let ends = action.policy.request_timeout.and_then(|limit| Instant::now().checked_add(limit));
                let came = action.policy.retry.is_some().then(|| Came::of(host, path, &request));
                let pass = self.pass(peer, action, weighted, &backend, &sent_path, request, came);
                match ends {
                    None => pass.await,
                    Some(at) => tokio::time::timeout_at(at, pass)
                        .await
                        .unwrap_or_else(|_| Err(reply(StatusCode::GATEWAY_TIMEOUT)))
                        .map(|passed| Passed { ends, ..passed }),
                }
            }
        }
    }

    /// Where a backend is by now, for a request that is sent once more; an answer if it is nowhere, or the request would not
    /// be led there any longer.
    fn anew(
        &self,
        peer: &Peer,
        backend: &Arc<Backend>,
        protocol: Protocol,
        came: Option<&Came<'_>>,
    ) -> Result<Arc<Endpoints>, Reply> {
        let endpoints = backend.endpoints();
        let is_led = came.is_none_or(|came| came.leads_to(backend, &peer.door, &self.shared.tables.load()));
        let is_there = !endpoints.addresses.is_empty() && endpoints.protocol == protocol;
        if is_led && is_there { Ok(endpoints) } else { Err(reply(StatusCode::SERVICE_UNAVAILABLE)) }
    }

    /// Passes a request on to a backend.
    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn pass(
        &self,
        peer: &Peer,
        action: &Action,
        weighted: &Weighted,
        backend: &Arc<Backend>,
        path: &str,
        mut request: Request<Incoming>,
        came: Option<Came<'_>>,
    ) -> Result<Passed, Reply> {
        let policy = &action.policy;
        let hops = forward::hops(request.headers());
        if hops >= forward::HOPS_MAX {
            return Err(reply(StatusCode::LOOP_DETECTED));
        }
        let mut endpoints = backend.endpoints();
        let protocol = endpoints.protocol;
        if endpoints.addresses.is_empty() {
            return Err(reply(StatusCode::SERVICE_UNAVAILABLE));
        }
        let cookie = policy.affinity.as_ref().map(|affinity| admit::Sticky::of(affinity, request.headers()));
        let sticky = cookie.as_ref().and_then(|cookie| cookie.place(&endpoints.addresses));
        let first = sticky.unwrap_or_else(|| backend.next(endpoints.addresses.len()));
        let sticky = sticky.map(|place| endpoints.addresses[place]);

        let mut upgrade = forward::upgrade(&request, protocol);
        let on_upgrade = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let query = parts.uri.query().map(str::to_owned);
        forward::prepare(&mut parts, peer, policy, weighted, upgrade.take());
        let fate = Arc::new(Fate::default());
        let is_upgrade = parts.headers.contains_key(http::header::UPGRADE);
        // What goes round is not multiplied.
        let may_repeat = !is_upgrade && hops == 0;
        let copies = if may_repeat { mirror::copies(policy) } else { Vec::new() };
        let retry = policy.retry.as_deref().filter(|_| may_repeat);
        let times = copies.len() + usize::from(retry.is_some() && !body.is_end_stream());
        let length = body.size_hint().upper().filter(|_| times > 0);
        let room = length.and_then(|length| self.shared.room.take(peer.address.ip(), &action.source, times, length));
        // A body that has no room is sent once.
        let (body, copy) = self.body(policy, body, &fate, is_upgrade, room.as_ref()).await?;
        // Where the body was waited for, its backend may have gone elsewhere.
        let mut is_known = room.is_none();
        let room = room.filter(|_| copy.is_some());
        forward::address(&mut parts, protocol, path, query.as_deref()).map_err(|()| reply(StatusCode::BAD_REQUEST))?;
        if let (Some(body), Some(room)) = (&copy, &room) {
            let copied = mirror::Copied { parts: &parts, body, to: (path, query.as_deref()), room };
            self.mirror(peer, copies, &copied);
        }

        let mut request = Request::from_parts(parts, body);
        // How often there was no connection; to which endpoint it goes, from the first on; and how often it may be asked yet.
        let (mut tries, mut at) = (0, first);
        let mut left = retry.filter(|_| copy.is_some()).map_or(0, |retry| retry.attempts);
        let copy = copy.unwrap_or_default();
        let pause = retry.map(|retry| retry.backoff).unwrap_or_default();
        let mut is_new = false;
        let (mut sender, key, response) = loop {
            if !std::mem::take(&mut is_known) {
                endpoints = self.anew(peer, backend, protocol, came.as_ref())?;
            }
            let count = endpoints.addresses.len();
            let key = (endpoints.addresses[at % count], protocol);
            let kept = if is_new { None } else { self.pool.take(key) };
            let was_kept = kept.is_some();
            let made = match kept {
                Some(sender) => Ok(sender),
                None => self.pool.connect(key, policy.connect_timeout).await,
            };
            let mut sender = match made {
                Ok(sender) => sender,
                Err(error) => {
                    (tries, at) = (tries + 1, at + 1);
                    tracing::debug!(endpoint = %key.0, %error, "no connection to a backend");
                    if tries >= TRIES.min(count.max(2)) && left > 0 {
                        left -= 1;
                        tokio::time::sleep(pause).await;
                    } else if tries >= TRIES.min(count.max(2)) {
                        let status = match error.kind() {
                            std::io::ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
                            _ => StatusCode::BAD_GATEWAY,
                        };
                        return Err(reply(status));
                    }
                    METRICS.retries.inc();
                    continue;
                }
            };
            // Of several requests on one connection, each has it while the others do.
            if let Sender::Http2(shared) = &sender
                && !was_kept
            {
                self.pool.put(key, Sender::Http2(shared.clone()));
            }
            // A kept connection may be closed at the moment at which it is used; what has no effect twice is asked again.
            let again = (was_kept && request.method().is_idempotent() && request.body().is_end_stream())
                .then(|| copy_of(&request, Bytes::new()));
            let spare = (left > 0).then(|| copy_of(&request, copy.clone()));
            let answered = waited(policy.read_timeout, policy.backend_timeout, &fate, sender.send(request)).await;
            if let Some(spare) = spare.filter(|_| fate.status().is_none())
                && match &answered {
                    None => true,
                    Some(Ok(response)) => policy.asks_again(response.status()),
                    Some(Err(Failure::Sent(_))) => again.is_none(),
                    Some(Err(Failure::Unsent(_))) => false,
                }
            {
                METRICS.retries.inc();
                (request, left, at) = (spare, left - 1, at + 1);
                tokio::time::sleep(pause).await;
                continue;
            }
            match answered {
                None => return Err(reply(fate.status().unwrap_or(StatusCode::GATEWAY_TIMEOUT))),
                Some(Ok(response)) => break (sender, key, response),
                Some(Err(Failure::Unsent(again))) if was_kept || tries + 1 < TRIES => {
                    // It was closed meanwhile.
                    (tries, at) = (tries + usize::from(!was_kept), at + usize::from(!was_kept));
                    request = *again;
                }
                Some(Err(Failure::Unsent(_))) => return Err(reply(StatusCode::BAD_GATEWAY)),
                Some(Err(Failure::Sent(error))) if error.is_incomplete_message() || error.is_closed() => match again {
                    Some(again) => {
                        METRICS.retries.inc();
                        (request, is_new) = (again, true);
                    }
                    None => return Err(reply(fate.status().unwrap_or(StatusCode::BAD_GATEWAY))),
                },
                Some(Err(Failure::Sent(error))) => {
                    tracing::debug!(endpoint = %key.0, %error, "a backend did not answer");
                    return Err(reply(fate.status().unwrap_or(StatusCode::BAD_GATEWAY)));
                }
            }
        };

        let mut response = response;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = on_upgrade else { return Err(reply(StatusCode::BAD_GATEWAY)) };
            let backend = hyper::upgrade::on(&mut response);
            let Some(busy) = self.shared.places.begin(&peer.activity) else {
                return Err(reply(StatusCode::SERVICE_UNAVAILABLE));
            };
            *peer.tunnel.lock() = Some(Tunnel { client, backend, silence: policy.read_timeout, busy });
            forward::keep_upgrade(response.headers_mut());
        } else {
            forward::strip_response(response.headers_mut());
        }
        weighted.response_headers.apply(response.headers_mut());
        if let Some(cookie) = cookie.filter(|cookie| cookie.moves(sticky, key.0)) {
            cookie.set(response.headers_mut(), key.0, peer.is_tls);
        }
        let used = match &mut sender {
            Sender::Http1(_) if response.status() != StatusCode::SWITCHING_PROTOCOLS => Some(sender),
            Sender::Http1(_) | Sender::Http2(_) => None,
        };
        let used = Used { pool: self.pool.clone(), key, sender: used };
        Ok(Passed { response, used, patience: policy.read_timeout, ends: None })
    }

    /// The body as it is sent, and all of it where that is known: it is empty, or has room and came soon.
    async fn body(
        &self,
        policy: &Policy,
        body: Incoming,
        fate: &Arc<Fate>,
        is_upgrade: bool,
        room: Option<&Arc<Taken>>,
    ) -> Result<(RequestBody, Option<Bytes>), Reply> {
        if is_upgrade || body.is_end_stream() {
            return Ok((RequestBody::empty(), Some(Bytes::new())));
        }
        let mut passed = RequestBody::from_client(body, policy.max_body, policy.send_timeout, fate.clone());
        let Some(room) = room else { return Ok((passed, None)) };
        let until = Instant::now() + self.shared.room.patience;
        let mut whole = BytesMut::new();
        loop {
            match tokio::time::timeout_at(until, passed.frame()).await {
                Ok(Some(Ok(frame))) => frame.data_ref().into_iter().for_each(|data| whole.extend_from_slice(data)),
                Ok(Some(Err(_))) => return Err(reply(fate.status().unwrap_or(StatusCode::BAD_REQUEST))),
                Ok(None) => break,
                Err(_) => return Ok((passed.behind(whole.freeze(), room.clone()), None)),
            }
        }
        let whole = whole.freeze();
        Ok((RequestBody::of(whole.clone()), Some(whole)))
    }
}

/// The same request once more, with this body.
fn copy_of(request: &Request<RequestBody>, body: Bytes) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::of(body));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// What a backend answered, and the connection.
struct Passed {
    response: Response<Incoming>,
    used: Used,
    patience: Duration,
    /// When its body must have ended.
    ends: Option<Instant>,
}

/// Waits for an answer, until the backend has been silent for so long since the last of the client's body, or for so long
/// altogether. `None` when it is over.
async fn waited<F: Future>(silence: Duration, whole: Option<Duration>, fate: &Fate, answer: F) -> Option<F::Output> {
    let mut answer = std::pin::pin!(answer);
    if let Some(whole) = whole {
        return tokio::time::timeout(whole.min(silence), answer).await.ok();
    }
    let mut before = None;
    loop {
        match tokio::time::timeout(silence, answer.as_mut()).await {
            Ok(answered) => return Some(answered),
            Err(_) if before == Some(fate.parts()) => return None,
            Err(_) if fate.parts() == 0 => return None,
            Err(_) => before = Some(fate.parts()),
        }
    }
}

/// One of several services, as often as their weights say.
fn chosen(backends: &[Weighted]) -> Option<&Weighted> {
    if let [only] = backends {
        return Some(only).filter(|only| only.weight > 0);
    }
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut at = u64::from(uuid::Uuid::new_v4().as_fields().0) % total;
    backends.iter().find(|backend| match at.checked_sub(u64::from(backend.weight)) {
        Some(rest) => {
            at = rest;
            false
        }
        None => true,
    })
}

/// Where a redirect leads.
fn redirected(
    redirect: &Redirect,
    peer: &Peer,
    host: &str,
    path: &Path<'_>,
    ways: &admit::Ways,
    request: &Request<Incoming>,
) -> Reply {
    if let Some(location) = &redirect.location {
        return sent_to(redirect.status, location);
    }
    let own = if peer.is_tls { "https" } else { "http" };
    let scheme = redirect.scheme.as_deref().unwrap_or(own);
    let host = redirect.host.as_deref().unwrap_or(host);
    let usual = if scheme == "https" { 443 } else { 80 };
    // A scheme that is named has its usual port, and else the listener's stays.
    let port = redirect.port.unwrap_or(if redirect.scheme.is_some() { usual } else { peer.port });
    let port = if port == usual { String::new() } else { format!(":{port}") };
    let path = match &redirect.path {
        Some(rewrite) => ways.rewritten(rewrite),
        None => path.sent.clone().into_owned(),
    };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    sent_to(redirect.status, &format!("{scheme}://{host}{port}{path}{query}"))
}

/// The host that a request names, normalized; `None` if it names none, or several.
fn host_of(request: &Request<Incoming>) -> Option<smol_str::SmolStr> {
    let mut named = request.headers().get_all(HOST).iter();
    let header = match (named.next(), named.next()) {
        (None, _) => None,
        (Some(one), None) => Some(host::normalized(one.to_str().ok()?)?),
        (Some(_), Some(_)) => return None,
    };
    match (request.uri().authority().map(|own| host::normalized(own.as_str())), header) {
        // Of an absolute address, its own host counts (RFC 9112, section 3.2.2).
        (Some(own), _) => own,
        (None, header) => header,
    }
}

/// Whether the end of the body is said twice, which others may read otherwise. What has both chunks and a length comes here
/// with the chunks alone.
fn has_two_lengths(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
        || headers.get_all(CONTENT_LENGTH).iter().count() > 1
}
