//! Validation errors of fields, and the validators of names, labels, ports and addresses, worded as
//! apimachinery's `util/validation`.

use std::fmt::{self, Write};
use std::net::IpAddr;

pub use coracle_values::names::{
    dns1035_label, dns1123_label, dns1123_subdomain, dns1123_subdomain_with_underscores, label_value, qualified_name,
};
use coracle_values::names::{lower_digit, regex_error, too_long};
use serde_json::Value;

/// After so many errors of one object no more are told, and none are looked for in long lists: each is a hundred times as
/// long as what it is about.
pub const MAX_ERRORS: usize = 1000;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It must be given.
    Required,
    /// Its value is not valid.
    Invalid,
    /// Its value is not one of a fixed set.
    NotSupported,
    /// Its value must be unique and is not.
    Duplicate,
    /// It may not be given or changed here.
    Forbidden,
    /// It is longer than allowed.
    TooLong,
    /// It has more items than allowed.
    TooMany,
    /// What it names is not there.
    NotFound,
}

impl ErrorKind {
    /// The reason of the cause in a Status.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
        }
    }
}

/// A validation error of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The field's path, for example `spec.containers[0].image`.
    pub field: String,
    /// The value as it is shown.
    pub value: Value,
    /// What would be right; may be empty.
    pub detail: String,
    /// Whether the message has the value.
    pub shows_value: bool,
}

impl FieldError {
    fn new(kind: ErrorKind, path: &Path, value: Value, detail: impl Into<String>) -> Self {
        let shows_value = !matches!(kind, ErrorKind::Required | ErrorKind::Forbidden | ErrorKind::TooLong);
        Self { kind, field: path.to_string(), value, detail: detail.into(), shows_value }
    }

    /// The field must be given.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, path, Value::Null, detail)
    }

    /// The value is not valid.
    pub fn invalid(path: &Path, value: &Value, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, value.clone(), detail)
    }

    /// What is at the path is not valid; its value is not shown.
    pub fn invalid_unshown(path: &Path, detail: impl Into<String>) -> Self {
        Self { shows_value: false, ..Self::new(ErrorKind::Invalid, path, Value::Null, detail) }
    }

    /// The value, a string, is not valid.
    pub fn invalid_str(path: &Path, value: &str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, value.into(), detail)
    }

    /// The value is not one of `supported`.
    pub fn not_supported(path: &Path, value: &str, supported: &[&str]) -> Self {
        let mut sorted: Vec<&str> = supported.to_vec();
        sorted.sort_unstable();
        let list: Vec<String> = sorted.iter().map(|s| format!("\"{s}\"")).collect();
        Self::new(ErrorKind::NotSupported, path, value.into(), format!("supported values: {}", list.join(", ")))
    }

    /// The value is there twice.
    pub fn duplicate(path: &Path, value: &Value) -> Self {
        Self::new(ErrorKind::Duplicate, path, value.clone(), "")
    }

    /// The field may not be given or changed.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, path, Value::Null, detail)
    }

    /// The value is longer than `max` bytes.
    pub fn too_long(path: &Path, max: usize) -> Self {
        Self::new(ErrorKind::TooLong, path, Value::Null, format!("may not be more than {max} bytes"))
    }

    /// The list has more than `max` items.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        Self::new(ErrorKind::TooMany, path, actual.into(), format!("must have at most {max} items"))
    }

    /// What the value names is not there.
    pub fn not_found(path: &Path, value: &Value) -> Self {
        Self::new(ErrorKind::NotFound, path, value.clone(), "")
    }

    /// The message without the field.
    pub fn body(&self) -> String {
        let mut out = self.kind.text().to_owned();
        if self.shows_value {
            out.push_str(": ");
            let _ = match &self.value {
                Value::Null => write!(out, "null"),
                Value::String(s) => write!(out, "{}", quote(s)),
                other => write!(out, "{other}"),
            };
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

/// A string as Go's `%q` prints it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A path to a field, grown while walking an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path(String);

impl Path {
    /// The path of a top-level field.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The path of a field of this one.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self([&self.0, ".", name].concat()) }
    }

    /// The path of an item of this list.
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The path of a key of this map.
    pub fn key(&self, key: &str) -> Self {
        Self([&self.0, "[", key, "]"].concat())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// Whether a kernel parameter's name is well-formed, with dots or slashes between its segments.
pub fn is_sysctl_name(value: &str) -> bool {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let outer = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
    value.len() <= 253
        && value
            .split(['.', '/'])
            .map(str::as_bytes)
            .all(|segment| outer(segment.first()) && outer(segment.last()) && segment.iter().all(|byte| inner(*byte)))
}

/// Checks the name of an environment variable: any printable ASCII but `=`.
pub fn env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() || !value.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        return vec![regex_error(
            "a valid environment variable name must consist only of printable ASCII characters other than '='",
            "^[ -<>-~]+$",
            &["MY_ENV.VAR-NAME", "MY.ENV", "MY-ENV"],
        )];
    }
    Vec::new()
}

/// Checks a key of a ConfigMap or Secret.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 253 {
        out.push(too_long(253));
    }
    let valid = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if value.is_empty() || !value.bytes().all(valid) {
        out.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    } else {
        match value {
            "." => out.push("must not be '.'".into()),
            ".." => out.push("must not be '..'".into()),
            v if v.starts_with("..") => out.push("must not start with '..'".into()),
            _ => {}
        }
    }
    out
}

