//! Probes that make an HTTP request.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use coracle_pki::{Trust, client_config};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Outcome, tcp};

const MAX_BODY: usize = 10 << 10;
const MAX_REDIRECTS: usize = 10;

/// Passes on 200 to 399. Redirects are followed on the same host; one to another host passes with a warning.
pub(crate) async fn probe(action: &HTTPGetAction, host: &str, port: u16, timeout: Duration) -> Outcome {
    let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let shown_host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = format!("{scheme}://{shown_host}:{port}{path}");
    let attempt = async {
        let mut uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        for _ in 0..=MAX_REDIRECTS {
            let response = get(&uri, action, timeout).await?;
            let status = response.status();
            let location =
                response.headers().get(http::header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            match location.filter(|_| redirects) {
                Some(location) => {
                    let next = resolve(&uri, &location)
                        .ok_or_else(|| format!("failed to parse Location header {location:?}"))?;
                    if next.host() != uri.host() {
                        return Ok(Outcome::Warning("Probe terminated redirects, Response body: ".to_owned()));
                    }
                    uri = next;
                }
                None if status.is_success() || status.is_redirection() => return Ok(Outcome::Success),
                None => return Ok(Outcome::Failure(format!("HTTP probe failed with statuscode: {}", status.as_u16()))),
            }
        }
        Err("stopped after 10 redirects".to_owned())
    };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failure(format!("Get {url:?}: {error}")),
        Err(_) => Outcome::Failure(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    if location.contains("://") {
        return location.parse().ok();
    }
    let path = if location.starts_with('/') {
        location.to_owned()
    } else {
        let (dir, _) = base.path().rsplit_once('/')?;
        format!("{dir}/{location}")
    };
    format!("{}://{}{path}", base.scheme_str()?, base.authority()?).parse().ok()
}

/// One GET on a connection of its own.
pub(crate) async fn get(uri: &Uri, action: &HTTPGetAction, timeout: Duration) -> Result<Response<()>, String> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let stream = tcp::dial(host, port, timeout).await?;
    if https {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream = tokio_rustls::TlsConnector::from(unverified())
            .connect(name, stream)
            .await
            .map_err(|error| error.to_string())?;
        request(stream, uri, action).await
    } else {
        request(stream, uri, action).await
    }
}

async fn request<S>(stream: S, uri: &Uri, action: &HTTPGetAction) -> Result<Response<()>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::get(path);
    let mut named = (false, false, false);
    for header in action.http_headers.iter().flatten() {
        named.0 |= header.name.eq_ignore_ascii_case("host");
        named.1 |= header.name.eq_ignore_ascii_case("user-agent");
        named.2 |= header.name.eq_ignore_ascii_case("accept");
        // An empty value of Accept or User-Agent removes the header, as upstream's prober does.
        if !header.value.is_empty() {
            builder = builder.header(&header.name, &header.value);
        }
    }
    if !named.0 {
        builder = builder.header("Host", uri.authority().map_or("", |authority| authority.as_str()));
    }
    if !named.1 {
        builder = builder.header("User-Agent", "kube-probe/1.35");
    }
    if !named.2 {
        builder = builder.header("Accept", "*/*");
    }
    let request =
        builder.header("Connection", "close").body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() });
    let result = match response {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            // A longer body is cut: only the status counts.
            let _ = Limited::new(body, MAX_BODY).collect().await;
            Ok(Response::from_parts(parts, ()))
        }
        Err(error) => Err(error),
    };
    driver.abort();
    result
}

/// Probes ask whether a server answers, not who it is.
fn unverified() -> Arc<rustls::ClientConfig> {
    static CONFIG: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| {
        Arc::new(client_config(Trust::Anybody, None).expect("ring supports the default protocol versions"))
    });
    CONFIG.clone()
}

/// Whether a hook's answer counts as success.
pub(crate) fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn serve(answers: &'static [&'static str]) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    async fn outcome(answers: &'static [&'static str]) -> Outcome {
        let port = serve(answers).await;
        let action = HTTPGetAction { path: Some("/x".into()), ..Default::default() };
        probe(&action, "127.0.0.1", port, Duration::from_secs(2)).await
    }

    #[tokio::test]
    async fn the_status_decides_and_redirects_are_followed_on_the_same_host() {
        assert_eq!(outcome(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await, Outcome::Success);
        let failed = outcome(&["HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"]).await;
        assert_eq!(failed, Outcome::Failure("HTTP probe failed with statuscode: 503".into()));
        const MOVED: &[&str] = &[
            "HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        ];
        assert!(matches!(outcome(MOVED).await, Outcome::Failure(_)));
        const AWAY: &[&str] = &["HTTP/1.1 302 Found\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n"];
        assert!(matches!(outcome(AWAY).await, Outcome::Warning(_)));
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_in_gos_words() {
        let action = HTTPGetAction::default();
        let Outcome::Failure(text) = probe(&action, "127.0.0.1", 1, Duration::from_secs(1)).await else { panic!() };
        assert_eq!(text, "Get \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused");
    }
}
