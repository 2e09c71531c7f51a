//! The canonical JSON of an object. It is stored with an empty resource version, as nobody knows the revision that a write
//! will have; whoever shows it puts the revision there.

use bytes::Bytes;
use coracle_store::Revision;
use serde_json::{Map, Value};

/// An object as it is stored.
pub struct Encoded {
    pub bytes: Bytes,
    /// Where the resource version goes.
    pub hole: Option<usize>,
}

/// Encodes an object for the store: keys in order, `metadata.resourceVersion` empty.
pub fn for_store(object: &Value) -> Encoded {
    let mut bytes = Vec::with_capacity(1024);
    let mut hole = None;
    bytes.push(b'{');
    for (key, value) in object.as_object().into_iter().flatten() {
        write_key(&mut bytes, key);
        match value {
            Value::Object(metadata) if key == "metadata" => hole = Some(write_metadata(&mut bytes, metadata)),
            // Writing JSON into memory cannot fail.
            value => drop(serde_json::to_writer(&mut bytes, value)),
        }
    }
    bytes.push(b'}');
    Encoded { bytes: bytes.into(), hole }
}

/// Writes metadata with an empty resource version in its place among the keys; answers where it is.
fn write_metadata(bytes: &mut Vec<u8>, metadata: &Map<String, Value>) -> usize {
    const VERSION: &str = "resourceVersion";
    let write_version = |bytes: &mut Vec<u8>| {
        write_key(bytes, VERSION);
        bytes.extend_from_slice(b"\"\"");
        bytes.len() - 1
    };
    let mut hole = None;
    bytes.push(b'{');
    for (key, value) in metadata.iter().filter(|(key, _)| *key != VERSION) {
        if hole.is_none() && key.as_str() > VERSION {
            hole = Some(write_version(bytes));
        }
        write_key(bytes, key);
        let _ = serde_json::to_writer(&mut *bytes, value);
    }
    let hole = hole.unwrap_or_else(|| write_version(bytes));
    bytes.push(b'}');
    hole
}

/// Writes a key behind what is already in its map.
fn write_key(bytes: &mut Vec<u8>, key: &str) {
    if bytes.last() != Some(&b'{') {
        bytes.push(b',');
    }
    let _ = serde_json::to_writer(&mut *bytes, key);
    bytes.push(b':');
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
    fn the_version_has_its_place_among_the_keys_whether_or_not_there_was_one() {
        for (metadata, text) in [
            (json!({}), r#"{"resourceVersion":"1"}"#),
            (json!({"name": "a"}), r#"{"name":"a","resourceVersion":"1"}"#),
            (json!({"uid": "u", "name": "{"}), r#"{"name":"{","resourceVersion":"1","uid":"u"}"#),
        ] {
            let Encoded { bytes, hole } = for_store(&json!({"metadata": metadata}));
            assert_eq!(shown(&bytes, hole, 1), format!(r#"{{"metadata":{text}}}"#));
        }
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            assert_eq!(Digits::of(number).as_ref(), number.to_string().as_bytes());
        }
    }
}
