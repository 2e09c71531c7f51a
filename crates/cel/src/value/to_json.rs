//! Values as JSON: what an expression of a mutating policy made.

use base64::Engine as _;
use serde_json::Value;

use super::{CelValue, Key, Map};
use crate::budget::Budget;
use crate::error::EvalError;
use crate::time;

impl CelValue<'_> {
    /// The value as JSON. Objects that the expression made say by their type where they belong: one that is elsewhere is an
    /// error.
    ///
    /// # Errors
    /// It has no form in JSON, or is larger than an evaluation may make it.
    pub fn to_json(&self, budget: &mut Budget) -> Result<Value, EvalError> {
        let mut place = match self {
            Self::Map(Map::Object(of, _)) => of.name().to_owned(),
            _ => String::new(),
        };
        json(self, &mut place, budget)
    }
}

/// `place` is the name that an object must have here; empty where it may have any.
fn json(value: &CelValue<'_>, place: &mut String, budget: &mut Budget) -> Result<Value, EvalError> {
    budget.work(1)?;
    budget.allocate(size_of::<Value>())?;
    Ok(match value {
        CelValue::Null => Value::Null,
        CelValue::Bool(value) => (*value).into(),
        CelValue::Int(value) => (*value).into(),
        CelValue::Uint(value) => (*value).into(),
        CelValue::Double(value) => (*value).into(),
        CelValue::String(text) => {
            budget.allocate(text.len())?;
            text.to_string().into()
        }
        CelValue::Bytes(bytes) => {
            budget.allocate(bytes.len().saturating_mul(2))?;
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }
        CelValue::Duration(nanos) => time::duration_text(*nanos).into(),
        CelValue::Timestamp(at) => at.to_string().into(),
        CelValue::List(list) => {
            let items = list.iter().map(|item| json(&item?, place, budget));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        CelValue::Map(map) => object(map, place, budget)?,
        CelValue::Optional(_) | CelValue::Type(_) | CelValue::Extension(_) => {
            return Err(EvalError::new(format!("unsupported conversion of {} to JSON", value.type_name())));
        }
    })
}

fn object(map: &Map<'_>, place: &mut String, budget: &mut Budget) -> Result<Value, EvalError> {
    let made = match map {
        Map::Object(of, _) => Some(of.name()),
        _ => None,
    };
    match made {
        Some(name) if !place.is_empty() && name != place.as_str() => {
            return Err(EvalError::new(format!(
                "type mismatch: unexpected type name {name:?}, expected {place:?}, which matches field name path from root Object type"
            )));
        }
        Some(name) if place.is_empty() => {
            let mut place = name.to_owned();
            return entries(map, true, &mut place, budget);
        }
        _ => {}
    }
    entries(map, made.is_some(), place, budget)
}

fn entries(map: &Map<'_>, is_object: bool, place: &mut String, budget: &mut Budget) -> Result<Value, EvalError> {
    let mut out = serde_json::Map::new();
    for key in map.keys() {
        let Key::String(name) = &key else {
            let of = key.value().type_name();
            return Err(EvalError::new(format!("map key is of type {of}, not string")));
        };
        budget.allocate(name.len())?;
        let Some(value) = map.get(&key) else { continue };
        let length = place.len();
        // What is below a map that is no object is named as that map is.
        if is_object && !place.is_empty() {
            place.push('.');
            place.push_str(name);
        }
        let value = json(&value?, place, budget);
        place.truncate(length);
        out.insert(name.to_string(), value?);
    }
    Ok(Value::Object(out))
}
