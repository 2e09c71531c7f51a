//! The answer to a request.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, LINK, LOCATION, ORIGIN, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use crate::error::{Code, Error};
use crate::lists::{Page, Wanted};
use crate::manifest::LONGEST;
use crate::names::{Digest, is_repository};
use crate::route::{Reference, Route, route};
use crate::store::Registry;
use crate::uploads::{Pieces, SILENCE, blocking};

/// What those may do who are on the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Pull.
    Read,
    /// Pull, push and delete.
    Write,
}

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Answers a request.
pub(crate) async fn answer(registry: &Arc<Registry>, access: Access, request: Request<Incoming>) -> Response<Body> {
    let mut response = match try_answer(registry, access, request).await {
        Ok(response) => response,
        Err(error) => {
            let body = json!({"errors": [{"code": error.code.text(), "message": error.message, "detail": null}]});
            with_json(error.status, &body)
        }
    };
    response.headers_mut().insert(VERSION, http::HeaderValue::from_static("registry/2.0"));
    response
}

async fn try_answer(
    registry: &Arc<Registry>,
    access: Access,
    request: Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let (parts, body) = request.into_parts();
    check_host(registry, &parts.headers)?;
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    if !reads && access == Access::Read {
        return Err(Error::new(Code::Denied, "this way to the registry is for those who pull"));
    }
    let (own, query) = (registry.clone(), parts.uri.query().map(str::to_owned));
    let of = |name: &str| parameter(query.as_deref(), name);
    match (route(parts.uri.path())?, parts.method.as_str()) {
        (Route::Base, "GET" | "HEAD") => Ok(with_json(StatusCode::OK, &json!({}))),
        (Route::Catalog, "GET") => {
            let wanted = Wanted { n: of("n"), last: of("last") };
            let page = blocking(move || own.repositories(&wanted)).await?;
            Ok(list("/v2/_catalog", json!({"repositories": page.names}), &page))
        }
        (Route::Tags(name), "GET") => {
            let (wanted, path) = (Wanted { n: of("n"), last: of("last") }, parts.uri.path().to_owned());
            let repository = name.clone();
            let page = blocking(move || own.tags(&repository, &wanted)).await?;
            Ok(list(&path, json!({"name": name, "tags": page.names}), &page))
        }
        (Route::Manifest(name, reference), "GET" | "HEAD") => {
            let stored = blocking(move || own.manifest(&name, &reference)).await?;
            let length = stored.bytes.len();
            let bytes = if parts.method == Method::HEAD { Vec::new() } else { stored.bytes };
            let headers = [
                (CONTENT_TYPE, stored.media_type),
                (CONTENT_LENGTH, length.to_string()),
                (DIGEST, stored.digest.to_string()),
            ];
            build(StatusCode::OK, headers, whole(bytes))
        }
        (Route::Manifest(name, reference), "PUT") => put_manifest(own, name, reference, &parts, body).await,
        (Route::Manifest(name, reference), "DELETE") => {
            blocking(move || own.delete_manifest(&name, &reference)).await?;
            build(StatusCode::ACCEPTED, [], whole(Vec::new()))
        }
        (Route::Blob(name, digest), "GET") => get_blob(own, name, digest, &parts).await,
        (Route::Blob(name, digest), "HEAD") => {
            let wanted = digest.clone();
            let length = blocking(move || {
                own.has_blob(&name, &wanted);
                own.open_blob(&name, &wanted).map(|(_, length)| length)
            })
            .await?;
            build(StatusCode::OK, blob_headers(&digest, length), whole(Vec::new()))
        }
        (Route::Blob(name, digest), "DELETE") => {
            blocking(move || own.delete_blob(&name, &digest)).await?;
            build(StatusCode::ACCEPTED, [], whole(Vec::new()))
        }
        (Route::Uploads(name), "POST") => start(own, name, &of, &parts, body).await,
        (Route::Upload(name, id), "PATCH") => {
            let from = content_range(&parts.headers)?;
            let length = own.append(id, from, &mut body_pieces(body)).await?;
            upload_state(StatusCode::ACCEPTED, &name, id, length)
        }
        (Route::Upload(name, id), "PUT") => {
            let digest = digest_of(of("digest"))?;
            let from = content_range(&parts.headers)?;
            own.append(id, from, &mut body_pieces(body)).await?;
            own.finish(id, &name, &digest).await?;
            created(&name, &digest)
        }
        (Route::Upload(name, id), "GET") => {
            let length = blocking(move || own.upload_length(id)).await?;
            upload_state(StatusCode::NO_CONTENT, &name, id, length)
        }
        (Route::Upload(_, id), "DELETE") => {
            blocking(move || own.cancel_upload(id)).await?;
            build(StatusCode::NO_CONTENT, [], whole(Vec::new()))
        }
        (_, method) => Err(Error::new(Code::Unsupported, format!("{method} is not for {}", parts.uri.path()))),
    }
}

