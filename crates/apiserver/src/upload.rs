//! The body of a request: nothing of it is read until its sender is known and may make the request.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use coracle_api::status::Status;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

use crate::body::BoxError;

/// How long a body may take, as upstream's `--request-timeout`.
const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of a body that is too large which are read and thrown away, so that its sender comes to read the answer.
const MAX_DISCARDED: usize = 64 << 20;
/// The same for one that nobody read, and how long that may take.
const MAX_UNREAD: usize = 256 << 10;
const UNREAD_DEADLINE: Duration = Duration::from_secs(1);

/// A request's body, whatever it came by. Passed on as it is, it can be of any size.
pub struct Upload(UnsyncBoxBody<Bytes, BoxError>);

impl Upload {
    /// Takes a body.
    pub fn new<B>(body: B) -> Upload
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match body.is_end_stream() {
            true => Upload::default(),
            false => Upload(UnsyncBoxBody::new(Plain(Box::pin(body)))),
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// 413 when it is longer than `limit` bytes, 400 when it breaks off, 504 when it is not there in a minute.
    pub async fn read(self, limit: usize) -> Result<Bytes, Status> {
        self.read_within(DEADLINE, limit).await
    }

    async fn read_within(self, deadline: Duration, limit: usize) -> Result<Bytes, Status> {
        if self.is_end_stream() {
            return Ok(Bytes::new());
        }
        let whole = tokio::time::timeout(deadline, collect(self.0, limit)).await;
        whole.map_err(|_| Status::timeout(format!("the body of the request was not received in {deadline:?}"), 0))?
    }

    /// Reads a little of what nobody asked for and throws it away: a sender that is cut off while it sends may not
    /// come to read the answer.
    pub async fn discard(mut self) {
        let all = async {
            let mut left = MAX_UNREAD;
            while let Some(Ok(frame)) = self.0.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(1, Bytes::len));
                if left == 0 {
                    return;
                }
            }
        };
        // In time or not, the answer is sent.
        let _ = tokio::time::timeout(UNREAD_DEADLINE, all).await;
    }
}

impl Default for Upload {
    fn default() -> Upload {
        Upload(UnsyncBoxBody::new(Empty::new().map_err(|never| match never {})))
    }
}

impl From<Bytes> for Upload {
    fn from(bytes: Bytes) -> Upload {
        Upload::new(Full::new(bytes))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Any body with its data as [`Bytes`] and its errors boxed.
struct Plain<B>(Pin<Box<B>>);

impl<B> Body for Plain<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.0.as_mut().poll_frame(cx));
        let bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(bytes)).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

async fn collect(body: impl Body<Data = Bytes, Error = BoxError>, limit: usize) -> Result<Bytes, Status> {
    let mut body = pin!(body);
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    let mut length = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("failed to read the body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > limit {
            (first, rest) = Default::default();
            if length > MAX_DISCARDED {
                break;
            }
        } else if first.is_empty() {
            first = data;
        } else {
            // Copied together: a byte that came alone must not keep a buffer.
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    match length {
        _ if length > limit => Err(Status::too_large(format!("limit is {limit}"))),
        _ if rest.is_empty() => Ok(first),
        _ => Ok(rest.freeze()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::StreamBody;

    fn pieces(pieces: impl IntoIterator<Item = &'static str>) -> Upload {
        let frames: Vec<_> = pieces
            .into_iter()
            .map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        Upload::new(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_after_it_was_read() {
        assert_eq!(Upload::from(Bytes::from_static(b"abc")).read(3).await.unwrap(), "abc");
        let status = pieces(["ab", "cd", "ef"]).read(3).await.unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (413, "Request entity too large: limit is 3"));
    }

    #[tokio::test]
    async fn bytes_that_come_one_by_one_are_joined() {
        assert_eq!(pieces(["", "a", "", "b", "c"]).read(3).await.unwrap(), "abc");
        assert_eq!(pieces([]).read(3).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let endless = || Upload::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>()));
        let status = endless().read_within(Duration::from_millis(1), 3).await.unwrap_err();
        let message = "Timeout: the body of the request was not received in 1ms";
        assert_eq!((status.code, status.message.as_str()), (504, message));
        endless().discard().await;
    }
}
