//! WebSocket: the upgrade, multiplexed channels, and plain bytes.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// Bytes that wait between two tasks.
const BUFFER: usize = 64 << 10;
const MAX_MESSAGE: usize = 1 << 20;
const MAX_DATA: usize = 32 << 10;
/// The channel of v5 whose one byte names a channel that the client closed.
const CLOSE_CHANNEL: u8 = 255;

/// Whether a request asks for a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    has(http::header::CONNECTION, "upgrade") && has(http::header::UPGRADE, "websocket")
}

/// The first subprotocol of ours that the client offers; an empty one when it offers none at all.
pub fn choose_protocol(headers: &HeaderMap, ours: &[&'static str]) -> Option<&'static str> {
    let offered: Vec<&str> = headers
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    if offered.is_empty() {
        return Some("");
    }
    offered.iter().find_map(|name| ours.iter().find(|known| *known == name)).copied()
}

/// The value of `Sec-WebSocket-Accept`.
pub fn accept_key(headers: &HeaderMap) -> Option<String> {
    headers.get("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()))
}

async fn accept<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// A connection that carries numbered channels.
pub struct Channels {
    readers: HashMap<u8, DuplexStream>,
    out: mpsc::Sender<(u8, Bytes)>,
    /// Ends with the connection.
    pub closed: tokio_util::sync::CancellationToken,
}

impl Channels {
    /// What the client sends on a channel; once.
    pub fn reader(&mut self, channel: u8) -> Option<DuplexStream> {
        self.readers.remove(&channel)
    }

    /// Sends to a channel; `done` hears when everything written was handed on, after the writer is dropped.
    pub fn writer(&self, channel: u8, done: oneshot::Sender<()>) -> DuplexStream {
        let (mut reader, writer) = tokio::io::duplex(BUFFER);
        let out = self.out.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; MAX_DATA];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                if out.send((channel, Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                    return;
                }
            }
            let _ = done.send(());
        });
        writer
    }

    /// Sends one message to a channel, after everything that was sent with this method before.
    pub async fn send(&self, channel: u8, data: impl Into<Bytes>) {
        let _ = self.out.send((channel, data.into())).await;
    }
}

/// Serves channels; the client may write to those in `inputs`. Messages of base64 protocols are text.
pub async fn channels<S>(io: S, protocol: &str, inputs: &[u8]) -> Channels
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = protocol.starts_with("base64.");
    let (mut sink, mut source) = accept(io).await.split();
    let (out, mut outgoing) = mpsc::channel::<(u8, Bytes)>(16);
    let closed = tokio_util::sync::CancellationToken::new();
    let mut readers = HashMap::new();
    let mut writers: HashMap<u8, DuplexStream> = HashMap::new();
    for channel in inputs {
        let (reader, writer) = tokio::io::duplex(BUFFER);
        readers.insert(*channel, reader);
        writers.insert(*channel, writer);
    }
    let (pongs, mut pings) = mpsc::channel::<Bytes>(4);
    let ended = closed.clone();
    tokio::spawn(async move {
        let _end = ended.drop_guard();
        while let Some(Ok(message)) = source.next().await {
            let data = match message {
                Message::Binary(data) => data,
                Message::Text(line) if text => {
                    let line = line.as_bytes();
                    let decoded = line.get(1..).and_then(|rest| STANDARD.decode(rest).ok());
                    let (Some(channel), Some(decoded)) = (line.first(), decoded) else { return };
                    let mut data = vec![channel.wrapping_sub(b'0')];
                    data.extend(decoded);
                    data.into()
                }
                Message::Text(line) => Bytes::copy_from_slice(line.as_bytes()),
                Message::Ping(data) => {
                    let _ = pongs.try_send(data);
                    continue;
                }
                Message::Close(_) => return,
                _ => continue,
            };
            let Some(channel) = data.first().copied() else { continue };
            if channel == CLOSE_CHANNEL {
                data.get(1).and_then(|channel| writers.remove(channel));
            } else if let Some(writer) = writers.get_mut(&channel)
                && data.len() > 1
                && writer.write_all(&data[1..]).await.is_err()
            {
                writers.remove(&channel);
            }
        }
    });
    let ended = closed.clone();
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                next = outgoing.recv() => match next {
                    Some((channel, data)) if text => {
                        let mut line = String::with_capacity(data.len() * 2);
                        line.push(char::from(b'0'.wrapping_add(channel)));
                        line.push_str(&STANDARD.encode(&data));
                        Message::Text(line.into())
                    }
                    Some((channel, data)) => {
                        let mut framed = Vec::with_capacity(data.len() + 1);
                        framed.push(channel);
                        framed.extend_from_slice(&data);
                        Message::Binary(framed.into())
                    }
                    None => break,
                },
                Some(data) = pings.recv() => Message::Pong(data),
                () = ended.cancelled() => return,
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.send(normal_close()).await;
        let _ = sink.close().await;
    });
    Channels { readers, out, closed }
}

/// Clients take any other code, and none, for a failure.
fn normal_close() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// The bytes of all messages as one stream, for protocols tunnelled through WebSocket.
pub async fn bytes<S>(io: S) -> DuplexStream
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut source) = accept(io).await.split();
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let (mut reader, mut writer) = tokio::io::split(ours);
    let (pongs, mut pings) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(data) => {
                    let Ok(()) = writer.write_all(&data).await else { return };
                }
                Message::Ping(data) => {
                    let _ = pongs.try_send(data);
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
        let _ = writer.shutdown().await;
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; MAX_DATA];
        loop {
            let message = tokio::select! {
                count = reader.read(&mut buffer) => match count {
                    Ok(count @ 1..) => Message::Binary(Bytes::copy_from_slice(&buffer[..count])),
                    _ => break,
                },
                Some(data) = pings.recv() => Message::Pong(data),
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.send(normal_close()).await;
        let _ = sink.close().await;
    });
    theirs
}
