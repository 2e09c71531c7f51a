//! Which representation a client asked for, and responses made of it.

use bytes::Bytes;
use coracle_api::decode::Format;
use coracle_api::protobuf;
use coracle_api::status::Status;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use crate::body::Body;
use crate::request::Query;

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// What of an object is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Object,
    /// Its metadata only, as PartialObjectMetadata.
    Partial,
    /// A row of a Table.
    Table,
}

/// What a client asked for in its Accept header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    pub encoding: Encoding,
    pub shape: Shape,
    /// Group and version of what is not the whole object.
    pub meta_version: &'static str,
}

const META_V1: &str = "meta.k8s.io/v1";
const META_V1BETA1: &str = "meta.k8s.io/v1beta1";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = protobuf::MEDIA_TYPE;
/// What is read and written.
const SERVED: [&str; 3] = [JSON, YAML, PROTOBUF];

impl Output {
    pub const JSON: Output = Output { encoding: Encoding::Json, shape: Shape::Object, meta_version: META_V1 };

    /// The first representation in the header that is served.
    pub fn of(headers: &HeaderMap) -> Result<Output, Status> {
        Output::among(headers, |_| true)
    }

    /// The first representation in the header that shows whole objects: kinds that are not stored have no other.
    pub fn of_whole(headers: &HeaderMap) -> Result<Output, Status> {
        Output::among(headers, |output| output.shape == Shape::Object)
    }

    /// The first representation in the header that custom resources have: all but protobuf.
    pub fn of_custom(headers: &HeaderMap) -> Result<Output, Status> {
        Output::among(headers, |output| output.encoding != Encoding::Protobuf)
    }

    fn among(headers: &HeaderMap, served: impl Fn(&Output) -> bool) -> Result<Output, Status> {
        let Some(accept) =
            headers.get(ACCEPT).and_then(|value| value.to_str().ok()).filter(|text| !text.trim().is_empty())
        else {
            return Ok(Output::JSON);
        };
        accept.split(',').filter_map(parse_range).find(served).ok_or_else(|| Status::not_acceptable(&SERVED))
    }
}

fn parse_range(range: &str) -> Option<Output> {
    let mut parts = range.split(';').map(str::trim);
    let encoding = match parts.next()? {
        JSON | "*/*" | "application/*" => Encoding::Json,
        YAML => Encoding::Yaml,
        PROTOBUF => Encoding::Protobuf,
        _ => return None,
    };
    let mut output = Output { encoding, ..Output::JSON };
    for parameter in parts {
        match parameter.split_once('=')? {
            ("as", "Table") => output.shape = Shape::Table,
            ("as", "PartialObjectMetadata" | "PartialObjectMetadataList") => output.shape = Shape::Partial,
            ("as", _) => return None,
            ("v", "v1beta1") => output.meta_version = META_V1BETA1,
            ("v", version) if version != "v1" && output.shape != Shape::Object => return None,
            _ => {}
        }
    }
    // Tables have no protobuf form, and metadata alone is sent in the client's next choice.
    (output.encoding != Encoding::Protobuf || output.shape == Shape::Object).then_some(output)
}

/// The format of a request's body.
pub fn body_format(headers: &HeaderMap) -> Result<Format, Status> {
    let media_type = media_type(headers);
    match media_type {
        "" | JSON => Ok(Format::Json),
        YAML => Ok(Format::Yaml),
        PROTOBUF => Ok(Format::Protobuf),
        // What curl says of itself when nobody tells it better; the body decides then.
        "application/x-www-form-urlencoded" => Ok(Format::Json),
        _ => Err(Status::unsupported_media_type(&SERVED)),
    }
}

/// The media type of a body without its parameters.
pub fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// A JSON response.
pub fn json(code: StatusCode, body: impl Into<Body>) -> Response<Body> {
    respond(code, JSON, body)
}

