//! Exec and attach: the remote-command protocols v1 to v5.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use coracle_runtime::cri::{CriError, Streams, TerminalSize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use super::{spdy, websocket};

/// Subprotocols of WebSocket connections, the best first.
pub const WEBSOCKET_PROTOCOLS: &[&str] =
    &["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io", "v4.base64.channel.k8s.io", "base64.channel.k8s.io"];

/// Protocols of SPDY connections, the best first.
pub const SPDY_PROTOCOLS: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// How long a SPDY client may take to open its streams.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// It sends input.
    pub stdin: bool,
    /// It wants output.
    pub stdout: bool,
    /// It wants errors.
    pub stderr: bool,
    /// It has a terminal: errors come with the output.
    pub tty: bool,
}

/// The status a session ends with, as protocols from v4 tell it.
pub fn status(result: &Result<i32, CriError>) -> serde_json::Value {
    match result {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(error) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("Internal error occurred: {error}"),
            "reason": "InternalError",
            "details": {"causes": [{"message": error.to_string()}]},
            "code": 500,
        }),
    }
}

/// What is written to the error stream; older protocols know only text, and nothing on success.
fn last_words(protocol: &str, result: &Result<i32, CriError>) -> String {
    if protocol.starts_with("v4.") || protocol.starts_with("v5.") {
        return status(result).to_string();
    }
    match result {
        Ok(0) => String::new(),
        Ok(code) => format!("command terminated with non-zero exit code: exit status {code}"),
        Err(error) => error.to_string(),
    }
}

/// Reads terminal sizes, one JSON object after the other. Without a reader there are none.
fn sizes(reader: Option<impl AsyncRead + Send + Unpin + 'static>) -> mpsc::Receiver<TerminalSize> {
    let (sender, receiver) = mpsc::channel(4);
    let Some(reader) = reader else { return receiver };
    tokio::spawn(async move {
        let mut reader = BufReader::new(reader);
        let mut text = Vec::new();
        loop {
            text.clear();
            match reader.read_until(b'}', &mut text).await {
                Ok(1..=256) => {}
                _ => return,
            }
            if let Ok(size) = serde_json::from_slice(&text)
                && sender.send(size).await.is_err()
            {
                return;
            }
        }
    });
    receiver
}

