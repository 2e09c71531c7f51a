//! Bodies: of requests, read whole; of responses, one piece, a list made piece by piece, or a stream without end.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use coracle_api::status::Status;
use futures::Stream;
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// The body of a response.
pub enum Body {
    /// All of it.
    Full(Option<Bytes>),
    /// Pieces made when the connection can take them, with their total length.
    Pieces(Box<dyn Iterator<Item = Bytes> + Send>, u64),
    /// Pieces that come when they come.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl Body {
    /// No body.
    pub fn empty() -> Body {
        Body::Full(None)
    }

    /// A stream of pieces.
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Body {
        Body::Stream(Box::pin(stream))
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Body {
        Body::Full(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Body::Full(bytes) => bytes.take(),
            Body::Pieces(pieces, left) => {
                let piece = pieces.next();
                *left = left.saturating_sub(piece.as_ref().map_or(0, |piece| piece.len() as u64));
                piece
            }
            Body::Stream(stream) => std::task::ready!(stream.as_mut().poll_next(cx)),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::Pieces(_, left) => *left == 0,
            Body::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::Pieces(_, left) => SizeHint::with_exact(*left),
            Body::Stream(_) => SizeHint::default(),
        }
    }
}

/// Bytes of a body that is too large which are read and thrown away, so that its sender comes to read the answer.
const MAX_DISCARDED: usize = 64 << 20;

/// The whole of a request's body.
///
/// # Errors
/// 413 when it is longer than `limit` bytes, 400 when it breaks off.
pub async fn read<B>(body: B, limit: usize) -> Result<Bytes, Status>
where
    B: http_body::Body + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut length = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("failed to read the body: {}", error.into())))?;
        let Ok(mut data) = frame.into_data() else { continue };
        length = length.saturating_add(data.remaining());
        if length <= limit {
            pieces.push(data.copy_to_bytes(data.remaining()));
        } else if length > MAX_DISCARDED {
            break;
        } else {
            pieces.clear();
        }
    }
    if length > limit {
        return Err(Status::too_large(format!("limit is {limit}")));
    }
    Ok(if pieces.len() == 1 { pieces.remove(0) } else { pieces.concat().into() })
}

/// The answer to a HEAD: that to the GET without its body. HTTP/2 leaves this to the server.
pub fn headers_only(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact() {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Body::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_after_it_was_read() {
        assert_eq!(read(Full::new(Bytes::from_static(b"abc")), 3).await.unwrap(), "abc");
        let status = read(Full::new(Bytes::from_static(b"abcd")), 3).await.unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (413, "Request entity too large: limit is 3"));
    }

    #[test]
    fn the_answer_to_a_head_keeps_the_length_and_drops_the_body() {
        let answer = headers_only(Response::new(Body::Full(Some(Bytes::from_static(b"abc")))));
        assert_eq!(answer.headers()[CONTENT_LENGTH], "3");
        assert!(http_body::Body::is_end_stream(answer.body()));
    }
}
