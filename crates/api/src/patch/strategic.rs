//! Strategic merge patch: a merge patch whose lists merge by the markers of the schema.
//!
//! Specified in the community's `strategic-merge-patch.md`. Merge keys are `patchMergeKey`s, not the
//! keys of list-maps.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::schema::{DefId, Field, Ty};
use crate::status::Status;

const DIRECTIVE: &str = "$patch";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
const RETAIN_KEYS: &str = "$retainKeys";
/// Deeper patches are refused.
const MAX_DEPTH: usize = 200;

/// Applies a strategic merge patch to an object of the definition. On an error the target is as it was.
///
/// # Errors
/// 400 when a directive is not valid, or a list item lacks its merge key.
pub fn strategic_merge(def: DefId, target: &mut Value, patch: &Value) -> Result<(), Status> {
    let patch = match patch {
        Value::Object(patch) => patch,
        Value::Null => return Ok(()),
        _ => return Err(bad(super::no_object(patch).unwrap_or_default())),
    };
    let mut out = target.clone();
    merge_object(Some(def), crate::meta::as_object(&mut out), patch, 0)?;
    *target = out;
    Ok(())
}

fn bad(message: impl Into<String>) -> Status {
    Status::bad_request(message)
}

/// The field's schema, and the definition of what is in it.
fn field_of(def: Option<DefId>, key: &str) -> (Option<&'static Field>, Option<DefId>) {
    let field = def.and_then(|d| d.def().field(key));
    (field, field.and_then(|f| crate::schema::referenced(f.ty)))
}

fn merge_object(
    def: Option<DefId>,
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    depth: usize,
) -> Result<(), Status> {
    if depth > MAX_DEPTH {
        return Err(bad("the patch is nested too deeply"));
    }
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(s)) if s == "merge" => {}
        Some(Value::String(s)) if s == "replace" => {
            *target = patch.clone();
            target.remove(DIRECTIVE);
            return Ok(());
        }
        Some(Value::String(s)) if s == "delete" => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(bad(format!("unrecognized patch type: {other}"))),
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        let keys = keys.as_array().ok_or_else(|| bad("invalid patch format of retainKeys list"))?;
        let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
        target.retain(|key, _| keys.contains(key.as_str()));
    }
    for (key, list) in patch {
        let Some(name) = key.strip_prefix(DELETE_FROM) else { continue };
        let list = list.as_array().ok_or_else(|| bad("invalid patch format of deletion list"))?;
        if let Some(Value::Array(items)) = target.get_mut(name) {
            let doomed = positions(None, list);
            items.retain(|item| identity(None, item).is_none_or(|identity| !doomed.contains_key(&identity)));
        }
    }
    for (key, value) in patch {
        if key.starts_with('$') {
            continue;
        }
        if value.is_null() {
            target.remove(key);
            continue;
        }
        let (field, inner) = field_of(def, key);
        match value {
            Value::Object(map) => {
                if map.get(DIRECTIVE).is_some_and(|d| d == "delete") {
                    target.remove(key);
                    continue;
                }
                let merges_map = !matches!(field.map(|f| f.ty), Some(Ty::Any));
                let place = target.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !merges_map || !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                merge_object(inner, crate::meta::as_object(place), map, depth + 1)?;
            }
            Value::Array(items) => {
                let merge = field.filter(|f| f.patch_merge);
                let before = match (merge, target.remove(key)) {
                    (Some(_), Some(Value::Array(old))) => old,
                    _ => Vec::new(),
                };
                let list = match merge {
                    Some(field) => {
                        let mut list = before.clone();
                        merge_list(field, inner, &mut list, items, depth + 1)?;
                        let order = match patch.get(&format!("{ORDER}{key}")) {
                            Some(Value::Array(order)) => order,
                            _ => items,
                        };
                        arrange(field.merge_key, &mut list, order, &before);
                        list
                    }
                    None => strip_directives(items)?,
                };
                target.insert(key.clone(), Value::Array(list));
            }
            scalar => {
                target.insert(key.clone(), scalar.clone());
            }
        }
    }
    for (key, order) in patch {
        let Some(name) = key.strip_prefix(ORDER) else { continue };
        let order = order.as_array().ok_or_else(|| bad("invalid patch format of setElementOrder list"))?;
        let (field, _) = field_of(def, name);
        if let (Some(field), Some(Value::Array(items)), false) = (field, target.get_mut(name), patch.contains_key(name))
        {
            let before = items.clone();
            arrange(field.merge_key, items, order, &before);
        }
    }
    Ok(())
}

