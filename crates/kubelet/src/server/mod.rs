//! The kubelet's own HTTPS API, which the API server and monitoring use.
//!
//! Paths are upstream's: `/healthz`, `/pods`, `/containerLogs`, `/exec`, `/attach`, `/portForward`, `/run`,
//! `/stats/summary`, `/metrics`, `/metrics/resource`, `/metrics/cadvisor`, `/metrics/probes`, `/metrics/slis`.

mod auth;
mod exec;
mod logs;
mod metrics;
mod reviews;
mod strangers;
mod summary;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use coracle_values::addresses::{client, inside};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::Pod;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::config::KubeletConfig;
use crate::kubelet::Kubelet;
pub(crate) use reviews::Reviews;
use strangers::{Stranger, Strangers};
pub(crate) use summary::Rates;

/// Connections at the same time of those who may use the API.
const MAX_CONNECTIONS: usize = 2048;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take for its first request and each later head, and all of one without a certificate.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most requests of one connection at the same time.
const MAX_STREAMS: u32 = 128;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A socket that others reach by any of these addresses. One of IPv6 takes IPv4, too, whatever `net.ipv6.bindv6only` says.
///
/// # Errors
/// The port is taken, or the machine has no IPv6.
pub fn listen_at_any(addresses: &[IpAddr], port: u16) -> std::io::Result<TcpListener> {
    const BACKLOG: i32 = 1024;
    let is_v6 = addresses.iter().any(IpAddr::is_ipv6);
    let (domain, any): (_, IpAddr) = match is_v6 {
        true => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
        false => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(domain, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if is_v6 {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(any, port))?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Binds the port and reads the certificates.
pub(crate) async fn listen(config: &KubeletConfig) -> Result<(TcpListener, TlsAcceptor)> {
    let tls = auth::tls_config(config)?;
    let listener = listen_at_any(&config.node_ips(), config.port).with_context(|| {
        format!("the kubelet cannot listen on port {}; is another one running on this node?", config.port)
    })?;
    Ok((listener, TlsAcceptor::from(Arc::new(tls))))
}

/// Accepts connections, for ever.
pub(crate) async fn serve(k: Arc<Kubelet>, listener: TcpListener, acceptor: TlsAcceptor) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (strangers, inside) = (Strangers::default(), inside(k.config.cluster_cidr, &k.config.node_ips()));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: others must end first.
                tracing::warn!(%error, "the kubelet's server failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (k, acceptor, places, stranger) =
            (k.clone(), acceptor.clone(), places.clone(), strangers.admit(client(from.ip(), &inside)));
        tokio::spawn(async move {
            tokio::select! {
                () = connection(k, stream, acceptor, &places, &stranger) => {}
                () = stranger.evicted() => tracing::debug!(%from, "a connection made room for another"),
            }
        });
    }
}

/// One connection, which is a stranger's until its certificate is known.
async fn connection(
    k: Arc<Kubelet>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    places: &Semaphore,
    stranger: &Stranger,
) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await else { return };
    let caller = auth::caller(stream.get_ref().1.peer_certificates());
    let known = caller.may_use(&k.config.apiserver_user);
    let _place = match known {
        true => {
            let Ok(place) = places.try_acquire() else { return };
            stranger.is_known();
            Some(place)
        }
        false => None,
    };
    let proven = Arc::new(AtomicBool::new(known));
    let by_request = proven.clone();
    let answered = move |request| route(k.clone(), caller.clone(), by_request.clone(), request);
    answer(stream, &proven, PATIENCE, answered).await;
}

/// Answers the requests of one connection, which must not be held for nothing, or by those who have not proven themselves.
async fn answer<S, F, Fut>(stream: S, proven: &AtomicBool, patience: Duration, route: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> Fut,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let response = route(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(patience);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(patience).max_concurrent_streams(MAX_STREAMS);
    let enough = async {
        tokio::time::sleep(patience).await;
        if proven.load(Ordering::Relaxed) && asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = server.serve_connection_with_upgrades(TokioIo::new(stream), service) => {
            if let Err(error) = result {
                tracing::debug!(error, "a connection to the kubelet ended");
            }
        }
        () = enough => {}
    }
}

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub(super) fn json(value: &serde_json::Value) -> Response<Body> {
    let mut response = text(StatusCode::OK, value.to_string());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

/// Query parameters, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: Option<&str>) -> Query {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true" | "True" | "TRUE" | "t"))
    }
}

async fn route(
    k: Arc<Kubelet>,
    caller: auth::Caller,
    proven: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query());
    let parts: Vec<String> = path
        .split('/')
        .skip(1)
        .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (apiserver, headers, method) = (&k.config.apiserver_user, request.headers(), request.method());
    if let Err(refusal) = auth::admit(&k.reviews, apiserver, &caller, headers, method, &path).await {
        return refusal;
    }
    proven.store(true, Ordering::Relaxed);
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let session = get || request.method() == Method::POST;
    match parts.as_slice() {
        ["healthz"] | ["healthz", _] if get => {
            k.metrics.health_checked();
            text(StatusCode::OK, "ok")
        }
        ["pods" | "pods/"] if get => pods(&k),
        ["containerLogs", namespace, pod, container] if get => logs::serve(&k, namespace, pod, container, &query).await,
        ["exec", namespace, pod, uid @ .., container] if session && uid.len() < 2 => {
            exec::exec(k.clone(), &Named { namespace, pod, uid }, container, &query, request).await
        }
        ["attach", namespace, pod, uid @ .., container] if session && uid.len() < 2 => {
            exec::attach(k.clone(), &Named { namespace, pod, uid }, container, &query, request).await
        }
        ["portForward", namespace, pod, uid @ ..] if session && uid.len() < 2 => {
            exec::port_forward(k.clone(), &Named { namespace, pod, uid }, &query, request).await
        }
        ["run", namespace, pod, uid @ .., container] if request.method() == Method::POST && uid.len() < 2 => {
            exec::run(&k, &Named { namespace, pod, uid }, container, &query).await
        }
        ["stats", "summary"] if get => summary::summary(&k).await,
        ["metrics"] if get => metrics::kubelet(&k).await,
        ["metrics", "resource"] if get => metrics::resource(&k).await,
        ["metrics", "probes"] if get => text(StatusCode::OK, k.metrics.probes.text()),
        ["metrics", "slis"] if get => metrics::slis(&k),
        ["metrics", "cadvisor"] if get => metrics::cadvisor(&k).await,
        [
            "healthz" | "pods" | "containerLogs" | "exec" | "attach" | "portForward" | "run" | "stats" | "metrics",
            ..,
        ] if !session => text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"),
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn pods(k: &Kubelet) -> Response<Body> {
    let items: Vec<serde_json::Value> =
        k.pods.list().iter().filter_map(|pod| serde_json::to_value(&**pod).ok()).collect();
    json(&serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// A pod as a path names it: with its UID no other of the same name is meant.
pub(super) struct Named<'a> {
    namespace: &'a str,
    pod: &'a str,
    /// One or none.
    uid: &'a [&'a str],
}

/// A pod of the node, or the answer that there is none.
pub(super) fn find(k: &Kubelet, named: &Named<'_>) -> Result<Arc<Pod>, Box<Response<Body>>> {
    let Named { namespace, pod: name, uid } = named;
    k.pods
        .find(namespace, name, uid.first().copied())
        .ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found\n"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What a client that sends a text and then nothing is told until its connection ends.
    async fn told(anonymous: bool, sent: &str) -> String {
        let proven = AtomicBool::new(!anonymous);
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let task = tokio::spawn(async move {
            answer(server, &proven, Duration::from_millis(100), |_| async { text(StatusCode::OK, "ok") }).await;
        });
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        task.await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_socket_of_both_families_says_itself_that_it_takes_ipv4() {
        let both = [IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap()];
        let listener = listen_at_any(&both, 0).unwrap();
        assert!(!sockopt::ipv6_v6only(&listener).unwrap());
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let alone = listen_at_any(&both[..1], 0).unwrap();
        assert!(alone.local_addr().unwrap().is_ipv4());
    }

    #[tokio::test]
    async fn connections_that_ask_for_nothing_end() {
        for sent in ["", "GET /", "PRI * HTTP/2.0", "GET / HTTP/1.1\r\nHost: "] {
            for anonymous in [false, true] {
                assert!(!told(anonymous, sent).await.contains("200"), "{sent:?}");
            }
        }
        // One that asked ends when it is idle.
        let asked = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        for anonymous in [false, true] {
            assert!(told(anonymous, asked).await.starts_with("HTTP/1.1 200"));
        }
    }
}
