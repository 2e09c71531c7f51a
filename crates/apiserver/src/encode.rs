//! The canonical JSON of an object, with a hole where the store puts the revision.

use coracle_store as store;
use serde_json::{Map, Value};

/// Encodes an object for the store: keys in order, `metadata.resourceVersion` empty for the stamp.
pub fn for_store(object: &Value) -> store::Value {
    let mut bytes = Vec::with_capacity(1024);
    let mut stamp_at = None;
    let empty = Map::new();
    write_map(&mut bytes, object.as_object().unwrap_or(&empty), &mut |bytes, key, value| {
        if key != "metadata" {
            return false;
        }
        let Value::Object(metadata) = value else { return false };
        let mut stamped = metadata.clone();
        stamped.insert("resourceVersion".into(), Value::String(String::new()));
        write_map(bytes, &stamped, &mut |bytes, key, _| {
            if key == "resourceVersion" {
                stamp_at = Some(bytes.len() + 1);
                bytes.extend_from_slice(b"\"\"");
            }
            key == "resourceVersion"
        });
        true
    });
    store::Value { bytes, stamp_at }
}

/// Writes a map; `special` may write a value itself and say so.
fn write_map(
    bytes: &mut Vec<u8>,
    map: &Map<String, Value>,
    special: &mut dyn FnMut(&mut Vec<u8>, &str, &Value) -> bool,
) {
    bytes.push(b'{');
    for (n, (key, value)) in map.iter().enumerate() {
        if n > 0 {
            bytes.push(b',');
        }
        // Writing JSON into memory cannot fail.
        let _ = serde_json::to_writer(&mut *bytes, key);
        bytes.push(b':');
        if !special(bytes, key, value) {
            let _ = serde_json::to_writer(&mut *bytes, value);
        }
    }
    bytes.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_stamp_falls_into_the_resource_version() {
        let object = json!({"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "7", "uid": "u"}, "a": [1]});
        let mut value = for_store(&object);
        let at = value.stamp_at.unwrap();
        value.bytes.splice(at..at, *b"42");
        let text = String::from_utf8(value.bytes).unwrap();
        assert_eq!(text, r#"{"a":[1],"kind":"Pod","metadata":{"name":"a","resourceVersion":"42","uid":"u"}}"#);
    }
}