/// A list that replaces: its own directives do not become part of it.
fn strip_directives(items: &[Value]) -> Result<Vec<Value>, Status> {
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        match item.get(DIRECTIVE) {
            None => out.push(item.clone()),
            Some(d) if d == "replace" || d == "delete" => {}
            Some(d) if d == "merge" => {
                let mut item = item.clone();
                if let Some(map) = item.as_object_mut() {
                    map.remove(DIRECTIVE);
                }
                out.push(item);
            }
            Some(other) => return Err(bad(format!("unrecognized patch type: {other}"))),
        }
    }
    Ok(out)
}

fn merge_list(
    field: &Field,
    inner: Option<DefId>,
    target: &mut Vec<Value>,
    patch: &[Value],
    depth: usize,
) -> Result<(), Status> {
    let Some(key) = field.merge_key else {
        // A set of scalars.
        let mut known: HashSet<_> = target.iter().filter_map(|item| identity(None, item)).collect();
        target.extend(patch.iter().filter(|item| identity(None, item).is_some_and(|new| known.insert(new))).cloned());
        return Ok(());
    };
    let replaces = |item: &Value| item.get(DIRECTIVE).is_some_and(|d| d == "replace") && item.get(key).is_none();
    if patch.iter().any(replaces) {
        *target = patch.iter().filter(|item| !replaces(item)).cloned().collect();
        return Ok(());
    }
    let mut items: Vec<Option<Value>> = target.drain(..).map(Some).collect();
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        if let Some(identity) = item.as_ref().and_then(|item| identity(Some(key), item)) {
            places.entry(identity).or_default().push(at);
        }
    }
    for item in patch {
        let Value::Object(map) = item else {
            return Err(bad(format!("list item of {} must be an object", field.name)));
        };
        let Some(identity) = identity(Some(key), item) else {
            return Err(bad(format!("map: {item} does not contain declared merge key: {key}")));
        };
        let directive = map.get(DIRECTIVE).and_then(Value::as_str);
        if directive == Some("delete") {
            places.remove(&identity).into_iter().flatten().for_each(|at| items[at] = None);
            continue;
        }
        let found = places.entry(identity).or_insert_with(|| {
            items.push(None);
            vec![items.len() - 1]
        });
        let place = items[found[0]].get_or_insert_with(|| Value::Object(Map::new()));
        match directive {
            Some("replace") => {
                let mut item = map.clone();
                item.remove(DIRECTIVE);
                *place = Value::Object(item);
            }
            Some("merge") | None => merge_object(inner, crate::meta::as_object(place), map, depth)?,
            Some(other) => return Err(bad(format!("unrecognized patch type: {other}"))),
        }
    }
    target.extend(items.into_iter().flatten());
    Ok(())
}

/// What tells the items of a list apart: their merge key, or all of them. `None` for one that lacks the key.
fn identity(merge_key: Option<&str>, item: &Value) -> Option<String> {
    match merge_key {
        Some(key) => item.get(key).map(Value::to_string),
        None => Some(item.to_string()),
    }
}

/// The first place of each item of a list: with a look for each, a large patch would take minutes.
fn positions(merge_key: Option<&str>, list: &[Value]) -> HashMap<String, usize> {
    let mut found = HashMap::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        if let Some(identity) = identity(merge_key, item) {
            found.entry(identity).or_insert(at);
        }
    }
    found
}

