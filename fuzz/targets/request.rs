//! Whole requests to a server in this process: the first byte says who asks, then come a line of method and path, lines of
//! header fields, an empty line and the body. Whatever is asked, the server answers, and never that it failed.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use coracle_apiserver::auth::User;
use coracle_apiserver::{Config, Server};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// How long a stream without end is read.
const STREAM: Duration = Duration::from_millis(5);
/// Upstream answers an apply of what does not fit its schema with 500, and so do we.
const WITHOUT_REASON: &str = "failed to create typed patch object";
/// An answer that takes longer is a hang.
const ANSWER: Duration = Duration::from_secs(20);

static WORLD: LazyLock<(Runtime, Server, tempfile::TempDir)> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let server = runtime.block_on(server(&dir));
    (runtime, server, dir)
});

async fn server(dir: &tempfile::TempDir) -> Server {
    let config = Config::in_directory(dir.path()).expect("a configuration");
    Server::new(config).await.expect("a server")
}

fn parse(text: &[u8]) -> Option<Request<Full<Bytes>>> {
    let end = text.windows(2).position(|two| two == b"\n\n").unwrap_or(text.len());
    let mut lines = text[..end].split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, path) = first.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(path);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        request = request.header(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    let body = text.get(end + 2..).unwrap_or_default().to_vec();
    request.body(Full::new(body.into())).ok().filter(|request| request.uri().path().starts_with('/'))
}

fuzz_target!(|data: &[u8]| {
    let [who, text @ ..] = data else { return };
    let Some(request) = parse(text) else { return };
    let user = match who % 4 {
        0 => None,
        1 => Some(User::new("system:node:a", &["system:nodes", "system:authenticated"])),
        2 => Some(User::new("eve", &["system:authenticated"])),
        _ => Some(User::new("admin", &["system:masters"])),
    };
    let (runtime, server, _) = &*WORLD;
    runtime.block_on(async {
        let answer = timeout(ANSWER, server.handle(request, user.map(Arc::new))).await.expect("an answer in time");
        // Nodes, services and other servers that are asked on a client's behalf may be away.
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        let mut start = Vec::new();
        while let Ok(Some(Ok(frame))) = timeout(STREAM, body.frame()).await {
            start.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..data.len().min(2000)]));
            if start.len() > 1 << 16 {
                break;
            }
        }
        let start = String::from_utf8_lossy(&start);
        let is_failure = status == 500 && !start.contains(WITHOUT_REASON) || matches!(status, 501 | 505..);
        assert!(!is_failure, "{status}: {start}");
    });
});
