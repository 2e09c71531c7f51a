//! Runs the rules of a schema on an object, within one budget.

use coracle_cel::message::message;
use coracle_cel::{Activation, Budget, CelValue, EvalError};
use serde_json::Value;

use super::rule::Rule;
use super::{Rules, Structural};
use crate::field::{self, ErrorKind, FieldError, Path};
use crate::schema::structural::{Additional, validate};

/// At most this many errors are told of one object.
const MAX_ERRORS: usize = 64;

impl Rules {
    /// What does not hold. `old` is what was there before; what is as it was then is forgiven.
    pub fn evaluate(&self, schema: &Structural, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut run = Run { budget: Budget::default(), errors: Vec::new(), over: false };
        let place = Place { schema, value: object, old, is_forgiven: old == Some(object) };
        run.place(self, place, &Trail::Object);
        run.errors
    }
}

/// A place of the object, and what was there.
#[derive(Clone, Copy)]
struct Place<'a> {
    schema: &'a Structural,
    value: &'a Value,
    /// Nothing too where nobody can say which it was.
    old: Option<&'a Value>,
    /// Whether it, or what is around it if nobody can say what it was, is as it was.
    is_forgiven: bool,
}

impl<'a> Place<'a> {
    fn below(self, schema: &'a Structural, value: &'a Value, old: Option<&'a Value>) -> Place<'a> {
        let old = old.filter(|old| !old.is_null());
        let is_forgiven = self.is_forgiven || old == Some(value);
        Place { schema, value, old, is_forgiven }
    }
}

/// The way to a place. It is printed only when something is told: a path may be as long as the object.
enum Trail<'a> {
    Object,
    Field(&'a Trail<'a>, &'a str),
    Key(&'a Trail<'a>, &'a str),
    Item(&'a Trail<'a>, usize),
}

impl Trail<'_> {
    fn path(&self) -> Path {
        match self {
            Trail::Object => Path::default(),
            Trail::Field(outer, name) => outer.path().child(name),
            Trail::Key(outer, key) => outer.path().key(key),
            Trail::Item(outer, index) => outer.path().index(*index),
        }
    }
}

struct Run {
    budget: Budget,
    errors: Vec<FieldError>,
    /// Whether nothing more is evaluated.
    over: bool,
}

impl Run {
    fn place(&mut self, rules: &Rules, place: Place<'_>, path: &Trail<'_>) {
        if place.value.is_null() || self.over {
            return;
        }
        if !rules.rules.is_empty() {
            self.rules(rules, place, path);
        }
        match place.value {
            Value::Object(map) => {
                // An atomic map is one value.
                let before = place.old.filter(|_| !place.schema.atomic);
                let old = |name: &str| before.and_then(|old| old.get(name));
                if let (Some(values), Additional::Schema(schema)) = (&rules.values, &place.schema.additional) {
                    for (name, value) in map {
                        self.place(values, place.below(schema, value, old(name)), &Trail::Key(path, name));
                    }
                }
                for (name, below) in &rules.properties {
                    if let (Some(value), Some(schema)) = (map.get(name.as_str()), place.schema.property(name)) {
                        self.place(below, place.below(schema, value, old(name)), &Trail::Field(path, name));
                    }
                }
            }
            Value::Array(items) => {
                let (Some(below), Some(schema)) = (&rules.items, place.schema.items.as_deref()) else { return };
                let old = validate::Correlated::new(place.schema, place.old.and_then(Value::as_array));
                for (index, item) in items.iter().enumerate() {
                    self.place(below, place.below(schema, item, old.get(item)), &Trail::Item(path, index));
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, rules: &Rules, place: Place<'_>, path: &Trail<'_>) {
        if self.budget.remaining() == 0 {
            return self.end(place, &path.path(), EvalError::Budget.to_string());
        }
        for rule in &rules.rules {
            if self.over {
                return;
            }
            match (rule, &rules.declared) {
                (Ok(rule), Some(of)) => self.rule(rule, &of.ty, place, path),
                (Ok(_), None) => {}
                (Err(error), _) => self.push(invalid(place, &path.path(), format!("rule compile error: {error}"))),
            }
        }
    }

    fn rule(&mut self, rule: &Rule, of: &coracle_cel::Type, place: Place<'_>, path: &Trail<'_>) {
        if rule.is_transition() && place.old.is_none() && !rule.optional_old {
            return;
        }
        let name = rule.name();
        let activation = match activation(rule, of, place) {
            Ok(activation) => activation,
            Err(error) => return self.push(invalid(place, &path.path(), format!("{error} evaluating rule: {name}"))),
        };
        match rule.program.evaluate(&activation, &mut self.budget) {
            Ok(CelValue::Bool(true)) => {}
            Ok(_) => self.failed(rule, &activation, place, path),
            Err(error @ EvalError::Budget) => self.end(place, &path.path(), error.to_string()),
            Err(error @ EvalError::CostLimit) => {
                let words = "no further validation rules will be run due to call cost exceeds limit for rule";
                self.end(place, &path.path(), format!("'{error}': {words}: {name}"));
            }
            Err(EvalError::Failed(error)) if error.starts_with("no such overload") => {
                let words = "call arguments did not match a supported operator, function or macro signature for rule";
                self.push(invalid(place, &path.path(), format!("'{error}': {words}: {name}")));
            }
            Err(EvalError::Failed(error)) => {
                self.push(invalid(place, &path.path(), format!("{error} evaluating rule: {name}")));
            }
        }
    }

    /// Tells that a rule does not hold.
    fn failed(&mut self, rule: &Rule, activation: &Activation<'_>, place: Place<'_>, path: &Trail<'_>) {
        if !rule.is_transition() && place.is_forgiven {
            return;
        }
        let path = path.path();
        let path = rule.field_path.as_ref().map_or_else(|| path.clone(), |below| path.child(below));
        let made = rule.message_expression.as_ref().map(|program| message(program, activation, &mut self.budget));
        let detail = match made.transpose() {
            Ok(made) => made.flatten().unwrap_or_else(|| rule.message()),
            Err(EvalError::CostLimit) => {
                let source = field::quote(&rule.message_source);
                let words =
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression";
                return self.end(place, &path, format!("{words}: {source}"));
            }
            Err(_) => {
                let words = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
                return self.end(place, &path, words.into());
            }
        };
        self.push(match rule.kind {
            ErrorKind::Forbidden => FieldError::forbidden(&path, detail),
            ErrorKind::Required => FieldError::required(&path, detail),
            ErrorKind::Duplicate => FieldError::duplicate(&path, &place.schema.ty.name().into()),
            _ => invalid(place, &path, detail),
        });
    }

    fn push(&mut self, error: FieldError) {
        self.errors.push(error);
        self.over |= self.errors.len() >= MAX_ERRORS;
    }

    /// The last error: nothing more is evaluated.
    fn end(&mut self, place: Place<'_>, path: &Path, detail: String) {
        self.push(invalid(place, path, detail));
        self.over = true;
    }
}

/// The value that is shown is the type, as objects may be large.
fn invalid(place: Place<'_>, path: &field::Path, detail: String) -> FieldError {
    FieldError::invalid_str(path, place.schema.ty.name(), detail)
}

fn activation<'a>(rule: &Rule, of: &coracle_cel::Type, place: Place<'a>) -> Result<Activation<'a>, EvalError> {
    let activation = Activation::new().with("self", CelValue::from_json(place.value, of)?);
    if !rule.is_transition() {
        return Ok(activation);
    }
    let old = place.old.map(|old| CelValue::from_json(old, of)).transpose()?;
    Ok(match (rule.optional_old, old) {
        (true, old) => activation.with("oldSelf", old.map_or_else(CelValue::none, CelValue::some)),
        (false, Some(old)) => activation.with("oldSelf", old),
        (false, None) => activation,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::schema::structural::Definition;

    /// What is wrong with a `spec` of this schema.
    fn errors(spec: &Value, new: &Value, old: Option<&Value>) -> Vec<String> {
        let definition = Definition::new(&json!({"type": "object", "properties": {"spec": spec}}));
        let object = |spec: &Value| json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec});
        let old = old.map(object);
        definition.validate(&object(new), old.as_ref()).iter().map(ToString::to_string).collect()
    }

    fn sized(rule: &Value) -> Value {
        json!({"type": "object", "x-kubernetes-validations": [rule], "properties": {
            "size": {"type": "integer"}, "port": {"x-kubernetes-int-or-string": true}, "name": {"type": "string"}}})
    }

    #[test]
    fn rules_that_do_not_hold_are_told_in_upstreams_words() {
        let spec = json!({"size": 12, "port": "a", "name": "x"});
        for (rule, expected) in [
            (json!({"rule": "self.size < 20"}), None),
            (json!({"rule": "self.size < 10"}), Some("spec: Invalid value: \"object\": failed rule: self.size < 10")),
            (
                json!({"rule": "self.size < 10", "message": " too large "}),
                Some("spec: Invalid value: \"object\": too large"),
            ),
            (
                json!({"rule": "self.size < 10", "fieldPath": ".size"}),
                Some("spec.size: Invalid value: \"object\": failed rule: self.size < 10"),
            ),
            (
                json!({"rule": "self.size < 10", "message": "no", "reason": "FieldValueForbidden"}),
                Some("spec: Forbidden: no"),
            ),
            (
                json!({"rule": "self.size < 10", "message": "no", "reason": "FieldValueRequired"}),
                Some("spec: Required value: no"),
            ),
            (
                json!({"rule": "self.size < 10", "message": "no", "reason": "FieldValueDuplicate"}),
                Some("spec: Duplicate value: \"object\""),
            ),
            (
                json!({"rule": "self.size < 10", "message": "no", "messageExpression": "'%d is too large'.format([self.size])"}),
                Some("spec: Invalid value: \"object\": 12 is too large"),
            ),
            (
                json!({"rule": "self.size < 10", "message": "no", "messageExpression": "[''][self.size]"}),
                Some("spec: Invalid value: \"object\": no"),
            ),
            (
                json!({"rule": "self.port + 1 < 10"}),
                Some(
                    "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a supported operator, function or macro signature for rule: self.port + 1 < 10",
                ),
            ),
            (
                json!({"rule": "[1][self.size] == 1", "message": "no"}),
                Some("spec: Invalid value: \"object\": index out of bounds: 12 evaluating rule: no"),
            ),
            (json!({"rule": "oldSelf.size == self.size"}), None),
            (
                json!({"rule": "oldSelf.hasValue()", "optionalOldSelf": true}),
                Some("spec: Invalid value: \"object\": failed rule: oldSelf.hasValue()"),
            ),
        ] {
            let found = errors(&sized(&rule), &spec, None);
            assert_eq!(found.first().map(String::as_str), expected, "{rule}");
        }
    }

    #[test]
    fn what_is_as_it_was_is_forgiven_but_not_by_transitions() {
        let schema = sized(&json!({"rule": "self.size < 10"}));
        let old = json!({"size": 12, "name": "x"});
        assert!(errors(&schema, &old, Some(&old)).is_empty());
        assert_eq!(errors(&schema, &json!({"size": 12, "name": "y"}), Some(&old)).len(), 1);
        let schema = sized(&json!({"rule": "self.size > oldSelf.size", "message": "must grow"}));
        assert_eq!(errors(&schema, &old, Some(&old)), ["spec: Invalid value: \"object\": must grow"]);
        assert!(errors(&schema, &json!({"size": 13}), Some(&old)).is_empty());
    }

    #[test]
    fn items_are_compared_with_those_of_their_keys() {
        let schema = json!({"type": "object", "properties": {"ports": {"type": "array",
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"],
                "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.port == oldSelf.port", "message": "is immutable", "fieldPath": ".port"}]}},
            "labels": {"type": "object", "additionalProperties": {"type": "string",
                "x-kubernetes-validations": [{"rule": "self != 'bad'", "message": "is bad"}]}}}});
        let ports = |ports: Value| json!({"ports": ports});
        let old = ports(json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]));
        assert!(
            errors(&schema, &ports(json!([{"name": "b", "port": 2}, {"name": "c", "port": 3}])), Some(&old)).is_empty()
        );
        let changed = ports(json!([{"name": "b", "port": 3}]));
        assert_eq!(
            errors(&schema, &changed, Some(&old)),
            ["spec.ports[0].port: Invalid value: \"object\": is immutable"]
        );
        let labels = json!({"labels": {"a": "bad", "b": "good"}});
        assert_eq!(errors(&schema, &labels, None), ["spec.labels[a]: Invalid value: \"string\": is bad"]);
    }

    #[test]
    fn rules_of_the_whole_object_see_its_name() {
        let definition = Definition::new(&json!({"type": "object", "properties": {"size": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('a') && self.kind == 'K'"}]}));
        let object = |name: &str| json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": name}, "size": 1});
        assert!(definition.validate(&object("ab"), None).is_empty());
        let found = definition.validate(&object("b"), None)[0].to_string();
        assert!(found.starts_with("<nil>: Invalid value: \"object\": failed rule: self.metadata.name"), "{found}");
    }

    #[test]
    fn cost_is_bounded_by_rule_and_object() {
        let schema = |rule: &str, times: usize| {
            json!({"type": "array", "items": {"type": "integer"},
                "x-kubernetes-validations": vec![json!({"rule": rule}); times]})
        };
        let items = json!(vec![1; 1000]);
        let expensive = "self.all(a, self.all(b, self.all(c, a == b)))";
        let found = errors(&schema(expensive, 2), &items, None);
        let expected = format!(
            "spec: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {expensive}"
        );
        assert_eq!(found, [expected]);
        let some = "self.all(a, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].all(b, self[b] + a == 2 || a == b))";
        let found = errors(&schema(some, 1000), &items, None);
        let expected = "spec: Invalid value: \"array\": validation failed due to running out of cost budget, no further validation rules will be run";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn rules_wait_until_the_object_has_its_form() {
        let found = errors(&sized(&json!({"rule": "self.size < 10"})), &json!({"size": "a"}), None);
        let expected = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        assert_eq!(found.last().map(String::as_str), Some(expected));
    }
}
