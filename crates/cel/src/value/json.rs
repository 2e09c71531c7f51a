//! Parts of an object as values, by their type.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::Value;

use super::map::Fields;
use super::{CelValue, List, Map, Text};
use crate::error::EvalError;
use crate::time;
use crate::types::Type;

impl<'a> CelValue<'a> {
    /// A part of an object that a schema describes. Strings, lists and objects are borrowed; items and fields
    /// become values when they are asked for.
    ///
    /// # Errors
    /// If it is not of this type, as in objects stored before their schema changed.
    pub fn from_json(value: &'a Value, of: &Type) -> Result<Self, EvalError> {
        Ok(match (of, value) {
            (_, Value::Null) => Self::Null,
            (Type::Bool, Value::Bool(value)) => Self::Bool(*value),
            (Type::Int, Value::Number(number)) => Self::Int(whole(number).ok_or_else(|| unfit(value, of))?),
            (Type::Uint, Value::Number(number)) => Self::Uint(number.as_u64().ok_or_else(|| unfit(value, of))?),
            (Type::Double, Value::Number(number)) => Self::Double(number.as_f64().ok_or_else(|| unfit(value, of))?),
            (Type::String, Value::String(text)) => Self::String(Text::Borrowed(text)),
            (Type::Bytes, Value::String(text)) => Self::Bytes(decode(text)?),
            (Type::Duration, Value::String(text)) => Self::Duration(time::parse_duration(text)?),
            (Type::Timestamp, Value::String(text)) => Self::Timestamp(time::parse_date_or_time(text)?),
            (Type::List(list), Value::Array(items)) => Self::List(List::Json(items, Some(list.clone()))),
            (Type::Map(entry), Value::Object(map)) => Self::Map(Map::Json(map, Fields::Values(entry.clone()))),
            (Type::Object(source), Value::Object(map)) => Self::Map(Map::Json(map, Fields::Declared(source.clone()))),
            (Type::Dyn, value) => Self::from_any(value),
            _ => return Err(unfit(value, of)),
        })
    }

    /// A part of an object that no schema describes: whole numbers are `int`, others `double`.
    pub fn from_any(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::String(Text::Borrowed(text)),
            Value::Array(items) => Self::List(List::Json(items, None)),
            Value::Object(map) => Self::Map(Map::Json(map, Fields::Any)),
        }
    }
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9.2e18).map(|n| n as i64))
}

fn decode(text: &str) -> Result<Arc<[u8]>, EvalError> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    bytes.map(Arc::from).map_err(|error| EvalError::new(format!("invalid base64: {error}")))
}

fn unfit(value: &Value, of: &Type) -> EvalError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    EvalError::new(format!("invalid data, expected {of}, got {found}"))
}
