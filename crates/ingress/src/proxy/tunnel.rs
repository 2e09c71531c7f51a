//! What two ends say to each other once they have gone over to another protocol.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::io::InspectReader;

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
    // How often something was.
    let heard = AtomicU64::new(0);
    let hear = |_: &[u8]| {
        heard.fetch_add(1, Ordering::Relaxed);
    };
    let (mut first, mut second) = (InspectReader::new(first, hear), InspectReader::new(second, hear));
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
