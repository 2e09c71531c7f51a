//! Probes of the gRPC health service (`grpc.health.v1.Health/Check`), by a single hand-written HTTP/2 call.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Outcome, tcp};

/// Passes when the service says SERVING in time.
pub(crate) async fn probe(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let failed = |cause: &str| {
        Outcome::Failure(format!("timeout: failed to connect service {shown:?} within {}s: {cause}", timeout.as_secs()))
    };
    match tokio::time::timeout(timeout, check(host, port, &shown, service, timeout)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => failed(&error),
        Err(_) => failed("context deadline exceeded"),
    }
}

async fn check(host: &str, port: u16, authority: &str, service: &str, timeout: Duration) -> Result<Outcome, String> {
    let text = |error: hyper::Error| error.to_string();
    let stream = tcp::dial(host, port, timeout).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(text)?;
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.35")
        .body(Full::new(message(service)))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(text);
    let result = async {
        let (parts, body) = response?.into_parts();
        let body = Limited::new(body, 4096).collect().await.map_err(|error| error.to_string())?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(verdict(&parts.headers, &trailers, &body.to_bytes(), service))
    }
    .await;
    driver.abort();
    result
}

/// A length-prefixed `HealthCheckRequest`: field 1 is the service's name.
fn message(service: &str) -> Bytes {
    let mut body = BytesMut::new();
    if !service.is_empty() {
        body.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            body.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        body.put_u8(length as u8);
        body.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(body.len() + 5);
    framed.put_u8(0);
    framed.put_u32(body.len() as u32);
    framed.extend_from_slice(&body);
    framed.freeze()
}

fn verdict(headers: &HeaderMap, trailers: &HeaderMap, body: &[u8], service: &str) -> Outcome {
    let field = |name: &str| {
        trailers.get(name).or_else(|| headers.get(name)).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    match field("grpc-status") {
        "0" => {}
        "12" => {
            return Outcome::Failure(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                field("grpc-message")
            ));
        }
        code => {
            return Outcome::Failure(format!(
                "rpc error: code = {code} desc = {} (service {service:?})",
                field("grpc-message")
            ));
        }
    }
    // HealthCheckResponse: field 1 is the status.
    match body.get(5..) {
        Some([0x08, 1, ..]) => Outcome::Success,
        Some([0x08, 2, ..]) => Outcome::Failure("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        Some([0x08, 3, ..]) => Outcome::Failure("service unhealthy (responded with \"SERVICE_UNKNOWN\")".to_owned()),
        _ => Outcome::Failure("service unhealthy (responded with \"UNKNOWN\")".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_read() {
        let ok = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let none = HeaderMap::new();
        assert_eq!(verdict(&none, &ok, &[0, 0, 0, 0, 2, 8, 1], ""), Outcome::Success);
        assert!(
            matches!(verdict(&none, &ok, &[0, 0, 0, 0, 2, 8, 2], ""), Outcome::Failure(text) if text.contains("NOT_SERVING"))
        );
        assert!(matches!(verdict(&none, &ok, &[], ""), Outcome::Failure(_)));
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    }
}
