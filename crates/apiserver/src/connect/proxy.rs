//! `proxy` of pods, services and nodes: an HTTP request passed on to what runs in the cluster, as
//! <https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/> has it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use coracle_api::status::Status;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::tunnel::{join, passed_on};
use crate::body::Body;
use crate::context::Context;
use crate::kubelet::Kubelet;
use crate::storage::core;
use crate::tls::{self, Trust};
use crate::upload::Upload;

mod html;

const CONNECT: Duration = Duration::from_secs(30);
/// The longest page whose links are rewritten, in bytes.
const MAX_PAGE: usize = 32 << 20;
/// A backend must not open the API to other origins.
const CROSS_ORIGIN: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// What is called: `[scheme:]name[:port]` of the path.
struct Wanted<'a> {
    tls: bool,
    name: &'a str,
    port: &'a str,
}

impl<'a> Wanted<'a> {
    fn parse(text: &'a str) -> Option<Wanted<'a>> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let tls = match scheme {
            "" | "http" => false,
            "https" => true,
            _ => return None,
        };
        (!name.is_empty()).then_some(Wanted { tls, name, port })
    }
}

enum Backend {
    Plain(SocketAddr),
    Tls(SocketAddr),
    Kubelet(Kubelet),
}

/// Answers `pods/proxy`, `services/proxy` and `nodes/proxy`.
pub async fn answer(cx: &mut Context<'_>) -> Result<Response<Body>, Status> {
    let text = cx.name().to_owned();
    let what = cx.target.kind.plural.trim_end_matches('s');
    let wanted =
        Wanted::parse(&text).ok_or_else(|| Status::bad_request(format!("invalid {what} request \"{text}\"")))?;
    let backend = backend(cx, &wanted)?;
    let (base, rest) = split(cx);
    let query = cx.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if rest.is_empty() && matches!(cx.parts.method, Method::GET | Method::HEAD) {
        // Relative links of the page must resolve below it.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let to = HeaderValue::from_str(&format!("{base}/{query}")).map_err(Status::internal)?;
        response.headers_mut().insert(header::LOCATION, to);
        return Ok(response);
    }
    let uri: Uri = format!("/{}{query}", rest.trim_start_matches('/'))
        .parse()
        .map_err(|error: http::uri::InvalidUri| Status::bad_request(error.to_string()))?;
    let (base, path) = (base.to_owned(), cx.parts.uri.path().to_owned());
    let mut headers = passed_on(&cx.parts.headers);
    if let Some(host) = cx.parts.headers.get(header::HOST) {
        headers.insert(header::HOST, host.clone());
    } else if let Some(authority) = cx.parts.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(Status::internal)?;
        headers.insert(header::HOST, host);
    }
    if let Ok(uri) = HeaderValue::from_str(&path) {
        headers.insert(HeaderName::from_static("x-forwarded-uri"), uri);
    }
    let mut request = Request::new(std::mem::take(cx.upload.get_mut()));
    *request.method_mut() = cx.parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let response = match backend {
        Backend::Plain(address) => plain(address, request).await,
        Backend::Tls(address) => encrypted(address, request).await,
        Backend::Kubelet(kubelet) => cx.state.kubelet.send(&kubelet, request).await,
    };
    let mut response = response
        .map_err(|error| Status::new(503, "ServiceUnavailable", format!("error trying to reach service: {error:#}")))?;
    for name in CROSS_ORIGIN {
        response.headers_mut().remove(name);
    }
    rewrite(cx, response, &base).await
}

/// The path up to and with `proxy`, and what follows it, as the client wrote them.
fn split<'a>(cx: &'a Context<'_>) -> (&'a str, &'a str) {
    let path = cx.parts.uri.path();
    // "", api, v1, (namespaces, NAMESPACE,) PLURAL, NAME, proxy
    let segments = if cx.target.namespace.is_some() { 8 } else { 6 };
    let end = path.match_indices('/').nth(segments - 1).map_or(path.len(), |(at, _)| at);
    path.split_at(end)
}

fn backend(cx: &Context<'_>, wanted: &Wanted<'_>) -> Result<Backend, Status> {
    let kind = &cx.target.kind;
    let key = crate::storage::key(cx.target.namespace.as_deref(), wanted.name);
    let object = cx.cache()?.get(&key)?.ok_or_else(|| Status::not_found(&kind.group, &kind.plural, wanted.name))?;
    let object = object.value();
    let address = match &*kind.plural {
        "nodes" => {
            let kubelet = Kubelet::of(&object)?;
            match wanted.port.parse() {
                Ok(port) if port != kubelet.address.port() => {
                    SocketAddr::new(reachable(Some(kubelet.address.ip()))?, port)
                }
                _ => return Ok(Backend::Kubelet(kubelet)),
            }
        }
        "pods" => pod_address(&object, wanted.port)?,
        _ => endpoint(cx, &object, wanted)?,
    };
    Ok(if wanted.tls { Backend::Tls(address) } else { Backend::Plain(address) })
}

fn number(port: &str) -> Result<u16, Status> {
    port.parse().map_err(|_| Status::bad_request(format!("invalid port \"{port}\": it is no port number")))
}

fn allowed(address: &Value) -> Result<IpAddr, Status> {
    reachable(address.as_str().and_then(|address| address.parse().ok()))
}

/// Addresses that mean the node itself, or its neighbours, to whoever calls them are not reachable this way.
fn reachable(address: Option<IpAddr>) -> Result<IpAddr, Status> {
    let global = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()),
    };
    // An address of the fourth version that is written as one of the sixth leads to the same place.
    address
        .map(|address| address.to_canonical())
        .filter(global)
        .ok_or_else(|| Status::bad_request("address not allowed"))
}

