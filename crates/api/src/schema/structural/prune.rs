//! Pruning: fields that the schema does not name are dropped.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning>

use serde_json::Value;

use super::{Additional, Structural, TYPE_AND_METADATA};
use crate::json::Place;

impl Structural {
    /// Drops what the schema does not name from an object; `each` is told of every dropped field.
    pub fn prune(&self, object: &mut Value, each: &mut dyn FnMut(&Place<'_>)) {
        Pruner { each }.value(object, Some(self), true, &Place::Root);
    }
}

struct Pruner<'a> {
    each: &'a mut dyn FnMut(&Place<'_>),
}

impl Pruner<'_> {
    fn value(&mut self, value: &mut Value, schema: Option<&Structural>, is_object: bool, place: &Place<'_>) {
        match value {
            Value::Object(map) => {
                let keeps = schema.is_some_and(|schema| schema.preserve_unknown);
                map.retain(|key, value| {
                    let place = Place::Key(place, key);
                    if is_object && TYPE_AND_METADATA.contains(&key.as_str()) {
                        return true;
                    }
                    let below = schema.and_then(|schema| schema.below(key));
                    let is_map = schema.is_some_and(|schema| matches!(schema.additional, Additional::Any));
                    if below.is_none() && !is_map {
                        if !keeps {
                            (self.each)(&place);
                        }
                        return keeps;
                    }
                    self.value(value, below, below.is_some_and(|schema| schema.embedded), &place);
                    true
                });
            }
            Value::Array(items) => {
                let keeps = schema.is_some_and(|schema| schema.preserve_unknown);
                let below = schema.and_then(|schema| schema.items.as_deref());
                if keeps && below.is_none() {
                    return;
                }
                for (index, item) in items.iter_mut().enumerate() {
                    let embedded = below.is_some_and(|schema| schema.embedded);
                    self.value(item, below, embedded, &Place::Item(place, index));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_dropped_and_told() {
        let schema = Structural::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "a": {"type": "string"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"known": {"type": "object", "properties": {"x": {"type": "integer"}}}}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"c": {"type": "string"}}}},
                "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
            }},
        }}));
        let mut object = json!({
            "apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "top": 1,
            "spec": {
                "a": "1", "z": 1, "free": {"anything": {"goes": 1}, "known": {"x": 1, "y": 1}},
                "list": [{"b": "1", "z": 1}], "map": {"k": {"c": "1", "z": 1}},
                "embedded": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "m"}, "spec": {"z": 1}, "z": 1},
            },
        });
        let mut dropped = Vec::new();
        schema.prune(&mut object, &mut |place| dropped.push(place.to_string()));
        dropped.sort();
        assert_eq!(
            dropped,
            [
                "spec.embedded.spec.z",
                "spec.embedded.z",
                "spec.free.known.y",
                "spec.list[0].z",
                "spec.map.k.z",
                "spec.z",
                "top"
            ]
        );
        let kept = json!({
            "apiVersion": "v1", "kind": "K", "metadata": {"name": "n"},
            "spec": {
                "a": "1", "free": {"anything": {"goes": 1}, "known": {"x": 1}}, "list": [{"b": "1"}],
                "map": {"k": {"c": "1"}},
                "embedded": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "m"}, "spec": {}},
            },
        });
        assert_eq!(object, kept);
    }
}
