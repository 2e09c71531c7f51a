//! Checks the rules of a schema: that they compile, can be evaluated where they stand, and do not cost too much.

use std::sync::Arc;

use coracle_cel::estimate::{DEFINITION_LIMIT, RULE_LIMIT};
use serde_json::Value;

use crate::field::{FieldError, Path};
use crate::meta::{list, text};
use crate::schema::Structural;
use crate::schema::structural::rules::{Declared, Fault, REASONS, RULES, Rule, find_field};
use crate::schema::structural::{Additional, Type};

/// Rules that cost less than this are not named when all of them together cost too much.
const NOTABLE: u64 = DEFINITION_LIMIT / 100;
/// So many are named.
const MOST_NAMED: usize = 4;

/// Checks the rules of a schema. What they mean is only looked at where the schema is right.
///
/// In an old schema a single rule may cost more than it may elsewhere.
pub(super) fn check(given: &Value, is_old: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let schema = Structural::parse(given);
    let declared = if errors.is_empty() { Declared::new(&schema, true) } else { None };
    let mut checker = Checker { compiles: errors.is_empty(), is_old, ..Checker::default() };
    let place = Place { given, schema: &schema, declared, is_object: true, times: Some(1), uncorrelated: None };
    checker.place(place, path);
    errors.append(&mut checker.of_form);
    errors.append(&mut checker.of_meaning);
    if checker.total > DEFINITION_LIMIT {
        checker.notable.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, path) in checker.notable.iter().take(MOST_NAMED) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, too_much(what, checker.total, DEFINITION_LIMIT)));
    }
}

/// A place of the schema.
struct Place<'a> {
    given: &'a Value,
    schema: &'a Structural,
    /// Nothing where expressions cannot see it from above.
    declared: Option<Arc<Declared>>,
    is_object: bool,
    /// How often it can be in one object, if the schema limits that.
    times: Option<u64>,
    /// The list or atomic map around it, in which nobody can find it again.
    uncorrelated: Option<&'a Path>,
}

#[derive(Default)]
struct Checker {
    /// Whether expressions are compiled.
    compiles: bool,
    /// Whether a single expression may cost what it wants.
    is_old: bool,
    /// Errors of rules that need no compiling to be found.
    of_form: Vec<FieldError>,
    of_meaning: Vec<FieldError>,
    /// What all rules can cost on one object.
    total: u64,
    notable: Vec<(u64, Path)>,
}

impl Checker {
    fn place(&mut self, place: Place<'_>, path: &Path) {
        let before = self.of_form.len();
        self.below(&place, path);
        let rules = list(place.given, &[RULES]);
        if rules.is_empty() {
            return;
        }
        let path = path.child(RULES);
        for (index, rule) in rules.iter().enumerate() {
            form(rule, place.schema, &path.index(index), &mut self.of_form);
        }
        if !self.compiles || self.of_form.len() > before {
            return;
        }
        match place.declared.clone().or_else(|| Declared::new(place.schema, place.is_object)) {
            Some(of) => {
                for (index, rule) in rules.iter().enumerate() {
                    self.meaning(rule, &place, &of, &path.index(index));
                }
            }
            None => {
                let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
                self.of_meaning.push(FieldError::invalid_unshown(&path, detail));
            }
        }
    }

    fn below(&mut self, place: &Place<'_>, path: &Path) {
        let (given, of) = (place.given, place.declared.as_ref());
        let times = place.times.zip(limit(place.schema)).map(|(times, limit)| times.saturating_mul(limit));
        let inner = |given, schema, declared: Option<&Arc<Declared>>, uncorrelated| Place {
            given,
            schema,
            declared: declared.cloned(),
            is_object: schema.embedded,
            times,
            uncorrelated,
        };
        if let Additional::Schema(values) = &place.schema.additional {
            let declared = of.and_then(|of| of.values());
            let place = inner(&given["additionalProperties"], values, declared, place.uncorrelated);
            self.place(place, &path.child("additionalProperties"));
        }
        let within_fields = place.uncorrelated.or(if place.schema.atomic { Some(path) } else { None });
        for (name, schema) in &place.schema.properties {
            let declared = of.and_then(|of| of.field(name));
            let place = inner(&given["properties"][name.as_str()], schema, declared, within_fields);
            self.place(place, &path.child("properties").key(name));
        }
        if let Some(items) = place.schema.items.as_deref() {
            let found_again = place.schema.list == crate::schema::ListType::Map;
            let uncorrelated = place.uncorrelated.or(if found_again { None } else { Some(path) });
            let place = inner(&given["items"], items, of.and_then(|of| of.items()), uncorrelated);
            self.place(place, &path.child("items"));
        }
    }

