//! The HTTPS socket: TLS with optional client certificates, HTTP/1.1 and HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::auth::user_of_certificate;
use crate::pki::Pair;
use crate::server::Server;

/// Connections open at once.
const CONNECTIONS: usize = 10_000;
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A TLS configuration that shows a certificate and verifies those of clients who have one.
pub fn tls(authority: &str, serving: &Pair) -> Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let chain = CertificateDer::pem_slice_iter(serving.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(serving.key.as_bytes())?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

impl Server {
    /// Answers connections of a socket until the future is dropped.
    ///
    /// # Errors
    /// The serving certificate is not usable.
    pub async fn serve(&self, listener: TcpListener, serving: &Pair) -> Result<()> {
        let config = tls(&self.inner().config.authority.certificate, serving).context("failed to set up TLS")?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let place = places.clone().acquire_owned().await?;
            let (stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a client that left already.
                    tracing::debug!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let (server, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                if let Err(error) = server.connection(stream, acceptor).await {
                    tracing::debug!(%error, "a connection ended");
                }
                drop(place);
            });
        }
    }

    async fn connection(&self, stream: TcpStream, acceptor: TlsAcceptor) -> Result<()> {
        stream.set_nodelay(true)?;
        let stream =
            tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await.context("no TLS handshake in 10 s")??;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let user = certificate.and_then(|der| user_of_certificate(der)).map(Arc::new);
        let service = service_fn(move |request| {
            let (server, user) = (self.clone(), user.clone());
            async move { Ok::<_, std::convert::Infallible>(server.handle(request, user).await) }
        });
        let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(120));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(1000)
            .keep_alive_interval(Duration::from_secs(30));
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        connection.await.map_err(|error| anyhow::anyhow!(error))
    }
}
