//! Checks an object by its schema, with upstream's messages and paths.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use smol_str::SmolStr;

use super::checks::Checks;
use super::{ListType, Structural, Type, format};
use crate::field::{self, FieldError, Path};
use crate::json::Place;

/// At most this many errors are told of one object.
const MAX_ERRORS: usize = 64;
/// The path of what concerns no field, as upstream prints it.
const NOWHERE: &str = "<nil>";

impl Structural {
    /// Checks an object. What is as it was in `old` is not checked again.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut validator = Validator::default();
        validator.value(self, object, old, &Place::Root);
        validator.extensions(self, object, old, &Place::Root);
        validator.errors
    }

    /// Checks a value that is no object, as a default is.
    pub fn validate_value(&self, value: &Value, path: &Path) -> Vec<FieldError> {
        let name = path.to_string();
        let mut validator = Validator::default();
        validator.value(self, value, None, &Place::Key(&Place::Root, &name));
        validator.errors
    }
}

#[derive(Default)]
struct Validator {
    errors: Vec<FieldError>,
}

/// Whether rules cannot be evaluated on an object that has this error, as it may not be what they are compiled for.
pub(super) fn is_blocking(error: &FieldError) -> bool {
    use field::ErrorKind::{Invalid, NotSupported, Required, TooLong, TooMany};
    match error.kind {
        NotSupported | Required | TooLong | TooMany => true,
        Invalid => error.detail.contains(" in body must be of type "),
        _ => false,
    }
}

/// Tells that no rules were evaluated.
pub(super) fn not_checked() -> FieldError {
    let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
    FieldError::invalid(&Path::default(), &Value::Null, detail)
}

/// What OpenAPI calls the type of a value.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if is_whole(number) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_whole(number: &serde_json::Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn path(place: &Place<'_>) -> Path {
    let text = place.to_string();
    Path::new(if text.is_empty() { NOWHERE } else { &text })
}

