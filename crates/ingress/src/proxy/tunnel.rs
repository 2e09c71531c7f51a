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

use super::places::Busy;

/// Copies in both directions until one end closes, or neither has said anything for so long.
pub async fn tunnel(client: OnUpgrade, backend: OnUpgrade, silence: Duration, busy: Option<Busy>) {
    let (Ok(client), Ok(backend)) = (client.await, backend.await) else { return };
    connect(TokioIo::new(client), TokioIo::new(backend), silence).await;
    drop(busy);
}

/// The same of two streams.
pub async fn connect(
    first: impl AsyncRead + AsyncWrite + Unpin,
    second: impl AsyncRead + AsyncWrite + Unpin,
    silence: Duration,
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
