//! Parses JSON into a value, telling which keys occurred twice.

use std::collections::HashSet;
use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Where in a document a value is. It lives on the stack while walking, and is printed only on errors.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// The document.
    Root,
    /// A field or key of the object at the place.
    Key(&'a Place<'a>, &'a str),
    /// An item of the list at the place.
    Item(&'a Place<'a>, usize),
    /// A value of the map at the place, which Go's JSON errors name like the map.
    Entry(&'a Place<'a>, &'a str),
}

impl Place<'_> {
    /// The fields without list indices, as Go's JSON errors name them.
    pub fn go_path(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Item(outer, _) | Place::Entry(outer, _) => outer.go_path(),
            Place::Key(outer, key) => {
                let mut path = outer.go_path();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                path
            }
        }
    }
}

/// How much of a path is told, bytes.
const TOLD: usize = 256;

impl Place<'_> {
    /// The path as it is told to clients: of a very long one only how it begins.
    pub fn told(&self) -> String {
        let mut told = Told(String::new());
        // It ends with the room.
        let _ = write!(told, "{self}");
        told.0
    }
}

struct Told(String);

impl Write for Told {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TOLD.saturating_sub(self.0.len());
        match text.len() <= room {
            true => self.0.push_str(text),
            false => {
                let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
                self.0.push_str(text.get(..end).unwrap_or_default());
                self.0.push_str("...");
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Key(Place::Root, key) => f.write_str(key),
            Place::Key(outer, key) | Place::Entry(outer, key) => write!(f, "{outer}.{key}"),
            Place::Item(outer, index) => write!(f, "{outer}[{index}]"),
        }
    }
}

/// How deep an object may be nested. What is stored is read again by decoders that take 128 levels, as clients' do, and who
/// owns its fields is nested a little deeper than they are.
pub const MAX_DEPTH: usize = 100;
/// How deep its managed fields may be.
const MAX_MANAGED_DEPTH: usize = MAX_DEPTH + 10;

/// Whether a value has more levels than `depth`; it looks no deeper than that.
pub fn is_deeper(value: &Value, depth: usize) -> bool {
    let Some(below) = depth.checked_sub(1) else { return value.is_array() || value.is_object() };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, below)),
        Value::Object(map) => map.values().any(|value| is_deeper(value, below)),
        _ => false,
    }
}

/// Whether an object is nested deeper than objects may be.
pub fn is_too_deep(object: &Value) -> bool {
    let Value::Object(map) = object else { return is_deeper(object, MAX_DEPTH) };
    map.iter().any(|(key, value)| match value {
        Value::Object(metadata) if key == "metadata" => metadata.iter().any(|(key, value)| {
            is_deeper(value, if key == "managedFields" { MAX_MANAGED_DEPTH } else { MAX_DEPTH } - 2)
        }),
        value => is_deeper(value, MAX_DEPTH - 1),
    })
}

/// At most this many duplicate fields are told.
const MAX_DUPLICATES: usize = 32;

/// Parses a document. Of a key that occurs twice the last value wins, and its path is added to
/// `duplicates`. Documents nested deeper than 128 levels are refused.
///
/// # Errors
/// When the text is not one JSON document.
pub fn parse(text: &[u8], duplicates: &mut Vec<String>) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Seed { place: &Place::Root, duplicates }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Which of these paths a document has, in its order, each as often as it has it; none that is told cut: each key of the document
/// would cost as much.
pub fn order<'a>(text: &[u8], paths: &HashSet<&'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // What is no document has none.
    let _ = Order { place: &Place::Root, length: 0, paths, found: &mut found }.deserialize(&mut deserializer);
    found
}

struct Order<'a, 'b> {
    place: &'b Place<'b>,
    /// Bytes of its path at least.
    length: usize,
    paths: &'b HashSet<&'a str>,
    found: &'b mut Vec<&'a str>,
}

impl<'de> DeserializeSeed<'de> for Order<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Order<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            let place = Place::Item(self.place, index);
            let length = self.length.saturating_add(3);
            let seed = Order { place: &place, length, paths: self.paths, found: &mut *self.found };
            if items.next_element_seed(seed)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            let place = Place::Key(self.place, &key);
            let length = self.length.saturating_add(key.len());
            if length <= TOLD
                && let Some(path) = self.paths.get(&*place.to_string())
            {
                self.found.push(path);
            }
            entries.next_value_seed(Order { place: &place, length, paths: self.paths, found: &mut *self.found })?;
        }
        Ok(())
    }
}

struct Seed<'a> {
    place: &'a Place<'a>,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        loop {
            let place = Place::Item(self.place, out.len());
            let seed = Seed { place: &place, duplicates: &mut *self.duplicates };
            match items.next_element_seed(seed)? {
                Some(item) => out.push(item),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let place = Place::Key(self.place, &key);
            let value = entries.next_value_seed(Seed { place: &place, duplicates: &mut *self.duplicates })?;
            if out.contains_key(&key) && self.duplicates.len() < MAX_DUPLICATES {
                self.duplicates.push(place.told());
            }
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

/// The first bytes of a body, for messages.
pub fn summary(body: &[u8]) -> String {
    let mut out = String::new();
    match std::str::from_utf8(body) {
        Ok(text) => {
            let short: String = text.chars().take(30).collect();
            let _ = write!(out, "{}", crate::field::quote(&short));
            if short.len() < text.len() {
                out.push_str(" ...");
            }
        }
        Err(_) => {
            for byte in body.iter().take(30) {
                let _ = write!(out, "{byte:02x}");
            }
            if body.len() > 30 {
                out.push_str(" ...");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_told_with_their_path() {
        let mut duplicates = Vec::new();
        let value = parse(br#"{"a":[{"b":1,"b":2}],"c":{"d":1},"c":null}"#, &mut duplicates).expect("it parses");
        assert_eq!(value["a"][0]["b"], 2);
        assert_eq!(duplicates, ["a[0].b", "c"]);
    }

    #[test]
    fn the_depth_of_an_object_is_bounded_and_that_of_its_managed_fields_a_little_later() {
        let nested = |levels: usize| (0..levels).fold(Value::from(1), |inner, _| serde_json::json!({"x": inner}));
        assert!(!is_deeper(&nested(0), 0) && is_deeper(&nested(1), 0));
        assert!(!is_deeper(&nested(7), 7) && is_deeper(&nested(8), 7));
        assert!(!is_too_deep(&nested(MAX_DEPTH)) && is_too_deep(&nested(MAX_DEPTH + 1)));
        let owned = |levels| serde_json::json!({"metadata": {"managedFields": nested(levels)}});
        assert!(!is_too_deep(&owned(MAX_DEPTH + 8)) && is_too_deep(&owned(MAX_DEPTH + 9)));
    }

    #[test]
    fn deep_documents_are_refused() {
        let text = "[".repeat(100_000);
        assert!(parse(text.as_bytes(), &mut Vec::new()).is_err());
    }
}