impl Validator {
    fn push(&mut self, error: FieldError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    /// Whether no more errors are told: then none are looked for, as the path of each may be as long as the object.
    fn is_full(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    /// An error in the words `{path} in body {what}`.
    fn wrong(&mut self, place: &Place<'_>, value: &Value, what: &str) {
        self.push(FieldError::invalid(&path(place), value, format!("{place} in body {what}")));
    }

    fn value(&mut self, schema: &Structural, value: &Value, old: Option<&Value>, place: &Place<'_>) {
        if self.is_full() || old == Some(value) || value.is_null() && schema.nullable {
            return;
        }
        if !self.type_fits(schema, value, place) {
            return;
        }
        match value {
            Value::Object(map) => self.object(schema, map, old.and_then(Value::as_object), place),
            Value::Array(items) => self.items(schema, items, old.and_then(Value::as_array), place),
            _ => {}
        }
        if let Some(checks) = schema.checks.as_deref() {
            self.checks(checks, value, place);
        }
    }

    fn type_fits(&mut self, schema: &Structural, value: &Value, place: &Place<'_>) -> bool {
        let fits = match schema.ty {
            _ if schema.int_or_string => value.is_string() || value.as_number().is_some_and(is_whole),
            Type::Any => return true,
            Type::Object => value.is_object(),
            Type::Array => value.is_array(),
            Type::String => value.is_string(),
            Type::Number => value.is_number(),
            Type::Integer => value.as_number().is_some_and(is_whole),
            Type::Boolean => value.is_boolean(),
        };
        if !fits {
            let wanted = if schema.int_or_string { "integer,string" } else { schema.ty.name() };
            let given = type_of(value);
            self.wrong(place, &given.into(), &format!("must be of type {wanted}: {}", field::quote(given)));
        }
        fits
    }

    fn object(
        &mut self,
        schema: &Structural,
        map: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        place: &Place<'_>,
    ) {
        for (name, value) in map {
            if let Some(schema) = schema.below(name) {
                self.value(schema, value, old.and_then(|old| old.get(name)), &Place::Key(place, name));
            }
        }
    }

    fn items(&mut self, schema: &Structural, items: &[Value], old: Option<&Vec<Value>>, place: &Place<'_>) {
        let Some(below) = schema.items.as_deref() else { return };
        let old = Correlated::new(schema, old);
        for (index, item) in items.iter().enumerate() {
            self.value(below, item, old.get(item), &Place::Item(place, index));
        }
    }

    fn checks(&mut self, checks: &Checks, value: &Value, place: &Place<'_>) {
        if !checks.values.is_empty() && !checks.values.contains(value) {
            let texts: Vec<String> = checks.values.iter().map(plain).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut error = FieldError::not_supported(&path(place), &plain(value), &texts);
            if !value.is_string() {
                error.value = value.clone();
            }
            self.push(error);
        }
        match value {
            Value::Number(number) => self.number(checks, number.as_f64().unwrap_or(0.0), value, place),
            Value::String(text) => self.text(checks, text, place),
            Value::Array(items) => self.length(checks.min_items, checks.max_items, items.len(), "items", value, place),
            Value::Object(map) => {
                for name in &checks.required {
                    if !map.contains_key(name.as_str()) {
                        self.push(FieldError::required(&path(&Place::Key(place, name)), ""));
                    }
                }
                self.length(checks.min_properties, checks.max_properties, map.len(), "properties", value, place);
            }
            _ => {}
        }
        self.combined(checks, value, place);
    }

    fn number(&mut self, checks: &Checks, number: f64, value: &Value, place: &Place<'_>) {
        if let Some(minimum) = checks.minimum {
            let (fits, words) = match checks.exclusive_minimum {
                true => (number > minimum, "greater than"),
                false => (number >= minimum, "greater than or equal to"),
            };
            if !fits {
                self.wrong(place, value, &format!("should be {words} {minimum}"));
            }
        }
        if let Some(maximum) = checks.maximum {
            let (fits, words) = match checks.exclusive_maximum {
                true => (number < maximum, "less than"),
                false => (number <= maximum, "less than or equal to"),
            };
            if !fits {
                self.wrong(place, value, &format!("should be {words} {maximum}"));
            }
        }
        if let Some(factor) = checks.multiple_of.filter(|factor| *factor > 0.0) {
            let quotient = number / factor;
            if (quotient - quotient.round()).abs() > 1e-9 {
                self.wrong(place, value, &format!("should be a multiple of {factor}"));
            }
        }
        let is_32_bit = number.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
        if checks.format == "int32" && !is_32_bit {
            self.wrong(place, value, "must be of type integer with format int32");
        }
    }

    fn text(&mut self, checks: &Checks, text: &str, place: &Place<'_>) {
        let value = Value::from(text);
        let length = text.chars().count() as u64;
        if let Some(minimum) = checks.min_length.filter(|minimum| length < *minimum) {
            self.wrong(place, &value, &format!("should be at least {minimum} chars long"));
        }
        if let Some(maximum) = checks.max_length.filter(|maximum| length > *maximum) {
            self.push(FieldError::too_long(&path(place), usize::try_from(maximum).unwrap_or(usize::MAX)));
        }
        if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            self.wrong(place, &value, &format!("should match '{}'", pattern.text));
        }
        if !format::holds(&checks.format, text) {
            self.wrong(place, &value, &format!("must be of type {}: {}", checks.format, field::quote(text)));
        }
    }

    fn length(
        &mut self,
        minimum: Option<u64>,
        maximum: Option<u64>,
        length: usize,
        what: &str,
        value: &Value,
        place: &Place<'_>,
    ) {
        if let Some(minimum) = minimum.filter(|minimum| (length as u64) < *minimum) {
            self.wrong(place, value, &format!("should have at least {minimum} {what}"));
        }
        if let Some(maximum) = maximum.filter(|maximum| length as u64 > *maximum) {
            self.push(FieldError::too_many(&path(place), length, usize::try_from(maximum).unwrap_or(usize::MAX)));
        }
    }

    fn combined(&mut self, checks: &Checks, value: &Value, place: &Place<'_>) {
        let failures = |schemas: &[Structural]| -> Vec<Vec<FieldError>> {
            schemas.iter().map(|schema| errors_of(schema, value, place)).collect()
        };
        let name = || field::quote(&place.to_string());
        let composite = |what: String| FieldError::invalid_str(&Path::new(NOWHERE), "", what);
        let all = failures(&checks.all_of);
        if all.iter().any(|errors| !errors.is_empty()) {
            let none = if all.iter().all(|errors| !errors.is_empty()) { ". None validated" } else { "" };
            all.into_iter().flatten().for_each(|error| self.push(error));
            self.push(composite(format!("{} must validate all the schemas (allOf){none}", name())));
        }
        let any = failures(&checks.any_of);
        if !any.is_empty() && any.iter().all(|errors| !errors.is_empty()) {
            self.push(composite(format!("{} must validate at least one schema (anyOf)", name())));
            self.nearest(any);
        }
        let one = failures(&checks.one_of);
        let valid = one.iter().filter(|errors| errors.is_empty()).count();
        if !one.is_empty() && valid != 1 {
            let found = match valid {
                0 => "Found none valid".to_owned(),
                _ => format!("Found {valid} valid alternatives"),
            };
            self.push(composite(format!("{} must validate one and only one schema (oneOf). {found}", name())));
            if valid == 0 {
                self.nearest(one);
            }
        }
        if checks.not.as_ref().is_some_and(|schema| errors_of(schema, value, place).is_empty()) {
            self.push(composite(format!("{} must not validate the schema (not)", name())));
        }
    }

    /// Tells what is wrong by the alternative that fits best.
    fn nearest(&mut self, alternatives: Vec<Vec<FieldError>>) {
        let best = alternatives.into_iter().min_by_key(Vec::len).unwrap_or_default();
        best.into_iter().for_each(|error| self.push(error));
    }

    /// What Kubernetes' own extensions demand: sets and maps without duplicates, objects that say what they are.
    fn extensions(&mut self, schema: &Structural, value: &Value, old: Option<&Value>, place: &Place<'_>) {
        if self.is_full() || old == Some(value) {
            return;
        }
        match value {
            Value::Object(map) => {
                if schema.embedded {
                    self.embedded(map, place);
                }
                for (name, value) in map {
                    if let Some(schema) = schema.below(name) {
                        let old = old.and_then(|old| old.get(name));
                        self.extensions(schema, value, old, &Place::Key(place, name));
                    }
                }
            }
            Value::Array(items) => {
                self.duplicates(schema, items, place);
                let Some(below) = schema.items.as_deref() else { return };
                let old = Correlated::new(schema, old.and_then(Value::as_array));
                for (index, item) in items.iter().enumerate() {
                    self.extensions(below, item, old.get(item), &Place::Item(place, index));
                }
            }
            _ => {}
        }
    }

    fn embedded(&mut self, map: &Map<String, Value>, place: &Place<'_>) {
        for name in ["apiVersion", "kind"] {
            if map.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                self.push(FieldError::required(&path(&Place::Key(place, name)), "must not be empty"));
            }
        }
    }

