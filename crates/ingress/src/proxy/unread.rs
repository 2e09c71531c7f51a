//! Answers of HTTP/2 that a client asks for and leaves unread: each stream has a window of its own, so that the
//! connection as a whole seems well while its streams hold places.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a client may leave what is written to it unread.
pub const UNREAD: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(60) };

tokio::task_local! {
    static STREAM: Arc<Unread>;
}

/// Since when a part of an answer waits for its client; `None` while nothing does.
#[derive(Default)]
struct Unread(Mutex<Option<Instant>>);

impl Unread {
    async fn over(&self) {
        loop {
            let left = self.0.lock().map_or(UNREAD, |since| UNREAD.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// Runs the streams of connections of HTTP/2, and resets those whose answer is not read.
#[derive(Clone, Copy)]
pub struct Streams;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let unread = Arc::new(Unread::default());
        let watched = unread.clone();
        tokio::spawn(STREAM.scope(unread, async move {
            tokio::select! {
                biased;
                () = stream => {}
                // The stream is reset as it is dropped.
                () = watched.over() => {}
            }
        }));
    }
}

/// A body that notes when its client takes no more of it.
pub struct Watched<B> {
    body: B,
    unread: Option<Arc<Unread>>,
}

impl<B> Watched<B> {
    /// The body of an answer of the stream that runs.
    pub fn of(body: B) -> Watched<B> {
        let unread = STREAM.try_with(Arc::clone).ok();
        let watched = Watched { body, unread };
        watched.waits(true);
        watched
    }

    fn waits(&self, is_waiting: bool) {
        self.unread.iter().for_each(|unread| *unread.0.lock() = is_waiting.then(Instant::now));
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // While the backend is silent, nothing waits for the client.
        self.waits(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
