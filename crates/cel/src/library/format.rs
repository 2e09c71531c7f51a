//! Named formats: `format.dns1123Label().validate(self.name)`.

use crate::budget;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::{CelValue, Extension, named_format};

type Value<'a> = Result<CelValue<'a>, EvalError>;

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
    named_format::of_function(name).map(|format| CelValue::Extension(Extension::Format(format)))
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