fn pod_address(pod: &Value, port: &str) -> Result<SocketAddr, Status> {
    let address = allowed(&pod["status"]["podIP"])?;
    if !port.is_empty() {
        return Ok(SocketAddr::new(address, number(port)?));
    }
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let first = containers.filter_map(|container| container["ports"][0]["containerPort"].as_u64()).next();
    Ok(SocketAddr::new(address, first.map_or(80, |port| port as u16)))
}

/// One of a service's endpoints.
fn endpoint(cx: &Context<'_>, service: &Value, wanted: &Wanted<'_>) -> Result<SocketAddr, Status> {
    let name = wanted.name;
    let unavailable = |why: String| Status::new(503, "ServiceUnavailable", why);
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let port = match (wanted.port, wanted.port.parse::<u64>()) {
        ("", _) => "",
        (_, Ok(number)) => {
            let port = ports.iter().find(|port| port["port"].as_u64() == Some(number));
            let port =
                port.ok_or_else(|| unavailable(format!("no service port {number} found for service \"{name}\"")))?;
            port["name"].as_str().unwrap_or_default()
        }
        (port, _) => port,
    };
    let none = || unavailable(format!("no endpoints available for service \"{name}\""));
    let key = crate::storage::key(cx.target.namespace.as_deref(), name);
    let endpoints = cx.storage().cache(core("endpoints"))?.get(&key)?.ok_or_else(none)?.value();
    let mut found = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let mut own = subset["ports"].as_array().into_iter().flatten();
        let Some(port) = own.find(|own| own["name"].as_str().unwrap_or_default() == port) else { continue };
        let number = port["port"].as_u64().unwrap_or_default() as u16;
        let addresses = subset["addresses"].as_array().into_iter().flatten();
        found.extend(addresses.map(|address| (address["ip"].clone(), number)));
    }
    let (address, port) = found.get(random(found.len())).ok_or_else(none)?;
    Ok(SocketAddr::new(allowed(address)?, *port))
}

fn random(below: usize) -> usize {
    (uuid::Uuid::new_v4().as_u128() % below.max(1) as u128) as usize
}

async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = stream.with_context(|| format!("dial tcp {address}: i/o timeout"))?;
    let stream = stream.with_context(|| format!("dial tcp {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn plain(address: SocketAddr, request: Request<Upload>) -> anyhow::Result<Response<Incoming>> {
    send(connect(address).await?, request).await
}

async fn encrypted(address: SocketAddr, request: Request<Upload>) -> anyhow::Result<Response<Incoming>> {
    // As upstream's, the proxy believes any certificate: these backends make their own.
    let connector = tls::connector(Trust::Anybody, None)?;
    let stream = connect(address).await?;
    let shake = connector.connect(ServerName::IpAddress(address.ip().into()), stream);
    let shaken = tokio::time::timeout(CONNECT, shake).await;
    send(shaken.with_context(|| format!("no TLS handshake in {CONNECT:?}"))??, request).await
}

async fn send<S>(stream: S, request: Request<Upload>) -> anyhow::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

/// Makes links that the backend means to lead to itself lead through the proxy.
async fn rewrite(cx: &mut Context<'_>, mut response: Response<Incoming>, base: &str) -> Result<Response<Body>, Status> {
    let host = cx.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    if let Some(to) = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()) {
        let to = HeaderValue::from_str(&html::rewrite_link(to, base, &host)).map_err(Status::internal)?;
        response.headers_mut().insert(header::LOCATION, to);
        return join(&mut cx.parts, response);
    }
    let is_page = |headers: &HeaderMap| {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
            && !headers.contains_key(header::CONTENT_ENCODING)
    };
    if !is_page(response.headers()) || response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return join(&mut cx.parts, response);
    }
    let (mut parts, body) = response.into_parts();
    let page = Limited::new(body, MAX_PAGE).collect().await;
    let page = page.map_err(|error| {
        Status::new(503, "ServiceUnavailable", format!("failed to read the page to rewrite: {error}"))
    })?;
    let page = html::rewrite(&page.to_bytes(), base, &host);
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        parts.headers.remove(name);
    }
    let mut answer = Response::new(Body::from(page));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_may_have_a_scheme_and_a_port() {
        let parsed = |text| Wanted::parse(text).map(|wanted| (wanted.tls, wanted.name, wanted.port));
        assert_eq!(parsed("web"), Some((false, "web", "")));
        assert_eq!(parsed("web:80"), Some((false, "web", "80")));
        assert_eq!(parsed("https:web:"), Some((true, "web", "")));
        assert_eq!(parsed("http:web:metrics"), Some((false, "web", "metrics")));
        assert_eq!(parsed("ftp:web:80"), None);
        assert_eq!(parsed(":80"), None);
        assert_eq!(parsed("a:b:c:d"), None);
    }

    #[test]
    fn a_pod_is_called_at_its_first_port_and_never_at_the_nodes_own_addresses() {
        let pod = |address: &str| json!({"status": {"podIP": address}, "spec": {"containers": [{}, {"ports": [{"containerPort": 8080}]}]}});
        assert_eq!(pod_address(&pod("10.244.0.5"), "").unwrap(), "10.244.0.5:8080".parse().unwrap());
        assert_eq!(pod_address(&pod("10.244.0.5"), "81").unwrap(), "10.244.0.5:81".parse().unwrap());
        assert_eq!(pod_address(&pod("10.244.0.5"), "web").unwrap_err().code, 400);
        for address in ["127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "::1", "0.0.0.0", ""] {
            assert_eq!(pod_address(&pod(address), "80").unwrap_err().message, "address not allowed");
        }
    }
}
