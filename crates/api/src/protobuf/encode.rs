//! From a JSON tree to the message of its definition.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::wire::Writer;
use crate::meta::parse_time;
use crate::schema::{DefId, Field, Ty, id};

/// Writes an object of a definition as a message. What the definition does not have, or has with another
/// type, is left out: stored objects have neither.
pub fn encode(def: DefId, value: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    message(def, value, &mut out);
    out.0
}

fn message(def: DefId, value: &Value, out: &mut Writer) {
    if def == id::APIEXTENSIONS_V1_JSON {
        out.bytes(1, value.to_string().as_bytes());
        return;
    }
    let Value::Object(map) = value else { return };
    let known = map.iter().filter_map(|(key, value)| def.def().field(key).map(|field| (field, value)));
    let mut set: Vec<(&Field, &Value)> =
        known.filter(|(field, value)| !field.pb.is_empty() && !value.is_null()).collect();
    set.sort_by_key(|(field, _)| field.pb);
    level(&set, 0, out);
}

/// Writes fields whose paths of numbers agree up to `depth`: those that go deeper share an inlined message.
fn level(set: &[(&Field, &Value)], depth: usize, out: &mut Writer) {
    for group in set.chunk_by(|a, b| a.0.pb.get(depth) == b.0.pb.get(depth)) {
        let Some(((field, value), number)) = group.first().and_then(|first| Some((first, *first.0.pb.get(depth)?)))
        else {
            continue;
        };
        if field.pb.len() > depth + 1 {
            out.message(number, |inner| level(group, depth + 1, inner));
        } else {
            self::field(field.ty, field, number, value, out);
        }
    }
}

fn field(ty: Ty, field: &Field, number: u32, value: &Value, out: &mut Writer) {
    match (ty, value) {
        (Ty::String, Value::String(text)) => out.bytes(number, text.as_bytes()),
        (Ty::Bool, Value::Bool(set)) => out.varint(number, u64::from(*set)),
        (Ty::Int32 | Ty::Int64, Value::Number(n)) => {
            if let Some(n) = n.as_i64() {
                out.varint(number, n as u64);
            }
        }
        (Ty::Double, Value::Number(n)) => {
            if let Some(n) = n.as_f64() {
                out.fixed64(number, n.to_bits());
            }
        }
        (Ty::Bytes, Value::String(text)) => {
            if let Ok(bytes) = STANDARD.decode(text) {
                out.bytes(number, &bytes);
            }
        }
        (Ty::IntOrString, _) => out.message(number, |inner| int_or_string(value, inner)),
        (Ty::Quantity, Value::String(text)) => out.message(number, |inner| inner.bytes(1, text.as_bytes())),
        (Ty::Time | Ty::MicroTime, _) => out.message(number, |inner| time(value, inner)),
        (Ty::Object, _) => out.message(number, |inner| inner.bytes(1, value.to_string().as_bytes())),
        (Ty::Any, _) => out.message(number, |inner| schema_union(field, value, inner)),
        (Ty::Ref(def), _) => out.message(number, |inner| message(def, value, inner)),
        (Ty::Array(inner), Value::Array(items)) => {
            for item in items {
                self::field(*inner, field, number, item, out);
            }
        }
        (Ty::Map(inner), Value::Object(entries)) => map(*inner, field, number, entries, out),
        _ => {}
    }
}

fn map(ty: Ty, of: &Field, number: u32, entries: &Map<String, Value>, out: &mut Writer) {
    for (key, value) in entries {
        out.message(number, |entry| {
            entry.bytes(1, key.as_bytes());
            match ty {
                // Protobuf has no maps of lists: a message with one repeated field stands in.
                Ty::Array(_) => entry.message(2, |list| field(ty, of, 1, value, list)),
                _ => field(ty, of, 2, value, entry),
            }
        });
    }
}

fn int_or_string(value: &Value, out: &mut Writer) {
    let (kind, number, text) = match value {
        Value::String(text) => (1, 0, text.as_str()),
        other => (0, other.as_i64().unwrap_or(0), ""),
    };
    out.varint(1, kind);
    out.varint(2, number as u64);
    out.bytes(3, text.as_bytes());
}

fn time(value: &Value, out: &mut Writer) {
    if let Some(time) = value.as_str().and_then(parse_time) {
        out.varint(1, time.as_second() as u64);
        out.varint(2, i64::from(time.subsec_nanosecond()) as u64);
    }
}

/// The fields of `JSONSchemaProps` that are one of two types.
fn schema_union(field: &Field, value: &Value, out: &mut Writer) {
    let schema = |value: &Value, number: u32, out: &mut Writer| {
        out.message(number, |inner| message(id::APIEXTENSIONS_V1_JSON_SCHEMA_PROPS, value, inner));
    };
    match (field.name, value) {
        ("items" | "dependencies", Value::Object(_)) => schema(value, 1, out),
        ("items", Value::Array(items)) => items.iter().for_each(|item| schema(item, 2, out)),
        ("dependencies", Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).for_each(|name| out.bytes(2, name.as_bytes()));
        }
        (_, Value::Bool(allows)) => out.varint(1, u64::from(*allows)),
        (_, Value::Object(_)) => {
            out.varint(1, 1);
            schema(value, 2, out);
        }
        _ => {}
    }
}
