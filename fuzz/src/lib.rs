//! What the targets share: JSON made of the fuzzer's bytes, and the steps that a decoded object goes through.

use arbitrary::{Result, Unstructured};
use coracle_api::Kind;
use coracle_api::decode::{self, FieldValidation, Format};
use coracle_api::kinds;
use serde_json::{Map, Value};

/// No value is nested deeper.
const DEPTH: usize = 8;

/// A value whose keys and texts are mostly words that mean something to what is fuzzed.
///
/// # Errors
/// The bytes are used up.
pub fn value(bytes: &mut Unstructured<'_>, words: &[&'static str]) -> Result<Value> {
    nested(bytes, words, DEPTH)
}

/// An object whose top is given, so that not all of it must be found by chance.
///
/// # Errors
/// The bytes are used up.
pub fn object(bytes: &mut Unstructured<'_>, words: &[&'static str], top: Value) -> Result<Value> {
    let mut made = top;
    let Value::Object(more) = map(bytes, words, DEPTH)? else { return Ok(made) };
    for (key, value) in more {
        match (&mut made[&key], value) {
            (Value::Object(there), Value::Object(more)) => there.extend(more),
            (there, value) => *there = value,
        }
    }
    Ok(made)
}

fn nested(bytes: &mut Unstructured<'_>, words: &[&'static str], depth: usize) -> Result<Value> {
    Ok(match bytes.int_in_range(0..=15)? {
        0..=4 if depth > 0 => map(bytes, words, depth)?,
        5..=7 if depth > 0 => {
            let count = bytes.int_in_range(0..=4)?;
            (0..count).map(|_| nested(bytes, words, depth - 1)).collect::<Result<Value>>()?
        }
        8 => Value::Null,
        9 => bytes.arbitrary::<bool>()?.into(),
        10 => bytes.arbitrary::<i64>()?.into(),
        11 => i64::from(bytes.arbitrary::<i8>()?).into(),
        12 => bytes.arbitrary::<f64>()?.into(),
        13 => bytes.arbitrary::<&str>()?.into(),
        _ => word(bytes, words)?.into(),
    })
}

fn map(bytes: &mut Unstructured<'_>, words: &[&'static str], depth: usize) -> Result<Value> {
    let count = bytes.int_in_range(0..=6)?;
    let entry = |_| Ok((word(bytes, words)?.to_owned(), nested(bytes, words, depth - 1)?));
    (0..count).map(entry).collect::<Result<Map<_, _>>>().map(Value::Object)
}

fn word<'a>(bytes: &mut Unstructured<'a>, words: &[&'static str]) -> Result<&'a str> {
    match bytes.ratio(1, 32)? {
        true => bytes.arbitrary::<&str>(),
        false => bytes.choose(words).copied(),
    }
}

/// The built-in kind of a number.
pub fn kind(number: u16) -> &'static Kind {
    let kinds = kinds::built_in().kinds();
    &kinds[usize::from(number) % kinds.len()]
}

/// Takes a body through all that becomes of an object before it is stored, and shows it. What was decoded once and written
/// must decode again to the same.
pub fn take(kind: &Kind, body: &[u8], format: Format) {
    for validation in [FieldValidation::Ignore, FieldValidation::Strict] {
        let _ = decode::decode(kind, body, format, validation);
    }
    let Ok((object, warnings)) = decode::decode(kind, body, format, FieldValidation::Warn) else { return };
    assert!(warnings.len() < 1000);
    let text = serde_json::to_vec(&object).expect("a value is JSON");
    let (again, _) = decode::decode(kind, &text, Format::Json, FieldValidation::Strict).expect("it was decoded before");
    assert_eq!(again, object, "decoding what was decoded changes it");
    write(kind, object);
}

/// The steps of a write, of what is decoded.
pub fn write(kind: &Kind, mut object: Value) {
    let strategy = &kind.strategy;
    strategy.default(&mut object);
    let defaulted = object.clone();
    strategy.default(&mut object);
    assert_eq!(object, defaulted, "defaults of defaults");
    let mut updated = object.clone();
    strategy.prepare_create(&mut object);
    strategy.validate(&object);
    strategy.validate_create(&object);
    strategy.prepare_update(&mut updated, &object);
    strategy.validate_update(&updated, &object);
    strategy.prepare_status_update(&mut updated, &object);
    strategy.validate_status_update(&updated, &object);
    strategy.warnings(&object);
    strategy.warnings_on_create(&object);
    strategy.selectable_fields(&object);
    let row = strategy.row(&object, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(row.len(), strategy.columns().len());
    for subresource in &*kind.subresources {
        let mut new = defaulted.clone();
        strategy.prepare_subresource(subresource.name, &mut new, &object);
        strategy.validate_subresource(subresource.name, &new, &object);
    }
}
