//! Schemas of custom resources, as the documents show them.

use serde_json::{Map, Value, json};

use super::schemas::reference;
use super::{Definitions, Spec};
use crate::kind::Kind;
use crate::meta::as_object;
use crate::schema::structural::Definition;
use crate::schema::{descriptions, id};

const POD: &str = "io.k8s.api.core.v1.Pod";

/// Adds the schemas of a kind and of its list; their names.
pub(super) fn define(
    kind: &Kind,
    definition: &Definition,
    spec: Spec,
    definitions: &mut Definitions,
) -> (String, String) {
    definitions.generated.extend([id::META_V1_OBJECT_META, id::META_V1_LIST_META]);
    let (own, list) = (name(kind, &kind.kind), name(kind, kind.list_kind()));
    let mut schema: Value = serde_json::from_str(&definition.source).unwrap_or_else(|_| json!({}));
    match spec {
        // What may have any field must name none: readers of version 2 take those that are named for all there are.
        Spec::V2 if is_free(&schema) => schema = json!({"type": "object"}),
        _ => show(&mut schema, true, spec),
    }
    let gvk = |kind_name: &str| json!([{"group": kind.group, "version": kind.version, "kind": kind_name}]);
    schema["x-kubernetes-group-version-kind"] = gvk(&kind.kind);
    definitions.custom.insert(own.clone(), schema);
    let mut of_list = json!({
        "description": format!("{} is a list of {}", kind.list_kind(), kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {"items": {
            "description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", kind.plural),
            "type": "array", "items": reference(&own, spec),
        }},
        "x-kubernetes-group-version-kind": gvk(kind.list_kind()),
    });
    type_and_metadata(&mut of_list, id::META_V1_LIST_META.def().name, spec);
    definitions.custom.insert(list.clone(), of_list);
    (own, list)
}

/// `example.com`, `v1` and `Widget` as `com.example.v1.Widget`.
fn name(kind: &Kind, of: &str) -> String {
    let mut parts: Vec<&str> = kind.group.rsplit('.').collect();
    parts.extend([&*kind.version, of]);
    parts.join(".")
}

/// Says of an object what it has besides: type and metadata.
fn type_and_metadata(schema: &mut Value, metadata: &str, spec: Spec) {
    let properties = as_object(as_object(schema).entry("properties").or_insert_with(|| json!({})));
    for field in ["apiVersion", "kind"] {
        let description = descriptions::of_field(POD, field);
        properties.insert(field.into(), json!({"type": "string", "description": description}));
    }
    let mut reference = reference(metadata, spec);
    // Next to a `$ref`, version 3 allows nothing else.
    if spec == Spec::V3 {
        reference = json!({"allOf": [reference]});
    }
    reference["description"] = descriptions::of_field(POD, "metadata").into();
    properties.insert("metadata".into(), reference);
}

/// Brings a schema into the form that documents show.
fn show(schema: &mut Value, is_root: bool, spec: Spec) {
    let embedded = schema["x-kubernetes-embedded-resource"] == true;
    let Some(map) = schema.as_object_mut() else { return };
    for below in map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        show(below, false, spec);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = map.get_mut(key) {
            show(below, false, spec);
        }
    }
    if spec == Spec::V2 {
        without_version_3(schema);
    }
    if is_root || embedded {
        type_and_metadata(schema, id::META_V1_OBJECT_META.def().name, spec);
    }
}

fn is_free(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

/// Takes out what version 2 does not have, or what its readers stumble over.
fn without_version_3(schema: &mut Value) {
    let free = is_free(schema);
    let untyped = schema["nullable"] == true || schema["x-kubernetes-int-or-string"] == true;
    let Some(map) = schema.as_object_mut() else { return };
    for key in ["allOf", "oneOf", "anyOf", "not", "nullable", "default"] {
        map.remove(key);
    }
    if free || untyped {
        map.remove("items");
        map.remove("properties");
    }
    let without_items = map.get("type").is_some_and(|of| of == "array") && !map.contains_key("items");
    if free || untyped || without_items {
        map.remove("type");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kinds;
    use crate::strategy::Plain;

    #[test]
    fn a_custom_resource_is_described_as_a_built_in_one() {
        let schema = json!({"type": "object", "description": "A widget.", "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer", "nullable": true, "description": "How large."}}},
        }});
        let definition = Arc::new(Definition::new(&schema));
        let kind = Kind::new("example.com", "v1", ("Widget", "widgets", "widget"), definition, Plain);
        let registry = kinds::built_in().with([Arc::new(kind)]);
        let v3: Value = serde_json::from_slice(&super::super::v3(&registry, "example.com", "v1").unwrap()).unwrap();
        let widget = &v3["components"]["schemas"]["com.example.v1.Widget"];
        assert_eq!(widget["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
        assert_eq!(widget["properties"]["spec"]["properties"]["size"]["nullable"], true);
        let metadata = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        assert_eq!(widget["properties"]["metadata"]["allOf"][0]["$ref"], metadata);
        assert!(v3["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].is_object());
        let items = &v3["components"]["schemas"]["com.example.v1.WidgetList"]["properties"]["items"]["items"];
        assert_eq!(items["$ref"], "#/components/schemas/com.example.v1.Widget");
        let patch = &v3["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]["requestBody"];
        assert!(patch["content"]["application/merge-patch+json"].is_object());
        assert!(patch["content"]["application/strategic-merge-patch+json"].is_null());
        let v2: Value = serde_json::from_slice(&super::super::v2(&registry)).unwrap();
        let size = &v2["definitions"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]["size"];
        assert_eq!(size, &json!({"description": "How large."}));
    }

    #[test]
    fn what_may_have_any_field_names_none_in_version_2() {
        let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}});
        let shown = |schema: &Value| {
            let definition = Arc::new(Definition::new(schema));
            let kind = Kind::new("example.com", "v1", ("Widget", "widgets", "widget"), definition, Plain);
            let registry = kinds::built_in().with([Arc::new(kind)]);
            let v2: Value = serde_json::from_slice(&super::super::v2(&registry)).unwrap();
            v2["definitions"]["com.example.v1.Widget"].clone()
        };
        let gvk = json!([{"group": "example.com", "version": "v1", "kind": "Widget"}]);
        assert_eq!(shown(&free), json!({"type": "object", "x-kubernetes-group-version-kind": gvk}));
        let below = shown(&json!({"type": "object", "properties": {"spec": free}}));
        assert_eq!(below["properties"]["spec"], json!({"x-kubernetes-preserve-unknown-fields": true}));
    }
}
