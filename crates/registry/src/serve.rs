//! Connections: those of a socket, and those within this process.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::answer::{Access, answer};
use crate::store::Registry;
use crate::sweep;

/// Most connections at a time; others wait in the socket.
const MAX_CONNECTIONS: usize = 128;
/// How long a client may take for the head of a request, and how long a connection may last.
const HEAD: Duration = Duration::from_secs(30);
const WHOLE: Duration = Duration::from_secs(4 * 3600);
/// How long is waited when no connection can be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves a socket to those who may write, and removes what nobody names, until the future is dropped.
///
/// # Errors
/// None that ends it.
pub async fn serve(registry: Arc<Registry>, listener: TcpListener) -> Result<()> {
    let swept = sweep::keep(registry.clone());
    let accepted = async {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let place = places.clone().acquire_owned().await?;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let registry = registry.clone();
                    tokio::spawn(async move {
                        serve_connection(registry, stream, Access::Write).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "the registry takes no connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        result = accepted => result,
        () = swept => Ok(()),
    }
}

/// Serves one connection until it ends.
pub async fn serve_connection<S>(registry: Arc<Registry>, stream: S, access: Access)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let registry = registry.clone();
        async move { Ok::<_, Infallible>(answer(&registry, access, request).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(WHOLE, connection).await {
        tracing::debug!(%error, "a connection to the registry ended");
    }
}
