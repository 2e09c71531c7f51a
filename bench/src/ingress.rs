//! The proxy of the ways in beside nginx: the same backend, the same load, one after the other.
//!
//! Each runs in processes of its own. What a core answers a second is what was answered in the processor time that the
//! proxy took, so that neither the load nor the backend counts.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coracle_ingress::backend::{Backend, Protocol};
use coracle_ingress::entrance::{Door, Entrance, Speaks, Tables};
use coracle_ingress::proxy::{Shared, certified, listen};
use coracle_ingress::route::action::{Action, Policy, Target, Weighted};
use coracle_ingress::route::{Builder, Hosts, Match, PathMatch, Route, Wildcard};
use coracle_pki::{Trust, client_config};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::report::Report;
use crate::stats::percentile;

/// The argument of the process that is the proxy.
pub const INSIDE: &str = "ingress-inside";
const CONNECTIONS: usize = 32;
const DURING: Duration = Duration::from_secs(5);
const BODY: usize = 1024;
const HOST: &str = "bench.example";

/// Measures both, with and without TLS.
pub fn measure(report: &mut Report) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("coracle-bench-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let backend = runtime.block_on(serve())?;
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![HOST.to_owned()])?.self_signed(&key)?;
    let (chain, private) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    fs::write(&chain, certificate.pem())?;
    fs::write(&private, key.serialize_pem())?;

    let ours = Proxy::ours(backend, &chain, &private)?;
    load(&runtime, report, "coracle", &ours)?;
    drop(ours);
    match Proxy::nginx(backend, directory.path()) {
        Ok(nginx) => load(&runtime, report, "nginx", &nginx)?,
        Err(error) => eprintln!("nginx: not measured: {error:#}"),
    }
    Ok(())
}

/// What the process does that is the proxy: it serves until its standard input ends.
pub fn inside(arguments: &[String]) -> Result<()> {
    let [backend, chain, key] = arguments else { anyhow::bail!("BACKEND CERTIFICATE KEY") };
    let shared = Arc::new(Shared::default());
    let doors = [Door::Ingress { tls: false }, Door::Ingress { tls: true }];
    let mut certificates = Hosts::new(Wildcard::OneLabel);
    let certificate = certified(&fs::read(chain)?, &fs::read(key)?)?;
    certificates.entry("", || certificate);
    let mut tables = Tables::default();
    for (door, speaks) in doors.iter().zip([Speaks::Http, Speaks::Https(certificates)]) {
        let backend = Backend::fixed("backend", vec![backend.parse()?], Protocol::Http);
        let target = Target::Backends(vec![Weighted::only(backend)]);
        let action = Arc::new(Action { source: "n/i".into(), target, policy: Policy::default() });
        let mut routes = Builder::new(Wildcard::OneLabel);
        routes
            .add(HOST, Route { matches: Match::of(PathMatch::prefix("/")), action })
            .expect("a route without expressions");
        let mut listeners = Hosts::new(Wildcard::OneLabel);
        listeners.entry("", || Arc::new(routes.build()));
        tables.entrances.insert(door.clone(), Arc::new(Entrance { speaks, listeners }));
    }
    shared.tables.store(Arc::new(tables));
    let listening = doors.map(|door| listen(&shared, Ipv4Addr::LOCALHOST, 0, Some(door)));
    let [plain, tls] = listening;
    let (plain, tls) = (plain?, tls?);
    println!("{} {}", plain.port, tls.port);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A proxy that runs, until it is dropped.
struct Proxy {
    child: Child,
    plain: u16,
    tls: u16,
}

impl Proxy {
    fn ours(backend: SocketAddr, chain: &Path, key: &Path) -> Result<Proxy> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(INSIDE).arg(backend.to_string()).arg(chain).arg(key);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let (plain, tls) = line.trim().split_once(' ').context("it says no ports")?;
        Ok(Proxy { child, plain: plain.parse()?, tls: tls.parse()? })
    }

    fn nginx(backend: SocketAddr, directory: &Path) -> Result<Proxy> {
        let free = || anyhow::Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port());
        let (plain, tls) = (free()?, free()?);
        let here = directory.display();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let text = format!(
            "daemon off; worker_processes {threads}; pid {here}/nginx.pid; error_log stderr crit;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;\n\
             fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
             keepalive_requests 100000000;\n\
             upstream backend {{ server {backend}; keepalive 64; keepalive_requests 100000000; }}\n\
             server {{ listen 127.0.0.1:{plain} reuseport; listen 127.0.0.1:{tls} ssl http2 reuseport; server_name {HOST};\n\
             ssl_certificate {here}/tls.crt; ssl_certificate_key {here}/tls.key;\n\
             location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;\n\
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; }} }} }}\n"
        );
        let config = directory.join("nginx.conf");
        fs::write(&config, text)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&config).arg("-p").arg(directory).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().context("it is not installed")?;
        let proxy = Proxy { child, plain, tls };
        let begun = Instant::now();
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, tls)).is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(5), "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(proxy)
    }

    /// The processor time of the process and its children so far.
    fn time(&self) -> Duration {
        let of = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<&str> = text.rsplit_once(')').map_or(vec![], |(_, rest)| rest.split_whitespace().collect());
            // User and system time, in hundredths of a second.
            [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum::<u64>()
        };
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        Duration::from_millis(10 * (of(pid) + children.map(of).sum::<u64>()))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A master that is killed leaves its workers.
        if self.child.stdin.take().is_none() {
            let pid = self.child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
        }
        let _ = self.child.wait();
    }
}