/// Serves a session over WebSocket: `run` gets the streams and answers with the exit code. When the client goes,
/// its input ends.
pub async fn serve_websocket<S, F, Fut>(io: S, protocol: &str, options: Options, run: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: FnOnce(Streams) -> Fut,
    Fut: Future<Output = Result<i32, CriError>>,
{
    let mut channels = websocket::channels(io, protocol, &[STDIN, RESIZE]).await;
    // An empty message tells the client that the connection stands.
    if let Some(channel) =
        [(options.stdout, STDOUT), (options.stderr, STDERR)].iter().find(|(wanted, _)| *wanted).map(|(_, c)| *c)
    {
        channels.send(channel, "").await;
    }
    let (stdout, stdout_done) = output(&channels, STDOUT);
    let (stderr, stderr_done) = output(&channels, STDERR);
    let stdin = channels.reader(STDIN);
    let resize = channels.reader(RESIZE).filter(|_| options.tty);
    let streams = Streams {
        stdin: stdin.filter(|_| options.stdin).map(|reader| Box::new(reader) as _),
        stdout: options.stdout.then_some(stdout),
        stderr: (options.stderr && !options.tty).then_some(stderr),
        resize: sizes(resize),
    };
    let closed = channels.closed.clone();
    let result = tokio::select! {
        result = run(streams) => result,
        () = closed.cancelled() => return,
    };
    // What the process wrote goes before its status.
    let _ = tokio::join!(stdout_done, stderr_done);
    let words = last_words(protocol, &result);
    if !words.is_empty() {
        channels.send(ERROR, words).await;
    }
}

/// A writer to a channel, and what resolves once everything written to it was handed on.
fn output(
    channels: &websocket::Channels,
    channel: u8,
) -> (Box<dyn AsyncWrite + Send + Unpin>, tokio::sync::oneshot::Receiver<()>) {
    let (done, handed_on) = tokio::sync::oneshot::channel();
    (Box::new(channels.writer(channel, done)), handed_on)
}

/// Serves a session over SPDY, as [`serve_websocket`].
pub async fn serve_spdy<S, F, Fut>(io: S, protocol: &str, options: Options, run: F)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    F: FnOnce(Streams) -> Fut,
    Fut: Future<Output = Result<i32, CriError>>,
{
    let mut opened = spdy::serve(io);
    let mut wanted = vec!["error"];
    if options.stdin {
        wanted.push("stdin");
    }
    if options.stdout {
        wanted.push("stdout");
    }
    if options.stderr && !options.tty {
        wanted.push("stderr");
    }
    if options.tty && (protocol.starts_with("v3.") || protocol.starts_with("v4.")) {
        wanted.push("resize");
    }
    let mut streams: HashMap<String, spdy::Stream> = HashMap::new();
    let all = async {
        while streams.len() < wanted.len() {
            let Some(stream) = opened.recv().await else { return false };
            let kind = stream.headers.get("streamtype").cloned().unwrap_or_default();
            if !wanted.contains(&kind.as_str()) {
                tracing::debug!(kind, "a client opened a stream of an unknown type");
                return false;
            }
            streams.insert(kind, stream);
        }
        true
    };
    if !tokio::time::timeout(OPEN_TIMEOUT, all).await.unwrap_or(false) {
        return;
    }
    let mut take = |kind: &str| streams.remove(kind);
    let resize = take("resize").map(|stream| stream.read);
    // Clients take the end of this half for the end of their input.
    let (stdin, input_open) = take("stdin").map(|stream| (stream.read, stream.write)).unzip();
    let session = Streams {
        stdin: stdin.map(|stdin| Box::new(stdin) as _),
        stdout: take("stdout").map(|stream| Box::new(stream.write) as _),
        stderr: take("stderr").map(|stream| Box::new(stream.write) as _),
        resize: sizes(resize),
    };
    let Some(mut error) = take("error") else { return };
    let result = tokio::select! {
        result = run(session) => result,
        // The client opens nothing further: this ends only with the connection.
        () = async { while opened.recv().await.is_some() {} } => return,
    };
    drop(input_open);
    let _ = error.write.write_all(last_words(protocol, &result).as_bytes()).await;
    let _ = error.write.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{SinkExt, StreamExt};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::{Message, protocol::Role};

    async fn echo(streams: Streams) -> Result<i32, CriError> {
        let (mut stdin, mut stdout) = (streams.stdin.unwrap(), streams.stdout.unwrap());
        tokio::io::copy(&mut stdin, &mut stdout).await.unwrap();
        Ok(3)
    }

    const BOTH: Options = Options { stdin: true, stdout: true, stderr: false, tty: false };

    #[test]
    fn an_exit_code_is_told_as_upstream_tells_it() {
        let failed = status(&Ok(3));
        assert_eq!(failed["message"], "command terminated with non-zero exit code: exit status 3");
        assert_eq!(failed["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        assert_eq!(status(&Ok(0))["status"], "Success");
    }

    #[tokio::test]
    async fn websocket_v5_closes_input_and_sends_the_status_last() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let task = tokio::spawn(serve_websocket(server, "v5.channel.k8s.io", BOTH, echo));
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        client.send(Message::Binary(b"\0hello".to_vec().into())).await.unwrap();
        client.send(Message::Binary(vec![255, 0].into())).await.unwrap();
        let mut received: Vec<Vec<u8>> = Vec::new();
        while let Some(Ok(Message::Binary(data))) = client.next().await {
            received.push(data.to_vec());
        }
        assert_eq!(received[0], [1]);
        assert_eq!(received[1], b"\x01hello");
        assert!(received[2].starts_with(b"\x03{") && String::from_utf8_lossy(&received[2]).contains("NonZeroExitCode"));
        task.await.unwrap();
    }

    #[tokio::test]
    async fn websocket_base64_is_text() {
        let (client, server) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve_websocket(server, "base64.channel.k8s.io", BOTH, |streams| async move {
            streams.stdout.unwrap().write_all(b"hi").await.unwrap();
            Ok(0)
        }));
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Text("1".into()));
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Text("1aGk=".into()));
    }

    #[tokio::test]
    async fn spdy_v4_ends_with_a_status_on_the_error_stream() {
        let (client, server) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve_spdy(server, "v4.channel.k8s.io", BOTH, echo));
        let mut client = spdy::tests::Client::new(client);
        for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
            client.open(id, 0, &[("streamType", kind)]).await;
        }
        client.send(3, b"hel", false).await;
        let mut text = HashMap::<u32, Vec<u8>>::new();
        let mut finished = 0;
        let mut input_open = true;
        while finished < 2 {
            let (id, data, fin) = client.data().await;
            text.entry(id).or_default().extend(data);
            if text.get(&5).is_some_and(|text| text == b"hel") && input_open {
                client.send(3, b"lo", true).await;
                input_open = false;
            }
            assert!(!(fin && id == 3 && input_open), "the client would end its input");
            finished += usize::from(fin && id != 3);
        }
        assert_eq!(text[&5], b"hello");
        assert!(String::from_utf8_lossy(&text[&1]).contains("exit status 3"));
    }
}
