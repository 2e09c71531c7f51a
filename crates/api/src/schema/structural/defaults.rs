//! Defaulting: what the schema says stands where nothing is given.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting>

use serde_json::{Map, Value};

use super::Structural;

impl Structural {
    /// Fills in defaults. A `null` where none is allowed gives way to the default, or goes.
    pub fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                self.without_nulls(map);
                for (name, schema) in &self.properties {
                    if let Some(default) = schema.default.as_deref()
                        && !map.contains_key(name.as_str())
                    {
                        map.insert(name.to_string(), default.clone());
                    }
                }
                for (name, value) in map.iter_mut() {
                    if let Some(schema) = self.below(name) {
                        schema.fill(value);
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = self.items.as_deref() else { return };
                for item in items {
                    if item.is_null()
                        && !schema.nullable
                        && let Some(default) = schema.default.as_deref()
                    {
                        *item = default.clone();
                    }
                    schema.fill(item);
                }
            }
            _ => {}
        }
    }

    /// Takes out every `null` that may not be there; of a map's entry the default takes its place.
    fn without_nulls(&self, map: &mut Map<String, Value>) {
        map.retain(|name, value| {
            if !value.is_null() {
                return true;
            }
            let Some(schema) = self.below(name).filter(|schema| !schema.nullable) else { return true };
            match schema.default.as_deref() {
                Some(default) => *value = default.clone(),
                None => return schema.ty == super::Type::Any && !schema.int_or_string,
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        let schema = Structural::parse(&json!({"type": "object", "properties": {"spec": {
            "type": "object", "default": {}, "properties": {
                "a": {"type": "string", "default": "x"},
                "n": {"type": "string", "nullable": true, "default": "x"},
                "l": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
                "m": {"type": "object", "additionalProperties": {"type": "integer", "default": 7}},
                "s": {"type": "string"},
            },
        }}}));
        let filled = |mut value: Value| {
            schema.fill(&mut value);
            let once = value.clone();
            schema.fill(&mut value);
            assert_eq!(value, once);
            value
        };
        assert_eq!(filled(json!({})), json!({"spec": {"a": "x", "n": "x"}}));
        assert_eq!(
            filled(json!({"spec": {"a": null, "n": null, "s": null, "l": [{}, {"p": "UDP"}], "m": {"k": null}}})),
            json!({"spec": {"a": "x", "n": null, "l": [{"p": "TCP"}, {"p": "UDP"}], "m": {"k": 7}}})
        );
    }
}
