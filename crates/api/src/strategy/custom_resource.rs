//! Custom resources: one strategy, filled in by the definition of each.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use smol_str::SmolStr;

use super::{Column, NAME, ScalePaths, Strategy};
use crate::field::{self, FieldError, MAX_ERRORS};
use crate::jsonpath::JsonPath;
use crate::meta::{self, at, list, text};
use crate::schema::structural::Definition;
use crate::table::duration::since;

/// Finalizers that are the server's own.
const STANDARD_FINALIZERS: [&str; 2] = ["orphan", "foregroundDeletion"];
const PREFER_PATH: &str = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers";

/// A custom resource in one version.
pub struct CustomResource {
    definition: Arc<Definition>,
    has_status: bool,
    scale: Option<ScalePaths>,
    columns: Vec<Column>,
    /// What the columns behind the name show.
    cells: Vec<JsonPath>,
    /// Selectable fields: as they are named, and the fields that lead there.
    fields: Vec<(SmolStr, Vec<SmolStr>)>,
    deprecation: Option<String>,
}

impl CustomResource {
    /// Of a version, an item of a definition's `spec.versions`, whose objects have a type.
    pub fn new(version: &Value, definition: Arc<Definition>, api_version: &str, kind: &str) -> CustomResource {
        let (columns, cells) = columns(version);
        let deprecation = (version["deprecated"] == true).then(|| match version["deprecationWarning"].as_str() {
            Some(text) => text.to_owned(),
            None => format!("{api_version} {kind} is deprecated"),
        });
        let fields = list(version, &["selectableFields"]).iter().filter_map(|field| {
            let path = text(field, &["jsonPath"]);
            Some((path.trim_start_matches('.').into(), fields_of(path)?))
        });
        CustomResource {
            has_status: at(version, &["subresources", "status"]).is_object(),
            scale: scale(at(version, &["subresources", "scale"])),
            columns,
            cells,
            fields: fields.collect(),
            deprecation,
            definition,
        }
    }
}

/// The fields that a simple path leads through.
pub(crate) fn fields_of(path: &str) -> Option<Vec<SmolStr>> {
    JsonPath::parse(path).ok()?.fields()
}

fn scale(scale: &Value) -> Option<ScalePaths> {
    let fields = |key: &str| fields_of(text(scale, &[key])).unwrap_or_default();
    scale.is_object().then(|| ScalePaths {
        spec_replicas: fields("specReplicasPath"),
        status_replicas: fields("statusReplicasPath"),
        label_selector: fields("labelSelectorPath"),
    })
}

/// The types and formats that columns may have.
pub(crate) const COLUMN_TYPES: [&str; 5] = ["integer", "number", "string", "boolean", "date"];
pub(crate) const COLUMN_FORMATS: [&str; 8] =
    ["int32", "int64", "float", "double", "byte", "date", "date-time", "password"];

fn columns(version: &Value) -> (Vec<Column>, Vec<JsonPath>) {
    let known = |names: &[&'static str], name: &str| names.iter().copied().find(|known| *known == name).unwrap_or("");
    let (mut columns, mut cells) = (vec![NAME], Vec::new());
    for column in list(version, &["additionalPrinterColumns"]) {
        let Ok(path) = JsonPath::parse(text(column, &["jsonPath"])) else { continue };
        columns.push(Column {
            name: text(column, &["name"]).into(),
            description: match text(column, &["description"]) {
                "" => {
                    format!("Custom resource definition column (in JSONPath format): {}", text(column, &["jsonPath"]))
                }
                description => description.to_owned(),
            }
            .into(),
            ty: known(&COLUMN_TYPES, text(column, &["type"])),
            format: known(&COLUMN_FORMATS, text(column, &["format"])),
            priority: column["priority"].as_i64().and_then(|priority| i32::try_from(priority).ok()).unwrap_or(0),
        });
        cells.push(path);
    }
    if cells.is_empty()
        && let Ok(path) = JsonPath::parse(".metadata.creationTimestamp")
    {
        columns.push(Column::new("Age", "date", "", 0));
        cells.push(path);
    }
    (columns, cells)
}

fn cell(column: &Column, found: Option<&Value>, now: Timestamp) -> Value {
    let Some(value) = found else { return Value::Null };
    match (column.ty, value) {
        ("string", Value::String(_)) => value.clone(),
        ("string", Value::Null) => "<none>".into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            number.as_i64().or(number.as_f64().map(|number| number as i64)).map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(time)) => match meta::parse_time(time) {
            Some(_) => since(time, now).into(),
            None => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

impl Strategy for CustomResource {
    fn default(&self, obj: &mut Value) {
        self.definition.root.fill(obj);
    }

    fn has_status(&self) -> bool {
        self.has_status
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, obj: &mut Value) {
        if self.has_status {
            meta::as_object(obj).remove("status");
        }
        meta::set_generation(obj, 1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        if self.has_status {
            super::keep(new, old, "status");
        }
        let generation = meta::generation(old);
        let changed = match (new.as_object(), old.as_object()) {
            (Some(now), Some(before)) => now
                .keys()
                .chain(before.keys())
                .filter(|key| !matches!(key.as_str(), "metadata" | "apiVersion" | "kind"))
                .any(|key| now.get(key) != before.get(key)),
            _ => true,
        };
        let generation = if changed { generation.saturating_add(1) } else { generation };
        if generation > 0 {
            meta::set_generation(new, generation);
        }
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        let status = new.get("status").cloned();
        *new = old.clone();
        let map = meta::as_object(new);
        match status {
            Some(status) => map.insert("status".into(), status),
            None => map.remove("status"),
        };
    }

    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    fn warnings_on_create(&self, obj: &Value) -> Vec<String> {
        self.warnings_on_change(obj, &Value::Null)
    }

    fn warnings_on_change(&self, new: &Value, old: &Value) -> Vec<String> {
        let before = meta::finalizers(old);
        let added: BTreeSet<&str> = meta::finalizers(new).into_iter().filter(|name| !before.contains(name)).collect();
        let lonely = added.into_iter().filter(|name| !name.contains('/') && !STANDARD_FINALIZERS.contains(name));
        lonely
            .take(MAX_ERRORS)
            .map(|name| format!("metadata.finalizers: {}: {PREFER_PATH}", field::quote(name)))
            .collect()
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        self.definition.validate(obj, None)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.definition.validate(new, Some(old))
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.definition.validate(new, Some(old))
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        let value = |fields: &Vec<SmolStr>| {
            let found = fields.iter().try_fold(obj, |value, field| value.get(field.as_str()));
            match found {
                Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => Cow::Owned(value.to_string()),
                _ => Cow::Borrowed(""),
            }
        };
        self.fields.iter().map(|(_, fields)| value(fields)).collect()
    }

    fn field_number(&self, field: &str) -> Option<usize> {
        self.fields.iter().position(|(name, _)| name == field)
    }

    fn has_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    fn scale_paths(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let cells = self.columns.iter().skip(1).zip(&self.cells);
        let cells = cells.map(|(column, path)| cell(column, path.find(obj).into_iter().next(), now));
        std::iter::once(meta::name(obj).into()).chain(cells).collect()
    }
}
