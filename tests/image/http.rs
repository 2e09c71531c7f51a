//! An HTTP server and client, and UDP.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::{Outcome, dns, process};

const TIMEOUT: Duration = Duration::from_secs(5);

struct Server {
    body: Option<String>,
    failing: AtomicBool,
}

/// `serve --port N [--body TEXT]`: HTTP, and a UDP echo on the same port.
///
/// `/` answers the body, else the host name; `/client` the client's address; `/header?name=N` a header of the request, in lower case; `/exit?code=N` ends the process;
/// `/healthz` is 200 until `POST /fail`, then 500 until `POST /heal`; `/env?name=N` answers a variable.
pub fn serve(arguments: &[String]) -> Outcome {
    process::on_terminate(process::end_as_terminated);
    let option = |name: &str| arguments.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
    let port: u16 = option("--port").unwrap_or_else(|| "8080".into()).parse()?;
    let server = Arc::new(Server { body: option("--body"), failing: AtomicBool::new(false) });
    // A socket of IPv6 takes IPv4, too, where there is both.
    let any = if UdpSocket::bind(("::", 0)).is_ok() { "::" } else { "0.0.0.0" };
    let (listener, socket) = (TcpListener::bind((any, port))?, UdpSocket::bind((any, port))?);
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], client);
        }
    });
    println!("serving on port {port}");
    for stream in listener.incoming() {
        let (stream, server) = (stream?, server.clone());
        std::thread::spawn(move || server.connection(stream));
    }
    Ok(0)
}

impl Server {
    fn connection(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let client = stream.peer_addr().ok()?;
        let mut input = BufReader::new(stream.try_clone().ok()?);
        loop {
            let mut line = String::new();
            if input.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let mut length = 0;
            let mut close = false;
            let mut headers = HashMap::new();
            loop {
                let mut header = String::new();
                input.read_line(&mut header).ok()?;
                let (name, value) = header.trim().split_once(':').unwrap_or_default();
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
                match name.to_ascii_lowercase().as_str() {
                    "" => break,
                    "content-length" => length = value.trim().parse().ok()?,
                    "connection" => close = value.trim().eq_ignore_ascii_case("close"),
                    _ => {}
                }
            }
            std::io::copy(&mut (&mut input).take(length), &mut std::io::sink()).ok()?;
            let mut words = line.split_whitespace();
            let (method, target) = (words.next()?, words.next()?);
            let (status, body) = self.answer(method, target, client, &headers);
            println!("{method} {target} {status}");
            let head = format!(
                "HTTP/1.1 {status} -\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                body.len() + 1
            );
            stream.write_all(format!("{head}{body}\n").as_bytes()).ok()?;
            if close {
                return None;
            }
        }
    }

    fn answer(
        &self,
        method: &str,
        target: &str,
        client: SocketAddr,
        headers: &HashMap<String, String>,
    ) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let argument = query.split_once('=').map_or("", |(_, value)| value);
        match (method, path) {
            ("POST", "/fail") => self.fail(true),
            ("POST", "/heal") => self.fail(false),
            (_, "/healthz") if self.failing.load(Ordering::SeqCst) => (500, "failing".into()),
            (_, "/healthz") => (200, "ok".into()),
            (_, "/header") => (200, headers.get(argument).cloned().unwrap_or_default()),
            (_, "/client") => (200, client.ip().to_canonical().to_string()),
            (_, "/env") => (200, std::env::var(argument).unwrap_or_default()),
            (_, "/exit") => std::process::exit(argument.parse().unwrap_or(0)),
            (_, "/") => (200, self.body.clone().unwrap_or_else(host_name)),
            _ => (404, format!("{path} is not served")),
        }
    }

    fn fail(&self, failing: bool) -> (u16, String) {
        self.failing.store(failing, Ordering::SeqCst);
        (200, "so be it".into())
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// `wget URL`: writes the body; exits with 1 on any status that is not 2xx.
pub fn wget(arguments: &[String]) -> Outcome {
    fetch("GET", arguments)
}

/// `post URL`: the same with an empty POST.
pub fn post(arguments: &[String]) -> Outcome {
    fetch("POST", arguments)
}

fn fetch(method: &str, arguments: &[String]) -> Outcome {
    let url = arguments.last().ok_or("a URL is missing")?;
    let (status, body) = request(method, url, TIMEOUT)?;
    print!("{body}");
    if !status.starts_with('2') {
        eprintln!("wget: {url} answered {status}");
        return Ok(1);
    }
    Ok(0)
}

/// Status and body of an answer; each step of the exchange may take so long.
fn request(method: &str, url: &str, patience: Duration) -> Result<(String, String), Box<dyn std::error::Error>> {
    let rest = url.strip_prefix("http://").ok_or("wget: only http:// is spoken")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = resolve(authority, 80)?;
    let mut stream = TcpStream::connect_timeout(&address, patience).map_err(|error| format!("{address}: {error}"))?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "{method} /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("wget: the answer is cut")?;
    Ok((head.split_whitespace().nth(1).unwrap_or_default().to_owned(), body.to_owned()))
}

/// `call MILLISECONDS NAME=URL...`: asks each of these URLs so often, by a connection of its own. Each call is a line: when it began,
/// in milliseconds since 1970, the name, `ok` or `failed`, and the body or the reason. None waits long, but until what was lost on the
/// way once has been sent again, a second later.
pub fn call(arguments: &[String]) -> Outcome {
    process::on_terminate(process::end_as_terminated);
    let (period, targets) = arguments.split_first().ok_or("call: a number is missing")?;
    let period = Duration::from_millis(period.parse()?);
    let targets = targets.iter().map(|target| target.split_once('=').ok_or("call: NAME=URL is expected"));
    std::thread::scope(|scope| {
        for (name, url) in targets.collect::<Result<Vec<_>, _>>()? {
            scope.spawn(move || {
                loop {
                    let began = SystemTime::now();
                    let outcome = match request("GET", url, Duration::from_millis(2500)) {
                        Ok((status, body)) if status.starts_with('2') => format!("ok {}", body.trim()),
                        Ok((status, _)) => format!("failed with {status}"),
                        Err(error) => format!("failed {error}"),
                    };
                    let at = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
                    println!("{at} {name} {outcome}");
                    std::thread::sleep(period.saturating_sub(began.elapsed().unwrap_or_default()));
                }
            });
        }
        Ok(0)
    })
}

/// `udp HOST:PORT WORD...`: sends the words and writes what comes back.
pub fn udp(arguments: &[String]) -> Outcome {
    let (target, words) = arguments.split_first().ok_or("udp: HOST:PORT is missing")?;
    let address = resolve(target, 0)?;
    let socket = UdpSocket::bind(dns::any(address))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(address)?;
    socket.send(words.join(" ").as_bytes())?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).map_err(|error| format!("{address}: {error}"))?;
    println!("{}", String::from_utf8_lossy(&buffer[..length]));
    Ok(0)
}

/// The address of `HOST[:PORT]`.
fn resolve(authority: &str, default_port: u16) -> Result<SocketAddr, Box<dyn std::error::Error>> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse()?),
        _ => (authority, default_port),
    };
    // Names go to the DNS server of `resolv.conf` directly: the C library would load shared libraries.
    let host = if host == "localhost" { "127.0.0.1" } else { host.trim_matches(['[', ']']) };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    let found = dns::lookup(host, dns::A).or_else(|_| dns::lookup(host, dns::AAAA))?;
    let address = found.iter().find_map(|text| text.parse().ok()).ok_or(format!("{host} has no address"))?;
    Ok(SocketAddr::new(address, port))
}
