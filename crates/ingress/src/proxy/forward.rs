//! What a backend is told of a request, and what a client is not told of an answer.

use std::net::SocketAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};

use super::Peer;
use crate::backend::Protocol;
use crate::route::action::{Policy, Weighted};

/// Headers that are about one connection (RFC 9110, section 7.6.1).
static HOPS: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authorization"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that say who asked. What a client writes there itself counts for nothing.
static TOLD: [HeaderName; 9] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("forwarded"),
    // Programs take it for the environment variable of a proxy.
    HeaderName::from_static("proxy"),
];

/// Counts how often a request came through here (RFC 8586), so that none goes round for ever.
static LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// What this proxy calls itself there.
const NAME: &str = "coracle";
/// How often a request may come through here.
pub const HOPS_MAX: usize = 8;

/// How often a request came through here already.
pub fn hops(headers: &HeaderMap) -> usize {
    let values = headers.get_all(&LOOP).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter(|one| one.split(';').next().map(str::trim) == Some(NAME)).count()
}

/// What of a connection backends are told.
pub struct Shown {
    address: HeaderValue,
    port: HeaderValue,
    protocol: HeaderValue,
}

impl Shown {
    /// Of a client that came to a port.
    pub fn new(client: SocketAddr, port: u16, is_tls: bool) -> Shown {
        let text = |text: String| HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        Shown {
            address: text(client.ip().to_string()),
            port: port.into(),
            protocol: HeaderValue::from_static(if is_tls { "https" } else { "http" }),
        }
    }
}

/// The protocol to which a request asks to go over, if a backend may be asked for that: WebSocket and no other, as what is
/// spoken then takes no routes.
pub fn upgrade<B>(request: &Request<B>, protocol: Protocol) -> Option<HeaderValue> {
    let over_http1 = matches!(protocol, Protocol::Http | Protocol::Https) && request.version() == Version::HTTP_11;
    let wanted = request.headers().get(UPGRADE).filter(|_| over_http1)?;
    let is_known = wanted.as_bytes().eq_ignore_ascii_case(b"websocket");
    let named = named_in_connection(request.headers()).any(|name| name == UPGRADE);
    let has_no_body = !request.headers().contains_key(TRANSFER_ENCODING)
        && request.headers().get(CONTENT_LENGTH).is_none_or(|length| length == "0");
    (named && is_known && has_no_body).then(|| wanted.clone())
}

fn named_in_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok())
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = named_in_connection(headers).collect();
        // What decides about routes and lengths is nobody's to take away.
        for name in named.iter().filter(|name| **name != HOST && **name != CONTENT_LENGTH) {
            headers.remove(name);
        }
    }
    HOPS.iter().for_each(|name| drop(headers.remove(name)));
}

/// Makes the headers of a request those that a backend gets.
pub fn prepare(parts: &mut Parts, peer: &Peer, policy: &Policy, weighted: &Weighted, upgrade: Option<HeaderValue>) {
    let headers = &mut parts.headers;
    let wants_trailers = headers.get_all(TE).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")))
    });
    strip(headers);
    headers.remove(TE);
    headers.remove(CONTENT_LENGTH);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    TOLD.iter().for_each(|name| drop(headers.remove(name)));
    let before: Vec<HeaderValue> = headers.get_all(&LOOP).iter().cloned().collect();
    let own = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let host = own.or_else(|| headers.get(HOST).cloned()).unwrap_or_else(|| HeaderValue::from_static(""));
    let [by, named, port, protocol, scheme, _, real, ..] = &TOLD;
    headers.insert(by, peer.shown.address.clone());
    headers.insert(real, peer.shown.address.clone());
    headers.insert(named, host.clone());
    headers.insert(port, peer.shown.port.clone());
    headers.insert(protocol, peer.shown.protocol.clone());
    headers.insert(scheme, peer.shown.protocol.clone());
    headers.insert(HOST, policy.host.clone().unwrap_or(host));
    policy.headers.apply(headers);
    weighted.headers.apply(headers);
    // No filter makes it forget where it was.
    headers.remove(&LOOP);
    for value in before.into_iter().chain([HeaderValue::from_static(NAME)]) {
        headers.append(&LOOP, value);
    }
    // The body itself says how long it is.
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    if let Some(wanted) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, wanted);
    }
}

/// Clients of HTTP/2 send each cookie in a header of its own, which HTTP/1.1 does not have (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if all.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// The path and the query; a path that was made of an expression may have a query of its own, which goes before, or, if it
/// is empty, in the place of the request's.
fn with_query(path: &str, query: Option<&str>) -> String {
    match (path.split_once('?'), query) {
        (Some((path, "")), _) => path.to_owned(),
        (Some(_), Some(query)) => format!("{path}&{query}"),
        (None, Some(query)) => format!("{path}?{query}"),
        (_, None) => path.to_owned(),
    }
}

/// Addresses a request as its protocol has it.
///
/// # Errors
/// The path or the host is none.
pub fn address(parts: &mut Parts, protocol: Protocol, path: &str, query: Option<&str>) -> Result<(), ()> {
    let path_and_query = PathAndQuery::try_from(with_query(path, query)).map_err(drop)?;
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(path_and_query);
    match protocol {
        Protocol::Http | Protocol::Https => {
            parts.version = Version::HTTP_11;
            join_cookies(&mut parts.headers);
            if let Some(authority) = parts.uri.authority()
                && !parts.headers.contains_key(HOST)
            {
                parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str()).map_err(drop)?);
            }
        }
        Protocol::H2c | Protocol::H2 => {
            parts.version = Version::HTTP_2;
            let host = parts.headers.remove(HOST).ok_or(())?;
            uri.authority = Some(Authority::try_from(host.as_bytes()).map_err(drop)?);
            uri.scheme = Some(if protocol == Protocol::H2 { Scheme::HTTPS } else { Scheme::HTTP });
        }
    }
    parts.uri = Uri::from_parts(uri).map_err(drop)?;
    Ok(())
}

/// Takes from an answer what was about the connection to the backend.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
    headers.remove(TRAILER);
}

/// The same of one that goes over to another protocol.
pub fn keep_upgrade(headers: &mut HeaderMap) {
    let wanted = headers.get(UPGRADE).cloned();
    strip(headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    wanted.into_iter().for_each(|wanted| drop(headers.insert(UPGRADE, wanted)));
}
