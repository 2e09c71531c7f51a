//! Another server that the API server asks: on loopback, by TLS, with a certificate of the test's authority.

use std::sync::Arc;

use bytes::Bytes;
use coracle_pki::{Authority, Current};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio_rustls::TlsAcceptor;

/// Answers a question at a path: with what, after how many milliseconds.
pub type Answer = Arc<dyn Fn(&str, &Value) -> (String, u64) + Send + Sync>;

/// The server, and what it was asked.
pub struct OtherServer {
    pub url: String,
    pub authority: String,
    pub asked: Arc<Mutex<Vec<(String, Value)>>>,
    _dir: tempfile::TempDir,
}

impl OtherServer {
    pub async fn serve(answer: Answer) -> OtherServer {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open(dir.path()).expect("an authority");
        let pair = authority.server("other", &[], &["localhost".into()], &[]).expect("a certificate");
        let serving = Current::new(&pair).expect("a usable certificate");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_no_client_auth()
            .with_cert_resolver(serving);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, answer) = (acceptor.clone(), seen.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let (seen, answer) = (seen.clone(), answer.clone());
                        async move {
                            let path = request.uri().path().to_owned();
                            let body = request.into_body().collect().await.expect("a body").to_bytes();
                            let question = serde_json::from_slice(&body).unwrap_or_default();
                            let (text, delay) = answer(&path, &question);
                            seen.lock().push((path, question));
                            tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
                            let failed = text.is_empty();
                            let mut response = http::Response::new(Full::new(Bytes::from(text)));
                            if failed {
                                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                            }
                            Ok::<_, std::convert::Infallible>(response)
                        }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        OtherServer {
            url: format!("https://localhost:{port}"),
            authority: authority.certificate.clone(),
            asked,
            _dir: dir,
        }
    }

    /// A file in the form of a kubeconfig that leads to a path here.
    pub fn kubeconfig(&self, path: &str) -> std::path::PathBuf {
        let file = self._dir.path().join("webhook.yaml");
        std::fs::write(self._dir.path().join("ca.crt"), &self.authority).expect("a file");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{}{path}', certificate-authority: ca.crt}}}}]\nusers: [{{name: u, user: {{token: mine}}}}]\n",
            self.url
        );
        std::fs::write(&file, text).expect("a file");
        file
    }

    pub fn count(&self, path: &str) -> usize {
        self.asked.lock().iter().filter(|(asked, _)| asked == path).count()
    }
}