/// Checks the name of a port, an IANA service name.
pub fn port_name(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 15 {
        out.push("must be no more than 15 characters".into());
    }
    if value.is_empty() || !value.bytes().all(|c| lower_digit(c) || c == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        out.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        out.push("must not begin or end with a hyphen".into());
    }
    out
}

/// Checks the number of a port.
pub fn port_number(value: i64) -> Vec<String> {
    if (1..=65535).contains(&value) { Vec::new() } else { vec!["must be between 1 and 65535, inclusive".into()] }
}

/// Parses an IP address as Kubernetes does: no leading zeros, no zone.
pub fn parse_ip(value: &str) -> Option<IpAddr> {
    value.parse().ok()
}

/// Checks an IP address.
pub fn ip(value: &str) -> Vec<String> {
    match parse_ip(value) {
        Some(_) => Vec::new(),
        None => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()],
    }
}

/// Checks a CIDR.
pub fn cidr(value: &str) -> Vec<String> {
    match value.parse::<ipnet::IpNet>() {
        Ok(_) => Vec::new(),
        Err(_) => vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".into()],
    }
}

/// Checks a name that is one segment of a path, as names of roles are.
pub fn path_segment_name(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"].iter().filter(|c| value.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// Adds one `Invalid` error for every message.
pub fn push_all(errors: &mut Vec<FieldError>, path: &Path, value: &str, messages: Vec<String>) {
    errors.extend(messages.into_iter().map(|m| FieldError::invalid_str(path, value, m)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_print_as_upstream() {
        let path = Path::new("spec").child("containers").index(0).child("image");
        assert_eq!(FieldError::required(&path, "").to_string(), "spec.containers[0].image: Required value");
        assert_eq!(
            FieldError::not_supported(&path, "x", &["b", "a"]).to_string(),
            "spec.containers[0].image: Unsupported value: \"x\": supported values: \"a\", \"b\""
        );
        assert_eq!(
            FieldError::invalid(&Path::new("a"), &json!({"b": 1}), "no").to_string(),
            "a: Invalid value: {\"b\":1}: no"
        );
    }

    #[test]
    fn names_are_checked() {
        assert!(dns1123_label("a-1").is_empty());
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert!(dns1123_label("A")[0].starts_with("a lowercase RFC 1123 label must consist"));
        assert!(dns1123_subdomain("a.b-c.1").is_empty());
        assert!(!dns1123_subdomain("a..b").is_empty());
        assert!(!dns1035_label("1a").is_empty());
        assert!(qualified_name("example.com/A_b").is_empty());
        assert!(!qualified_name("/a").is_empty());
        assert!(!qualified_name("a/b/c").is_empty());
        assert!(label_value("").is_empty());
        assert!(!label_value("-").is_empty());
        assert!(port_name("http").is_empty());
        assert!(!port_name("80").is_empty());
        assert!(config_map_key("a..b").is_empty());
        assert!(!config_map_key("..a").is_empty());
        assert!(is_sysctl_name("net/ipv4.tcp_rmem") && is_sysctl_name("safe-and-unsafe"));
        assert!(!is_sysctl_name("foo-") && !is_sysctl_name("bar..") && !is_sysctl_name(""));
    }
}
