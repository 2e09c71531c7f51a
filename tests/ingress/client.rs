//! A client of ways in: plain or over TLS, with whatever host it wants.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use coracle_pki::{Trust, client_config};
use rustls::{ClientConnection, StreamOwned};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body, without spaces at the ends.
    pub body: String,
    /// The certificate that was shown.
    pub certificate: Option<Vec<u8>>,
}

impl Answer {
    /// A header of it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn connect(authority: &str) -> std::io::Result<TcpStream> {
    let address = authority.parse().map_err(std::io::Error::other)?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn ask(mut stream: impl Read + Write, host: &str, path: &str, headers: &str) -> std::io::Result<Answer> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")?;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    // An end without goodbye is one as well.
    if answer.is_empty() {
        read?;
    }
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| std::io::Error::other("the answer is cut"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    Ok(Answer { status, head: head.to_lowercase(), body: body.trim().to_owned(), certificate: None })
}

/// Asks a host at an address.
pub fn http(address: &str, host: &str, path: &str, headers: &str) -> Result<Answer, String> {
    connect(&format!("{address}:80"))
        .and_then(|stream| ask(stream, host, path, headers))
        .map_err(|error| error.to_string())
}

/// The same over TLS.
pub fn https(address: &str, host: &str, path: &str) -> Result<Answer, String> {
    let fetch = || -> std::io::Result<Answer> {
        let config = client_config(Trust::Anybody, None).map_err(std::io::Error::other)?;
        let name = host.to_owned().try_into().map_err(std::io::Error::other)?;
        let client = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(client, connect(&format!("{address}:443"))?);
        let answer = ask(&mut stream, host, path, "")?;
        let chain = stream.conn.peer_certificates().unwrap_or_default();
        Ok(Answer { certificate: chain.first().map(|one| one.to_vec()), ..answer })
    };
    fetch().map_err(|error| error.to_string())
}
