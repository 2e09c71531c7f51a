//! Bodies of responses: one piece, a list made piece by piece, or a stream without end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use http_body_util::BodyStream;

/// Why a body broke off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response.
pub enum Body {
    /// All of it.
    Full(Option<Bytes>),
    /// Pieces made when the connection can take them, with their total length.
    Pieces(Box<dyn Iterator<Item = Bytes> + Send>, u64),
    /// Pieces, and trailers, that come when they come. An error breaks the connection or stream off, so that the
    /// client does not take what it has for everything.
    Stream(Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, BoxError>> + Send>>),
}

impl Body {
    /// No body.
    pub fn empty() -> Body {
        Body::Full(None)
    }

    /// A stream of pieces.
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Body {
        Body::Stream(Box::pin(stream.map(|piece| Ok(Frame::data(piece)))))
    }

    /// The same, and something that is kept until all of a stream was sent, or nobody takes it any more.
    pub fn with(self, kept: impl Send + 'static) -> Body {
        match self {
            Body::Stream(stream) => Body::Stream(Box::pin(stream.inspect(move |_| {
                let _ = &kept;
            }))),
            other => other,
        }
    }

    /// Another's answer, passed on with its trailers and its end, good or bad.
    pub fn passed_on<B>(body: B) -> Body
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Body::Stream(Box::pin(BodyStream::new(body).map(|frame| frame.map_err(Into::into))))
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Body {
        Body::Full(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = match self.get_mut() {
            Body::Full(bytes) => bytes.take(),
            Body::Pieces(pieces, left) => {
                let piece = pieces.next();
                *left = left.saturating_sub(piece.as_ref().map_or(0, |piece| piece.len() as u64));
                piece
            }
            Body::Stream(stream) => return stream.as_mut().poll_next(cx),
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
    use http_body_util::{BodyExt, StreamBody};

    #[test]
    fn the_answer_to_a_head_keeps_the_length_and_drops_the_body() {
        let answer = headers_only(Response::new(Body::Full(Some(Bytes::from_static(b"abc")))));
        assert_eq!(answer.headers()[CONTENT_LENGTH], "3");
        assert!(http_body::Body::is_end_stream(answer.body()));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_no_answer_that_ends() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err(BoxError::from("broken"))];
        let mut body = Body::passed_on(StreamBody::new(futures::stream::iter(frames)));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "broken");
    }

    #[tokio::test]
    async fn trailers_are_passed_on() {
        let trailers = http::HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        let frames = [Ok::<_, BoxError>(Frame::trailers(trailers.clone()))];
        let mut body = Body::passed_on(StreamBody::new(futures::stream::iter(frames)));
        assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    }
}
