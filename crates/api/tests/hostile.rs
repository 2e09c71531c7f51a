//! Inputs as large as a request may be, of which one part is compared with each other part, or told as often as there are
//! others: what takes the square of their number would not end.

use coracle_api::apply::{Reset, Writer, apply, update};
use coracle_api::{Kind, Registry, custom, kinds, meta};
use serde_json::{Map, Value, json};

fn writer<'a>(manager: &'a str, kind: &'a Kind) -> Writer<'a> {
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    Writer { manager, api_version: kind.api_version(), subresource: "", reset: Reset::NONE, now }
}

fn texts(count: usize, value: &str) -> Map<String, Value> {
    (0..count).map(|number| (format!("k{number}"), value.into())).collect()
}

#[test]
fn managed_fields_of_very_many_entries_are_not_taken() {
    let kind = kinds::by_kind("", "v1", "ConfigMap").expect("a kind of the table");
    let mut live =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": texts(50_000, "x")});
    update(&**kind, None, &mut live, &writer("one", kind));
    let mut new = live.clone();
    new["data"] = texts(50_000, "y").into();
    let entry = |number: usize| {
        json!({"manager": format!("m{number}"), "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:k7": {}}}})
    };
    new["metadata"]["managedFields"] = (0..20_000).map(entry).collect();
    update(&**kind, Some(&live), &mut new, &writer("two", kind));
    let managers: Vec<&str> =
        meta::list(&new, &["metadata", "managedFields"]).iter().map(|entry| meta::text(entry, &["manager"])).collect();
    assert_eq!(managers, ["one", "two"]);
}

/// A definition whose objects have lists and maps of maps of numbers.
fn defined() -> (Registry, std::sync::Arc<Kind>) {
    let numbers = json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}});
    let rules = json!([{"rule": "self >= 0"}]);
    let items = json!({"type": "array", "items": {"type": "integer", "x-kubernetes-validations": rules}});
    let rules = json!([{"rule": "oldSelf.port == self.port"}]);
    let parts = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "x-kubernetes-validations": rules,
            "properties": {"name": {"type": "string"}, "port": {"type": "integer"}, "size": {"type": "integer"}}}});
    let schema = json!({"type": "object", "properties": {
        "maps": {"type": "object", "additionalProperties": numbers},
        "lists": {"type": "object", "additionalProperties": items},
        "parts": parts,
    }});
    let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"});
    let definition = json!({
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names,
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
        "status": {"acceptedNames": names},
    });
    let defined = custom::kinds(&definition).expect("a version is stored");
    (Registry::new(defined.served.clone(), Vec::new()), defined.stored)
}

fn widget(field: &str, value: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "namespace": "b"}, field: value})
}

#[test]
fn conflicts_at_very_long_paths_are_not_all_told() {
    let (registry, kind) = defined();
    let awaited = coracle_api::awaited::Awaited::default();
    let versions = custom::Versions::new(&registry, &kind, &awaited);
    let long = "x".repeat(1 << 20);
    let object = |value: u8| {
        let numbers: Map<String, Value> = (0..50_000).map(|number| (format!("k{number}"), value.into())).collect();
        widget("maps", json!({&long: numbers}))
    };
    let live = apply(&versions, None, &object(1), &writer("one", &kind), false).expect("nobody is in the way");
    let refused = apply(&versions, Some(&live), &object(2), &writer("two", &kind), false).expect_err("one owns it");
    assert_eq!(refused.code, 409);
    assert!(refused.message.starts_with("Apply failed with 50000 conflicts: conflicts with \"one\":\n- .maps.xxx"));
    assert!(refused.message.ends_with(" more") && refused.message.len() < 4 << 20, "{}", refused.message.len());
}

#[test]
fn what_is_wrong_at_very_long_paths_is_not_all_told() {
    let (_, kind) = defined();
    let long = "x".repeat(1 << 20);
    let of = |value: Value| -> Value { (0..50_000).map(|number| (format!("k{number}"), value.clone())).collect() };
    for value in [json!("x"), json!(-1)] {
        let wrong = widget("maps", json!({&long: of(value)}));
        assert!((1..=65).contains(&kind.strategy.validate_create(&wrong).len()));
    }
    assert!(kind.strategy.validate_create(&widget("maps", json!({&long: of(json!(1))}))).is_empty());
    let lists = |value: i32| widget("lists", json!({&long: vec![value; 50_000]}));
    assert!(kind.strategy.validate_create(&lists(1)).is_empty());
    assert!(kind.strategy.validate_create(&lists(-1)).len() <= 65);
}

#[test]
fn very_many_items_are_found_among_those_that_were_there() {
    let (_, kind) = defined();
    let parts = |size: usize| -> Value {
        (0..50_000).map(|number| json!({"name": format!("x{number}"), "port": 1, "size": size})).collect()
    };
    let (old, mut new) = (widget("parts", parts(1)), widget("parts", parts(2)));
    assert!(kind.strategy.validate_update(&new, &old).is_empty());
    new["parts"][49_999]["port"] = 2.into();
    let errors = kind.strategy.validate_update(&new, &old);
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["parts[49999]"]);
}

#[test]
fn very_many_parts_of_an_object_are_compared_by_what_names_them() {
    let named = |field: &str, count: usize, more: Value| -> Value {
        let one = |number: usize| {
            let mut item = more.clone();
            item[field] = format!("x{number}").into();
            item
        };
        (0..count).map(one).collect()
    };
    let spread = json!({"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}});
    for (kind, object) in [
        ("Pod", json!({"spec": {"imagePullSecrets": named("name", 150_000, json!({}))}})),
        ("Pod", json!({"spec": {"hostAliases": named("ip", 150_000, json!({}))}})),
        ("Pod", json!({"spec": {"topologySpreadConstraints": named("topologyKey", 30_000, spread)}})),
        ("Pod", json!({"spec": {"securityContext": {"sysctls": named("name", 100_000, json!({"value": "1"}))}}})),
        (
            "Service",
            json!({"spec": {"ipFamilies": (0..200_000).map(|number| format!("x{number}")).collect::<Value>()}}),
        ),
    ] {
        let kind = kinds::by_kind("", "v1", kind).expect("a kind of the table");
        kind.strategy.warnings(&object);
        kind.strategy.validate(&object);
    }
}