    fn meaning(&mut self, given: &Value, place: &Place<'_>, of: &Arc<Declared>, path: &Path) {
        let (of_rule, of_message) = (path.child("rule"), path.child("messageExpression"));
        let rule = match Rule::new(given, place.schema, of) {
            Ok(rule) => rule,
            Err(Fault::Rule(detail)) => return self.of_meaning.push(FieldError::invalid(&of_rule, given, detail)),
            Err(Fault::Message(detail)) => {
                return self.of_meaning.push(FieldError::invalid(&of_message, given, detail));
            }
        };
        let times = place.times.unwrap_or_else(|| of.most_often());
        let cost = rule.program.estimated_cost(of.as_ref()).saturating_mul(times);
        self.spend("estimated rule cost", cost, of_rule.clone());
        if let Some(program) = &rule.message_expression {
            self.spend("estimated messageExpression cost", program.estimated_cost(of.as_ref()), of_message);
        }
        if rule.is_transition() {
            if let Some(around) = place.uncorrelated {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {around}");
                self.of_meaning.push(FieldError::invalid(&of_rule, &given["rule"], detail));
            }
        } else if given["optionalOldSelf"].is_boolean() {
            let detail = "may not be set if oldSelf is not used in rule";
            self.of_meaning.push(FieldError::invalid(
                &path.child("optionalOldSelf"),
                &given["optionalOldSelf"],
                detail,
            ));
        }
    }

