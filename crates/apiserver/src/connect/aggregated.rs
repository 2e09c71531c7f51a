//! Requests of group versions that another server answers.

use coracle_api::status::Status;
use http::request::Parts;
use http::{Request, Response, StatusCode};

use super::tunnel::{join, passed_on};
use crate::aggregation::Remote;
use crate::auth::User;
use crate::body::Body;
use crate::negotiate;
use crate::storage::Storage;
use crate::upload::Upload;

/// Passes a request on to the server that answers it.
///
/// # Errors
/// 503 when that server is not reached.
pub async fn answer(
    storage: &Storage,
    remote: &Remote,
    user: &User,
    mut parts: Parts,
    upload: Upload,
) -> Result<Response<Body>, Status> {
    if !remote.is_available {
        let text = "service unavailable\n";
        return Ok(negotiate::respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", text));
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(upload);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| Status::bad_request(error.to_string()))?;
    *request.headers_mut() = passed_on(&parts.headers);
    let response = remote.send(storage, user, request).await;
    let unreached = |error: anyhow::Error| {
        Status::new(503, "ServiceUnavailable", format!("error trying to reach service: {error:#}"))
    };
    join(&mut parts, response.map_err(unreached)?)
}
