//! Definitions as OpenAPI schemas.

use serde_json::{Map, Value, json};

use super::Spec;
use crate::schema::{DefId, Field, ListType, Ty, descriptions, enums, referenced};

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

/// Schemas of the definitions and of everything that they refer to.
pub(super) fn reachable(roots: &[DefId], spec: Spec) -> Map<String, Value> {
    let mut out = Map::new();
    let mut stack = roots.to_vec();
    while let Some(id) = stack.pop() {
        let def = id.def();
        if out.contains_key(def.name) {
            continue;
        }
        out.insert(def.name.into(), definition(id, spec));
        stack.extend(def.fields.iter().filter_map(|f| referenced(f.ty)));
    }
    for (name, schema) in scalars(spec) {
        out.insert(name.into(), schema);
    }
    out
}

fn scalars(spec: Spec) -> [(&'static str, Value); 4] {
    let v3 = spec == Spec::V3;
    let mut quantity =
        if v3 { json!({"oneOf": [{"type": "string"}, {"type": "number"}]}) } else { json!({"type": "string"}) };
    let mut int_or_string = if v3 {
        json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
    } else {
        json!({"format": "int-or-string", "type": "string"})
    };
    quantity["description"] = descriptions::of_def(QUANTITY).into();
    int_or_string["description"] = descriptions::of_def(INT_OR_STRING).into();
    let time = |name: &str| json!({"type": "string", "format": "date-time", "description": descriptions::of_def(name)});
    [(QUANTITY, quantity), (INT_OR_STRING, int_or_string), (TIME, time(TIME)), (MICRO_TIME, time(MICRO_TIME))]
}

fn definition(id: DefId, spec: Spec) -> Value {
    let def = id.def();
    let mut out = Map::new();
    out.insert("type".into(), "object".into());
    insert_text(&mut out, "description", descriptions::of_def(def.name));
    if !def.fields.is_empty() {
        let properties: Map<String, Value> =
            def.fields.iter().map(|f| (f.name.to_owned(), property(def.name, f, spec))).collect();
        out.insert("properties".into(), Value::Object(properties));
    }
    // `metadata` is required by no upstream schema.
    let required: Vec<Value> = def
        .fields
        .iter()
        .filter(|f| f.required && f.default != Some("\"\"") && !(def.gvk.is_some() && f.name == "metadata"))
        .map(|f| f.name.into())
        .collect();
    if !required.is_empty() {
        out.insert("required".into(), required.into());
    }
    if let Some((group, version, kind)) = def.gvk {
        let gvk = json!([{"group": group, "version": version, "kind": kind}]);
        out.insert("x-kubernetes-group-version-kind".into(), gvk);
    }
    if def.atomic {
        out.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    Value::Object(out)
}

fn insert_text(map: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        map.insert(key.into(), text.into());
    }
}

/// A reference to a definition.
pub(super) fn reference(name: &str, spec: Spec) -> Value {
    match spec {
        Spec::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        Spec::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}

fn property(def: &str, field: &Field, spec: Spec) -> Value {
    let mut schema = ty(field.ty, spec);
    // Next to a `$ref`, version 3 allows nothing else.
    if spec == Spec::V3 && schema.get("$ref").is_some() {
        schema = json!({"allOf": [schema]});
    }
    let Some(map) = schema.as_object_mut() else { return schema };
    let values = enums::of_field(def, field.name);
    let mut description = descriptions::of_field(def, field.name).to_owned();
    if !values.is_empty() {
        let list: Vec<String> = values.iter().map(|value| format!(" - `{value:?}`")).collect();
        description += &format!("\n\nPossible enum values:\n{}", list.join("\n"));
    }
    insert_text(map, "description", &description);
    if let Some(default) = field.default.and_then(|d| serde_json::from_str(d).ok()) {
        map.insert("default".into(), default);
    }
    if !values.is_empty() {
        map.insert("enum".into(), values.iter().copied().collect());
    }
    let list_type = match field.list {
        ListType::None => "",
        ListType::Atomic => "atomic",
        ListType::Set => "set",
        ListType::Map => "map",
    };
    insert_text(map, "x-kubernetes-list-type", list_type);
    if !field.list_keys.is_empty() {
        map.insert("x-kubernetes-list-map-keys".into(), field.list_keys.iter().copied().collect());
    }
    if field.atomic && list_type.is_empty() {
        map.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    insert_text(map, "x-kubernetes-patch-merge-key", field.merge_key.unwrap_or_default());
    let strategy = match (field.patch_merge, field.patch_retain_keys) {
        (true, true) => "merge,retainKeys",
        (true, false) => "merge",
        (false, true) => "retainKeys",
        (false, false) => "",
    };
    insert_text(map, "x-kubernetes-patch-strategy", strategy);
    schema
}

fn ty(ty_: Ty, spec: Spec) -> Value {
    match ty_ {
        Ty::String => json!({"type": "string"}),
        Ty::Bool => json!({"type": "boolean"}),
        Ty::Int32 => json!({"type": "integer", "format": "int32"}),
        Ty::Int64 => json!({"type": "integer", "format": "int64"}),
        Ty::Double => json!({"type": "number", "format": "double"}),
        Ty::Bytes => json!({"type": "string", "format": "byte"}),
        Ty::Object => json!({"type": "object"}),
        Ty::Any => json!({}),
        Ty::IntOrString => reference(INT_OR_STRING, spec),
        Ty::Quantity => reference(QUANTITY, spec),
        Ty::Time => reference(TIME, spec),
        Ty::MicroTime => reference(MICRO_TIME, spec),
        Ty::Ref(id) => reference(id.def().name, spec),
        Ty::Array(inner) => json!({"type": "array", "items": ty(*inner, spec)}),
        Ty::Map(inner) => json!({"type": "object", "additionalProperties": ty(*inner, spec)}),
    }
}