/// A page in a browser has an origin, and may have a name that leads here: neither is for a registry.
fn check_host(registry: &Registry, headers: &HeaderMap) -> Result<(), Error> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_own = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || registry.hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
    if !is_own || headers.contains_key(ORIGIN) {
        return Err(Error::new(Code::Denied, format!("this registry is not for pages, nor called {host:?}")));
    }
    Ok(())
}

async fn put_manifest(
    own: Arc<Registry>,
    name: String,
    reference: Reference,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let collected = tokio::time::timeout(SILENCE, Limited::new(body, LONGEST).collect()).await;
    let bytes = match collected {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Error::new(Code::SizeInvalid, format!("a manifest has {LONGEST} bytes at most")));
        }
        Ok(Err(_)) | Err(_) => return Err(Error::new(Code::ManifestInvalid, "the manifest did not come whole")),
    };
    let media_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    let repository = name.clone();
    let digest = blocking(move || {
        let tag = match &reference {
            Reference::Tag(tag) => Some(tag.as_str()),
            Reference::Digest(digest) if Digest::of(&bytes) == *digest => None,
            Reference::Digest(digest) => {
                return Err(Error::new(Code::DigestInvalid, format!("the manifest has another digest than {digest}")));
            }
        };
        own.put_manifest(&repository, tag, &media_type, &bytes)
    })
    .await?;
    let location = format!("/v2/{name}/manifests/{digest}");
    build(StatusCode::CREATED, [(LOCATION, location), (DIGEST, digest.to_string())], whole(Vec::new()))
}

/// Begins an upload, unless the blob is in another repository already or comes with the request.
async fn start(
    own: Arc<Registry>,
    name: String,
    of: &(dyn Fn(&str) -> Option<String> + Sync),
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    if let (Some(mount), Some(from)) = (of("mount"), of("from").filter(|from| is_repository(from))) {
        let digest = digest_of(Some(mount))?;
        let (registry, repository, wanted) = (own.clone(), name.clone(), digest.clone());
        if blocking(move || registry.mount_blob(&repository, &from, &wanted)).await? {
            return created(&name, &digest);
        }
    }
    let digest = of("digest").map(|digest| digest_of(Some(digest))).transpose()?;
    let registry = own.clone();
    let id = blocking(move || registry.start_upload()).await?;
    let Some(digest) = digest else { return upload_state(StatusCode::ACCEPTED, &name, id, 0) };
    let sent = match content_range(&parts.headers) {
        Ok(from) => own.append(id, from, &mut body_pieces(body)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        // Nobody knows its name.
        let _ = own.cancel_upload(id);
        return Err(error);
    }
    own.finish(id, &name, &digest).await?;
    created(&name, &digest)
}

async fn get_blob(own: Arc<Registry>, name: String, digest: Digest, parts: &Parts) -> Result<Response<Body>, Error> {
    let wanted = digest.clone();
    let (file, length) = blocking(move || own.open_blob(&name, &wanted)).await?;
    let range = parts.headers.get(RANGE).and_then(|range| byte_range(range.to_str().ok()?, length));
    match range {
        None => build(StatusCode::OK, blob_headers(&digest, length), contents(file, 0, length)?),
        Some(Some((from, to))) => {
            let count = to.saturating_sub(from).saturating_add(1);
            let headers = blob_headers(&digest, count).into_iter();
            let headers = headers.chain([(CONTENT_RANGE, format!("bytes {from}-{to}/{length}"))]);
            build(StatusCode::PARTIAL_CONTENT, headers, contents(file, from, count)?)
        }
        Some(None) => {
            let headers = [(CONTENT_RANGE, format!("bytes */{length}"))];
            build(StatusCode::RANGE_NOT_SATISFIABLE, headers, whole(Vec::new()))
        }
    }
}

/// The one range that is asked for, `None` if it begins after the end. Other forms may be answered with all of it.
fn byte_range(text: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    let last = length.checked_sub(1);
    let to = if to.is_empty() { last } else { Some(to.parse().ok()?).min(last) };
    Some(to.filter(|to| from <= *to).map(|to| (from, to)))
}

/// Where a piece of an upload begins: `Content-Range: FROM-TO`.
fn content_range(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let bad = || Error::new(Code::BlobUploadInvalid, "Content-Range is FROM-TO");
    let text = value.to_str().map_err(|_| bad())?;
    let (from, to) = text.trim_start_matches("bytes ").split_once('-').ok_or_else(bad)?;
    let (from, to): (u64, u64) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let fits = |length: u64| to.checked_sub(from).and_then(|more| more.checked_add(1)) == Some(length);
    match length.is_none_or(fits) {
        true => Ok(Some(from)),
        false => Err(Error::new(Code::SizeInvalid, "Content-Range and Content-Length differ")
            .with_status(StatusCode::BAD_REQUEST)),
    }
}

fn digest_of(text: Option<String>) -> Result<Digest, Error> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|()| Error::new(Code::DigestInvalid, format!("{text:?} is no digest of sha256")))
}

