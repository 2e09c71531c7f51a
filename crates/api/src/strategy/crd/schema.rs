//! Checks that a schema is structural: that what may be where is told outside of what only checks values.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::rules;
use crate::field::{FieldError, Path};
use crate::meta::{list, text};
use crate::schema::structural::rules::RULES;
use crate::schema::structural::{self, Structural};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const LIST_TYPE: &str = "x-kubernetes-list-type";
const LIST_MAP_KEYS: &str = "x-kubernetes-list-map-keys";
const MAP_TYPE: &str = "x-kubernetes-map-type";
/// The most keys that are shown together with one that is wrong.
const MAX_SHOWN_KEYS: usize = 64;

/// Keywords that no definition may use, whatever their value.
const UNSUPPORTED: [&str; 6] = ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// What a schema that only checks values may not say, and in which words.
const NOT_NESTED: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (PRESERVE, "must be false to be structural"),
    (EMBEDDED, "must be false to be structural"),
    (INT_OR_STRING, "must be false to be structural"),
    (LIST_MAP_KEYS, "must be empty to be structural"),
    (LIST_TYPE, "must be undefined to be structural"),
    (MAP_TYPE, "must be undefined to be structural"),
    (RULES, "must be empty to be structural"),
];

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks the schema of a version. Of an old one, rules may cost more.
pub(super) fn check(schema: &Value, is_old: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let mut found = Vec::new();
    if schema["nullable"] == true {
        found.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    structure(schema, Level::Root, path, &mut found);
    defaults(schema, path, &mut found);
    rules::check(schema, is_old, path, &mut found);
    errors.append(&mut found);
}

/// Warnings of formats that nothing checks.
pub(super) fn unknown_formats(schema: &Value, path: &str, out: &mut Vec<String>) {
    const MAX: usize = 16;
    if out.len() >= MAX {
        return;
    }
    let format = text(schema, &["format"]);
    if !format.is_empty() && !structural::is_supported_format(format) {
        out.push(format!("{path}.format: unrecognized format {}", crate::field::quote(format)));
    }
    for (name, below) in properties(schema) {
        unknown_formats(below, &format!("{path}.properties[{name}]"), out);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            unknown_formats(&schema[key], &format!("{path}.{key}"), out);
        }
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn is_set(schema: &Value, key: &str) -> bool {
    match &schema[key] {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn structure(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    keywords(schema, path, errors);
    check_type(schema, level, path, errors);
    lists_and_maps(schema, path, errors);
    if schema["additionalProperties"].is_object() || schema["additionalProperties"] == true {
        if level == Level::Root {
            errors.push(FieldError::forbidden(&path.child("additionalProperties"), "must not be used at the root"));
        }
        if schema[EMBEDDED] == true {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            errors.push(FieldError::forbidden(&path.child("additionalProperties"), detail));
        }
    }
    objects(schema, level, path, errors);
    for (key, other) in [(PRESERVE, PRESERVE), (EMBEDDED, EMBEDDED)] {
        if schema[INT_OR_STRING] == true && schema[other] == true {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&path.child(key), &true.into(), detail));
        }
    }
    values(schema, schema, path, path, schema[INT_OR_STRING] == true, errors);
    for (name, below) in properties(schema) {
        structure(below, Level::Field, &path.child("properties").key(name), errors);
    }
    if schema["items"].is_object() {
        structure(&schema["items"], Level::Item, &path.child("items"), errors);
    }
    if schema["additionalProperties"].is_object() {
        structure(&schema["additionalProperties"], Level::Field, &path.child("additionalProperties"), errors);
    }
}

/// Keywords that are refused wherever they stand.
fn keywords(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for key in UNSUPPORTED {
        if is_set(schema, key) {
            errors.push(FieldError::forbidden(&path.child(key), format!("{key} is not supported")));
        }
    }
    if schema["uniqueItems"] == true {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), detail));
    }
    if schema["items"].is_array() {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&path.child("items"), detail));
    }
    let additional = path.child("additionalProperties");
    if schema["additionalProperties"] == false {
        errors.push(FieldError::forbidden(&additional, "additionalProperties cannot be set to false"));
    } else if schema["additionalProperties"].is_object() && properties(schema).next().is_some() {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(&additional, detail));
    }
    if schema[PRESERVE] == false {
        errors.push(FieldError::invalid(&path.child(PRESERVE), &false.into(), "must be true or undefined"));
    }
    let pattern = text(schema, &["pattern"]);
    if let Err(error) = structural::compile(pattern) {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid_str(&path.child("pattern"), pattern, detail));
    }
}

