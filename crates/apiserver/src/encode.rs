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

/// Encodes an object for the store: keys in order, `metadata.resourceVersion` empty. Managed fields that are given as JSON
/// take the place of those that the object has.
pub fn for_store(object: &Value, managed: Option<&str>) -> Encoded {
    let mut bytes = Vec::with_capacity(1024);
    let mut hole = None;
    bytes.push(b'{');
    for (key, value) in object.as_object().into_iter().flatten() {
        write_key(&mut bytes, key);
        match value {
            Value::Object(metadata) if key == "metadata" => hole = Some(write_metadata(&mut bytes, metadata, managed)),
            value => write(&mut bytes, value),
        }
    }
    bytes.push(b'}');
    Encoded { bytes: bytes.into(), hole }
}

/// Writes metadata with an empty resource version in its place among the keys; answers where it is.
fn write_metadata(bytes: &mut Vec<u8>, metadata: &Map<String, Value>, managed: Option<&str>) -> usize {
    let mut own = [("managedFields", managed), ("resourceVersion", Some("\"\""))]
        .into_iter()
        .filter_map(|(key, text)| Some((key, text?)))
        .peekable();
    let ours = own.clone();
    let mut hole = 0;
    let mut write_own = |bytes: &mut Vec<u8>, (key, text): (&str, &str)| {
        if text.is_empty() {
            return;
        }
        write_key(bytes, key);
        bytes.extend_from_slice(text.as_bytes());
        // That of the resource version is the last.
        hole = bytes.len() - 1;
    };
    bytes.push(b'{');
    for (key, value) in metadata {
        while let Some(next) = own.next_if(|(name, _)| *name <= key.as_str()) {
            write_own(bytes, next);
        }
        if !ours.clone().any(|(name, _)| name == key) {
            write_key(bytes, key);
            write(bytes, value);
        }
    }
    own.for_each(|next| write_own(bytes, next));
    bytes.push(b'}');
    hole
}

/// Writes a key behind what is already in its map.
fn write_key(bytes: &mut Vec<u8>, key: &str) {
    if bytes.last() != Some(&b'{') {
        bytes.push(b',');
    }
    write_string(bytes, key);
    bytes.push(b':');
}

fn write(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(map) => {
            bytes.push(b'{');
            for (key, value) in map {
                write_key(bytes, key);
                write(bytes, value);
            }
            bytes.push(b'}');
        }
        Value::Array(list) => {
            bytes.push(b'[');
            for (number, item) in list.iter().enumerate() {
                if number > 0 {
                    bytes.push(b',');
                }
                write(bytes, item);
            }
            bytes.push(b']');
        }
        Value::String(text) => write_string(bytes, text),
        // Writing JSON into memory cannot fail.
        plain => drop(serde_json::to_writer(bytes, plain)),
    }
}

/// Most texts have nothing to escape, which processors see of many bytes at once.
fn write_string(bytes: &mut Vec<u8>, text: &str) {
    let is_special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        return drop(serde_json::to_writer(bytes, text));
    }
    bytes.push(b'"');
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'"');
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
        let Encoded { bytes, hole } = for_store(&object, None);
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
            let Encoded { bytes, hole } = for_store(&json!({"metadata": metadata}), None);
            assert_eq!(shown(&bytes, hole, 1), format!(r#"{{"metadata":{text}}}"#));
        }
    }

    #[test]
    fn managed_fields_that_are_given_take_the_place_of_others() {
        let object = json!({"metadata": {"labels": {}, "managedFields": [1], "name": "a"}});
        for (managed, text) in [
            (None, r#"{"labels":{},"managedFields":[1],"name":"a","resourceVersion":"1"}"#),
            (Some("[2]"), r#"{"labels":{},"managedFields":[2],"name":"a","resourceVersion":"1"}"#),
            (Some(""), r#"{"labels":{},"name":"a","resourceVersion":"1"}"#),
        ] {
            let Encoded { bytes, hole } = for_store(&object, managed);
            assert_eq!(shown(&bytes, hole, 1), format!(r#"{{"metadata":{text}}}"#));
        }
    }

    #[test]
    fn what_is_written_is_what_the_library_writes() {
        let texts = [
            "",
            "plain, and long enough for several words of it",
            "\"",
            "a\\",
            "\u{0}\n\u{1f}",
            "\u{7f}\u{e9}\u{1f600}",
        ];
        let object = json!({"k\"": texts, "n": [null, true, -1, 1.5, u64::MAX, {}], "o": {"a": [], "b": {"c": [[1]]}}});
        let Encoded { bytes, hole } = for_store(&object, None);
        assert_eq!((std::str::from_utf8(&bytes), hole), (Ok(&*object.to_string()), None));
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            assert_eq!(Digits::of(number).as_ref(), number.to_string().as_bytes());
        }
    }
}