    fn spend(&mut self, what: &str, cost: u64, path: Path) {
        if cost > RULE_LIMIT && !self.is_old {
            self.of_meaning.push(FieldError::forbidden(&path, too_much(what, cost, RULE_LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= NOTABLE {
            self.notable.push((cost, path));
        }
    }
}

/// How many there can be at most below one place of a schema.
fn limit(schema: &Structural) -> Option<u64> {
    let checks = schema.checks.as_deref();
    match (schema.ty, &schema.additional) {
        (Type::Object, Additional::Schema(_) | Additional::Any) => checks?.max_properties(),
        (Type::Array, _) => checks?.max_items(),
        _ => Some(1),
    }
}

fn too_much(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// Checks what a rule says besides its expressions.
fn form(rule: &Value, schema: &Structural, path: &Path, errors: &mut Vec<FieldError>) {
    let given = |key: &str| text(rule, &[key]);
    let has_lines = |text: &str| text.contains(['\n', '\r']);
    let (expression, message) = (given("rule").trim(), given("message").trim());
    if expression.is_empty() {
        errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
    } else if !given("message").is_empty() && message.is_empty() {
        let path = path.child("message");
        errors.push(FieldError::invalid_str(&path, given("message"), "must be non-empty if specified"));
    } else if has_lines(message) {
        let path = path.child("message");
        errors.push(FieldError::invalid_str(&path, given("message"), "must not contain line breaks"));
    } else if has_lines(expression) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(&path.child("message"), detail));
    }
    if !given("messageExpression").is_empty() && given("messageExpression").trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&path.child("messageExpression"), detail));
    }
    if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
        errors.push(FieldError::not_supported(&path.child("reason"), reason, &REASONS));
    }
    let (field_path, path) = (given("fieldPath"), path.child("fieldPath"));
    if !field_path.is_empty() && field_path.trim().is_empty() {
        errors.push(FieldError::invalid_str(&path, field_path, "must be non-empty if specified"));
    }
    if has_lines(field_path) {
        errors.push(FieldError::invalid_str(&path, field_path, "must not contain line breaks"));
    }
    if find_field(field_path, schema).is_none() {
        errors.push(FieldError::invalid_str(&path, field_path, "must be a valid path"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The errors of a definition whose spec is of this schema.
    fn errors(spec: Value) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        let mut errors = Vec::new();
        check(&schema, false, &Path::new("schema"), &mut errors);
        errors
            .iter()
            .map(|error| error.to_string().replace("schema.properties[spec].x-kubernetes-validations", "R"))
            .collect()
    }

    fn of_rule(rule: Value) -> Vec<String> {
        errors(json!({"type": "object", "properties": {"size": {"type": "integer"}, "name": {"type": "string"}},
            RULES: [rule]}))
    }

    #[test]
    fn rules_that_are_right_are_taken() {
        for rule in [
            json!({"rule": "self.size < 10", "message": "too large", "reason": "FieldValueForbidden", "fieldPath": ".size"}),
            json!({"rule": "self.size >= oldSelf.size"}),
            json!({"rule": "oldSelf.hasValue() || self.size < 3", "optionalOldSelf": true}),
            json!({"rule": "self.size < 10", "messageExpression": "'not %d'.format([self.size])"}),
            json!({"rule": "self.size\n< 10", "message": "too large"}),
        ] {
            assert_eq!(of_rule(rule), Vec::<String>::new());
        }
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_told() {
        for (rule, expected) in [
            (json!({"rule": " "}), "R[0].rule: Required value: rule is not specified"),
            (
                json!({"rule": "true", "message": " "}),
                "R[0].message: Invalid value: \" \": must be non-empty if specified",
            ),
            (
                json!({"rule": "true", "message": "a\nb"}),
                "R[0].message: Invalid value: \"a\\nb\": must not contain line breaks",
            ),
            (json!({"rule": "true\n"}), ""),
            (
                json!({"rule": "true ||\ntrue"}),
                "R[0].message: Required value: message must be specified if rule contains line breaks",
            ),
            (
                json!({"rule": "true", "reason": "Why"}),
                "R[0].reason: Unsupported value: \"Why\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
            ),
            (
                json!({"rule": "true", "fieldPath": ".nothing"}),
                "R[0].fieldPath: Invalid value: \".nothing\": must be a valid path",
            ),
            (
                json!({"rule": "self.size"}),
                "R[0].rule: Invalid value: {\"rule\":\"self.size\"}: cel expression must evaluate to a bool",
            ),
            (
                json!({"rule": "true", "optionalOldSelf": true}),
                "R[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
            ),
            (
                json!({"rule": "self.other"}),
                "R[0].rule: Invalid value: {\"rule\":\"self.other\"}: compilation failed: ERROR: <input>:1:5: undefined field 'other'\n | self.other\n | ....^",
            ),
            (
                json!({"rule": "true", "messageExpression": "1"}),
                "R[0].messageExpression: Invalid value: {\"messageExpression\":\"1\",\"rule\":\"true\"}: messageExpression must evaluate to a string",
            ),
        ] {
            let found = of_rule(rule);
            assert_eq!(found.first().map_or("", String::as_str), expected);
        }
    }

    #[test]
    fn old_items_are_only_there_where_they_can_be_found() {
        let list = |kind: &str| {
            json!({"type": "object", "properties": {"ports": {
            "type": "array", "maxItems": 10, "x-kubernetes-list-type": kind, "x-kubernetes-list-map-keys": ["port"],
            "items": {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"}},
                RULES: [{"rule": "self.port == oldSelf.port"}]}}}})
        };
        assert_eq!(errors(list("map")), Vec::<String>::new());
        let expected = "schema.properties[spec].properties[ports].items.x-kubernetes-validations[0].rule: Invalid value: \"self.port == oldSelf.port\": oldSelf cannot be used on the uncorrelatable portion of the schema within schema.properties[spec].properties[ports]";
        assert_eq!(errors(list("atomic")), [expected]);
        let map = |kind: &str| {
            json!({"type": "object", "x-kubernetes-map-type": kind, "properties": {"size": {"type": "integer",
                RULES: [{"rule": "self >= oldSelf"}]}}})
        };
        assert_eq!(errors(map("granular")), Vec::<String>::new());
        let expected = "schema.properties[spec].properties[size].x-kubernetes-validations[0].rule: Invalid value: \"self >= oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within schema.properties[spec]";
        assert_eq!(errors(map("atomic")), [expected]);
    }

    #[test]
    fn rules_that_could_cost_too_much_are_refused() {
        let list = |more: Value| {
            let mut list = json!({"type": "array", "items": {"type": "string"}, RULES: [{"rule": "self.all(a, self.all(b, a != b || a == b))"}]});
            list.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            list
        };
        let found = errors(list(json!({})));
        let advice = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
        assert_eq!(found, [
            format!("R[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {advice}"),
            "R[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema".into(),
            format!("schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x {advice}"),
        ]);
        assert_eq!(
            errors(list(json!({"maxItems": 10, "items": {"type": "string", "maxLength": 10}}))),
            Vec::<String>::new()
        );
        // A rule of items runs as often as there can be items.
        let items = |more: Value| json!({"type": "array", "maxItems": more, "items": {"type": "string", "maxLength": 100_000, RULES: [{"rule": "self.contains('aaaaaaaaaa')"}]}});
        assert_eq!(errors(items(json!(10))), Vec::<String>::new());
        assert!(errors(items(json!(100_000)))[0].contains("estimated rule cost exceeds budget"));
        assert!(errors(items(Value::Null))[0].contains("estimated rule cost exceeds budget"));
        // Nor does one hold up a change of a definition that has it already.
        let dear = (1..20).map(|number| items(json!(1 << number))).find(|spec| errors(spec.clone()).len() == 1);
        let schema = json!({"type": "object", "properties": {"spec": dear.expect("one is too dear alone")}});
        let mut found = Vec::new();
        check(&schema, true, &Path::new("schema"), &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
