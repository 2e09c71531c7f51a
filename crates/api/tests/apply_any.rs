//! Server-side apply of any input: it never panics, and what holds for every object does.

use coracle_api::Kind;
use coracle_api::apply::{Reset, Writer, apply, update};
use coracle_api::decode::{self, FieldValidation};
use coracle_api::kinds::by_kind;
use coracle_api::meta;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn pod() -> &'static Kind {
    by_kind("", "v1", "Pod").expect("the kind is there")
}

fn writer(manager: &str) -> Writer<'_> {
    let now = jiff::Timestamp::from_second(1_700_000_000).expect("the time is in range");
    Writer { manager, api_version: "v1", subresource: "", reset: Reset::of(pod(), ""), now }
}

/// A list of distinct items, named by what `item` makes of a letter.
fn items(item: fn(&str) -> Value) -> impl Strategy<Value = Value> {
    proptest::sample::subsequence(vec!["a", "b", "c", "d"], 0..4)
        .prop_shuffle()
        .prop_map(move |names| names.into_iter().map(item).collect())
}

fn texts() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-c]", "[0-1]", 0..3).prop_map(|map| json!(map))
}

/// A configuration of a Pod that fits its schema.
fn configuration() -> impl Strategy<Value = Value> {
    let env = items(|name| json!({"name": name, "value": "1"}));
    let ports = items(|name| json!({"containerPort": name.len(), "protocol": name}));
    let container = ("[a-c]", prop::option::of("[0-1]"), prop::option::of(env), prop::option::of(ports)).prop_map(
        |(name, image, env, ports)| {
            let mut out = json!({"name": name});
            image.into_iter().for_each(|image| out["image"] = image.into());
            env.into_iter().for_each(|env| out["env"] = env);
            ports.into_iter().for_each(|ports| out["ports"] = ports);
            out
        },
    );
    let containers = proptest::collection::btree_map("[a-c]", container, 0..3).prop_map(|map| {
        let named = map.into_iter().map(|(name, mut container)| {
            container["name"] = name.into();
            container
        });
        named.collect::<Value>()
    });
    let fields = (
        prop::option::of(texts()),
        prop::option::of(items(|name| name.into())),
        prop::option::of(containers),
        prop::option::of(texts()),
        prop::option::of(Just(Value::Null)),
    );
    fields.prop_map(|(labels, finalizers, containers, selector, node)| {
        let mut out = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}});
        labels.into_iter().for_each(|value| out["metadata"]["labels"] = value);
        finalizers.into_iter().for_each(|value| out["metadata"]["finalizers"] = value);
        containers.into_iter().for_each(|value| out["spec"]["containers"] = value);
        selector.into_iter().for_each(|value| out["spec"]["nodeSelector"] = value);
        node.into_iter().for_each(|value| out["spec"]["nodeName"] = value);
        out
    })
}

/// Anything, with names that mean something to a Pod.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z/1]{0,3}".prop_map(Value::from),
        Just(json!("Apply")),
        Just(json!("Update")),
        Just(json!("FieldsV1")),
        Just(json!("v1")),
    ];
    let key = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("managedFields"),
        Just("fieldsV1"),
        Just("fieldsType"),
        Just("operation"),
        Just("apiVersion"),
        Just("manager"),
        Just("containers"),
        Just("name"),
        Just("env"),
        Just("finalizers"),
        Just("labels"),
        Just("f:spec"),
        Just("k:{\"name\":\"a\"}"),
        Just("v:1"),
        Just("."),
    ];
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

/// The object as the server stores it.
fn stored(mut object: Value) -> Value {
    decode::decode_value(pod().def().expect("it has one"), &mut object, FieldValidation::Ignore).expect("it decodes");
    object
}

fn without_managed_fields(mut object: Value) -> Value {
    meta::metadata_mut(&mut object).remove("managedFields");
    object
}

proptest! {
    #[test]
    fn applying_again_changes_nothing(live in configuration(), first in configuration(), second in configuration()) {
        let mut object = stored(live);
        update(pod(), None, &mut object, &writer("creator"));
        for configuration in [&first, &second] {
            let mut again = || {
                object = stored(apply(pod(), Some(&object), configuration, &writer("a"), true).expect("it is forced"));
                object.clone()
            };
            // An empty list in the place of what was removed is there only the second time, as upstream's.
            again();
            prop_assert_eq!(again(), again());
        }
    }

    #[test]
    fn what_others_own_stays_when_one_gives_all_up(live in configuration(), other in configuration()) {
        let mut object = stored(live);
        update(pod(), None, &mut object, &writer("creator"));
        let with = apply(pod(), Some(&object), &other, &writer("a"), false);
        if let Ok(with) = with {
            let nothing = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}});
            let without = apply(pod(), Some(&with), &nothing, &writer("a"), false).expect("nothing conflicts");
            let again = apply(pod(), Some(&without), &other, &writer("a"), false).expect("it applied before");
            let sorted = |object: &Value| without_managed_fields(object.clone());
            prop_assert_eq!(sorted(&again)["metadata"]["labels"].clone(), sorted(&with)["metadata"]["labels"].clone());
        }
    }

    #[test]
    fn a_write_that_changes_nothing_changes_no_managed_fields(live in configuration(), applied in configuration()) {
        let mut object = stored(live);
        update(pod(), None, &mut object, &writer("creator"));
        object = apply(pod(), Some(&object), &applied, &writer("a"), true).expect("it is forced");
        let mut same = object.clone();
        update(pod(), Some(&object), &mut same, &writer("b"));
        prop_assert_eq!(same, object);
    }

    #[test]
    fn no_input_panics(live in anything(), new in anything(), force: bool) {
        let mut changed = new.clone();
        update(pod(), Some(&live), &mut changed, &writer("a"));
        let mut created = new.clone();
        update(pod(), None, &mut created, &writer("a"));
        let _ = apply(pod(), Some(&live), &new, &writer("kubectl"), force);
        let _ = apply(pod(), None, &new, &writer("a"), force);
    }
}

#[test]
fn objects_of_many_items_are_applied() {
    let pod_of = |from: usize| {
        let finalizers: Vec<String> = (from..from + 20_000).rev().map(|n| format!("a.b/{n}")).collect();
        let labels: Map<String, Value> = (from..from + 20_000).map(|n| (format!("l{n}"), json!("1"))).collect();
        let volumes: Vec<Value> = (from..from + 20_000).map(|n| json!({"name": format!("v{n}")})).collect();
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "finalizers": finalizers, "labels": labels},
            "spec": {"volumes": volumes}})
    };
    let object = apply(pod(), None, &pod_of(0), &writer("a"), false).expect("it applies");
    let object = apply(pod(), Some(&object), &pod_of(10_000), &writer("b"), false).expect("it applies");
    assert_eq!(object["spec"]["volumes"].as_array().map(Vec::len), Some(30_000));
    let object = apply(pod(), Some(&object), &pod_of(10_000), &writer("a"), false).expect("it applies");
    assert_eq!(object["spec"]["volumes"].as_array().map(Vec::len), Some(20_000));
    let mut changed = pod_of(10_001);
    update(pod(), Some(&object), &mut changed, &writer("c"));
    assert_eq!(meta::list(&changed, &["metadata", "managedFields"]).len(), 3);
}
