//! Port-forward: pairs of a data and an error stream.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use coracle_runtime::cri::CriError;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{spdy, websocket};

/// The protocol of SPDY connections.
pub const SPDY_PROTOCOL: &str = "portforward.k8s.io";

/// Subprotocols of WebSocket connections: SPDY in a tunnel, or a channel pair a port.
pub const WEBSOCKET_PROTOCOLS: &[&str] =
    &["SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

/// Requests whose second stream has not come yet.
const MAX_PENDING: usize = 256;

/// Serves a SPDY connection until the client closes it; `connect` opens a port of the pod.
pub async fn serve_spdy<S, F, Fut>(io: S, connect: F)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    F: Fn(u16) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<TcpStream, CriError>> + Send + 'static,
{
    let connect = Arc::new(connect);
    let mut opened = spdy::serve(io);
    let mut halves: HashMap<String, spdy::Stream> = HashMap::new();
    while let Some(stream) = opened.recv().await {
        let header = |name: &str| stream.headers.get(name).cloned().unwrap_or_default();
        let (request, kind) = (header("requestid"), header("streamtype"));
        let Ok(port) = header("port").parse::<u16>() else { continue };
        // Clients that number no requests open their pair one after the other: error first.
        let request = if request.is_empty() { format!("{}", stream.id.div_ceil(4)) } else { request };
        let Some(other) = halves.remove(&request) else {
            if halves.len() < MAX_PENDING {
                halves.insert(request, stream);
            }
            continue;
        };
        let (data, error) = if kind == "data" { (stream, other) } else { (other, stream) };
        let connect = connect.clone();
        tokio::spawn(async move {
            let (reader, writer) = (data.read, data.write);
            forward(port, reader, writer, error.write, connect(port)).await;
        });
    }
}

/// Connects and copies both ways; a failure goes to the error stream.
async fn forward<R, W, E>(
    port: u16,
    mut reader: R,
    mut writer: W,
    mut error: E,
    connect: impl Future<Output = Result<TcpStream, CriError>>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    let failure = match connect.await {
        Ok(mut stream) => {
            let (mut from_pod, mut to_pod) = stream.split();
            let send = async {
                let result = tokio::io::copy(&mut reader, &mut to_pod).await;
                let _ = to_pod.shutdown().await;
                result
            };
            let receive = async {
                let result = tokio::io::copy(&mut from_pod, &mut writer).await;
                let _ = writer.shutdown().await;
                result
            };
            // Once the pod has ended its side nobody reads what the client might still send.
            tokio::pin!(send);
            let result = tokio::select! {
                result = receive => result,
                result = async {
                    match send.await {
                        Ok(_) => std::future::pending().await,
                        Err(error) => Err(error),
                    }
                } => result,
            };
            match result {
                // A reset is how many servers say that they are done.
                Err(cause)
                    if cause.kind() != std::io::ErrorKind::ConnectionReset
                        && cause.kind() != std::io::ErrorKind::BrokenPipe =>
                {
                    Some(cause.to_string())
                }
                _ => None,
            }
        }
        Err(cause) => Some(cause.to_string()),
    };
    if let Some(cause) = failure {
        let _ = error.write_all(format!("error forwarding port {port} to pod: {cause}").as_bytes()).await;
    }
    let _ = error.shutdown().await;
}

/// Serves a WebSocket connection until the client closes it. `ports` are those of the request, which only the
/// protocols of channels need: port number N has the channels 2N (data) and 2N+1 (errors).
pub async fn serve_websocket<S, F, Fut>(io: S, protocol: &str, ports: &[u16], connect: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(u16) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<TcpStream, CriError>> + Send + 'static,
{
    if protocol.starts_with("SPDY/3.1+") {
        return serve_spdy(websocket::bytes(io).await, connect).await;
    }
    let ports = &ports[..ports.len().min(127)];
    let inputs: Vec<u8> = (0..ports.len()).map(|index| 2 * index as u8).collect();
    let protocol = protocol.trim_start_matches("v4.");
    let mut channels = websocket::channels(io, protocol, &inputs).await;
    let mut tasks = tokio::task::JoinSet::new();
    for (index, port) in ports.iter().copied().enumerate() {
        let data = 2 * index as u8;
        // Each channel begins with its port, lower byte first.
        channels.send(data, port.to_le_bytes().to_vec()).await;
        channels.send(data + 1, port.to_le_bytes().to_vec()).await;
        let Some(reader) = channels.reader(data) else { continue };
        let (done, _) = tokio::sync::oneshot::channel();
        let writer = channels.writer(data, done);
        let (done, _) = tokio::sync::oneshot::channel();
        let error = channels.writer(data + 1, done);
        tasks.spawn(forward(port, reader, writer, error, connect(port)));
    }
    let closed = channels.closed.clone();
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => {}
        () = closed.cancelled() => tasks.abort_all(),
    }
    // The last messages leave before the connection does.
    drop(channels);
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{SinkExt, StreamExt};
    use tokio::io::AsyncReadExt;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::{Message, protocol::Role};

    /// A server that answers in capitals once its input ended.
    async fn shouter() -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 5];
                stream.read_exact(&mut buffer).await.unwrap();
                stream.write_all(&buffer.to_ascii_uppercase()).await.unwrap();
            }
        });
        port
    }

    async fn connect(port: u16) -> Result<TcpStream, CriError> {
        TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| CriError::Internal(error.to_string()))
    }

    async fn exchange(mut client: spdy::tests::Client) {
        let port = shouter().await.to_string();
        for (id, kind) in [(1, "error"), (3, "data")] {
            client.open(id, 0, &[("streamtype", kind), ("port", &port), ("requestid", "0")]).await;
        }
        client.send(3, b"hello", false).await;
        loop {
            let (id, data, _) = client.data().await;
            if id == 3 {
                assert_eq!(data, b"HELLO");
                break;
            }
        }
        for (id, kind) in [(5, "error"), (7, "data")] {
            client.open(id, 0, &[("streamtype", kind), ("port", "1"), ("requestid", "1")]).await;
        }
        loop {
            let (id, data, _) = client.data().await;
            if id == 5 {
                assert!(data.starts_with(b"error forwarding port 1 to pod: "));
                return;
            }
        }
    }

    #[tokio::test]
    async fn spdy_forwards_and_tells_failures() {
        let (client, server) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve_spdy(server, connect));
        exchange(spdy::tests::Client::new(client)).await;
    }

    #[tokio::test]
    async fn spdy_in_a_websocket_tunnel_forwards() {
        let (client, server) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve_websocket(server, "SPDY/3.1+portforward.k8s.io", &[], connect));
        let socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let (mut sink, mut source) = socket.split();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (mut reader, mut writer) = tokio::io::split(ours);
        tokio::spawn(async move {
            while let Some(Ok(message)) = source.next().await {
                writer.write_all(&message.into_data()).await.unwrap();
            }
        });
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                if sink.send(Message::Binary(buffer[..count].to_vec().into())).await.is_err() {
                    return;
                }
            }
        });
        exchange(spdy::tests::Client::new(theirs)).await;
    }

    #[tokio::test]
    async fn websocket_channels_begin_with_their_port() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let port = shouter().await;
        tokio::spawn(async move { serve_websocket(server, "v4.channel.k8s.io", &[port], connect).await });
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let [low, high] = port.to_le_bytes();
        assert_eq!(client.next().await.unwrap().unwrap().into_data()[..], [0, low, high]);
        assert_eq!(client.next().await.unwrap().unwrap().into_data()[..], [1, low, high]);
        client.send(Message::Binary(b"\0hello".to_vec().into())).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap().into_data()[..], *b"\0HELLO");
    }
}
