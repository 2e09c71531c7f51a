//! Tells load balancers whether this node has endpoints of a service that keeps to its nodes (`healthCheckNodePort`).
//! <https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy>

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use coracle_values::addresses::Family;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::wanted::Health;

/// What is answered at which port of the node.
pub(super) type Checks = BTreeMap<u16, Health>;

/// How many ask at once at one port; further ones wait.
const CONNECTIONS: usize = 64;
/// How long one may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a port that something else has is left alone.
const AGAIN: Duration = Duration::from_secs(5);

/// Answers at the ports of the newest checks until the sender is gone, at those of the node's addresses of a family at which
/// node ports are served: all when none are named.
pub(super) async fn serve(mut checks: watch::Receiver<Arc<Checks>>, family: Family, addresses: Vec<IpNet>) {
    let addresses: Arc<[IpNet]> = addresses.into();
    let mut servers: BTreeMap<u16, JoinSet<()>> = BTreeMap::new();
    loop {
        let wanted = checks.borrow_and_update().clone();
        servers.retain(|port, _| wanted.contains_key(port));
        for port in wanted.keys() {
            servers.entry(*port).or_insert_with(|| {
                let mut server = JoinSet::new();
                server.spawn(listen(*port, family, checks.clone(), addresses.clone()));
                server
            });
        }
        if checks.changed().await.is_err() {
            return;
        }
    }
}

async fn listen(port: u16, family: Family, checks: watch::Receiver<Arc<Checks>>, addresses: Arc<[IpNet]>) {
    let listener = loop {
        match bind(family, port) {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::warn!(%error, port, "failed to listen on the health check port of a service");
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // The node's addresses come and go, so that each of them is not listened at.
        if !is_served(&stream, &addresses) {
            continue;
        }
        let checks = checks.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, answer(stream, port, checks)).await;
            drop(place);
        });
    }
}

/// A socket of the one family alone: the other one has its own at the same port.
fn bind(family: Family, port: u16) -> std::io::Result<TcpListener> {
    const BACKLOG: i32 = 64;
    let (domain, any): (_, IpAddr) = match family {
        Family::V4 => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
        Family::V6 => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(domain, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if family == Family::V6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(any, port))?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_served(stream: &TcpStream, addresses: &[IpNet]) -> bool {
    let Ok(at) = stream.local_addr() else { return false };
    addresses.is_empty() || addresses.iter().any(|range| range.contains(&at.ip()))
}

async fn answer(stream: TcpStream, port: u16, checks: watch::Receiver<Arc<Checks>>) {
    let service = service_fn(move |_| {
        let health = checks.borrow().get(&port).cloned();
        async move { Ok::<_, Infallible>(page(health)) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).keep_alive(false);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn page(health: Option<Health>) -> Response<Full<Bytes>> {
    let answer = Response::builder();
    let made = match health {
        Some(Health { service, local }) => {
            let status = if local > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let body = serde_json::json!({
                "service": {"namespace": service.namespace, "name": service.name},
                "localEndpoints": local,
                "serviceProxyHealthy": true,
            });
            answer
                .status(status)
                .header("Content-Type", "application/json")
                .header("X-Content-Type-Options", "nosniff")
                .header("X-Load-Balancing-Endpoint-Weight", local)
                .body(Full::from(body.to_string()))
        }
        None => answer.status(StatusCode::NOT_FOUND).body(Full::default()),
    };
    made.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_client::ObjectKey;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(port: u16) -> Option<String> {
        ask_at(Ipv4Addr::LOCALHOST, port).await
    }

    async fn ask_at(address: Ipv4Addr, port: u16) -> Option<String> {
        let mut stream = TcpStream::connect((address, port)).await.ok()?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        (!text.is_empty()).then_some(text)
    }

    async fn until(port: u16, wanted: impl Fn(&Option<String>) -> bool) {
        loop {
            let answer = ask(port).await;
            if wanted(&answer) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_node_tells_how_many_endpoints_it_has() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let checks = |local| Arc::new(Checks::from([(port, Health { service: ObjectKey::new("n", "s"), local })]));
        let (sender, receiver) = watch::channel(checks(2));
        let server = tokio::spawn(serve(receiver, Family::V4, vec!["127.0.0.1/32".parse().unwrap()]));
        until(port, Option::is_some).await;
        assert_eq!(ask_at(Ipv4Addr::new(127, 0, 0, 2), port).await, None, "no node ports are served there");
        let answer = ask(port).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("x-load-balancing-endpoint-weight: 2"), "{answer}");
        assert!(answer.contains(r#""localEndpoints":2"#) && answer.contains(r#""namespace":"n""#), "{answer}");
        sender.send_replace(checks(0));
        until(port, |answer| answer.as_ref().is_some_and(|text| text.starts_with("HTTP/1.1 503"))).await;
        sender.send_replace(Arc::default());
        until(port, Option::is_none).await;
        drop(sender);
        server.await.unwrap();
    }
}
