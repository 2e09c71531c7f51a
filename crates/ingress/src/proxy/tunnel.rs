//! What two ends say to each other once they have gone over to another protocol.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::places::Busy;

/// How long what goes on may take to end once nothing is served any more.
pub const GOODBYE: Duration = Duration::from_secs(30);

/// What a connection becomes once its answer has been written.
pub struct Tunnel {
    /// The end of the client.
    pub client: OnUpgrade,
    /// The end of the backend.
    pub backend: OnUpgrade,
    /// How long neither may say anything.
    pub silence: Duration,
    /// The place of the request, which lasts as long.
    pub busy: Busy,
}

impl Tunnel {
    /// Copies in both directions, as [`connect`] does.
    pub async fn run(self, ended: watch::Receiver<()>) {
        let (Ok(client), Ok(backend)) = (self.client.await, self.backend.await) else { return };
        connect(TokioIo::new(client), TokioIo::new(backend), self.silence, end(ended)).await;
        drop(self.busy);
    }
}

/// Some time after nothing is served any more.
pub async fn end(mut ended: watch::Receiver<()>) {
    let _ = ended.changed().await;
    tokio::time::sleep(GOODBYE).await;
}

/// Copies in both directions until one end closes, neither has said anything for so long, or it is to end.
pub async fn connect(
    first: impl AsyncRead + AsyncWrite + Unpin,
    second: impl AsyncRead + AsyncWrite + Unpin,
    silence: Duration,
    end: impl Future<Output = ()>,
) {
    let heard = Arc::new(AtomicU64::new(0));
    let mut first = Heard { stream: first, heard: heard.clone() };
    let mut second = Heard { stream: second, heard: heard.clone() };
    let silent = async {
        let mut before = u64::MAX;
        loop {
            let now = heard.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
            tokio::time::sleep(silence).await;
        }
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut first, &mut second) => {}
        () = silent => {}
        () = end => {}
    }
}

/// Counts how often something was heard.
struct Heard<S> {
    stream: S,
    heard: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            self.heard.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tunnel_ends_after_silence_or_when_it_is_told_to() {
        let (_client, first) = tokio::io::duplex(64);
        let (_backend, second) = tokio::io::duplex(64);
        connect(first, second, Duration::from_millis(10), std::future::pending()).await;
        let (_client, first) = tokio::io::duplex(64);
        let (_backend, second) = tokio::io::duplex(64);
        connect(first, second, Duration::MAX, std::future::ready(())).await;
    }
}
