//! Reads of an object what its selectable fields are made of, and nothing else: every change of an object is read so before
//! anyone is told of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The parts of an object in JSON that lie at `paths`, such as `spec.nodeName`; all but the metadata where there are none. `None`
/// when it is no object.
pub fn read(json: &[u8], paths: &[&str]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    Part { paths, at: String::new() }.deserialize(&mut reader).ok()
}

/// What an object has at the paths that go on from where it is.
struct Part<'p> {
    paths: &'p [&'p str],
    /// Its own path and a dot; empty for the whole.
    at: String,
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(Key(key)) = map.next_key()? {
            let at = format!("{}{key}", self.at);
            let is_before = |path: &&str| path.strip_prefix(&*at).is_some_and(|rest| rest.starts_with('.'));
            let is_wanted = match self.paths {
                [] => at != "metadata",
                paths => paths.contains(&&*at),
            };
            if is_wanted {
                found.insert(key.into_owned(), map.next_value()?);
            } else if self.paths.iter().any(is_before) {
                let part = Part { paths: self.paths, at: at + "." };
                found.insert(key.into_owned(), map.next_value_seed(part)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(found))
    }
}

/// Borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_nothing_else() {
        let object = json!({
            "metadata": {"name": "a"}, "kind": "K", "spec": {"a": {"b": [1, {"c": 2}]}, "ab": 1, "x": {"a": 1}}, "status": null,
        });
        let read = |paths: &[&str]| read(object.to_string().as_bytes(), paths).unwrap();
        assert_eq!(read(&[]), json!({"kind": "K", "spec": object["spec"], "status": null}));
        assert_eq!(
            read(&["spec.a", "status.a", "kind"]),
            json!({"kind": "K", "spec": {"a": object["spec"]["a"]}, "status": null})
        );
        assert_eq!(read(&["spec.x.a"]), json!({"spec": {"x": {"a": 1}}}));
        for bad in [&b"[]"[..], b"{", b"7", br#"{"spec": {"a": "#] {
            assert_eq!(super::read(bad, &["spec.a"]), None);
        }
    }
}
