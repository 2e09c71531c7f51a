//! What was sent and what was answered, as it is written down: one line of JSON of a bounded length.

use bytes::Bytes;
use coracle_api::decode::{self, Format};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::body::Body;
use crate::negotiate::{self, body_format};

/// The longest body that is written down, as upstream's `--audit-log-truncate-max-event-size`.
pub(super) const MAX: usize = 10 << 20;

/// A body that is too long.
pub(super) struct TooLong;

/// What was sent, as JSON: patches are in a form of their own. `None` for nothing, and for what is no JSON in any form.
pub(super) fn sent(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    if body.is_empty() {
        return None;
    }
    let parsed = |format| decode::parse(body, format).ok().map(|(value, _)| value);
    match negotiate::media_type(headers) {
        // Read as whoever applies it does: not all that is taken as JSON is YAML.
        "application/apply-patch+yaml" => parsed(Format::Json).or_else(|| parsed(Format::Yaml)),
        patch if patch.ends_with("-patch+json") => parsed(Format::Json),
        _ => parsed(body_format(headers).ok()?),
    }
}

/// A value as it is written down.
pub(super) fn written(mut value: Value, omit_managed_fields: bool) -> Result<Option<Box<RawValue>>, TooLong> {
    if omit_managed_fields {
        omit(&mut value);
    }
    match to_raw_value(&value) {
        Ok(raw) if raw.get().len() > MAX => Err(TooLong),
        raw => Ok(raw.ok()),
    }
}

/// What is answered, if it is JSON that does not come bit by bit; the body is as before.
pub(super) fn answered(
    headers: &HeaderMap,
    body: &mut Body,
    omit_managed_fields: bool,
) -> Result<Option<Box<RawValue>>, TooLong> {
    if headers.get(CONTENT_TYPE).is_none_or(|value| value != "application/json") {
        return Ok(None);
    }
    let bytes = match body {
        Body::Full(bytes) => bytes.clone().unwrap_or_default(),
        Body::Pieces(_, left) if *left > MAX as u64 => return Err(TooLong),
        Body::Pieces(pieces, _) => {
            let whole: Bytes = pieces.flatten().collect();
            *body = whole.clone().into();
            whole
        }
        Body::Stream(_) => return Ok(None),
    };
    if bytes.len() > MAX {
        return Err(TooLong);
    }
    // What is stored has no line breaks; documents made for people have.
    if !omit_managed_fields && !bytes.contains(&b'\n') {
        let text = String::from_utf8(bytes.into()).ok();
        return Ok(text.and_then(|text| RawValue::from_string(text).ok()));
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) => written(value, omit_managed_fields),
        Err(_) => Ok(None),
    }
}

/// Takes the managed fields out of an object, and out of each that a list has.
fn omit(value: &mut Value) {
    let take = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    take(value);
    value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(take);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    fn headers(media_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))])
    }

    #[test]
    fn what_was_sent_is_one_line_whatever_its_form() {
        let value = sent(&headers("application/json"), b"{\n\"a\": \"x\\n\"\n}").unwrap();
        assert_eq!(written(value, false).ok().flatten().unwrap().get(), r#"{"a":"x\n"}"#);
        assert_eq!(sent(&headers("application/apply-patch+yaml"), b"a: 1"), Some(json!({"a": 1})));
        for body in ["{\"a\": 0, \"a\": 1}", "{\n\t\"a\":1\n}"] {
            assert_eq!(
                sent(&headers("application/apply-patch+yaml"), body.as_bytes()),
                Some(json!({"a": 1})),
                "{body}"
            );
        }
        assert_eq!(sent(&headers("application/json-patch+json"), b"[]"), Some(json!([])));
        assert_eq!(sent(&headers("application/json"), b"{"), None);
        assert_eq!(sent(&headers("text/plain"), b"x"), None);
    }

    #[test]
    fn managed_fields_are_left_out_of_objects_and_lists() {
        let object = || json!({"metadata": {"name": "a", "managedFields": [{}]}});
        let list = json!({"metadata": {}, "items": [object()]});
        for (value, expected) in [
            (object(), r#"{"metadata":{"name":"a"}}"#),
            (list, r#"{"items":[{"metadata":{"name":"a"}}],"metadata":{}}"#),
        ] {
            assert_eq!(written(value, true).ok().flatten().unwrap().get(), expected);
        }
    }

    #[test]
    fn what_is_too_long_is_not_written_down_and_answered_all_the_same() {
        let mut body = Body::Pieces(Box::new([Bytes::from_static(b"[1,"), Bytes::from_static(b"2]")].into_iter()), 5);
        assert_eq!(answered(&headers("application/json"), &mut body, false).ok().flatten().unwrap().get(), "[1,2]");
        assert!(matches!(&body, Body::Full(Some(whole)) if whole == "[1,2]"));
        let mut body = Body::from(vec![b' '; MAX + 1]);
        assert!(answered(&headers("application/json"), &mut body, false).is_err());
        assert!(matches!(&body, Body::Full(Some(whole)) if whole.len() == MAX + 1));
    }
}
