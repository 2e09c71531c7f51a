//! From a message to the JSON tree that upstream's types would write.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::Envelope;
use super::presence::keeps_zero;
use super::wire::{Reader, Wire};
use crate::meta::{format_micro_time, format_time};
use crate::schema::{DefId, Field, Ty, id};

/// Messages inside of messages; only the schemas of custom resources nest without bound.
const MAX_DEPTH: usize = 100;

/// Reads the message of a definition. Fields that the definition does not have are ignored, as upstream
/// does, and so are zero values that mean "absent".
///
/// # Errors
/// What is wrong with the message, and in which field.
pub fn decode(def: DefId, bytes: &[u8]) -> Result<Value, String> {
    object(def, bytes, 0)
}

pub(super) fn object(def: DefId, bytes: &[u8], depth: usize) -> Result<Value, String> {
    if def == id::APIEXTENSIONS_V1_JSON {
        return raw_json(bytes, depth);
    }
    let mut map = Map::new();
    fields(def, &[], bytes, depth, &mut map)?;
    Ok(Value::Object(map))
}

/// Reads a message, or one inlined at `prefix`, into a JSON object.
fn fields(def: DefId, prefix: &[u32], bytes: &[u8], depth: usize, map: &mut Map<String, Value>) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("proto: more than {MAX_DEPTH} messages inside of each other"));
    }
    let definition = def.def();
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        let path_of = |field: &&Field| field.pb.strip_prefix(prefix).filter(|rest| rest.first() == Some(&number));
        let Some(field) = definition.fields.iter().find(|field| path_of(field).is_some()) else { continue };
        let place = |error| format!("{}.{}: {error}", definition.type_name(), field.name);
        if path_of(&field).is_some_and(|rest| rest.len() > 1) {
            let inner = [prefix, &[number]].concat();
            fields(def, &inner, wire.bytes()?, depth + 1, map)?;
            continue;
        }
        match field.ty {
            Ty::Array(inner) => {
                items(*inner, wire, depth, entry(map, field, Value::Array(Vec::new()))).map_err(place)?
            }
            Ty::Map(inner) => {
                let (key, value) = pair(*inner, field, wire, depth).map_err(place)?;
                if let Value::Object(entries) = entry(map, field, Value::Object(Map::new())) {
                    entries.insert(key, value);
                }
            }
            // A message that comes twice is merged.
            Ty::Ref(inner) if inner != id::APIEXTENSIONS_V1_JSON => {
                if let Value::Object(entries) = entry(map, field, Value::Object(Map::new())) {
                    fields(inner, &[], wire.bytes().map_err(place)?, depth + 1, entries).map_err(place)?;
                }
            }
            ty => {
                let value = value(ty, field, wire, depth).map_err(place)?;
                if value.is_null() || is_zero(ty, &value) && !keeps_zero(definition, field) {
                    map.remove(field.name);
                } else {
                    map.insert(field.name.into(), value);
                }
            }
        }
    }
    Ok(())
}

fn entry<'a>(map: &'a mut Map<String, Value>, field: &Field, empty: Value) -> &'a mut Value {
    map.entry(field.name).or_insert(empty)
}

/// One item of a list, or several in the packed form.
fn items(ty: Ty, wire: Wire<'_>, depth: usize, list: &mut Value) -> Result<(), String> {
    let Value::Array(list) = list else { return Ok(()) };
    if let (Wire::Bytes(bytes), Ty::Bool | Ty::Int32 | Ty::Int64 | Ty::Double) = (wire, ty) {
        let mut packed = Reader(bytes);
        while !packed.0.is_empty() {
            let item = match ty {
                Ty::Double => Wire::Fixed64(u64::from_le_bytes(packed.array()?)),
                _ => Wire::Varint(packed.varint()?),
            };
            list.push(value(ty, &Field::EMPTY, item, depth)?);
        }
        return Ok(());
    }
    list.push(value(ty, &Field::EMPTY, wire, depth)?);
    Ok(())
}

/// One entry of a map.
fn pair(ty: Ty, field: &Field, wire: Wire<'_>, depth: usize) -> Result<(String, Value), String> {
    let (mut key, mut content) = (String::new(), None);
    let mut reader = Reader(wire.bytes()?);
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => key = wire.text()?.to_owned(),
            2 => content = Some(wire),
            _ => {}
        }
    }
    let absent = match ty {
        Ty::Bool | Ty::Int32 | Ty::Int64 => Wire::Varint(0),
        Ty::Double => Wire::Fixed64(0),
        _ => Wire::Bytes(&[]),
    };
    let content = content.unwrap_or(absent);
    if let Ty::Array(inner) = ty {
        // Protobuf has no maps of lists: a message with one repeated field stands in.
        let mut list = Value::Array(Vec::new());
        let mut reader = Reader(content.bytes()?);
        while let Some((number, wire)) = reader.next()? {
            if number == 1 {
                items(*inner, wire, depth, &mut list)?;
            }
        }
        return Ok((key, list));
    }
    Ok((key, value(ty, field, content, depth)?))
}

