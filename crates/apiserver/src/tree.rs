//! An object as a tree without its managed fields: they are most of an object's tree, and who changes something else need not
//! build them, copy them and drop them.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Reads an object; answers with its managed fields beside it, as JSON. `None` when it is no object.
pub(crate) fn without_fields(json: &[u8]) -> Option<(Value, Option<String>)> {
    let mut managed = None;
    let mut input = serde_json::Deserializer::from_slice(json);
    let object = Level { managed: &mut managed, key: "metadata", below: true }.deserialize(&mut input).ok()?;
    input.end().ok()?;
    Some((Value::Object(object), managed))
}

/// Reads the map of an object, or that of its metadata.
struct Level<'a> {
    managed: &'a mut Option<String>,
    /// What is read in another way than as a value.
    key: &'static str,
    /// Whether that is the map of the metadata, and not the managed fields themselves.
    below: bool,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object with metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = input.next_key::<String>()? {
            if key != self.key {
                map.insert(key, input.next_value()?);
            } else if self.below {
                let metadata = Level { managed: self.managed, key: "managedFields", below: false };
                map.insert(key, input.next_value_seed(metadata)?.into());
            } else {
                *self.managed = Some(input.next_value::<&RawValue>()?.get().to_owned());
            }
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_managed_fields_are_beside_the_tree() {
        let text = br#"{"kind":"Pod","metadata":{"managedFields":[{"a":{"f:b":{}}}],"name":"a"},"spec":{"metadata":{"managedFields":1}}}"#;
        let (tree, fields) = without_fields(text).unwrap();
        assert_eq!(tree, json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"metadata": {"managedFields": 1}}}));
        assert_eq!(fields.as_deref(), Some(r#"[{"a":{"f:b":{}}}]"#));
    }

    #[test]
    fn what_has_none_is_as_it_is() {
        let whole = json!({"metadata": {"name": "a\n", "labels": {}}, "data": [1, null, "\u{e9}"]});
        assert_eq!(without_fields(whole.to_string().as_bytes()), Some((whole, None)));
        assert_eq!(without_fields(b"{}"), Some((json!({}), None)));
        for other in ["", "[]", "{\"metadata\":7}", "{} x"] {
            assert_eq!(without_fields(other.as_bytes()), None, "{other}");
        }
    }
}
