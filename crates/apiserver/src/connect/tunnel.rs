//! What passes between a client and where its request leads.

use std::sync::Arc;

use coracle_api::status::Status;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use crate::audit::Trail;
use crate::body::Body;
use crate::metrics::LongRunning;

/// The headers of a request that go on to where it leads.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let ours = |name: &str| {
        matches!(name, "authorization" | "host" | "content-length" | "transfer-encoding" | "accept-encoding")
    };
    headers.iter().filter(|(name, _)| !ours(name.as_str())).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Hands a backend's answer to the client, and joins both connections when the backend switches protocols.
pub fn join(parts: &mut Parts, mut response: Response<Incoming>) -> Result<Response<Body>, Status> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(plain(response));
    }
    let Some(client) = parts.extensions.remove::<hyper::upgrade::OnUpgrade>() else {
        return Err(Status::bad_request("Upgrade request required"));
    };
    let backend = hyper::upgrade::on(&mut response);
    // The request ends with the tunnel.
    let kept = (parts.extensions.remove::<Arc<Trail>>(), parts.extensions.remove::<Arc<LongRunning>>());
    tokio::spawn(async move {
        let _kept = kept;
        if let (Ok(client), Ok(backend)) = tokio::join!(client, backend) {
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut backend).await {
                tracing::debug!(%error, "a tunnel ended");
            }
        }
    });
    let mut switching = Response::new(Body::empty());
    *switching.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *switching.headers_mut() = response.headers().clone();
    Ok(switching)
}

/// The backend's answer as a stream.
fn plain(response: Response<Incoming>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let mut answer = Response::new(Body::passed_on(body));
    *answer.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        if *name == CONTENT_TYPE
            || (name != CONNECTION && name.as_str() != "transfer-encoding" && name.as_str() != "content-length")
        {
            answer.headers_mut().append(name.clone(), value.clone());
        }
    }
    answer
}
