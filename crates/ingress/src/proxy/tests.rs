//! The proxy between clients and backends that are written by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::entrance::{Entrance, Speaks};
use crate::route::action::{HeaderChanges, Policy, Retry, Rewrite, ToHttps, Weighted};
use crate::route::{Builder, Hosts, Match, PathMatch, Route, Wildcard};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn door() -> Door {
    Door::Ingress { tls: false }
}

/// The proxy, with routes of one table.
struct World {
    shared: Arc<Shared>,
    listening: Listening,
}

impl World {
    fn new(routes: Vec<(&str, Action)>) -> World {
        Self::speaking(Speaks::Http, routes)
    }

    fn speaking(speaks: Speaks, routes: Vec<(&str, Action)>) -> World {
        let shared = Arc::new(Shared::default());
        serve(&shared, speaks, routes);
        let listening = listen(&shared, LOOPBACK, 0, Some(door())).unwrap();
        World { shared, listening }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect((LOOPBACK, self.listening.port)).await.unwrap()
    }

    /// What is answered to these bytes, until the connection ends.
    async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n")).await
    }
}

fn serve(shared: &Shared, speaks: Speaks, routes: Vec<(&str, Action)>) {
    let mut builder = Builder::new(Wildcard::OneLabel);
    for (path, action) in routes {
        builder.add("", Route { matches: Match::of(PathMatch::prefix(path)), action: Arc::new(action) }).unwrap();
    }
    let mut listeners = Hosts::new(Wildcard::OneLabel);
    listeners.entry("", || Arc::new(builder.build()));
    let mut tables = Tables::default();
    tables.entrances.insert(door(), Arc::new(Entrance { speaks, listeners }));
    shared.tables.store(Arc::new(tables));
}

fn to(addresses: Vec<SocketAddr>, protocol: crate::backend::Protocol, policy: Policy) -> Action {
    let backend = Backend::fixed("b", addresses, protocol);
    Action { source: "n/i".into(), target: Target::Backends(vec![Weighted::only(backend)]), policy }
}

fn http(addresses: Vec<SocketAddr>, policy: Policy) -> Action {
    to(addresses, crate::backend::Protocol::Http, policy)
}

/// A backend that answers each request with its head, and counts its connections.
async fn echo(extra: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = connections.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                while let Some(head) = head(&mut stream).await {
                    let length = head
                        .to_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .map_or(0, |rest| rest.lines().next().unwrap().trim().parse::<usize>().unwrap());
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).await.unwrap();
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{extra}\r\n{head}", head.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, connections)
}

async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn a_backend_learns_who_asked_and_a_client_cannot_say_otherwise() {
    let (address, _) = echo("Keep-Alive: 5\r\nConnection: x-secret\r\nX-Secret: s\r\n").await;
    let world = World::new(vec![("/", http(vec![address], Policy::default()))]);
    let lies = "X-Forwarded-For: 10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\nForwarded: for=x\r\nX-Forwarded-Proto: https\r\n\
        Connection: x-mine\r\nX-Mine: 1\r\nProxy: x\r\nX-Kept: 1\r\n";
    let answer = world.get("/a/../b?c=d", lies).await.to_lowercase();
    let (head, seen) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("http/1.1 200"), "{answer}");
    assert!(!head.contains("x-secret") && !head.contains("keep-alive: 5"), "{head}");
    assert!(seen.starts_with("get /b?c=d http/1.1"), "{seen}");
    for wanted in
        ["x-forwarded-for: 127.0.0.1", "x-real-ip: 127.0.0.1", "x-forwarded-proto: http\r", "host: h", "x-kept: 1"]
    {
        assert!(seen.contains(wanted), "{wanted}: {seen}");
    }
    for unwanted in ["10.0.0.1", "forwarded: for", "x-mine", "proxy: x"] {
        assert!(!seen.contains(unwanted), "{unwanted}: {seen}");
    }
}