fn load(runtime: &tokio::runtime::Runtime, report: &mut Report, name: &str, proxy: &Proxy) -> Result<()> {
    for (how, port, is_tls) in [("HTTP/1.1", proxy.plain, false), ("HTTP/1.1 over TLS", proxy.tls, true)] {
        // What comes first warms up.
        runtime.block_on(all(port, is_tls, Duration::from_millis(500)))?;
        let before = proxy.time();
        let mut times = runtime.block_on(all(port, is_tls, DURING))?;
        let used = proxy.time().saturating_sub(before).as_secs_f64();
        let count = times.len() as f64;
        let budget = |of: &str| if name == "coracle" { format!("{of} nginx") } else { String::new() };
        let what = format!("ingress, {name}, {how}");
        report.line(&format!("{what}: requests/s a core"), count / used.max(0.01), "", &budget(">"));
        report.line(&format!("{what}: requests/s"), count / DURING.as_secs_f64(), "", "");
        let p99 = percentile(&mut times, 99).as_secs_f64() * 1000.0;
        report.line(&format!("{what}: p99"), p99, "ms", &budget("<"));
    }
    Ok(())
}

async fn all(port: u16, is_tls: bool, during: Duration) -> Result<Vec<Duration>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn(async move {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            stream.set_nodelay(true)?;
            if !is_tls {
                return one(stream, during).await;
            }
            let mut config = client_config(Trust::Anybody, None)?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            one(TlsConnector::from(Arc::new(config)).connect(HOST.try_into()?, stream).await?, during).await
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    Ok(times)
}

async fn one(mut stream: impl AsyncRead + AsyncWrite + Unpin, during: Duration) -> Result<Vec<Duration>> {
    let request =
        format!("GET /some/path?query=1 HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n");
    let (mut times, mut buffer, begun) = (Vec::new(), Vec::with_capacity(16 << 10), Instant::now());
    while begun.elapsed() < during {
        let start = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        buffer.clear();
        loop {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "the connection was closed");
            let end = buffer.windows(4).position(|part| part == b"\r\n\r\n");
            if end.is_some_and(|end| buffer.len() >= end + 4 + BODY) {
                break;
            }
        }
        ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer));
        times.push(start.elapsed());
    }
    Ok(times)
}

/// The backend: as cheap as one can be.
async fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n").into_bytes();
    answer.extend_from_slice(&[b'x'; BODY]);
    let answer: Arc<[u8]> = answer.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let mut buffer = Vec::with_capacity(4096);
                while stream.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
                    if buffer.ends_with(b"\r\n\r\n") {
                        buffer.clear();
                        if stream.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    Ok(address)
}
