//! JSON patch (RFC 6902).

use serde_json::Value;

use super::rejected;
use crate::json::is_deeper;
use crate::meta::text;
use crate::status::Status;

/// At most this many operations are applied, as upstream.
const MAX_OPERATIONS: usize = 10_000;
/// Copies may not grow the object by more than this many nodes: values and keys, long ones as many.
const MAX_COPIED: usize = 1_000_000;
/// How many items of lists may make room for those before them, or close the gap of one, in all.
const MAX_MOVED: usize = 200_000_000;
/// How many of them a node costs that is moved: how deep it goes is looked at.
const NODE: usize = 16;
/// How deep the outcome may be nested, as what is sent: nothing is made that is too deep for those who walk it.
const MAX_DEPTH: usize = 128;

/// What a patch has done so far of what it may.
#[derive(Default)]
struct Work {
    copied: usize,
    moved: usize,
}

impl Work {
    fn copies(&mut self, nodes: usize) -> Result<(), Status> {
        self.copied = self.copied.saturating_add(nodes);
        if self.copied > MAX_COPIED {
            return Err(Status::too_large("the patch copies more than is allowed"));
        }
        Ok(())
    }

    fn moves(&mut self, items: usize) -> Result<(), Status> {
        self.moved = self.moved.saturating_add(items);
        if self.moved > MAX_MOVED {
            return Err(Status::too_large("the patch moves more items of lists than is allowed"));
        }
        Ok(())
    }
}

/// What the refusal of a patch ends with of which a test does not hold.
pub const TEST_FAILED: &str = "test failed";

/// Applies a JSON patch: a list of operations. On an error the target is as it was.
///
/// # Errors
/// 400 when the patch is not a list of operations, 413 when it has too many, 422 when it does not fit.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), Status> {
    let Some(operations) = patch.as_array() else {
        return Err(Status::bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Status::too_large(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut out = target.clone();
    let mut work = Work::default();
    for operation in operations {
        apply(&mut out, operation, &mut work)?;
    }
    *target = out;
    Ok(())
}

fn apply(target: &mut Value, operation: &Value, work: &mut Work) -> Result<(), Status> {
    let kind = text(operation, &["op"]);
    let Some(path) = operation["path"].as_str() else {
        return Err(rejected(format!("{kind} operation failed to decode path: missing field: path")));
    };
    // Clients in Go leave an empty value out; upstream takes that for null.
    let value = || operation.get("value").cloned().unwrap_or_default();
    let from = || {
        operation["from"]
            .as_str()
            .ok_or_else(|| rejected(format!("{kind} operation failed to decode from: missing field: from")))
    };
    match kind {
        "add" => add(target, path, value(), "add", work),
        "remove" => remove(target, path, "remove", work).map(|_| ()),
        "replace" => {
            let value = value();
            check_depth(path, &value)?;
            if let Some(place) = target.pointer_mut(path) {
                *place = value;
                return Ok(());
            }
            // As upstream, which looks for the items of lists only.
            let (outer, last) = split(path, "replace")?;
            let map = target.pointer_mut(&outer).and_then(Value::as_object_mut);
            map.ok_or_else(|| missing("replace", path))?.insert(last, value);
            Ok(())
        }
        "move" => {
            let from = from()?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err(rejected(format!("move operation: {path} is inside of {from}")));
            }
            let value = remove(target, from, "move", work)?;
            work.moves(size(&value).saturating_mul(NODE))?;
            add(target, path, value, "move", work)
        }
        "copy" => {
            let value = target.pointer(from()?).cloned().ok_or_else(|| missing("copy", path))?;
            work.copies(size(&value))?;
            add(target, path, value, "copy", work)
        }
        "test" => match target.pointer(path) {
            Some(found) if operation.get("value").is_none_or(|v| equal(found, v)) => Ok(()),
            None if operation.get("value").is_none_or(Value::is_null) => Ok(()),
            _ => Err(rejected(format!("testing value {path} failed: {TEST_FAILED}"))),
        },
        other => Err(rejected(format!("Unexpected kind: {other}"))),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.iter().map(|(key, value)| 1 + key.len() / 16 + size(value)).sum::<usize>(),
        Value::String(s) => 1 + s.len() / 16,
        _ => 1,
    }
}

/// Numbers are equal by value: 1 is 1.0.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| equal(v, w)))
        }
        _ => a == b,
    }
}

fn missing(kind: &str, path: &str) -> Status {
    rejected(format!("{kind} operation does not apply: doc is missing path: {path}: missing value"))
}

fn split(path: &str, kind: &str) -> Result<(String, String), Status> {
    let (outer, last) = path.rsplit_once('/').ok_or_else(|| missing(kind, path))?;
    Ok((outer.to_owned(), last.replace("~1", "/").replace("~0", "~")))
}

fn index(key: &str, len: usize) -> Option<usize> {
    let digits = !key.is_empty() && key.bytes().all(|c| c.is_ascii_digit());
    let canonical = digits && (key == "0" || !key.starts_with('0'));
    key.parse().ok().filter(|i| canonical && *i < len)
}

/// Checks that a value is not nested too deep at the place where it is put.
fn check_depth(path: &str, value: &Value) -> Result<(), Status> {
    let outer = path.bytes().filter(|byte| *byte == b'/').count();
    match MAX_DEPTH.checked_sub(outer).is_none_or(|left| is_deeper(value, left)) {
        true => Err(Status::too_large("the patch nests values deeper than is allowed")),
        false => Ok(()),
    }
}