#[tokio::test]
async fn a_request_that_comes_back_again_and_again_ends() {
    let (address, _) = echo("").await;
    let forgets = HeaderChanges { remove: vec![http::HeaderName::from_static("cdn-loop")], ..HeaderChanges::default() };
    let policy = Policy { headers: forgets, ..Policy::default() };
    let world = World::new(vec![("/", http(vec![address], policy))]);
    let seen = world.get("/", "CDN-Loop: other, coracle;v=1\r\n").await.to_lowercase();
    assert_eq!(seen.matches("cdn-loop: ").count(), 2, "{seen}");
    let often = "CDN-Loop: coracle\r\n".repeat(8);
    assert!(world.get("/", &often).await.starts_with("HTTP/1.1 508"));
}

#[tokio::test]
async fn a_copy_of_a_request_goes_to_another_backend() {
    let ((address, _), (other, copies)) = (echo("").await, echo("").await);
    let backend = Backend::fixed("m", vec![other], crate::backend::Protocol::Http);
    let mirrors = vec![crate::route::action::Mirror { backend, numerator: 1, denominator: 1 }];
    let world = World::new(vec![("/", http(vec![address], Policy { mirrors, ..Policy::default() }))]);
    let sent = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    assert!(world.raw(sent).await.starts_with("HTTP/1.1 200"));
    let arrives = async {
        while copies.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrives).await.unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_held_no_longer_and_sent_once() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new(Shared { room: Arc::new(Room::with(Duration::from_millis(50))), ..Shared::default() });
    serve(&shared, Speaks::Http, vec![("/", http(vec![address], patient()))]);
    let world = World { listening: listen(&shared, LOOPBACK, 0, Some(door())).unwrap(), shared };
    let mut client = world.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc").await.unwrap();
    let passed = async {
        let (mut backend, _) = listener.accept().await.unwrap();
        let head = head(&mut backend).await.unwrap().to_lowercase();
        assert!(head.contains("content-length: 6\r\n"), "{head}");
        let mut body = [0; 6];
        backend.read_exact(&mut body[..3]).await.unwrap();
        client.write_all(b"def").await.unwrap();
        backend.read_exact(&mut body[3..]).await.unwrap();
        assert_eq!(&body, b"abcdef");
        backend.write_all(b"HTTP/1.1 500 S\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(20), passed).await.unwrap();
    assert!(head(&mut client).await.unwrap().starts_with("HTTP/1.1 500"), "it is not asked once more");
}

#[tokio::test]
async fn what_others_could_read_otherwise_is_refused() {
    let (address, connections) = echo("").await;
    let world = World::new(vec![("/", http(vec![address], Policy::default()))]);
    for bad in [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h:@evil.example\r\n\r\n",
        "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /closed/..%2fopen HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nabcde",
    ] {
        let with_end = bad.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        let answer = world.raw(&with_end).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad:?}: {answer}");
    }
    let connect = world.raw("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nConnection: close\r\n\r\n").await;
    assert!(connect.starts_with("HTTP/1.1 405"), "{connect}");
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    // Of two lengths, the chunks count alone (RFC 9112, section 6.3), and a backend is told of nothing else.
    for both in ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"] {
        let sent = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{both}\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n"
        );
        let answer = world.raw(&sent).await;
        let (_, seen) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!seen.to_lowercase().contains("content-length") && !answer.contains("/x"), "{answer}");
    }
    let path = format!("/{}", "a".repeat(9000));
    assert!(world.get(&path, "").await.starts_with("HTTP/1.1 414"));
    let long = format!("X-Long: {}\r\n", "a".repeat(100_000));
    assert!(world.get("/", &long).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn connections_to_backends_are_used_again_and_dead_endpoints_passed_over() {
    let (address, connections) = echo("").await;
    let dead = {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        listener.local_addr().unwrap()
    };
    let world = World::new(vec![("/", http(vec![address, dead], Policy::default()))]);
    let mut stream = world.connect().await;
    for _ in 0..10 {
        stream.write_all(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
        let head = head(&mut stream).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length =
            head.to_lowercase().split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        stream.read_exact(&mut vec![0; length]).await.unwrap();
    }
    assert!(connections.load(Ordering::SeqCst) < 5);
    let none = World::new(vec![("/", http(vec![dead], Policy::default())), ("/e", http(vec![], Policy::default()))]);
    assert!(none.get("/", "").await.starts_with("HTTP/1.1 502"));
    assert!(none.get("/e", "").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn a_connection_that_is_closed_while_it_is_used_costs_no_request() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                head(&mut stream).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                // The next request is read and not answered.
                head(&mut stream).await;
            });
        }
    });
    let world = World::new(vec![("/", http(vec![address], Policy::default()))]);
    let mut stream = world.connect().await;
    for _ in 0..5 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let answer = head(&mut stream).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn limits_of_bodies_and_times_have_their_statuses() {
    let (address, _) = echo("").await;
    let silent = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let at = silent.local_addr().unwrap();
    let world = World::new(vec![
        ("/small", http(vec![address], Policy { max_body: 4, ..Policy::default() })),
        ("/slow", http(vec![at], Policy { read_timeout: Duration::from_millis(50), ..Policy::default() })),
        ("/upload", http(vec![at], Policy { send_timeout: Duration::from_millis(50), ..Policy::default() })),
    ]);
    let post = |path: &str, framing: &str, body: &str| {
        let text = format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{framing}\r\n\r\n{body}");
        async {
            let text = text;
            world.raw(&text).await
        }
    };
    assert!(post("/small", "Content-Length: 5", "abcde").await.starts_with("HTTP/1.1 413"));
    let chunked = post("/small", "Transfer-Encoding: chunked", "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n").await;
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    assert!(post("/small", "Content-Length: 4", "abcd").await.starts_with("HTTP/1.1 200"));
    assert!(world.get("/slow", "").await.starts_with("HTTP/1.1 504"));
    assert!(post("/upload", "Content-Length: 5", "ab").await.starts_with("HTTP/1.1 408"));
}

