//! Formats of texts that have names.

use base64::Engine as _;
use coracle_values::names;

use crate::time;

/// A format that texts may have.
#[derive(Debug)]
pub struct NamedFormat {
    /// As messages call it.
    pub name: &'static str,
    /// The name of its function.
    function: &'static str,
    /// What is wrong with a text.
    pub(crate) validate: fn(&str) -> Vec<String>,
    /// The size of the pattern that it costs as much as.
    pub(crate) pattern: usize,
}

const fn format(
    function: &'static str,
    name: &'static str,
    pattern: usize,
    validate: fn(&str) -> Vec<String>,
) -> NamedFormat {
    NamedFormat { name, function, validate, pattern }
}

static FORMATS: [NamedFormat; 13] = [
    format("dns1123Label", "DNS1123Label", 30, names::dns1123_label),
    format("dns1123Subdomain", "DNS1123Subdomain", 60, names::dns1123_subdomain),
    format("dns1035Label", "DNS1035Label", 30, names::dns1035_label),
    format("qualifiedName", "QualifiedName", 60, names::qualified_name),
    format("dns1123LabelPrefix", "DNS1123LabelPrefix", 30, |text| names::dns1123_label(&masked(text))),
    format("dns1123SubdomainPrefix", "DNS1123SubdomainPrefix", 60, |text| names::dns1123_subdomain(&masked(text))),
    format("dns1035LabelPrefix", "DNS1035LabelPrefix", 30, |text| names::dns1035_label(&masked(text))),
    format("labelValue", "LabelValue", 40, names::label_value),
    format("uri", "URI", 4000, super::url::validate),
    format("uuid", "uuid", 128, |text| unless(is_uuid(text), "does not match the UUID format")),
    format("byte", "byte", 132, |text| {
        unless(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
    }),
    format("date", "date", 171, |text| {
        unless(text.len() == 10 && time::parse_date_or_time(text).is_ok(), "invalid date")
    }),
    format("datetime", "datetime", 171, |text| unless(time::parse_timestamp(text).is_ok(), "invalid datetime")),
];

/// The format whose function has a name.
pub(crate) fn of_function(name: &str) -> Option<&'static NamedFormat> {
    FORMATS.iter().find(|format| format.function == name)
}

/// A prefix may end in a dash, since more comes behind it.
fn masked(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(prefix) if prefix.len() > 1 => format!("{}a", prefix.trim_end_matches('-')),
        _ => text.to_owned(),
    }
}

fn unless(valid: bool, message: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![message.to_owned()] }
}

/// 32 hexadecimal digits, in groups of 8, 4, 4, 4 and 12 with or without dashes between.
fn is_uuid(text: &str) -> bool {
    let dashes = text.bytes().filter(|byte| *byte == b'-').count();
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let placed = text.len() != 36 || [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    digits == 32 && digits + dashes == text.len() && (dashes == 0 || dashes == 4) && placed
}