/// A parameter of a query, decoded.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let found = query?.split('&').filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name)?.1;
    Some(percent_encoding::percent_decode_str(&found.replace('+', " ")).decode_utf8_lossy().into_owned())
}

struct Sent(Incoming);

fn body_pieces(body: Incoming) -> Sent {
    Sent(body)
}

impl Pieces for Sent {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let broken = |what: &str| Error::new(Code::BlobUploadInvalid, what);
        loop {
            let frame = tokio::time::timeout(SILENCE, self.0.frame()).await;
            match frame.map_err(|_| broken("the client went silent"))? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.map_err(|_| broken("the connection broke"))?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn blob_headers(digest: &Digest, length: u64) -> [(HeaderName, String); 4] {
    [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, length.to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (DIGEST, digest.to_string()),
    ]
}

fn created(name: &str, digest: &Digest) -> Result<Response<Body>, Error> {
    let headers = [(LOCATION, format!("/v2/{name}/blobs/{digest}")), (DIGEST, digest.to_string())];
    build(StatusCode::CREATED, headers, whole(Vec::new()))
}

fn upload_state(status: StatusCode, name: &str, id: uuid::Uuid, length: u64) -> Result<Response<Body>, Error> {
    let headers = [
        (LOCATION, format!("/v2/{name}/blobs/uploads/{id}")),
        (RANGE, format!("0-{}", length.saturating_sub(1))),
        (UPLOAD, id.to_string()),
    ];
    build(status, headers, whole(Vec::new()))
}

fn list(path: &str, body: Value, page: &Page) -> Response<Body> {
    let mut response = with_json(StatusCode::OK, &body);
    if let Some((n, last)) = &page.next {
        // Names have nothing that a query may not have, but for the slash, which it may.
        if let Ok(link) = format!("<{path}?n={n}&last={last}>; rel=\"next\"").parse() {
            response.headers_mut().insert(LINK, link);
        }
    }
    response
}

fn with_json(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(whole(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn build(
    status: StatusCode,
    headers: impl IntoIterator<Item = (HeaderName, String)>,
    body: Body,
) -> Result<Response<Body>, Error> {
    let mut response = Response::builder().status(status).header(X_CONTENT_TYPE_OPTIONS, "nosniff");
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).map_err(|error| Error::new(Code::Unknown, error.to_string()))
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A part of a file, read as it is sent.
fn contents(mut file: File, from: u64, count: u64) -> Result<Body, Error> {
    const PIECE: usize = 128 << 10;
    file.seek(SeekFrom::Start(from))?;
    let reader = ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(count), PIECE);
    Ok(StreamBody::new(reader.map_ok(Frame::data)).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_within_the_blob() {
        assert_eq!(byte_range("bytes=0-", 10), Some(Some((0, 9))));
        assert_eq!(byte_range("bytes=3-5", 10), Some(Some((3, 5))));
        assert_eq!(byte_range("bytes=3-50", 10), Some(Some((3, 9))));
        assert_eq!(byte_range("bytes=10-", 10), Some(None));
        assert_eq!(byte_range("bytes=0-", 0), Some(None));
        assert_eq!(byte_range("bytes=5-3", 10), Some(None));
        for whole in ["bytes=-5", "bytes=0-1,3-4", "lines=0-1", "bytes=x-"] {
            assert_eq!(byte_range(whole, 10), None, "{whole}");
        }
    }
}
