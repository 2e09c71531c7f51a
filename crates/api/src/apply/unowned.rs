//! A configuration that is merged into an object without regard to who owns what, as mutating policies do.

use std::fmt::Write;

use serde_json::Value;

use super::merge::merge;
use super::node::{Merge, Node, Place};
use super::validate::validate;

/// At most so many atomic places are told of.
const MAX_TOLD: usize = 20;

/// The object with a configuration merged into it, which may not have anything that would be replaced as a whole.
///
/// # Errors
/// What does not fit, in upstream's words.
pub fn merge_unowned<'a, N: Node<'a>>(node: N, object: &Value, configuration: &'a Value) -> Result<Value, String> {
    validate(node, configuration)
        .map_err(|error| format!("failed to convert patch object to typed object: {error}"))?;
    let mut found = Vec::new();
    atomics(node, configuration, &mut String::new(), &mut found);
    if !found.is_empty() {
        let found = found.join(", ");
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {found}"));
    }
    let mut merged = object.clone();
    merge(node, &mut merged, configuration);
    Ok(merged)
}

/// Where a value has something that merges only as a whole.
fn atomics<'n, N: Node<'n>>(node: N, value: &Value, path: &mut String, found: &mut Vec<String>) {
    if found.len() >= MAX_TOLD {
        return;
    }
    let end = path.len();
    match (node.place(), value) {
        (Place::Map { atomic }, Value::Object(map)) => {
            if atomic {
                found.push(path.clone());
            }
            for (name, value) in map {
                if let Some(field) = node.field(name).filter(|field| field.named) {
                    // Writing to a string cannot fail.
                    let _ = write!(path, ".{name}");
                    atomics(field.node, value, path, found);
                    path.truncate(end);
                }
            }
        }
        (Place::List(merge, item), Value::Array(items)) => {
            if matches!(merge, Merge::Atomic) {
                found.push(path.clone());
            }
            for (index, value) in items.iter().enumerate() {
                let _ = write!(path, "[{index}]");
                atomics(item, value, path, found);
                path.truncate(end);
            }
        }
        (Place::Untyped { granular: false }, Value::Object(_)) | (Place::Untyped { .. }, Value::Array(_)) => {
            found.push(path.clone());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Builtin;
    use crate::schema::id;
    use serde_json::json;

    #[test]
    fn what_would_be_replaced_as_a_whole_is_refused() {
        let pod = Builtin::new(id::CORE_V1_POD);
        let object = json!({"spec": {"containers": [{"name": "a", "image": "i"}]}});
        let more =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"initContainers": [{"name": "b", "image": "j"}]}});
        let merged = merge_unowned(pod, &object, &more).expect("it merges");
        assert_eq!(merged["spec"]["initContainers"][0]["name"], "b");
        assert_eq!(
            (&merged["spec"]["containers"], &merged["metadata"]["labels"]["a"]),
            (&object["spec"]["containers"], &json!("b"))
        );
        let atomic = json!({"spec": {"nodeSelector": {"a": "b"}, "containers": [{"name": "a", "args": ["x"]}]}});
        assert_eq!(
            merge_unowned(pod, &object, &atomic),
            Err("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].args, .spec.nodeSelector".into())
        );
        assert_eq!(
            merge_unowned(pod, &object, &json!({"spec": {"nothing": 1}})),
            Err("failed to convert patch object to typed object: .spec.nothing: field not declared in schema".into())
        );
    }
}