    fn duplicates(&mut self, schema: &Structural, items: &[Value], place: &Place<'_>) {
        let shown = |item: &Value| match schema.list {
            ListType::Set => Some(item.clone()),
            ListType::Map => {
                let keys =
                    schema.list_keys.iter().filter_map(|key| Some((key.to_string(), item.get(key.as_str())?.clone())));
                Some(Value::Object(keys.collect()))
            }
            _ => None,
        };
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let Some(identity) = shown(item) else { return };
            if !seen.insert(identity.to_string()) && !self.is_full() {
                self.push(FieldError::duplicate(&path(&Place::Item(place, index)), &identity));
            }
        }
    }
}

fn errors_of(schema: &Structural, value: &Value, place: &Place<'_>) -> Vec<FieldError> {
    let mut validator = Validator::default();
    validator.value(schema, value, None, place);
    validator.errors
}

/// The items of an old list by their keys; of other lists than maps nobody can say which an item was.
pub(super) struct Correlated<'a> {
    keys: &'a [SmolStr],
    items: HashMap<Vec<Option<&'a Value>>, &'a Value>,
}

impl<'a> Correlated<'a> {
    pub fn new(schema: &'a Structural, old: Option<&'a Vec<Value>>) -> Correlated<'a> {
        let keys = schema.list_keys.as_slice();
        let mut items = HashMap::new();
        for item in old.into_iter().flatten().filter(|_| schema.list == ListType::Map) {
            items.entry(of_keys(keys, item)).or_insert(item);
        }
        Correlated { keys, items }
    }

    /// What an item was.
    pub fn get(&self, item: &Value) -> Option<&'a Value> {
        if self.items.is_empty() { None } else { self.items.get(&of_keys(self.keys, item)).copied() }
    }
}

