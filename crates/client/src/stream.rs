//! A connection as hyper's pool of connections wants it.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What a connection goes through.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection with or without TLS.
pub(crate) struct Stream {
    io: TokioIo<Box<dyn Io>>,
    speaks_h2: bool,
}

impl Stream {
    /// One that anybody may read.
    pub fn plain(stream: TcpStream) -> Stream {
        Stream { io: TokioIo::new(Box::new(stream)), speaks_h2: false }
    }

    /// One by TLS, which has settled the protocol.
    pub fn tls(stream: TlsStream<TcpStream>) -> Stream {
        let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Stream { io: TokioIo::new(Box::new(stream)), speaks_h2 }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.speaks_h2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