fn add(target: &mut Value, path: &str, value: Value, kind: &str, work: &mut Work) -> Result<(), Status> {
    check_depth(path, &value)?;
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (outer, last) = split(path, kind)?;
    match target.pointer_mut(&outer) {
        Some(Value::Object(map)) => {
            map.insert(last, value);
            Ok(())
        }
        Some(Value::Array(items)) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let at = index(&last, items.len() + 1).ok_or_else(|| {
                rejected(format!("{kind} operation does not apply: doc is missing path: {path}: invalid array index"))
            })?;
            work.moves(items.len() - at)?;
            items.insert(at, value);
            Ok(())
        }
        _ => Err(missing(kind, path)),
    }
}

fn remove(target: &mut Value, path: &str, kind: &str, work: &mut Work) -> Result<Value, Status> {
    let (outer, last) = split(path, kind)?;
    let gone = match target.pointer_mut(&outer) {
        Some(Value::Object(map)) => map.remove(&last),
        Some(Value::Array(items)) => match index(&last, items.len()) {
            Some(at) => {
                work.moves(items.len() - at)?;
                Some(items.remove(at))
            }
            None => None,
        },
        _ => None,
    };
    gone.ok_or_else(|| missing(kind, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn operations_are_applied_in_order_or_not_at_all() {
        let mut value = json!({"a": [1, 2], "b": {"c/d": 1}});
        let patch = json!([
            {"op": "add", "path": "/a/-", "value": 3},
            {"op": "add", "path": "/a/0", "value": 0},
            {"op": "remove", "path": "/b/c~1d"},
            {"op": "copy", "from": "/a/0", "path": "/x"},
            {"op": "move", "from": "/x", "path": "/y"},
            {"op": "replace", "path": "/a/1", "value": 9},
            {"op": "test", "path": "/y", "value": 0.0}
        ]);
        json_patch(&mut value, &patch).expect("it applies");
        assert_eq!(value, json!({"a": [0, 9, 2, 3], "b": {}, "y": 0}));
        let before = value.clone();
        let patch = json!([{"op": "remove", "path": "/y"}, {"op": "test", "path": "/a/0", "value": 7}]);
        let error = json_patch(&mut value, &patch).unwrap_err();
        assert_eq!(error.code, 422);
        assert!(error.message.ends_with(": testing value /a/0 failed: test failed"), "{}", error.message);
        assert_eq!(value, before);
    }

    #[test]
    fn a_value_that_is_left_out_is_null() {
        let mut value = json!({"a": 1});
        json_patch(&mut value, &json!([{"op": "replace", "path": "/a"}, {"op": "add", "path": "/b"}]))
            .expect("it applies");
        assert_eq!(value, json!({"a": null, "b": null}));
    }

    #[test]
    fn copies_do_not_fill_the_memory() {
        let long = "x".repeat(1 << 20);
        let many: Vec<u8> = vec![0; 1 << 16];
        for value in [json!({&long: 1}), json!({"a": {"b": long}}), json!(many), json!({"a": [many]})] {
            let add = json!({"op": "add", "path": "/a", "value": [value]});
            let copies = std::iter::repeat_n(json!({"op": "copy", "from": "/a/0", "path": "/a/-"}), 9_000);
            let patch: Value = std::iter::once(add).chain(copies).collect();
            let mut object = json!({});
            let error = json_patch(&mut object, &patch).unwrap_err();
            assert_eq!((error.code, object), (413, json!({})));
        }
    }

    #[test]
    fn a_long_list_is_not_moved_for_minutes() {
        let mut object = json!({"l": vec![0; 300_000]});
        let first = |kind: &str| json!({"op": kind, "path": "/l/0", "from": "/l/299999", "value": 0});
        for kind in ["add", "move"] {
            let patch: Value = std::iter::repeat_n(first(kind), 9_000).collect();
            assert_eq!(json_patch(&mut object, &patch).unwrap_err().code, 413, "{kind}");
        }
        let patch: Value = std::iter::repeat_n(json!({"op": "remove", "path": "/l/0"}), 9_000).collect();
        assert_eq!(json_patch(&mut object, &patch).unwrap_err().code, 413);
        // As many operations on a list as long as they make it are fine.
        let patch: Value = std::iter::repeat_n(first("add"), 9_000).collect();
        json_patch(&mut json!({"l": []}), &patch).unwrap();
    }

    #[test]
    fn no_patch_makes_what_is_too_deep_to_be_walked() {
        let nested = (0..100).fold(json!({}), |inner, _| json!({"x": inner}));
        let wrap = [
            json!({"op": "add", "path": "/t", "value": nested}),
            json!({"op": "move", "from": "/a", "path": format!("/t{}", "/x".repeat(101))}),
            json!({"op": "move", "from": "/t", "path": "/a"}),
        ];
        let patch: Value = std::iter::repeat_n(wrap, 3000).flatten().collect();
        let mut object = json!({"a": {}});
        assert_eq!(json_patch(&mut object, &patch).unwrap_err().code, 413);
        for kind in ["add", "replace", "copy"] {
            let op = json!({"op": kind, "from": "/a", "path": format!("/a{}", "/x".repeat(100)), "value": nested});
            assert_eq!(json_patch(&mut json!({"a": nested}), &json!([op])).unwrap_err().code, 413, "{kind}");
        }
        assert_eq!(object, json!({"a": {}}));
    }

    proptest! {
        #[test]
        fn no_patch_panics(ops in proptest::collection::vec(
            ("(add|remove|replace|move|copy|test|x)", "(/[ab01~-]{0,2}){0,3}", "(/[ab01-]{0,2}){0,3}"), 0..6)) {
            let patch: Value = ops.iter().map(|(o, p, f)| json!({"op": o, "path": p, "from": f, "value": {"a": [1]}})).collect();
            let mut value = json!({"a": [1, {"b": 2}], "b": {"a": 1}});
            let _ = json_patch(&mut value, &patch);
        }
    }
}
