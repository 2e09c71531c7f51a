//! Checks that an applied configuration fits its schema, with upstream's messages.

use std::fmt::Write;

use serde_json::Value;

use super::items;
use super::node::{Merge, Node, Place, Scalar};

/// At most this many errors are told.
const MAX_ERRORS: usize = 100;

/// Checks an applied configuration: types, unknown fields, and items of the same key.
///
/// # Errors
/// What does not fit, worded as upstream does.
pub fn validate<'a, N: Node<'a>>(node: N, value: &'a Value) -> Result<(), String> {
    let mut errors = Errors { path: String::new(), found: Vec::new() };
    errors.value(node, value);
    match errors.found.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

struct Errors {
    path: String,
    found: Vec<String>,
}

impl Errors {
    fn add(&mut self, message: impl std::fmt::Display) {
        if self.found.len() < MAX_ERRORS {
            let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
            self.found.push(format!("{path}{message}"));
        }
    }

    fn within(&mut self, element: impl std::fmt::Display, check: impl FnOnce(&mut Self)) {
        let end = self.path.len();
        // Writing to a string cannot fail.
        let _ = write!(self.path, "{element}");
        check(self);
        self.path.truncate(end);
    }

    fn value<'a, N: Node<'a>>(&mut self, node: N, value: &'a Value) {
        match (node.place(), value) {
            (_, Value::Null) | (Place::Untyped { .. }, _) => {}
            (Place::Scalar(scalar), value) => self.scalar(scalar, value),
            (Place::Map { .. }, Value::Object(map)) => {
                for (name, value) in map {
                    self.within(format_args!(".{name}"), |errors| match node.field(name) {
                        Some(field) => errors.value(field.node, value),
                        None => errors.add("field not declared in schema"),
                    });
                }
            }
            (Place::Map { .. }, value) => self.add(format_args!("expected map, got &{{{}}}", go_value(value))),
            (Place::List(merge, item), Value::Array(list)) => self.list(merge, item, list),
            (Place::List(..), value) => self.add(format_args!("expected list, got &{{{}}}", go_value(value))),
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value) {
        match (scalar, value) {
            (Scalar::Text, Value::String(_))
            | (Scalar::Number, Value::Number(_))
            | (Scalar::Bool, Value::Bool(_))
            | (Scalar::Any, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {}
            (Scalar::Text, value) => {
                self.add(format_args!("expected string, got &value.valueUnstructured{{Value:{}}}", go_literal(value)));
            }
            (Scalar::Number, value) => {
                self.add(format_args!("expected numeric (int or float), got {}", go_type(value)));
            }
            (Scalar::Bool, value) => self.add(format_args!("expected boolean, got &{{{}}}", go_value(value))),
            (Scalar::Any, value) => self.add(format_args!("expected any scalar, got &{{{}}}", go_value(value))),
        }
    }

    fn list<'a, N: Node<'a>>(&mut self, merge: Merge<'a, N::Key>, node: N, list: &'a [Value]) {
        if matches!(merge, Merge::Atomic) {
            for (index, item) in list.iter().enumerate() {
                self.within(format_args!("[{index}]"), |errors| errors.value(node, item));
            }
            return;
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            let element = match items::element(merge, node, item) {
                Ok(element) => element,
                // Upstream does not look any further either.
                Err(error) => return self.add(format_args!("element {index}: {error}")),
            };
            if seen.contains(&element) {
                self.add(format_args!("duplicate entries for key {element}"));
            }
            self.within(&element, |errors| errors.value(node, item));
            seen.insert(element);
        }
    }
}

/// A value as Go's `%v` shows it.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{key}:{}", go_value(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

/// A value as Go's `%#v` shows it.
fn go_literal(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::String(text) => crate::field::quote(text),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let quoted =
                |(key, value): (&String, &Value)| format!("{}:{}", crate::field::quote(key), go_literal(value));
            format!("map[string]interface {{}}{{{}}}", map.iter().map(quoted).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The Go type that a value is read as.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Builtin;
    use crate::schema::id;
    use serde_json::json;

    fn error(value: &Value) -> String {
        validate(Builtin::new(id::APPS_V1_DEPLOYMENT), value).expect_err("it does not fit")
    }

    #[test]
    fn what_does_not_fit_is_told_as_upstream_does() {
        let containers = |list: Value| json!({"spec": {"template": {"spec": {"containers": list}}}});
        assert_eq!(error(&json!({"spec": {"foo": 1}})), ".spec.foo: field not declared in schema");
        assert_eq!(
            error(&containers(json!([{"name": "a", "env": [{"name": "X", "value": 1}]}]))),
            r#".spec.template.spec.containers[name="a"].env[name="X"].value: expected string, got &value.valueUnstructured{Value:1}"#
        );
        assert_eq!(
            error(&json!({"spec": {"replicas": "1"}})),
            ".spec.replicas: expected numeric (int or float), got string"
        );
        assert_eq!(error(&json!({"spec": {"paused": "yes"}})), ".spec.paused: expected boolean, got &{yes}");
        assert_eq!(error(&json!({"spec": ["a", 1]})), ".spec: expected map, got &{[a 1]}");
        assert_eq!(
            error(&containers(json!({"a": 1}))),
            ".spec.template.spec.containers: expected list, got &{map[a:1]}"
        );
        assert_eq!(
            error(&containers(
                json!([{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 1, "name": "x"}]}])
            )),
            r#".spec.template.spec.containers[name="a"].ports: duplicate entries for key [containerPort=1,protocol="TCP"]"#
        );
        assert_eq!(
            error(&json!({"metadata": {"finalizers": ["a", {"b": 1}]}})),
            ".metadata.finalizers: element 1: associative list without keys has an element that's a map type"
        );
        assert_eq!(
            error(&json!({"spec": {"a": 1, "b": 2}})),
            "errors:\n  .spec.a: field not declared in schema\n  .spec.b: field not declared in schema"
        );
        let fits = json!({"metadata": {"labels": null}, "spec": {"replicas": null, "template": {"spec": {"containers": [
            {"name": "a", "resources": {"limits": {"cpu": 1}}, "ports": [{"containerPort": 1}]}]}}}});
        assert_eq!(validate(Builtin::new(id::APPS_V1_DEPLOYMENT), &fits), Ok(()));
    }
}