/// A response with a content type.
pub fn respond(code: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A document, made of its JSON.
pub fn document(code: StatusCode, encoding: Encoding, json_bytes: Bytes) -> Response<Body> {
    match encoding {
        Encoding::Json => json(code, json_bytes),
        Encoding::Yaml => {
            let value: Value = serde_json::from_slice(&json_bytes).unwrap_or_default();
            match serde_saphyr::to_string(&value) {
                Ok(text) => respond(code, YAML, text),
                Err(error) => status(&Status::internal(error)),
            }
        }
        Encoding::Protobuf => {
            let value: Value = serde_json::from_slice(&json_bytes).unwrap_or_default();
            match protobuf::encode_object(&value) {
                Some(body) => respond(code, PROTOBUF, body),
                None => json(code, json_bytes),
            }
        }
    }
}

/// An answer in JSON, in another encoding where it has one. Streams stay as they are.
pub fn encoded(response: Response<Body>, encoding: Encoding) -> Response<Body> {
    if encoding == Encoding::Json || response.headers().get(CONTENT_TYPE).is_none_or(|value| value != JSON) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes: Bytes = match body {
        Body::Full(bytes) => bytes.unwrap_or_default(),
        Body::Pieces(pieces, _) => pieces.flatten().collect(),
        stream => return Response::from_parts(parts, stream),
    };
    let (encoded, body) = document(parts.status, encoding, bytes).into_parts();
    parts.headers.extend(encoded.headers);
    Response::from_parts(parts, body)
}

/// A Status as a response with its code, in JSON.
pub fn status(status: &Status) -> Response<Body> {
    status_as(status, Encoding::Json)
}

/// A Status as a response with its code.
pub fn status_as(status: &Status, encoding: Encoding) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = document(code, encoding, status.to_json().into());
    // Whoever writes down what became of the request finds it here, whatever the encoding is.
    response.extensions_mut().insert(status.clone());
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// Whether answers are for the eyes of people: they ask for it, or their program is one of the usual ones.
pub fn wants_pretty(query: &Query, headers: &HeaderMap) -> bool {
    if query.get("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|program| agent.starts_with(program))
}

/// The same answer with its JSON in lines. Streams stay as they are.
pub fn pretty(response: Response<Body>) -> Response<Body> {
    if response.headers().get(CONTENT_TYPE).is_none_or(|value| value != JSON) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes: Bytes = match body {
        Body::Full(bytes) => bytes.unwrap_or_default(),
        Body::Pieces(pieces, _) => pieces.flatten().collect(),
        stream => return Response::from_parts(parts, stream),
    };
    Response::from_parts(parts, Bytes::from(in_lines(&bytes)).into())
}

/// The same JSON with a field or an element a line, in the order in which they are.
fn in_lines(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let (mut quoted, mut escaped) = (false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for &byte in json {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            out.push(byte);
            continue;
        }
        let opened = matches!(out.last(), Some(b'{' | b'['));
        match byte {
            byte if byte.is_ascii_whitespace() => continue,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if opened != matches!(byte, b'}' | b']') {
            line(&mut out, depth);
        }
        out.push(byte);
        match byte {
            b'{' | b'[' => depth += 1,
            b'"' => quoted = true,
            b',' => line(&mut out, depth),
            b':' => out.push(b' '),
            _ => {}
        }
    }
    out
}

/// All warnings of an answer together have at most this many bytes, as upstream's.
const MAX_WARNINGS: usize = 4 << 10;

/// Adds warnings for the user (RFC 7234, code 299), each once.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    const NAME: HeaderName = HeaderName::from_static("warning");
    let mut left = MAX_WARNINGS;
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        left = match left.checked_sub(text.len()) {
            Some(left) => left,
            None => return,
        };
        let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) else { continue };
        if response.headers().get_all(NAME).iter().all(|told| told != value) {
            response.headers_mut().append(NAME, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Result<Output, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(text).expect("a header value"));
        Output::of(&headers).map_err(|status| status.code)
    }

    #[test]
    fn the_first_representation_that_is_served_wins() {
        let protobuf = Output { encoding: Encoding::Protobuf, ..Output::JSON };
        assert_eq!(accept("application/vnd.kubernetes.protobuf,application/json"), Ok(protobuf));
        assert_eq!(accept("application/vnd.kubernetes.protobuf;stream=watch"), Ok(protobuf));
        assert_eq!(accept("application/json, application/vnd.kubernetes.protobuf"), Ok(Output::JSON));
        assert_eq!(accept("application/cbor"), Err(406));
    }

    #[test]
    fn metadata_alone_and_tables_are_json() {
        let both = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(accept(both), Ok(Output { shape: Shape::Partial, ..Output::JSON }));
        assert_eq!(accept("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1"), Err(406));
    }

    #[test]
    fn tables_and_metadata_are_served_in_both_versions() {
        let beta = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
        assert_eq!(accept(beta), Ok(Output { shape: Shape::Table, meta_version: META_V1BETA1, ..Output::JSON }));
        assert_eq!(accept("application/json;as=Table;v=v2;g=meta.k8s.io"), Err(406));
    }

    #[test]
    fn a_document_without_protobuf_form_stays_json() {
        let content_type = |document: &'static str| {
            let response = super::document(StatusCode::OK, Encoding::Protobuf, Bytes::from_static(document.as_bytes()));
            response.headers()[CONTENT_TYPE].clone()
        };
        assert_eq!(content_type(r#"{"kind":"Pod","apiVersion":"v1"}"#), PROTOBUF);
        assert_eq!(content_type(r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1"}"#), JSON);
    }

    #[test]
    fn lines_are_those_of_the_usual_printer() {
        for text in [
            r#"{}"#,
            r#"[]"#,
            r#""a{,:\\\"[""#,
            r#"{"a":[],"b":{},"c":[{"d":"x,\"}{"},[1,-2.5,null]],"e":"\\"}"#,
            r#"[{"[":"]"},"[","{",[[]],true]"#,
        ] {
            let value: Value = serde_json::from_str(text).expect("JSON");
            let usual = serde_json::to_string_pretty(&value).expect("text");
            assert_eq!(String::from_utf8(in_lines(text.as_bytes())).expect("text"), usual);
            assert_eq!(String::from_utf8(in_lines(usual.as_bytes())).expect("text"), usual);
        }
    }
}
