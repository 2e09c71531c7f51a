//! Watches and logs as messages of a WebSocket, for clients that live in a browser.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use coracle_api::status::Status;
use futures::{SinkExt, StreamExt};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use crate::audit::Trail;
use crate::body::Body;
use crate::context::Context;

const GOODBYE: Duration = Duration::from_secs(5);
/// The longest message that is taken, in bytes.
const MAX_SAID: usize = 4 << 10;

/// What of a stream becomes one message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A line of text: an event of a watch.
    Lines,
    /// Bytes as they come: a log.
    Bytes,
}

/// Whether a request asks for a WebSocket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The request without its wish for a WebSocket; the wish is answered with [`Wish::grant`].
pub fn take(cx: &mut Context<'_>) -> Option<Wish> {
    if !is_wanted(&cx.parts.headers) {
        return None;
    }
    let headers = cx.parts.headers.clone();
    let ours =
        |name: &HeaderName| *name == CONNECTION || *name == UPGRADE || name.as_str().starts_with("sec-websocket");
    for name in headers.keys().filter(|name| ours(name)) {
        cx.parts.headers.remove(name);
    }
    Some(Wish { headers, client: cx.parts.extensions.remove(), trail: cx.parts.extensions.remove() })
}

/// A client's wish for a WebSocket.
pub struct Wish {
    headers: HeaderMap,
    client: Option<OnUpgrade>,
    /// The request ends with the messages.
    trail: Option<Arc<Trail>>,
}

impl Wish {
    /// Sends the body of a response as messages. A response that is no success is answered as it is.
    ///
    /// # Errors
    /// 400 when the handshake is not one, or none of the offered subprotocols is spoken.
    pub fn grant(self, response: Response<Body>, framing: Framing) -> Result<Response<Body>, Status> {
        if !response.status().is_success() {
            return Ok(response);
        }
        let mut request = Request::new(());
        *request.headers_mut() = self.headers;
        let (parts, ()) =
            create_response(&request).map_err(|error| Status::bad_request(error.to_string()))?.into_parts();
        let mut switching = Response::from_parts(parts, Body::empty());
        let protocol = match framing {
            Framing::Lines => None,
            Framing::Bytes => protocol(request.headers())?,
        };
        if let Some(protocol) = protocol {
            switching.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        let is_text = response.headers().get(CONTENT_TYPE).is_some_and(|kind| !kind.as_bytes().ends_with(b"protobuf"));
        let message = move |data: Bytes| match (framing, protocol) {
            (Framing::Lines, _) if is_text => Message::text(String::from_utf8_lossy(&data).into_owned()),
            (Framing::Bytes, Some("base64.binary.k8s.io")) => Message::text(STANDARD.encode(data)),
            _ => Message::binary(data),
        };
        let client = self.client.ok_or_else(|| Status::bad_request("Upgrade request required"))?;
        let trail = self.trail;
        tokio::spawn(async move {
            let _trail = trail;
            let Ok(client) = client.await else { return };
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, Some(limits())).await;
            pump(socket, response.into_body(), framing, message).await;
        });
        Ok(switching)
    }
}

/// The first subprotocol that both speak; none when the client offers none.
fn protocol(headers: &HeaderMap) -> Result<Option<&'static str>, Status> {
    const OURS: [&str; 2] = ["binary.k8s.io", "base64.binary.k8s.io"];
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    if offered.is_empty() {
        return Ok(None);
    }
    let spoken = offered.iter().find_map(|name| OURS.iter().find(|own| *own == name)).copied();
    spoken.map(Some).ok_or_else(|| {
        Status::bad_request(format!("requested protocol(s) are not supported: {offered:?}; supports {OURS:?}"))
    })
}

/// A client of these says nothing but pings and goodbye.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_SAID))
        .max_frame_size(Some(MAX_SAID))
        .read_buffer_size(MAX_SAID)
}

async fn pump<S>(socket: WebSocketStream<S>, mut body: Body, framing: Framing, message: impl Fn(Bytes) -> Message)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sink, mut source) = socket.split();
    let mut left = BytesMut::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // What the client says is read for its pings and its end only.
            said = source.next() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => continue,
            },
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            None => break,
            Some(Err(error)) => {
                tracing::debug!(%error, "what a WebSocket shows broke off");
                let broken = CloseFrame { code: CloseCode::Error, reason: "the answer broke off".into() };
                let _ = sink.send(Message::Close(Some(broken))).await;
                return;
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        let sent = match framing {
            Framing::Bytes => sink.send(message(data)).await,
            Framing::Lines => {
                left.extend_from_slice(&data);
                let mut sent = Ok(());
                while let Some(end) = left.iter().position(|byte| *byte == b'\n') {
                    sent = sent.and(sink.send(message(left.split_to(end + 1).freeze())).await);
                }
                sent
            }
        };
        if sent.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
    // The client says goodbye too; without that it would see a broken connection.
    let _ = tokio::time::timeout(GOODBYE, async { while let Some(Ok(_)) = source.next().await {} }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_protocol_that_both_speak_is_taken() {
        let of = |offered: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(offered).unwrap());
            protocol(&headers)
        };
        assert_eq!(protocol(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of("v9, base64.binary.k8s.io, binary.k8s.io").unwrap(), Some("base64.binary.k8s.io"));
        assert_eq!(of("v9").unwrap_err().code, 400);
    }

    #[tokio::test]
    async fn lines_become_messages_even_when_they_come_in_parts() {
        let (client, server) = tokio::io::duplex(1024);
        let body =
            Body::stream(futures::stream::iter(["{1}\n{", "2}\n"].map(|text| Bytes::from_static(text.as_bytes()))));
        let server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        tokio::spawn(pump(server, body, Framing::Lines, |data| {
            Message::text(String::from_utf8_lossy(&data).into_owned())
        }));
        let messages: Vec<_> = client.map(Result::unwrap).collect().await;
        assert_eq!(messages[..2], [Message::text("{1}\n"), Message::text("{2}\n")]);
        assert!(messages[2].is_close());
    }
}
