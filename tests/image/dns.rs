//! A stub resolver that reads `/etc/resolv.conf` as the C library does: search list, `ndots`, servers in order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::Outcome;

type Error = Box<dyn std::error::Error>;

/// The record type of IPv4 addresses.
pub const A: u16 = 1;
/// That of addresses of IPv6.
pub const AAAA: u16 = 28;
const TYPES: &[(&str, u16)] = &[("A", A), ("CNAME", 5), ("PTR", 12), ("TXT", 16), ("AAAA", AAAA), ("SRV", 33)];
const TIMEOUT: Duration = Duration::from_secs(3);

/// `nslookup NAME [TYPE]`: writes one record a line; exits with 1 and `NXDOMAIN` or `no records` when there is none.
pub fn nslookup(arguments: &[String]) -> Outcome {
    let name = arguments.first().ok_or("nslookup: a name is missing")?;
    let wanted = arguments.get(1).map_or("A", String::as_str).to_ascii_uppercase();
    let (_, kind) = TYPES.iter().find(|(known, _)| *known == wanted).ok_or("nslookup: unknown type")?;
    for record in lookup(name, *kind)? {
        println!("{record}");
    }
    Ok(0)
}

struct Config {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

fn config() -> Result<Config, Error> {
    let mut config = Config { servers: Vec::new(), search: Vec::new(), ndots: 1 };
    for line in std::fs::read_to_string("/etc/resolv.conf")?.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                config.servers.extend(words.next().and_then(|ip| Some(SocketAddr::new(ip.parse().ok()?, 53))))
            }
            Some("search") => config.search = words.map(str::to_owned).collect(),
            Some("options") => {
                if let Some(value) = words.find_map(|word| word.strip_prefix("ndots:")) {
                    config.ndots = value.parse()?;
                }
            }
            _ => {}
        }
    }
    Ok(config)
}

/// The records of a name, tried with the search list.
pub fn lookup(name: &str, kind: u16) -> Result<Vec<String>, Error> {
    let config = config()?;
    let mut candidates: Vec<String> = Vec::new();
    if !name.ends_with('.') {
        candidates.extend(config.search.iter().map(|suffix| format!("{name}.{suffix}")));
    }
    let dots = name.matches('.').count();
    let at = if dots >= config.ndots { 0 } else { candidates.len() };
    candidates.insert(at, name.to_owned());
    let mut last: Error = "there are no name servers".into();
    for candidate in &candidates {
        match ask(&config, candidate, kind) {
            Ok(records) if !records.is_empty() => return Ok(records),
            Ok(_) => last = format!("{candidate}: no records").into(),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(config: &Config, name: &str, kind: u16) -> Result<Vec<String>, Error> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(kind.to_be_bytes());
    query.extend([0, 1]);
    let mut last: Error = "there are no name servers".into();
    for server in &config.servers {
        match exchange(*server, &query) {
            Ok(answer) => return records(&answer, name, kind),
            Err(error) => last = format!("{name}: {server}: {error}").into(),
        }
    }
    Err(last)
}

/// From where something is sent to an address.
pub fn any(to: SocketAddr) -> (IpAddr, u16) {
    (if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }, 0)
}

fn exchange(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(any(server))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(server)?;
    socket.send(query)?;
    let mut buffer = vec![0; 4096];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn records(message: &[u8], name: &str, kind: u16) -> Result<Vec<String>, Error> {
    let cut = || format!("{name}: the answer is cut");
    let byte = |at: usize| message.get(at).copied().ok_or_else(cut);
    let short = |at: usize| Ok::<u16, Error>(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    match byte(3)? & 15 {
        0 => {}
        3 => return Err(format!("{name}: NXDOMAIN").into()),
        2 => return Err(format!("{name}: SERVFAIL").into()),
        code => return Err(format!("{name}: response code {code}").into()),
    }
    let mut at = 12;
    for _ in 0..short(4)? {
        at = read_name(message, at).ok_or_else(cut)?.1 + 4;
    }
    let mut found = Vec::new();
    for _ in 0..short(6)? {
        let data = read_name(message, at).ok_or_else(cut)?.1 + 10;
        let (this, length) = (short(data - 10)?, usize::from(short(data - 2)?));
        let bytes = message.get(data..data + length).ok_or_else(cut)?;
        at = data + length;
        if this != kind {
            continue;
        }
        let name_at = |at: usize| read_name(message, at).map(|(name, _)| name).ok_or_else(cut);
        found.push(match this {
            A => Ipv4Addr::from(<[u8; 4]>::try_from(bytes)?).to_string(),
            AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(bytes)?).to_string(),
            16 => String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).into_owned(),
            33 => format!("{} {} {} {}", short(data)?, short(data + 2)?, short(data + 4)?, name_at(data + 6)?),
            _ => name_at(data)?,
        });
    }
    found.sort();
    Ok(found)
}

/// The name at a place of a message, and the place behind it.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut end = None;
    // A name has at most 127 labels; more steps are a circle.
    for _ in 0..128 {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((name, end.unwrap_or(at + 1))),
            1..=63 => {
                name.push_str(&String::from_utf8_lossy(message.get(at + 1..at + 1 + length)?));
                name.push('.');
                at += 1 + length;
            }
            _ => {
                end.get_or_insert(at + 2);
                at = (length & 63) << 8 | usize::from(*message.get(at + 1)?);
            }
        }
    }
    None
}
