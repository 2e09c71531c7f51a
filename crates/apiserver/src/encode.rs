//! The canonical JSON of an object. It is stored with an empty resource version, as nobody knows the revision that a write
//! will have; whoever shows it puts the revision there.

use bytes::Bytes;
use coracle_store::Revision;
use serde_json::{Map, Value};

/// An object as it is stored.
pub struct Encoded {
    pub bytes: Vec<u8>,
    /// Where the resource version goes.
    pub hole: Option<usize>,
}

/// Encodes an object for the store: keys in order, `metadata.resourceVersion` empty.
pub fn for_store(object: &Value) -> Encoded {
    let mut bytes = Vec::with_capacity(1024);
    let mut hole = None;
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
                hole = Some(bytes.len() + 1);
                bytes.extend_from_slice(b"\"\"");
            }
            key == "resourceVersion"
        });
        true
    });
    Encoded { bytes, hole }
}

/// What was stored, with the revision that it was given.
pub fn shown(stored: &[u8], hole: Option<usize>, revision: Revision) -> Bytes {
    match hole.and_then(|at| stored.split_at_checked(at)) {
        Some((before, behind)) => [before, Digits::of(revision).as_ref(), behind].concat().into(),
        None => Bytes::copy_from_slice(stored),
    }
}

/// A number in decimal.
pub struct Digits {
    bytes: [u8; 20],
    from: usize,
}

impl Digits {
    pub fn of(mut number: u64) -> Digits {
        let mut digits = Digits { bytes: [b'0'; 20], from: 20 };
        while digits.from > 0 && (number > 0 || digits.from == 20) {
            digits.from -= 1;
            digits.bytes[digits.from] += (number % 10) as u8;
            number /= 10;
        }
        digits
    }
}

impl AsRef<[u8]> for Digits {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
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
    fn the_revision_falls_into_the_resource_version() {
        let object = json!({"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "7", "uid": "u"}, "a": [1]});
        let Encoded { bytes, hole } = for_store(&object);
        let text = shown(&bytes, hole, 42);
        assert_eq!(text, r#"{"a":[1],"kind":"Pod","metadata":{"name":"a","resourceVersion":"42","uid":"u"}}"#);
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            assert_eq!(Digits::of(number).as_ref(), number.to_string().as_bytes());
        }
    }
}
