//! The validators of names and labels, worded as apimachinery's `util/validation`. What they return is wrong with a text.

use std::fmt::Write;

const LABEL_FORM: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// The message of a name that does not have its form, with that form and examples.
pub fn regex_error(message: &str, form: &str, examples: &[&str]) -> String {
    let mut out = format!("{message} (");
    for (i, example) in examples.iter().enumerate() {
        out.push_str(if i == 0 { "e.g. " } else { " or " });
        let _ = write!(out, "'{example}', ");
    }
    let _ = write!(out, "regex used for validation is '{form}')");
    out
}

/// The message of a name of more than `max` bytes.
pub fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// Whether the first and last octets fit the one, and those between them the other.
fn edges(value: &[u8], inner: impl Fn(u8) -> bool, edge: impl Fn(u8) -> bool) -> bool {
    match value {
        [] => false,
        [one] => edge(*one),
        [first, middle @ .., last] => edge(*first) && edge(*last) && middle.iter().all(|c| inner(*c)),
    }
}

/// A lower-case letter or a digit.
pub fn lower_digit(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(value: &[u8]) -> bool {
    edges(value, |c| lower_digit(c) || c == b'-', lower_digit)
}

/// Checks a DNS label of RFC 1123; what is returned is wrong with it.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 63 {
        out.push(too_long(63));
    }
    if !is_label(value.as_bytes()) {
        out.push(if value.is_empty() || !dns1123_subdomain_form(value) {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FORM,
                &["my-name", "123-abc"],
            )
        } else {
            "must not contain dots".to_owned()
        });
    }
    out
}

fn dns1123_subdomain_form(value: &str) -> bool {
    !value.is_empty() && value.split('.').all(|part| is_label(part.as_bytes()))
}

/// Checks a DNS subdomain of RFC 1123.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 253 {
        out.push(too_long(253));
    }
    if !dns1123_subdomain_form(value) {
        out.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    out
}

/// Checks a DNS subdomain of RFC 1123 whose labels may have underscores too, as search paths do.
pub fn dns1123_subdomain_with_underscores(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 253 {
        out.push(too_long(253));
    }
    let outer = |c: u8| lower_digit(c) || c == b'_';
    let label = |part: &str| edges(part.as_bytes(), |c| outer(c) || c == b'-', outer);
    if value.is_empty() || !value.split('.').all(label) {
        out.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            "[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?(\\.[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?)*",
            &["example.com"],
        ));
    }
    out
}

/// Checks a DNS label of RFC 1035.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 63 {
        out.push(too_long(63));
    }
    if !is_label(value.as_bytes()) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    out
}

fn qualified_part(value: &str) -> bool {
    edges(
        value.as_bytes(),
        |c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'),
        |c| c.is_ascii_alphanumeric(),
    )
}

/// Checks a qualified name: `name` or `prefix/name`, as label and annotation keys are.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    let form = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    let message = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(dns1123_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            }
            *name
        }
        _ => {
            let text = regex_error(&format!("a qualified name {message}"), form, &["MyName", "my.name", "123-abc"]);
            return vec![format!("{text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        out.push(format!("name part {}", too_long(63)));
    }
    if !qualified_part(name) {
        out.push(regex_error(&format!("name part {message}"), form, &["MyName", "my.name", "123-abc"]));
    }
    out
}

/// Checks the value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 63 {
        out.push(too_long(63));
    }
    if !value.is_empty() && !qualified_part(value) {
        out.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    out
}