/// A backend that answers with these statuses in turn, 0 for none, and then 200 with the body of the request.
async fn failing(statuses: &'static [u16]) -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut statuses = statuses.iter();
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(text) = head(&mut stream).await else { continue };
            let mut body = vec![0; if text.to_lowercase().contains("content-length: 3") { 3 } else { 0 }];
            stream.read_exact(&mut body).await.unwrap();
            let status = statuses.next().copied().unwrap_or(200);
            if status == 0 {
                silent.push(stream);
                continue;
            }
            let length = body.len();
            let head = format!("HTTP/1.1 {status} S\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_backend_is_asked_once_more_as_often_as_a_route_says() {
    let policy = |codes: &[u16], attempts| Policy {
        retry: Some(Arc::new(Retry {
            codes: codes.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect(),
            attempts,
            backoff: Duration::from_millis(1),
        })),
        backend_timeout: Some(Duration::from_millis(200)),
        ..Policy::default()
    };
    let post = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    for (statuses, codes, attempts, wanted) in [
        (&[500, 500][..], &[500][..], 2, "200"),
        (&[500, 500], &[500], 1, "500"),
        (&[503], &[500], 2, "503"),
        (&[0, 500], &[500], 2, "200"),
        (&[0], &[], 1, "200"),
        (&[0, 0], &[], 1, "504"),
    ] {
        let world = World::new(vec![("/", http(vec![failing(statuses).await], policy(codes, attempts)))]);
        let answer = world.raw(post).await;
        assert_eq!(answer.split(' ').nth(1), Some(wanted), "{statuses:?} {codes:?} {attempts}: {answer}");
        assert_eq!(
            answer.ends_with("abc"),
            wanted == "200" || statuses.len() == 2 && wanted == "500" || wanted == "503"
        );
    }
    let (well, _) = echo("").await;
    let closed = TcpListener::bind((LOOPBACK, 0)).await.unwrap().local_addr().unwrap();
    let world = World::new(vec![("/", http(vec![closed, closed, closed, closed, well], policy(&[], 4)))]);
    assert!(world.get("/", "").await.starts_with("HTTP/1.1 200"));
}

/// A backend that has something happen at each request, of which it answers none well, and counts them.
async fn unwell(happens: impl Fn() + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            head(&mut stream).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            happens();
            stream.write_all(b"HTTP/1.1 500 S\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    });
    (address, requests)
}

fn patient() -> Policy {
    let retry =
        Retry { codes: vec![StatusCode::INTERNAL_SERVER_ERROR], attempts: 3, backoff: Duration::from_millis(1) };
    Policy { retry: Some(Arc::new(retry)), ..Policy::default() }
}

#[tokio::test]
async fn what_is_asked_once_more_goes_where_the_backend_is_by_then() {
    let (well, _) = echo("").await;
    let backend = Backend::fixed("b", vec![], Protocol::Http);
    let moved = backend.clone();
    let (address, asked) = unwell(move || moved.is_now_at(vec![well])).await;
    backend.is_now_at(vec![address]);
    let target = Target::Backends(vec![Weighted::only(backend)]);
    let world = World::new(vec![("/", Action { source: "n/i".into(), target, policy: patient() })]);
    assert!(world.get("/", "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_that_was_waited_for_goes_where_the_backend_is_by_then() {
    let ((before, asked), (well, _)) = (unwell(|| ()).await, echo("").await);
    let backend = Backend::fixed("b", vec![before], Protocol::Http);
    let target = Target::Backends(vec![Weighted::only(backend.clone())]);
    let world = World::new(vec![("/", Action { source: "n/i".into(), target, policy: patient() })]);
    let mut client = world.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na").await.unwrap();
    let begun = async {
        while world.shared.places.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun).await.unwrap();
    backend.is_now_at(vec![well]);
    client.write_all(b"bc").await.unwrap();
    assert!(head(&mut client).await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nothing_is_asked_once_more_by_a_route_that_is_gone() {
    let shared = Arc::new(Shared::default());
    let own = shared.clone();
    let (address, asked) = unwell(move || serve(&own, Speaks::Http, vec![])).await;
    serve(&shared, Speaks::Http, vec![("/", http(vec![address], patient()))]);
    let world = World { listening: listen(&shared, LOOPBACK, 0, Some(door())).unwrap(), shared };
    assert!(world.get("/", "").await.starts_with("HTTP/1.1 503"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_goes_round_is_not_multiplied() {
    let (address, asked) = unwell(|| ()).await;
    let world = World::new(vec![("/", http(vec![address], patient()))]);
    for (came, times) in [("", 4), ("CDN-Loop: other\r\n", 8), ("CDN-Loop: coracle\r\n", 9)] {
        assert!(world.get("/", came).await.starts_with("HTTP/1.1 500"));
        assert_eq!(asked.load(Ordering::SeqCst), times, "{came}");
    }
}

#[tokio::test]
async fn a_request_has_its_time_with_its_answer() {
    // The head comes at once, and then a byte again and again.
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let limit = Some(Duration::from_millis(200));
    let policy = Policy { request_timeout: limit, read_timeout: Duration::MAX, ..Policy::default() };
    let world = World::new(vec![("/", http(vec![address], policy))]);
    let answer = world.get("/", "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() < 1_000_000, "{answer}");
}

#[tokio::test]
async fn a_call_that_leads_nowhere_is_told_so_as_calls_are() {
    let none = Weighted { backend: None, ..Weighted::only(Backend::fixed("b", vec![], Default::default())) };
    let policy = Policy { is_grpc: true, ..Policy::default() };
    let action = Action { source: "n/r".into(), target: Target::Backends(vec![none]), policy };
    let world = World::new(vec![("/", action)]);
    let stream = TokioIo::new(world.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://h/pkg.Service/Call").body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status(), &response.headers()["grpc-status"]), (StatusCode::OK, &"14".parse().unwrap()));
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert!(response.into_body().is_end_stream());
}

#[tokio::test]
async fn a_connection_goes_over_to_another_protocol() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await.unwrap().to_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    let world = World::new(vec![("/", http(vec![address], Policy::default()))]);
    let mut stream = world.connect().await;
    let asked = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(asked).await.unwrap();
    let answer = head(&mut stream).await.unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: websocket"), "{answer}");
    for text in [b"hello", b"world"] {
        stream.write_all(text).await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, text);
    }
    // It keeps its place until it ends.
    assert_eq!((world.shared.places.connections(), world.shared.places.requests()), (1, 1));
    drop(stream);
    let ended = async {
        while (world.shared.places.connections(), world.shared.places.requests()) != (0, 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    // What goes over to HTTP/2 would take no routes.
    let (address, _) = echo("").await;
    let world = World::new(vec![("/", http(vec![address], Policy::default()))]);
    let seen = world.get("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n").await;
    let seen = seen.to_lowercase();
    assert!(seen.starts_with("http/1.1 200") && !seen.contains("upgrade: h2c") && !seen.contains("http2-settings: x"));
}

/// A backend that speaks HTTP/2 and ends its answers with trailers, as gRPC does.
async fn with_trailers() -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                let seen = format!("{:?} {} {:?}", request.version(), request.uri(), request.headers().get("te"));
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                let frames = [Bytes::from(seen), body].map(http_body::Frame::data);
                let frames = frames.into_iter().chain([http_body::Frame::trailers(trailers)]).map(Ok::<_, Infallible>);
                Ok::<_, Infallible>(Response::new(StreamBody::new(futures::stream::iter(frames))))
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

#[tokio::test]
async fn calls_over_http2_keep_their_trailers() {
    let address = with_trailers().await;
    let world = World::new(vec![("/", to(vec![address], crate::backend::Protocol::H2c, Policy::default()))]);
    let stream = TokioIo::new(world.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    for number in 0..3 {
        let body = http_body_util::Full::new(Bytes::from(format!("-{number}")));
        let request = Request::post("http://h.example/pkg.Service/Call").header("te", "trailers").body(body).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        let text = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
        assert_eq!(text, format!("HTTP/2.0 http://h.example/pkg.Service/Call Some(\"trailers\")-{number}"));
    }
}

#[tokio::test]
async fn cookies_of_http2_are_one_header_for_a_backend_of_http1() {
    let (address, _) = echo("").await;
    let world = World::new(vec![("/", http(vec![address], Policy::default()))]);
    let stream = TokioIo::new(world.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://h.example/").header("cookie", "a=1").header("cookie", "b=2");
    let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let seen = String::from_utf8(body.to_vec()).unwrap().to_lowercase();
    assert!(seen.contains("cookie: a=1; b=2\r\n"), "{seen}");
}

#[tokio::test]
async fn a_stream_whose_answer_is_not_read_is_reset() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n").await.unwrap();
        let _ = stream.write_all(&vec![0; 10_000_000]).await;
    });
    let world = World::new(vec![("/", http(vec![address], Policy::default()))]);
    let stream = TokioIo::new(world.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://h.example/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let ended = async {
        while world.shared.places.requests() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(world.shared.places.connections(), 1);
}

fn made(name: &str) -> Arc<rustls::sign::CertifiedKey> {
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    certified(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

fn connector() -> tokio_rustls::TlsConnector {
    let config = coracle_pki::client_config(coracle_pki::Trust::Anybody, None).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn a_connection_is_for_the_listener_of_the_name_it_was_made_with() {
    let mut certificates = Hosts::new(Wildcard::Labels);
    let mut listeners = Hosts::new(Wildcard::Labels);
    for (host, status) in [("", 201), ("a.example", 202), ("*.b.example", 203)] {
        certificates.entry(host, || made("a.example"));
        let mut routes = Builder::new(Wildcard::Labels);
        let action = Arc::new(Action::answer("n/r", status));
        routes.add("", Route { matches: Match::of(PathMatch::prefix("/")), action }).unwrap();
        listeners.entry(host, || Arc::new(routes.build()));
    }
    let shared = Arc::new(Shared::default());
    let door = Door::Gateway(coracle_client::ObjectKey::new("n", "gw"), 443);
    let mut tables = Tables::default();
    let entrance = Entrance { speaks: Speaks::Https(certificates), listeners };
    tables.entrances.insert(door.clone(), Arc::new(entrance));
    shared.tables.store(Arc::new(tables));
    let listening = listen(&shared, LOOPBACK, 0, Some(door)).unwrap();
    for (name, host, status) in [
        ("a.example", "a.example", "202"),
        ("a.example", "x.b.example", "421"),
        ("a.example", "other", "421"),
        ("x.b.example", "y.b.example", "203"),
        ("other", "third", "201"),
        ("other", "a.example", "421"),
        // An address is no name that a client may send.
        ("192.0.2.1", "a.example", "202"),
    ] {
        let stream = TcpStream::connect((LOOPBACK, listening.port)).await.unwrap();
        let mut stream = connector().connect(name.try_into().unwrap(), stream).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{name} {host}");
    }
}

#[tokio::test]
async fn a_certificate_is_chosen_by_name_and_replaced_without_a_new_socket() {
    let (address, _) = echo("").await;
    let with = |of_a: &Arc<rustls::sign::CertifiedKey>, of_star: &Arc<rustls::sign::CertifiedKey>| {
        let mut hosts = Hosts::new(Wildcard::OneLabel);
        hosts.entry("a.example", || of_a.clone());
        hosts.entry("*.example", || of_star.clone());
        Speaks::Https(hosts)
    };
    let routes = || vec![("/", http(vec![address], Policy::default()))];
    let (first, star, second) = (made("a.example"), made("*.example"), made("a.example"));
    let world = World::speaking(with(&first, &star), routes());
    let shown = async |name: &'static str| {
        let mut stream = connector().connect(name.try_into().unwrap(), world.connect().await).await.ok()?;
        let chain = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.to_lowercase().contains("x-forwarded-proto: https"), "{answer}");
        Some(chain)
    };
    assert_eq!(shown("a.example").await.unwrap(), first.cert[0].to_vec());
    assert_eq!(shown("b.example").await.unwrap(), star.cert[0].to_vec());
    assert_eq!(shown("c.b.example").await, None);
    serve(&world.shared, with(&second, &star), routes());
    assert_eq!(shown("a.example").await.unwrap(), second.cert[0].to_vec());
}

#[tokio::test]
async fn tables_are_swapped_without_a_failed_request() {
    let (one, _) = echo("X-Is: 1\r\n").await;
    let (two, _) = echo("X-Is: 2\r\n").await;
    let world = World::new(vec![("/", http(vec![one], Policy::default()))]);
    let client = async {
        let mut stream = world.connect().await;
        for _ in 0..500 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let head = head(&mut stream).await.unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length = length.lines().next().unwrap().parse().unwrap();
            stream.read_exact(&mut vec![0; length]).await.unwrap();
        }
    };
    let swaps = async {
        for number in 0..200 {
            let to = if number % 2 == 0 { two } else { one };
            serve(&world.shared, Speaks::Http, vec![("/", http(vec![to], Policy::default()))]);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(client, swaps);
}

#[tokio::test]
async fn policies_answer_before_backends_are_asked() {
    let (address, connections) = echo("").await;
    let users = [("u".to_owned(), "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=".to_owned())].into();
    let auth = Arc::new(crate::route::action::BasicAuth { realm: "r\"x".into(), users });
    let default = Policy::default;
    let world = World::new(vec![
        ("/tls", http(vec![address], Policy { to_https: ToHttps::Always, ..default() })),
        ("/net", http(vec![address], Policy { allowed: Some(["10.0.0.0/8".parse().unwrap()].into()), ..default() })),
        ("/auth", http(vec![address], Policy { basic_auth: Some(auth), ..default() })),
        ("/full", http(vec![address], Policy { rewrite: Some(Rewrite::Prefix("/new".into())), ..default() })),
    ]);
    let answer = world.get("/tls/x?y", "").await.to_lowercase();
    assert!(answer.starts_with("http/1.1 308") && answer.contains("location: https://h/tls/x?y\r\n"), "{answer}");
    assert!(world.get("/tls/../.well-known/acme-challenge/x", "").await.starts_with("HTTP/1.1 404"));
    assert!(world.get("/net", "X-Forwarded-For: 10.0.0.1\r\n").await.starts_with("HTTP/1.1 403"));
    // Whoever asks around the path meets the same route.
    assert!(world.get("/x/..//net", "").await.starts_with("HTTP/1.1 403"));
    let answer = world.get("/auth", "").await.to_lowercase();
    assert!(answer.starts_with("http/1.1 401") && answer.contains("www-authenticate: basic realm=\"rx\""), "{answer}");
    assert!(world.get("/auth", "Authorization: Basic dTp3cm9uZw==\r\n").await.starts_with("HTTP/1.1 401"));
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    let known = world.get("/auth", "Authorization: Basic dTpteVBhc3N3b3Jk\r\n").await;
    assert!(known.starts_with("HTTP/1.1 200"), "{known}");
    assert!(world.get("/full/a%20b?q", "").await.contains("GET /new/a%20b?q HTTP/1.1"));
    assert!(world.get("/none", "").await.starts_with("HTTP/1.1 404"));
}
