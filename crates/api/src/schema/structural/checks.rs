//! What a schema demands of values besides their type.

use std::sync::OnceLock;

use coracle_cel::EvalError;
use regex::Regex;
use serde_json::Value;
use smol_str::SmolStr;

use super::{Structural, texts};
use crate::meta::{list, text};

/// Keywords that only check values.
#[derive(Debug, Default)]
pub struct Checks {
    /// Fields that must be there.
    pub required: Vec<SmolStr>,
    /// The values that are allowed, if not all.
    pub values: Vec<Value>,
    /// What a string is.
    pub format: SmolStr,
    pub(super) minimum: Option<f64>,
    pub(super) exclusive_minimum: bool,
    pub(super) maximum: Option<f64>,
    pub(super) exclusive_maximum: bool,
    pub(super) multiple_of: Option<f64>,
    pub(super) min_length: Option<u64>,
    pub(super) max_length: Option<u64>,
    pub(super) pattern: Option<Pattern>,
    pub(super) min_items: Option<u64>,
    pub(super) max_items: Option<u64>,
    pub(super) min_properties: Option<u64>,
    pub(super) max_properties: Option<u64>,
    pub(super) all_of: Vec<Structural>,
    pub(super) any_of: Vec<Structural>,
    pub(super) one_of: Vec<Structural>,
    pub(super) not: Option<Structural>,
}

/// A regular expression, compiled when it is first needed.
#[derive(Debug)]
pub(super) struct Pattern {
    pub text: SmolStr,
    compiled: OnceLock<Option<Regex>>,
}

/// Compiles an expression of a schema, whose matches may begin and end anywhere; it means what it means in a rule.
pub fn compile(pattern: &str) -> Result<Regex, EvalError> {
    coracle_cel::compile_pattern(pattern)
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        Pattern { text: text.into(), compiled: OnceLock::new() }
    }

    pub fn matches(&self, value: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.text).ok());
        compiled.as_ref().is_none_or(|regex| regex.is_match(value))
    }
}

impl Checks {
    /// The most items of a list.
    pub fn max_items(&self) -> Option<u64> {
        self.max_items
    }

    /// The most entries of a map.
    pub fn max_properties(&self) -> Option<u64> {
        self.max_properties
    }

    /// The checks of a schema; `None` when there are none.
    pub(super) fn parse(schema: &Value) -> Option<Checks> {
        let number = |key: &str| schema[key].as_f64();
        let size = |key: &str| schema[key].as_u64();
        let all = |key: &str| list(schema, &[key]).iter().map(Structural::parse).collect::<Vec<_>>();
        let checks = Checks {
            required: texts(schema, "required"),
            values: list(schema, &["enum"]).to_vec(),
            format: text(schema, &["format"]).into(),
            minimum: number("minimum"),
            exclusive_minimum: schema["exclusiveMinimum"] == true,
            maximum: number("maximum"),
            exclusive_maximum: schema["exclusiveMaximum"] == true,
            multiple_of: number("multipleOf"),
            min_length: size("minLength"),
            max_length: size("maxLength"),
            pattern: schema["pattern"].as_str().filter(|pattern| !pattern.is_empty()).map(Pattern::new),
            min_items: size("minItems"),
            max_items: size("maxItems"),
            min_properties: size("minProperties"),
            max_properties: size("maxProperties"),
            all_of: all("allOf"),
            any_of: all("anyOf"),
            one_of: all("oneOf"),
            not: schema["not"].is_object().then(|| Structural::parse(&schema["not"])),
        };
        (!checks.is_empty()).then_some(checks)
    }

    fn is_empty(&self) -> bool {
        let numbers = [self.minimum, self.maximum, self.multiple_of].iter().all(Option::is_none);
        let sizes = [
            self.min_length,
            self.max_length,
            self.min_items,
            self.max_items,
            self.min_properties,
            self.max_properties,
        ];
        let others = [&self.all_of, &self.any_of, &self.one_of].iter().all(|list| list.is_empty());
        let texts = self.required.is_empty() && self.values.is_empty() && self.format.is_empty();
        numbers && sizes.iter().all(Option::is_none) && others && texts && self.pattern.is_none() && self.not.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_upstream() {
        let digits = Pattern::new(r"^\d+$");
        assert!(digits.matches("12") && !digits.matches("\u{661}\u{662}"));
        // Sixty letters of all scripts would be too large.
        assert!(compile(r"\w{60}").is_ok());
        let error = compile("(").expect_err("it does not end").to_string();
        assert!(error.starts_with("error parsing regexp: "), "{error}");
    }
}
