//! Large answers in fewer bytes, for clients that take them so.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#compressing-responses>

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http::request::Parts;
use http::{Method, Response};

use crate::body::Body;

/// Answers of fewer bytes stay as they are.
const SMALLEST: u64 = 128 << 10;
/// Bytes that are compressed at a time.
const PIECE: usize = 64 << 10;

/// Whether who asks takes gzip.
pub fn is_wanted(parts: &Parts) -> bool {
    let named = parts.headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    parts.method == Method::GET && named.flat_map(|list| list.split(',')).any(takes_gzip)
}

/// Whether one of the encodings is gzip, and not with the weight that says no.
fn takes_gzip(encoding: &str) -> bool {
    let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
    let is_refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
    name.trim().eq_ignore_ascii_case("gzip") && !is_refused
}

/// The same answer, compressed while the connection takes it, if it is large. Streams stay as they are.
pub fn compressed(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let is_large = http_body::Body::size_hint(&body).exact().is_some_and(|length| length >= SMALLEST);
    let pieces: Box<dyn Iterator<Item = Bytes> + Send> = match body {
        Body::Full(Some(bytes)) if is_large && parts.status.is_success() => Box::new(Chunks(bytes)),
        Body::Pieces(pieces, _) if is_large && parts.status.is_success() => pieces,
        body => return Response::from_parts(parts, body),
    };
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(CONTENT_LENGTH);
    let encoder = GzEncoder::new(Vec::with_capacity(PIECE), Compression::fast());
    Response::from_parts(parts, Body::stream(stream::iter(Gzip { pieces, encoder: Some(encoder) })))
}

/// Parts of some bytes.
struct Chunks(Bytes);

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let chunk = self.0.split_to(PIECE.min(self.0.len()));
        Some(chunk).filter(|chunk| !chunk.is_empty())
    }
}

struct Gzip {
    pieces: Box<dyn Iterator<Item = Bytes> + Send>,
    /// Nothing once all is written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Iterator for Gzip {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let encoder = self.encoder.as_mut()?;
            // Writing into memory does not fail.
            match self.pieces.next() {
                Some(piece) => encoder.write_all(&piece).ok()?,
                None => return self.encoder.take()?.finish().ok().map(Bytes::from),
            }
            if !encoder.get_ref().is_empty() {
                return Some(std::mem::take(encoder.get_mut()).into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    async fn read(response: Response<Body>) -> Vec<u8> {
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut out).expect("gzip");
        out
    }

    #[tokio::test]
    async fn large_answers_are_compressed_whether_they_are_whole_or_in_pieces() {
        let text: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
        let whole = compressed(Response::new(Bytes::from(text.clone()).into()));
        assert_eq!(
            (&whole.headers()[CONTENT_ENCODING], &whole.headers()[VARY]),
            (&"gzip".parse().unwrap(), &"Accept-Encoding".parse().unwrap())
        );
        assert_eq!(read(whole).await, text);
        let pieces: Vec<Bytes> = text.chunks(1000).map(Bytes::copy_from_slice).collect();
        let body = Body::Pieces(Box::new(pieces.into_iter()), text.len() as u64);
        assert_eq!(read(compressed(Response::new(body))).await, text);
        let small = compressed(Response::new(Bytes::from(text[..SMALLEST as usize - 1].to_vec()).into()));
        assert!(small.headers().is_empty());
    }

    #[test]
    fn who_asks_says_so() {
        let wants = |method: &str, value: &str| {
            let request = http::Request::builder().method(method).header(ACCEPT_ENCODING, value).body(());
            is_wanted(&request.expect("a request").into_parts().0)
        };
        assert!(wants("GET", "gzip") && wants("GET", "br, gzip;q=0.5"));
        assert!(!wants("GET", "gzip;q=0") && !wants("GET", "identity") && !wants("POST", "gzip"));
    }
}
