//! Documentation of definitions and fields, unpacked when first asked for.

use std::collections::HashMap;
use std::io::Read;
use std::sync::OnceLock;

use serde_json::{Map, Value};

static PACKED: &[u8] = include_bytes!("descriptions.json.z");

/// Description of a definition, and of its fields by name.
type Entry = (String, Map<String, Value>);

fn all() -> &'static HashMap<String, Entry> {
    static ALL: OnceLock<HashMap<String, Entry>> = OnceLock::new();
    ALL.get_or_init(load)
}

fn load() -> HashMap<String, Entry> {
    let mut text = Vec::new();
    // The data is part of the program, and a test reads it: it cannot fail here.
    let _ = flate2::read::ZlibDecoder::new(PACKED).read_to_end(&mut text);
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The description of a definition; empty when there is none.
pub fn of_def(name: &str) -> &'static str {
    all().get(name).map_or("", |e| e.0.as_str())
}

/// The description of a field; empty when there is none.
pub fn of_field(def: &str, field: &str) -> &'static str {
    all().get(def).and_then(|e| e.1.get(field)).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    #[test]
    fn descriptions_are_there() {
        assert!(super::of_def("io.k8s.api.core.v1.Pod").starts_with("Pod is a collection"));
        assert!(!super::of_field("io.k8s.api.core.v1.PodSpec", "containers").is_empty());
    }
}
