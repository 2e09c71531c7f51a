//! Named formats: `format.dns1123Label().validate(self.name)`.

use base64::Engine as _;
use coracle_values::names;

use super::time;
use crate::budget;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::{CelValue, Extension};

type Value<'a> = Result<CelValue<'a>, EvalError>;

/// A format that texts may have.
#[derive(Debug)]
pub struct NamedFormat {
    /// As messages call it.
    pub name: &'static str,
    /// The name of its function.
    function: &'static str,
    /// What is wrong with a text.
    validate: fn(&str) -> Vec<String>,
    /// The size of the pattern that it costs as much as.
    pattern: usize,
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
    format("uri", "URI", 4000, super::urls::validate),
    format("uuid", "uuid", 128, |text| unless(is_uuid(text), "does not match the UUID format")),
    format("byte", "byte", 132, |text| {
        unless(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
    }),
    format("date", "date", 171, |text| {
        unless(text.len() == 10 && time::parse_date_or_time(text).is_ok(), "invalid date")
    }),
    format("datetime", "datetime", 171, |text| unless(time::parse_timestamp(text).is_ok(), "invalid datetime")),
];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global(
        "format.named(string) -> optional(kubernetes.NamedFormat)",
        Cost::Fixed(1),
        |_, args| match args {
            [CelValue::String(name)] => Ok(named(name).map_or(CelValue::none(), CelValue::some)),
            _ => Err(EvalError::no_such_overload()),
        },
    ),
    Function::member("kubernetes.NamedFormat", "validate(string) -> optional(list(string))", VALIDATE, validate),
    Function::global("format.dns1123Label() -> kubernetes.NamedFormat", ONE, |_, _| known("dns1123Label")),
    Function::global("format.dns1123Subdomain() -> kubernetes.NamedFormat", ONE, |_, _| known("dns1123Subdomain")),
    Function::global("format.dns1035Label() -> kubernetes.NamedFormat", ONE, |_, _| known("dns1035Label")),
    Function::global("format.qualifiedName() -> kubernetes.NamedFormat", ONE, |_, _| known("qualifiedName")),
    Function::global("format.dns1123LabelPrefix() -> kubernetes.NamedFormat", ONE, |_, _| known("dns1123LabelPrefix")),
    Function::global("format.dns1123SubdomainPrefix() -> kubernetes.NamedFormat", ONE, |_, _| {
        known("dns1123SubdomainPrefix")
    }),
    Function::global("format.dns1035LabelPrefix() -> kubernetes.NamedFormat", ONE, |_, _| known("dns1035LabelPrefix")),
    Function::global("format.labelValue() -> kubernetes.NamedFormat", ONE, |_, _| known("labelValue")),
    Function::global("format.uri() -> kubernetes.NamedFormat", ONE, |_, _| known("uri")),
    Function::global("format.uuid() -> kubernetes.NamedFormat", ONE, |_, _| known("uuid")),
    Function::global("format.byte() -> kubernetes.NamedFormat", ONE, |_, _| known("byte")),
    Function::global("format.date() -> kubernetes.NamedFormat", ONE, |_, _| known("date")),
    Function::global("format.datetime() -> kubernetes.NamedFormat", ONE, |_, _| known("datetime")),
];

const ONE: Cost = Cost::Fixed(1);
/// A pattern against the text; the largest one is estimated where the format is not known yet.
const VALIDATE: Cost = Cost::By(cost, |sizes| {
    let text = usize::try_from(sizes.get(1).copied().unwrap_or(0)).unwrap_or(usize::MAX);
    budget::pattern(text, LARGEST_PATTERN)
});
/// `maxNameFormatRegexSize` of upstream.
const LARGEST_PATTERN: usize = 128;

fn named<'a>(name: &str) -> Option<CelValue<'a>> {
    let format = FORMATS.iter().find(|format| format.function == name)?;
    Some(CelValue::Extension(Extension::Format(format)))
}

fn known<'a>(name: &str) -> Value<'a> {
    named(name).ok_or_else(EvalError::no_such_overload)
}

fn cost(args: &[CelValue<'_>]) -> u64 {
    match args {
        [CelValue::Extension(Extension::Format(format)), text] => budget::pattern(text.cost_size(), format.pattern),
        _ => 1,
    }
}

fn validate<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::Extension(Extension::Format(format)), CelValue::String(text)] = args else {
        return Err(EvalError::no_such_overload());
    };
    let wrong = (format.validate)(text);
    if wrong.is_empty() {
        return Ok(CelValue::none());
    }
    Ok(CelValue::some(CelValue::list(wrong.into_iter().map(CelValue::string).collect())))
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
