//! Checks one version of a definition.

use serde_json::Value;

use super::schema;
use crate::field::{self, FieldError, Path};
use crate::jsonpath::JsonPath;
use crate::meta::{at, list, text};
use crate::schema::structural::{Structural, Type};
use crate::strategy::custom_resource::{COLUMN_FORMATS, COLUMN_TYPES, fields_of};

/// The most selectable fields of a version.
const MAX_FIELDS: usize = 8;
/// The longest warning of a deprecated version, in bytes.
const MAX_WARNING: usize = 256;

/// Checks the schema of a version. The rules of one that is old may each cost more than those of one that comes now.
pub(super) fn check_schema(version: &Value, is_old: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let schema = &version["schema"]["openAPIV3Schema"];
    match schema {
        Value::Object(_) => schema::check(schema, is_old, path, errors),
        _ => errors.push(FieldError::required(path, "schemas are required")),
    }
    if version["subresources"]["status"].is_object() {
        beside_status(schema, path, errors);
    }
}

/// Checks a version, but for its schema.
pub(super) fn check(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let name = text(version, &["name"]);
    let wrong = field::dns1035_label(name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid_str(&path.child("name"), name, wrong.join(",")));
    }
    deprecation(version, path, errors);
    subresources(at(version, &["subresources", "scale"]), &path.child("subresources").child("scale"), errors);
    for (index, column) in list(version, &["additionalPrinterColumns"]).iter().enumerate() {
        check_column(column, &path.child("additionalPrinterColumns").index(index), errors);
    }
    selectable_fields(version, &path.child("selectableFields"), errors);
}

/// What the root of a schema may say where the status is written apart, in upstream's order of names.
const BESIDE_STATUS: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// Checks that what is said of the status is not lost when it is looked at alone.
fn beside_status(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let is_given = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let other = |(name, value): (&String, &Value)| !BESIDE_STATUS.contains(&name.as_str()) && is_given(value);
    if schema.as_object().into_iter().flatten().any(other) {
        let detail = "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is enabled";
        errors.push(FieldError::invalid_unshown(path, detail));
    }
}

fn deprecation(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let path = path.child("deprecationWarning");
    if version["deprecated"] != true {
        errors.push(FieldError::invalid_str(&path, warning, "can only be set for deprecated versions"));
    }
    if warning.is_empty() {
        errors.push(FieldError::invalid_str(&path, warning, "must not be an empty string"));
    }
    if warning.len() > MAX_WARNING {
        errors.push(FieldError::invalid_str(&path, warning, format!("must be <= {MAX_WARNING} characters long")));
    }
    if warning.chars().any(char::is_control) {
        errors.push(FieldError::invalid_str(&path, warning, "must only contain printable UTF-8 characters"));
    }
}

fn subresources(scale: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if !scale.is_object() {
        return;
    }
    for (key, roots, required) in [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."], true),
        ("labelSelectorPath", &[".status.", ".spec."], false),
    ] {
        let (given, path) = (text(scale, &[key]), path.child(key));
        let root = match key {
            "specReplicasPath" => "should be a json path under .spec",
            "statusReplicasPath" => "should be a json path under .status",
            _ => "should be a json path under either .status or .spec",
        };
        if given.is_empty() {
            if required {
                errors.push(FieldError::required(&path, ""));
            }
        } else if !given.starts_with('.') {
            errors.push(FieldError::invalid_str(&path, given, "must be a simple json path starting with ."));
        } else if fields_of(given).is_none() {
            errors.push(FieldError::invalid_str(&path, given, "must be a json path in the dot notation"));
        } else if !roots.iter().any(|root| given.starts_with(root)) {
            errors.push(FieldError::invalid_str(&path, given, root));
        }
    }
}

fn check_column(column: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (ty, format, json_path) = (text(column, &["type"]), text(column, &["format"]), text(column, &["jsonPath"]));
    if text(column, &["name"]).is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    let sorted = |names: &[&str]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        format!("must be one of {}", names.join(","))
    };
    if ty.is_empty() {
        errors.push(FieldError::required(&path.child("type"), sorted(&COLUMN_TYPES)));
    } else if !COLUMN_TYPES.contains(&ty) {
        errors.push(FieldError::invalid_str(&path.child("type"), ty, sorted(&COLUMN_TYPES)));
    }
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        errors.push(FieldError::invalid_str(&path.child("format"), format, sorted(&COLUMN_FORMATS)));
    }
    // The name is upstream's.
    let path = path.child("JSONPath");
    if json_path.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else if !json_path.starts_with(['.', '[']) {
        errors.push(FieldError::invalid_str(&path, json_path, "must be a simple json path starting with ."));
    } else if let Err(error) = JsonPath::parse(json_path) {
        errors.push(FieldError::invalid_str(
            &path,
            json_path,
            format!("must be a json path in the dot notation: {error}"),
        ));
    }
}

fn selectable_fields(version: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let fields = list(version, &["selectableFields"]);
    if fields.len() > MAX_FIELDS {
        errors.push(FieldError::too_many(path, fields.len(), MAX_FIELDS));
        return;
    }
    let schema = Structural::parse(&version["schema"]["openAPIV3Schema"]);
    let mut seen = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let given = text(field, &["jsonPath"]);
        let path = path.index(index).child("jsonPath");
        if given.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        if seen.contains(&given) {
            errors.push(FieldError::duplicate(&path, &given.into()));
        }
        seen.push(given);
        let Some(names) = fields_of(given) else {
            errors.push(FieldError::invalid_str(&path, given, "is an invalid path: must be a simple path of fields"));
            continue;
        };
        if names.first().is_some_and(|name| name == "metadata") {
            errors.push(FieldError::invalid_str(&path, given, "must not point to fields in metadata"));
            continue;
        }
        let found = names.iter().try_fold(&schema, |schema, name| schema.property(name));
        let detail = match found.map(|schema| schema.ty) {
            None => "is an invalid path: does not refer to a valid field",
            Some(Type::String | Type::Boolean | Type::Integer) => continue,
            Some(_) => {
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            }
        };
        errors.push(FieldError::invalid_str(&path, given, detail));
    }
}
