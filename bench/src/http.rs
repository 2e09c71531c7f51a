//! A cheap HTTP/1.1 client over TLS: one connection, one request at a time, written and parsed by hand, so that the
//! load costs little beside what is measured.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use coracle_client::Remote;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How to connect.
#[derive(Clone)]
pub struct Target {
    authority: String,
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Target {
    /// From a cluster's credentials.
    pub fn new(remote: &Remote) -> Result<Target> {
        let authority = remote.server.trim_start_matches("https://").to_owned();
        let mut roots = RootCertStore::empty();
        for certificate in rustls_pemfile::certs(&mut remote.ca_pem.as_slice()) {
            roots.add(certificate?)?;
        }
        let chain = remote.client_cert_pem.clone().unwrap_or_default();
        let chain = rustls_pemfile::certs(&mut chain.as_slice()).collect::<Result<Vec<_>, _>>()?;
        let key = remote.client_key_pem.clone().unwrap_or_default();
        let key = rustls_pemfile::private_key(&mut key.as_slice())?.context("there is no client key")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_root_certificates(roots).with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host).to_owned();
        Ok(Target { name: ServerName::try_from(host)?, connector: TlsConnector::from(Arc::new(config)), authority })
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        Ok(Connection { stream, authority: self.authority.clone(), buffer: Vec::with_capacity(64 << 10), at: 0 })
    }
}

/// A connection that is kept.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    authority: String,
    buffer: Vec<u8>,
    /// Where the unread part of the buffer begins.
    at: usize,
}

impl Connection {
    /// Sends a request and reads the answer to its end; answers the status code and the body's length.
    pub async fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<(u16, usize)> {
        self.send(method, path, body).await?;
        let (status, length) = self.head().await?;
        let read = match length {
            Some(length) => self.skip(length).await?,
            None => {
                let mut total = 0;
                loop {
                    let line = self.line().await?;
                    let size = usize::from_str_radix(line.trim(), 16).context("a chunk has no length")?;
                    self.skip(size).await?;
                    self.line().await?;
                    if size == 0 {
                        break total;
                    }
                    total += size;
                }
            }
        };
        Ok((status, read))
    }

    /// Sends a request without a body and reads an answer that is not sent in pieces.
    pub async fn body(&mut self, method: &str, path: &str) -> Result<String> {
        self.send(method, path, b"").await?;
        let (status, length) = self.head().await?;
        let length =
            length.filter(|_| status == 200).with_context(|| format!("the answer is {status}, or in pieces"))?;
        while self.buffer.len() - self.at < length {
            self.fill().await?;
        }
        let text = String::from_utf8_lossy(&self.buffer[self.at..self.at + length]).into_owned();
        self.at += length;
        Ok(text)
    }

    /// Starts a watch; its events are read with [`Connection::event`].
    pub async fn watch(&mut self, path: &str) -> Result<()> {
        self.send("GET", path, b"").await?;
        let (status, length) = self.head().await?;
        ensure!(status == 200 && length.is_none(), "the watch was answered with {status}");
        Ok(())
    }

    /// Sends a request for something that is never read.
    pub async fn ask(&mut self, path: &str) -> Result<()> {
        self.send("GET", path, b"").await
    }

    /// Waits for bytes of a watch and drops them; whether `wanted` was among them. What is looked for must arrive in
    /// one piece, as the server writes each event at once.
    pub async fn event(&mut self, wanted: &[u8]) -> Result<bool> {
        if self.at == self.buffer.len() {
            self.fill().await?;
        }
        let found = self.buffer[self.at..].windows(wanted.len()).any(|part| part == wanted);
        self.at = self.buffer.len();
        Ok(found)
    }

    async fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<()> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.authority,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        Ok(self.stream.flush().await?)
    }

    /// The status code and, unless the body is chunked, its length.
    async fn head(&mut self) -> Result<(u16, Option<usize>)> {
        let line = self.line().await?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer is not HTTP")?;
        let mut length = Some(0);
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { return Ok((status, length)) };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = None;
            }
        }
    }

    /// The next line of an answer, as it is sent.
    pub async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.buffer[self.at..].iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&self.buffer[self.at..self.at + end]).trim_end().to_owned();
                self.at += end + 1;
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    async fn skip(&mut self, length: usize) -> Result<usize> {
        let mut left = length;
        loop {
            let here = left.min(self.buffer.len() - self.at);
            self.at += here;
            left -= here;
            if left == 0 {
                return Ok(length);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}
