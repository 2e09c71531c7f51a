//! The two ways to reach an API server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use coracle_pki::Current;
use http::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::{BoxError, Service, ServiceExt};

use crate::metrics::{self, METRICS};
use crate::stream::Stream;

/// A client whose requests are direct calls into `service`, the apiserver's own tower service. Needs a tokio
/// runtime.
pub fn in_process<S, B>(service: S) -> kube::Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    kube::Client::new(Counted { service, host: metrics::IN_PROCESS.into() }, "default")
}

/// The same client under a component's name: requests carry `User-Agent: COMPONENT/coracle`, so that the component owns the
/// fields that it writes.
pub fn user_agent(client: kube::Client, component: &str) -> kube::Client {
    let agent = HeaderValue::from_str(&format!("{component}/coracle")).unwrap_or(HeaderValue::from_static("coracle"));
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        request.headers_mut().insert(USER_AGENT, agent.clone());
        let client = client.clone();
        async move { client.send(request).await }
    });
    kube::Client::new(service, namespace)
}

/// The same client, of which `seen` is told every answer: to which method, its status (none when there was no answer), and how
/// long it took to come. Of a watch that is its beginning.
pub fn observed(
    client: kube::Client,
    seen: impl Fn(&Method, Option<StatusCode>, Duration) + Send + Sync + 'static,
) -> kube::Client {
    let (namespace, seen) = (client.default_namespace().to_owned(), Arc::new(seen));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, seen, method, started) = (client.clone(), seen.clone(), request.method().clone(), Instant::now());
        async move {
            let answer = client.send(request).await;
            seen(&method, answer.as_ref().ok().map(Response::status), started.elapsed());
            answer
        }
    });
    kube::Client::new(service, namespace)
}

/// What one needs to know of a server, as a kubeconfig says it.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// `https://HOST:PORT`.
    pub server: String,
    /// The certificate authority of the server, in PEM.
    pub ca_pem: Vec<u8>,
    /// The client's certificate chain, in PEM; with `client_key_pem`.
    pub client_cert_pem: Option<Vec<u8>>,
    /// The client's private key, in PEM.
    pub client_key_pem: Option<Vec<u8>>,
    /// The client's certificate, when it is replaced while the client is in use.
    pub client_certificate: Option<Arc<Current>>,
    /// A bearer token.
    pub token: Option<String>,
}

/// A client over HTTPS: HTTP/2 where the server speaks it, else HTTP/1.1 with kept connections. Needs a tokio
/// runtime.
///
/// # Errors
/// When a URL, certificate or key is malformed; the server is not contacted.
pub fn remote(remote: &Remote) -> Result<kube::Client> {
    by_tls(remote, tls_config(remote)?)
}

/// A client of a server that may be anybody. For what is public and is verified by other means, and nothing else.
///
/// # Errors
/// When the URL is malformed; the server is not contacted.
pub fn unverified(server: &str) -> Result<kube::Client> {
    let remote = Remote { server: server.to_owned(), ..Remote::default() };
    let mut config = coracle_pki::client_config(coracle_pki::Trust::Anybody, None)?;
    config.alpn_protocols = protocols();
    by_tls(&remote, config)
}

fn protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

fn by_tls(remote: &Remote, config: rustls::ClientConfig) -> Result<kube::Client> {
    let base: Uri =
        remote.server.parse().with_context(|| format!("the server URL {:?} is malformed", remote.server))?;
    if base.scheme_str() != Some("https") || base.host().is_none() {
        bail!("the server URL {:?} must be https://HOST:PORT", remote.server);
    }
    let tls = TlsConnector::from(Arc::new(config));
    let bearer = remote
        .token
        .as_ref()
        .map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        })
        .transpose()
        .context("the bearer token holds characters that no HTTP header may")?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http2_adaptive_window(true)
        // A watch on a dead connection would otherwise wait for ever.
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(15))
        .build::<_, Body>(Https { tls });
    let prefix = base.path().trim_end_matches('/').to_owned();
    let host = base.authority().map_or("", |authority| authority.as_str()).into();
    let service = http.map_request(move |mut request: Request<Body>| {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let authority = base.authority().map_or("", |authority| authority.as_str());
        if let Ok(uri) = format!("https://{authority}{prefix}{path}").parse() {
            *request.uri_mut() = uri;
        }
        if let Some(bearer) = &bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        request
    });
    Ok(kube::Client::new(Counted { service, host }, "default"))
}

/// A service whose answers are counted by the metrics. That of a watch comes when it begins.
#[derive(Clone)]
struct Counted<S> {
    service: S,
    host: Arc<str>,
}

impl<S, A> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (host, method, began) = (self.host.clone(), request.method().clone(), Instant::now());
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            METRICS.answered(&method, &host, answer.as_ref().ok().map(Response::status), began.elapsed());
            answer
        })
    }
}

fn tls_config(remote: &Remote) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&remote.ca_pem) {
        roots
            .add(certificate.context("the certificate authority is not PEM")?)
            .context("the certificate authority is refused")?;
    }
    if roots.is_empty() {
        bail!("the certificate authority holds no certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match (&remote.client_cert_pem, &remote.client_key_pem) {
        (Some(cert), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(cert)
                .collect::<Result<Vec<_>, _>>()
                .context("the client certificate is not PEM")?;
            let key = PrivateKeyDer::from_pem_slice(key).context("the client key is not PEM")?;
            builder.with_client_auth_cert(chain, key).context("the client certificate and key do not fit")?
        }
        (None, None) => match &remote.client_certificate {
            Some(certificate) => builder.with_client_cert_resolver(certificate.clone()),
            None => builder.with_no_client_auth(),
        },
        _ => bail!("a client certificate needs its key, and a key its certificate"),
    };
    config.alpn_protocols = protocols();
    Ok(config)
}

#[derive(Clone)]
struct Https {
    tls: TlsConnector,
}

impl Service<Uri> for Https {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = uri.port_u16().unwrap_or(443);
            let tcp = tokio::time::timeout(Duration::from_secs(10), TcpStream::connect((host.as_str(), port)))
                .await
                .map_err(|_| format!("connecting to {host}:{port} took longer than 10 s"))?
                .map_err(|error| format!("failed to connect to {host}:{port}: {error}"))?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(host)?;
            Ok(Stream::tls(tls.connect(name, tcp).await?))
        })
    }
}