fn value(ty: Ty, field: &Field, wire: Wire<'_>, depth: usize) -> Result<Value, String> {
    Ok(match ty {
        Ty::String => wire.text()?.into(),
        Ty::Bool => (wire.varint()? != 0).into(),
        // Negative numbers are sign-extended to 64 bits.
        Ty::Int32 => (wire.varint()? as i32).into(),
        Ty::Int64 => (wire.varint()? as i64).into(),
        Ty::Double => double(wire)?,
        Ty::Bytes => STANDARD.encode(wire.bytes()?).into(),
        Ty::IntOrString => int_or_string(wire.bytes()?)?,
        Ty::Quantity => match first_text(wire.bytes()?)? {
            "" => "0".into(),
            text => text.into(),
        },
        Ty::Time | Ty::MicroTime => time(ty, wire.bytes()?)?,
        Ty::Object => raw_json(wire.bytes()?, depth)?,
        Ty::Any => schema_union(field, wire.bytes()?, depth)?,
        Ty::Ref(def) => object(def, wire.bytes()?, depth + 1)?,
        Ty::Array(_) | Ty::Map(_) => return Err("proto: a list inside of a list".into()),
    })
}

/// Whether Go's JSON leaves the value out of a field marked `omitempty`.
fn is_zero(ty: Ty, value: &Value) -> bool {
    match ty {
        Ty::String | Ty::Bytes => value == "",
        Ty::Bool => value == false,
        Ty::Int32 | Ty::Int64 | Ty::Double => value == 0,
        _ => false,
    }
}

fn double(wire: Wire<'_>) -> Result<Value, String> {
    let Wire::Fixed64(bits) = wire else { return Err("proto: wrong wire type for a floating-point number".into()) };
    let number = f64::from_bits(bits);
    // Go writes whole numbers without a fraction.
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return Ok((number as i64).into());
    }
    Number::from_f64(number).map(Value::Number).ok_or_else(|| format!("{number} is not a JSON number"))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    let mut reader = Reader(bytes);
    while let Some((field, wire)) = reader.next()? {
        match field {
            1 => is_text = wire.varint()? == 1,
            2 => number = wire.varint()? as i32,
            3 => text = wire.text()?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// The string in field 1.
fn first_text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(first_bytes(bytes)?).map_err(|error| format!("proto: a string is not UTF-8: {error}"))
}

fn first_bytes(bytes: &[u8]) -> Result<&[u8], String> {
    let mut found: &[u8] = &[];
    let mut reader = Reader(bytes);
    while let Some((field, wire)) = reader.next()? {
        if field == 1 {
            found = wire.bytes()?;
        }
    }
    Ok(found)
}

/// Go's zero time is an empty message and JSON's `null`.
fn time(ty: Ty, bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader(bytes);
    while let Some((field, wire)) = reader.next()? {
        match field {
            1 => seconds = wire.varint()? as i64,
            2 => nanos = wire.varint()? as i32,
            _ => {}
        }
    }
    let time = Timestamp::new(seconds, nanos).map_err(|error| format!("not a time: {error}"))?;
    Ok(if ty == Ty::Time { format_time(time) } else { format_micro_time(time) }.into())
}

/// JSON in field 1 of a message; an object in an envelope of its own is read too.
fn raw_json(bytes: &[u8], depth: usize) -> Result<Value, String> {
    let raw = first_bytes(bytes)?;
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    if raw.starts_with(super::MAGIC) {
        let envelope = Envelope::parse(raw)?;
        let unknown = || format!("no kind {:?} is registered for version {:?}", envelope.kind, envelope.api_version);
        return envelope.at_depth(envelope.def().ok_or_else(unknown)?, depth + 1);
    }
    serde_json::from_slice(raw).map_err(|error| format!("not JSON: {error}"))
}

/// The fields of `JSONSchemaProps` that are one of two types.
fn schema_union(field: &Field, bytes: &[u8], depth: usize) -> Result<Value, String> {
    let schema = |wire: Wire<'_>| object(id::APIEXTENSIONS_V1_JSON_SCHEMA_PROPS, wire.bytes()?, depth + 1);
    let (mut one, mut many, mut allows) = (None, Vec::new(), false);
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (field.name, number) {
            ("items" | "dependencies", 1) | ("additionalItems" | "additionalProperties", 2) => {
                one = Some(schema(wire)?)
            }
            ("items", 2) => many.push(schema(wire)?),
            ("dependencies", 2) => many.push(wire.text()?.into()),
            ("additionalItems" | "additionalProperties", 1) => allows = wire.varint()? != 0,
            _ => {}
        }
    }
    Ok(match (one, field.name) {
        (Some(one), _) => one,
        (None, "items" | "dependencies") => Value::Array(many),
        (None, _) => allows.into(),
    })
}