fn of_keys<'v>(keys: &[SmolStr], item: &'v Value) -> Vec<Option<&'v Value>> {
    keys.iter().map(|key| item.get(key.as_str())).collect()
}

/// A string as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(schema: &Value, spec: &Value) -> Vec<String> {
        let schema = Structural::parse(&json!({"type": "object", "properties": {"spec": schema}}));
        schema.validate(&json!({"spec": spec}), None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_does_not_fit_is_told_in_upstreams_words() {
        for (schema, value, message) in [
            (
                json!({"type": "integer"}),
                json!("x"),
                "spec: Invalid value: \"string\": spec in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "string"}),
                json!(null),
                "spec: Invalid value: \"null\": spec in body must be of type string: \"null\"",
            ),
            (
                json!({"type": "integer", "minimum": 1}),
                json!(0),
                "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
            ),
            (
                json!({"type": "integer", "maximum": 5, "exclusiveMaximum": true}),
                json!(5),
                "spec: Invalid value: 5: spec in body should be less than 5",
            ),
            (
                json!({"type": "integer", "multipleOf": 3}),
                json!(4),
                "spec: Invalid value: 4: spec in body should be a multiple of 3",
            ),
            (
                json!({"type": "string", "pattern": "^a$"}),
                json!("b"),
                "spec: Invalid value: \"b\": spec in body should match '^a$'",
            ),
            (
                json!({"type": "string", "minLength": 2}),
                json!("b"),
                "spec: Invalid value: \"b\": spec in body should be at least 2 chars long",
            ),
            (json!({"type": "string", "maxLength": 1}), json!("bb"), "spec: Too long: may not be more than 1 bytes"),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                json!("c"),
                "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (
                json!({"type": "string", "format": "ipv4"}),
                json!("c"),
                "spec: Invalid value: \"c\": spec in body must be of type ipv4: \"c\"",
            ),
            (json!({"type": "object", "required": ["a"]}), json!({}), "spec.a: Required value"),
            (
                json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
                json!(["a", "b"]),
                "spec: Too many: 2: must have at most 1 items",
            ),
            (
                json!({"type": "array", "items": {"type": "string"}}),
                json!(["a", 1]),
                "spec[1]: Invalid value: \"integer\": spec[1] in body must be of type string: \"integer\"",
            ),
            (
                json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
                json!(["a", "a"]),
                "spec[1]: Duplicate value: \"a\"",
            ),
            (
                json!({"type": "object", "x-kubernetes-embedded-resource": true}),
                json!({"kind": "K"}),
                "spec.apiVersion: Required value: must not be empty",
            ),
            (
                json!({"x-kubernetes-int-or-string": true}),
                json!(true),
                "spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\"",
            ),
            (
                json!({"type": "object", "not": {"required": ["a"]}}),
                json!({"a": 1}),
                "<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)",
            ),
            (
                json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
                json!({"a": 1, "b": 1}),
                "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ),
        ] {
            assert_eq!(errors(&schema, &value), [message], "{schema}");
        }
        let any = json!({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert_eq!(
            errors(&any, &json!({}))[0],
            "<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)"
        );
        assert!(errors(&any, &json!({"b": 1})).is_empty());
        assert!(errors(&json!({"type": "string", "nullable": true}), &json!(null)).is_empty());
        assert!(errors(&json!({"type": "integer", "x-kubernetes-int-or-string": true}), &json!("5%")).is_empty());
    }

    #[test]
    fn what_did_not_change_is_not_checked_again() {
        let schema = Structural::parse(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
                "a": {"type": "string", "maxLength": 1}, "b": {"type": "string"},
                "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
            }}}}),
        );
        let old = json!({"spec": {"a": "long", "b": "x", "l": [{"k": "1", "v": "long"}]}});
        let new = json!({"spec": {"a": "long", "b": "y", "l": [{"k": "2", "v": "1"}, {"k": "1", "v": "long"}]}});
        assert!(schema.validate(&new, Some(&old)).is_empty());
        let new = json!({"spec": {"a": "longer", "b": "y", "l": [{"k": "1", "v": "longer"}]}});
        assert_eq!(schema.validate(&new, Some(&old)).len(), 2);
        assert_eq!(schema.validate(&old, None).len(), 2);
    }
}