fn check_type(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let (ty, path) = (text(schema, &["type"]), path.child("type"));
    if ty == "null" {
        errors.push(FieldError::forbidden(&path, "type cannot be set to null, use nullable as an alternative"));
    } else if !ty.is_empty() && !TYPES.contains(&ty) {
        errors.push(FieldError::not_supported(&path, ty, &TYPES));
    } else if schema[EMBEDDED] == true && ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match ty {
            "" => FieldError::required(&path, detail),
            _ => FieldError::invalid_str(&path, ty, detail),
        });
    } else if ty.is_empty() && level == Level::Root {
        errors.push(FieldError::required(&path, "must not be empty at the root"));
    } else if ty.is_empty() && schema[INT_OR_STRING] != true && schema[PRESERVE] != true {
        let what = if level == Level::Item { "array items" } else { "object fields" };
        errors.push(FieldError::required(&path, format!("must not be empty for specified {what}")));
    } else if level == Level::Root && ty != "object" {
        errors.push(FieldError::invalid_str(&path, ty, "must be object at the root"));
    }
}

/// What objects say of their type and metadata.
fn objects(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    if schema["type"] == "array" && !schema["items"].is_object() && !schema["items"].is_array() {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    let embedded = schema[EMBEDDED] == true;
    if embedded && schema[PRESERVE] != true && properties(schema).next().is_none() {
        let detail =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), detail));
    }
    if !embedded && level != Level::Root {
        return;
    }
    let of = path.child("properties");
    for name in ["kind", "apiVersion"] {
        let given = &schema["properties"][name];
        if given.is_object() && given["type"] != "string" {
            let path = of.key(name).child("type");
            errors.push(FieldError::invalid_str(&path, text(given, &["type"]), "must be string"));
        }
    }
    let metadata = &schema["properties"]["metadata"];
    if !metadata.is_object() {
        return;
    }
    if metadata["type"] != "object" {
        let path = of.key("metadata").child("type");
        errors.push(FieldError::invalid_str(&path, text(metadata, &["type"]), "must be object"));
    }
    let says_more = |(key, value): (&String, &Value)| match key.as_str() {
        "type" | "description" | "title" => false,
        "properties" => {
            value.as_object().into_iter().flatten().any(|(name, _)| !matches!(name.as_str(), "name" | "generateName"))
        }
        _ => true,
    };
    if level == Level::Root && metadata.as_object().into_iter().flatten().any(says_more) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&of.key("metadata"), detail));
    }
}

fn lists_and_maps(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (ty, list_type, map_type) = (text(schema, &["type"]), text(schema, &[LIST_TYPE]), text(schema, &[MAP_TYPE]));
    let mut must_be = |wanted: &str, keyword: &str| {
        let detail = format!("must be {wanted} if {keyword} is specified");
        errors.push(match ty {
            "" => FieldError::required(&path.child("type"), detail),
            _ => FieldError::invalid_str(&path.child("type"), ty, detail),
        });
    };
    if !list_type.is_empty() && ty != "array" {
        must_be("array", LIST_TYPE);
    }
    if !map_type.is_empty() && ty != "object" {
        must_be("object", MAP_TYPE);
    }
    if !matches!(list_type, "" | "map" | "set" | "atomic") {
        errors.push(FieldError::not_supported(&path.child(LIST_TYPE), list_type, &["atomic", "map", "set"]));
    }
    if !matches!(map_type, "" | "granular" | "atomic") {
        errors.push(FieldError::not_supported(&path.child(MAP_TYPE), map_type, &["atomic", "granular"]));
    }
    let keys = list(schema, &[LIST_MAP_KEYS]);
    if !keys.is_empty() && list_type != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list_type {
            "" => FieldError::required(&path.child(LIST_TYPE), detail),
            _ => FieldError::invalid_str(&path.child(LIST_TYPE), list_type, detail),
        });
    }
    match list_type {
        "map" => list_map(schema, keys, path, errors),
        "set" => list_set(&schema["items"], &path.child("items"), errors),
        _ => {}
    }
}