/// Orders the items that the patch lists as it lists them; the others keep their order `before`, and come in front of
/// a listed item only where they did so before.
fn arrange(merge_key: Option<&str>, items: &mut Vec<Value>, order: &[Value], before: &[Value]) {
    let (order, before) = (positions(merge_key, order), positions(merge_key, before));
    let place = |list: &HashMap<String, usize>, item: &Value| list.get(&identity(merge_key, item)?).copied();
    let (mut listed, mut others): (Vec<Value>, Vec<Value>) =
        items.drain(..).partition(|item| place(&order, item).is_some());
    listed.sort_by_cached_key(|item| place(&order, item));
    others.sort_by_cached_key(|item| place(&before, item));
    let mut others = others.into_iter().peekable();
    for item in listed {
        let at = place(&before, &item);
        let in_front = |other: &Value| matches!((place(&before, other), at), (Some(other), Some(at)) if other < at);
        while let Some(other) = others.next_if(in_front) {
            items.push(other);
        }
        items.push(item);
    }
    items.extend(others);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::id;
    use proptest::prelude::*;
    use serde_json::json;

    fn patched(mut target: Value, patch: Value) -> Value {
        strategic_merge(id::CORE_V1_POD, &mut target, &patch).expect("it applies");
        target
    }

    #[test]
    fn lists_merge_by_their_key() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "1", "command": ["x"]}, {"name": "b"}]}});
        let out = patched(
            pod,
            json!({"spec": {"containers": [
            {"name": "a", "image": "2", "command": ["y"]}, {"name": "c"}, {"name": "b", "$patch": "delete"}]}}),
        );
        assert_eq!(out["spec"]["containers"], json!([{"name": "a", "image": "2", "command": ["y"]}, {"name": "c"}]));
    }

    #[test]
    fn lists_of_many_items_merge() {
        let many =
            |name: &str| -> Vec<Value> { (0..60_000).map(|n| json!({"uid": n.to_string(), "name": name})).collect() };
        let texts = |from: u32| -> Vec<String> { (from..from + 60_000).map(|n| format!("a.b/{n}")).collect() };
        let object = |name, from| json!({"metadata": {"ownerReferences": many(name), "finalizers": texts(from)}});
        let out = patched(object("old", 0), object("new", 30_000));
        assert_eq!(out["metadata"]["ownerReferences"], json!(many("new")));
        assert_eq!(out["metadata"]["finalizers"].as_array().map(Vec::len), Some(90_000));
        let gone = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": texts(0)}});
        assert_eq!(patched(out, gone)["metadata"]["finalizers"].as_array().map(Vec::len), Some(30_000));
    }

    #[test]
    fn directives_work() {
        let pod = json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1"}},
            "spec": {"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "a"}]}});
        let out = patched(
            pod,
            json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"], "labels": {"$patch": "replace", "y": "2"}},
            "spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}],
                "containers": [{"name": "b"}], "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
        );
        assert_eq!(
            out,
            json!({
            "metadata": {"finalizers": ["c", "b"], "labels": {"y": "2"}},
            "spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}], "containers": [{"name": "b"}, {"name": "a"}]}})
        );
        let out = patched(
            json!({"spec": {"containers": [{"name": "a"}]}}),
            json!({"spec": {"containers": [{"name": "z"}, {"$patch": "replace"}]}}),
        );
        assert_eq!(out["spec"]["containers"], json!([{"name": "z"}]));
    }

    #[test]
    fn items_of_the_patch_come_in_its_order_and_new_ones_first() {
        let names = |order: &[&str]| -> Vec<Value> { order.iter().map(|name| json!({"name": name})).collect() };
        let cases: [(&[&str], &[&str], &[&str]); 4] = [
            (&["a"], &["b"], &["b", "a"]),
            (&["a", "b", "c"], &["b"], &["a", "b", "c"]),
            (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
            (&["a", "b"], &["b", "x"], &["a", "b", "x"]),
        ];
        for (before, patch, after) in cases {
            let out =
                patched(json!({"spec": {"containers": names(before)}}), json!({"spec": {"containers": names(patch)}}));
            assert_eq!(out["spec"]["containers"], json!(names(after)), "{before:?} patched with {patch:?}");
        }
    }

    #[test]
    fn an_item_without_merge_key_is_refused() {
        let mut pod = json!({"spec": {"containers": []}});
        let error =
            strategic_merge(id::CORE_V1_POD, &mut pod, &json!({"spec": {"containers": [{"image": "x"}]}})).unwrap_err();
        assert!(error.message.contains("does not contain declared merge key: name"));
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), Just(json!("a")), Just(json!(1)), Just(json!("delete"))];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = prop_oneof![
                Just("spec"),
                Just("containers"),
                Just("name"),
                Just("$patch"),
                Just("ports"),
                Just("finalizers"),
                Just("metadata"),
                Just("$setElementOrder/containers"),
                Just("$deleteFromPrimitiveList/finalizers"),
                Just("$retainKeys")
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::vec((key, inner), 0..4)
                    .prop_map(|e| Value::Object(e.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_patch_panics(mut target in document(), patch in document()) {
            let _ = strategic_merge(id::CORE_V1_POD, &mut target, &patch);
            super::super::merge_patch(&mut target, &patch);
        }
    }
}
