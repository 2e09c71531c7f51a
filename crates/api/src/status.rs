//! The `Status` object: how every failure, and the success of a delete, is told to a client.
//!
//! Reasons, codes and messages are those of apimachinery's `api/errors`, because clients match on them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write};

use serde_json::Value;

use crate::field::{FieldError, MAX_ERRORS};

/// A failed (or, from [`Status::success`], a successful) answer of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, for example `NotFound`; empty for a success.
    pub reason: Cow<'static, str>,
    /// What went wrong, for people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// Where a list whose token came too late goes on; empty for none.
    pub continue_token: String,
}

/// What a [`Status`] is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group of the resource.
    pub group: String,
    /// Resource (plural), or the kind for invalid objects.
    pub kind: String,
    /// UID of the object.
    pub uid: String,
    /// The single causes, for example one for every invalid field.
    pub causes: Vec<Cause>,
    /// Seconds after which a retry makes sense; 0 for none.
    pub retry_after_seconds: u32,
}

/// One cause of a failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cause {
    /// Machine-readable reason, for example `FieldValueRequired`.
    pub reason: String,
    /// The message for people.
    pub message: String,
    /// The field, as a path.
    pub field: String,
}

/// `deployments.apps`, or `pods` in the core group.
pub fn qualified_resource(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

fn named(group: &str, plural: &str, name: &str) -> Option<Box<Details>> {
    Some(Box::new(Details { name: name.into(), group: group.into(), kind: plural.into(), ..Details::default() }))
}

impl Status {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: Cow::Borrowed(reason),
            message: message.into(),
            details: None,
            continue_token: String::new(),
        }
    }

    /// 404: no object of that name.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified_resource(group, plural));
        Self { details: named(group, plural, name), ..Self::new(404, "NotFound", message) }
    }

    /// 404: no such path.
    pub fn path_not_found() -> Self {
        Self {
            details: Some(Box::default()),
            ..Self::new(404, "NotFound", "the server could not find the requested resource")
        }
    }

    /// 409: an object of that name is there.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified_resource(group, plural));
        Self { details: named(group, plural, name), ..Self::new(409, "AlreadyExists", message) }
    }

    /// 409: the generated name was taken, the client may try again.
    pub fn generate_name_conflict(group: &str, plural: &str, name: &str) -> Self {
        let mut status = Self::already_exists(group, plural, name);
        status.message = format!(
            "{} \"{name}\" already exists, the server was not able to generate a unique name for the object",
            qualified_resource(group, plural)
        );
        if let Some(details) = &mut status.details {
            details.retry_after_seconds = 1;
        }
        status
    }

    /// 409: the operation lost against another one, `why` tells against what.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let resource = qualified_resource(group, plural);
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self { details: named(group, plural, name), ..Self::new(409, "Conflict", message) }
    }

    /// 409: the object changed since the client read it.
    pub fn modified(group: &str, plural: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, plural, name, why)
    }

    /// 422: the object is not valid. `kind` is the kind, not the resource, as upstream has it. Of very many errors the first
    /// are told, and how many there are besides.
    pub fn invalid(group: &str, kind: &str, name: &str, mut errors: Vec<FieldError>) -> Self {
        let more = errors.len().saturating_sub(MAX_ERRORS);
        errors.truncate(MAX_ERRORS);
        let mut seen: HashSet<String> = HashSet::new();
        let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        texts.retain(|text| seen.insert(text.clone()));
        if more > 0 {
            texts.push(format!("and {more} more"));
        }
        let detail = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {detail}", qualified_resource(group, kind));
        let causes = errors
            .iter()
            .map(|e| Cause { reason: e.kind.cause().into(), message: e.body(), field: e.field.clone() })
            .collect();
        let details = named(group, kind, name).map(|d| Box::new(Details { causes, ..*d }));
        Self { details, ..Self::new(422, "Invalid", message) }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403: the object or the request is not allowed, for `why`.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let resource = qualified_resource(group, plural);
        let message = match (name, plural) {
            ("", "") => format!("forbidden: {why}"),
            ("", _) => format!("{resource} is forbidden: {why}"),
            _ => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        Self { details: named(group, plural, name), ..Self::new(403, "Forbidden", message) }
    }

    /// 401: who the client is could not be told.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 405: the resource does not have the verb.
    pub fn method_not_allowed(group: &str, plural: &str, verb: &str) -> Self {
        let resource = qualified_resource(group, plural);
        let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
        Self { details: named(group, plural, ""), ..Self::new(405, "MethodNotAllowed", message) }
    }

    /// 405: the path does not have the HTTP method.
    pub fn method_not_routed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self { details: Some(Box::default()), ..Self::new(405, "MethodNotAllowed", message) }
    }

    /// 410 `Gone`: the resource version is too old.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Gone", message)
    }

    /// 410 `Expired`: the resource version or the continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415: the body has a media type that is not read; `accepted` are those that are.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 406: none of the accepted media types can be written; `offered` are those that can.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", offered.join(", "));
        Self::new(406, "NotAcceptable", message)
    }

    /// 429: the client is to come back later.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self {
            details: Some(Box::new(Details { retry_after_seconds, ..Details::default() })),
            ..Self::new(429, "TooManyRequests", message)
        }
    }

    /// 500: something failed here.
    pub fn internal(error: impl fmt::Display) -> Self {
        let text = error.to_string();
        let causes = vec![Cause { message: text.clone(), ..Cause::default() }];
        Self {
            details: Some(Box::new(Details { causes, ..Details::default() })),
            ..Self::new(500, "InternalError", format!("Internal error occurred: {text}"))
        }
    }

    /// 504: the operation took too long.
    pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self {
            details: Some(Box::new(Details { retry_after_seconds, ..Details::default() })),
            ..Self::new(504, "Timeout", format!("Timeout: {}", message.into()))
        }
    }

    /// 504 for a resource version that is not reached yet.
    pub fn too_large_resource_version(requested: u64, current: u64) -> Self {
        let mut status = Self::timeout(format!("Too large resource version: {requested}, current: {current}"), 1);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                ..Cause::default()
            });
        }
        status
    }

    /// 413: the body is larger than is read.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: {}", message.into()))
    }

    /// 422 without field errors, for patches that cannot be applied.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// 200: the Status that answers a delete of the named object.
    pub fn success(group: &str, plural: &str, name: &str, uid: &str) -> Self {
        let details = named(group, plural, name).map(|d| Box::new(Details { uid: uid.into(), ..*d }));
        Self { details, ..Self::new(200, "", "") }
    }

    /// 201: the Status that answers what makes something but has no object to show.
    pub fn created() -> Self {
        Self::new(201, "", "")
    }

    /// Whether this is a success.
    pub fn is_success(&self) -> bool {
        self.code < 400
    }

    /// The object as JSON: its fields in upstream's order, and a line end.
    pub fn to_json(&self) -> Vec<u8> {
        let text = |out: &mut String, key: &str, value: &str| {
            if !value.is_empty() {
                let _ = write!(out, ",\"{key}\":{}", Value::from(value));
            }
        };
        let status = if self.is_success() { "Success" } else { "Failure" };
        let mut metadata = String::new();
        if !self.continue_token.is_empty() {
            metadata = format!(r#""continue":{}"#, Value::from(self.continue_token.as_str()));
        }
        let mut out = format!(r#"{{"kind":"Status","apiVersion":"v1","metadata":{{{metadata}}},"status":"{status}""#);
        if !self.is_success() {
            text(&mut out, "message", &self.message);
        }
        text(&mut out, "reason", &self.reason);
        if let Some(details) = &self.details {
            let _ = write!(out, ",\"details\":{{{}}}", details.fields());
        }
        if self.code != 200 {
            let _ = write!(out, ",\"code\":{}", self.code);
        }
        out.push_str("}\n");
        out.into_bytes()
    }

    /// The object as a value.
    pub fn to_value(&self) -> Value {
        serde_json::from_slice(&self.to_json()).unwrap_or_default()
    }
}

impl Details {
    /// The fields that are set, as JSON without the braces.
    fn fields(&self) -> String {
        let strings = |fields: &[(&str, &str)]| {
            let set = fields.iter().filter(|(_, value)| !value.is_empty());
            set.map(|(key, value)| format!("\"{key}\":{}", Value::from(*value))).collect::<Vec<_>>()
        };
        let mut fields =
            strings(&[("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]);
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|cause| {
                let fields =
                    strings(&[("reason", &cause.reason), ("message", &cause.message), ("field", &cause.field)]);
                format!("{{{}}}", fields.join(","))
            });
            fields.push(format!("\"causes\":[{}]", causes.collect::<Vec<_>>().join(",")));
        }
        if self.retry_after_seconds > 0 {
            fields.push(format!("\"retryAfterSeconds\":{}", self.retry_after_seconds));
        }
        fields.join(",")
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;
    use serde_json::json;

    #[test]
    fn fields_come_in_upstreams_order_and_end_with_a_line() {
        let status = Status::already_exists("", "services", "a");
        assert_eq!(
            String::from_utf8(status.to_json()).unwrap(),
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"services \"a\" already exists","#,
                r#""reason":"AlreadyExists","details":{"name":"a","kind":"services"},"code":409}"#,
                "\n"
            )
        );
        let status = Status::success("apps", "deployments", "x", "u");
        assert_eq!(
            String::from_utf8(status.to_json()).unwrap(),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Success\",\"details\":{\"name\":\"x\",\"group\":\"apps\",\"kind\":\"deployments\",\"uid\":\"u\"}}\n"
        );
    }

    #[test]
    fn of_very_many_errors_the_first_are_told_once_each() {
        let error = |number: usize| FieldError::required(&Path::new("a").index(number), "");
        let status = Status::invalid("", "Pod", "x", (0..100_000).map(error).collect());
        assert!(status.message.ends_with("a[999]: Required value, and 99000 more]"), "{}", status.message);
        assert_eq!(status.details.map(|details| details.causes.len()), Some(MAX_ERRORS));
        let status = Status::invalid("", "Pod", "x", vec![error(0); 3]);
        assert_eq!(status.message, "Pod \"x\" is invalid: a[0]: Required value");
    }

    #[test]
    fn messages_are_worded_as_upstream() {
        assert_eq!(Status::not_found("", "pods", "x").message, "pods \"x\" not found");
        assert_eq!(Status::not_found("apps", "deployments", "x").message, "deployments.apps \"x\" not found");
        let one = vec![FieldError::required(&Path::new("spec").child("a"), "")];
        let status = Status::invalid("apps", "Deployment", "x", one.clone());
        assert_eq!(status.message, "Deployment.apps \"x\" is invalid: spec.a: Required value");
        let two = vec![one[0].clone(), FieldError::invalid(&Path::new("b"), &json!("v"), "bad")];
        let status = Status::invalid("", "Pod", "x", two);
        assert_eq!(status.message, "Pod \"x\" is invalid: [spec.a: Required value, b: Invalid value: \"v\": bad]");
        assert_eq!(status.to_value()["details"]["causes"][1]["reason"], "FieldValueInvalid");
    }
}