fn list_map(schema: &Value, keys: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&path.child(LIST_MAP_KEYS), detail));
    }
    let (items, of_items) = (&schema["items"], path.child("items"));
    if !items.is_object() {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        return errors.push(FieldError::required(&of_items, detail));
    }
    if items["type"] != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid_str(&of_items.child("type"), text(items, &["type"]), detail));
    }
    let mut seen = HashSet::new();
    let required: HashSet<&Value> = list(items, &["required"]).iter().collect();
    // What is wrong with each of very many is not shown with all of them.
    let shown = |key| if keys.len() > MAX_SHOWN_KEYS { key } else { &schema[LIST_MAP_KEYS] };
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        if !seen.insert(name) {
            let path = path.child(LIST_MAP_KEYS).index(index);
            errors.push(FieldError::invalid_str(&path, name, "must not contain duplicate entries"));
        }
        let (property, at) = (&items["properties"][name], of_items.child("properties").key(name));
        if !property.is_object() {
            let detail = "entries must all be names of item properties";
            errors.push(FieldError::invalid(&path.child(LIST_MAP_KEYS), shown(key), detail));
            continue;
        }
        if matches!(text(property, &["type"]), "object" | "array") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid_str(&at.child("type"), text(property, &["type"]), detail));
        }
        if property["default"].is_null() && !required.contains(key) {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&at.child("default"), detail));
        }
    }
}

fn list_set(items: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if items["nullable"] == true {
        let detail = "cannot be nullable when x-kubernetes-list-type is set";
        errors.push(FieldError::forbidden(&path.child("nullable"), detail));
    }
    for (ty, keyword) in [("array", LIST_TYPE), ("object", MAP_TYPE)] {
        if items["type"] == ty && items[keyword] != "atomic" {
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            errors.push(match items[keyword].as_str() {
                None => FieldError::required(&path.child(keyword), detail),
                Some(given) => FieldError::invalid_str(&path.child(keyword), given, detail),
            });
        }
    }
}

/// Checks what only checks values: that it says nothing else, and that all fields it names are told in `outer` too.
fn values(
    schema: &Value,
    outer: &Value,
    path: &Path,
    outer_path: &Path,
    int_or_string: bool,
    errors: &mut Vec<FieldError>,
) {
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, below) in list(schema, &[key]).iter().enumerate() {
            // An integer or a string may also be told as such.
            let is_pattern = |list: &Value| *list == serde_json::json!([{"type": "integer"}, {"type": "string"}]);
            if int_or_string && key == "anyOf" && is_pattern(&schema[key]) {
                continue;
            }
            let first = int_or_string && key == "allOf" && index == 0 && is_pattern(&below["anyOf"]);
            nested(below, outer, &path.child(key).index(index), outer_path, first, errors);
        }
    }
    if schema["not"].is_object() {
        nested(&schema["not"], outer, &path.child("not"), outer_path, false, errors);
    }
}

fn nested(
    schema: &Value,
    outer: &Value,
    path: &Path,
    outer_path: &Path,
    int_or_string: bool,
    errors: &mut Vec<FieldError>,
) {
    keywords(schema, path, errors);
    for (key, detail) in NOT_NESTED {
        if is_set(schema, key) {
            errors.push(FieldError::forbidden(&path.child(key), detail));
        }
    }
    values(schema, outer, path, outer_path, int_or_string, errors);
    for (name, below) in properties(schema) {
        let at = path.child("properties").key(name);
        if name == "metadata" {
            errors.push(FieldError::forbidden(&at, "must not be specified in a nested context"));
        }
        within(below, &outer["properties"][name.as_str()], &at, &outer_path.child("properties").key(name), errors);
    }
    if schema["items"].is_object() {
        within(&schema["items"], &outer["items"], &path.child("items"), &outer_path.child("items"), errors);
    }
}

/// The same for a field or item.
fn within(schema: &Value, outer: &Value, path: &Path, outer_path: &Path, errors: &mut Vec<FieldError>) {
    if outer.is_object() {
        nested(schema, outer, path, outer_path, false, errors);
    } else {
        errors.push(FieldError::required(outer_path, format!("because it is defined in {path}")));
    }
}

/// Checks that defaults are valid and have no fields that would be dropped.
fn defaults(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if let Some(default) = schema.get("default").filter(|value| !value.is_null()) {
        let parsed = Structural::parse(schema);
        let mut pruned = Value::Object(Map::from_iter([("default".to_owned(), default.clone())]));
        let holder = serde_json::json!({"type": "object", "properties": {"default": schema}});
        Structural::parse(&holder).prune(&mut pruned, &mut |_| {});
        let path = path.child("default");
        if pruned["default"] != *default {
            errors.push(FieldError::invalid(&path, default, "must not have unknown fields"));
        } else {
            errors.extend(parsed.validate_value(default, &path));
        }
    }
    for (name, below) in properties(schema) {
        defaults(below, &path.child("properties").key(name), errors);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            defaults(&schema[key], &path.child(key), errors);
        }
    }
}
