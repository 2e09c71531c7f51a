//! Conversions between types: `int('1')`, `string(1.5)`.

use crate::budget::TRAVERSAL;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::time;
use crate::value::{CelValue, Extension};

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("bool(bool) -> bool", ONE, same),
    Function::global("bool(string) -> bool", ONE, to_bool),
    Function::global("bytes(bytes) -> bytes", ONE, same),
    Function::global("bytes(string) -> bytes", Cost::First(TRAVERSAL), to_bytes),
    Function::global("double(double) -> double", ONE, same),
    Function::global("double(int) -> double", ONE, to_double),
    Function::global("double(uint) -> double", ONE, to_double),
    Function::global("double(string) -> double", ONE, to_double),
    Function::global("duration(duration) -> duration", ONE, same),
    Function::global("duration(string) -> duration", ONE, to_duration),
    Function::global("dyn(T) -> dyn", ONE, same),
    Function::global("int(int) -> int", ONE, same),
    Function::global("int(uint) -> int", ONE, to_int),
    Function::global("int(double) -> int", ONE, to_int),
    Function::global("int(string) -> int", ONE, to_int),
    Function::global("int(timestamp) -> int", ONE, to_int),
    Function::global("int(duration) -> int", ONE, to_int),
    Function::global("string(string) -> string", ONE, to_string),
    Function::global("string(bool) -> string", ONE, to_string),
    Function::global("string(int) -> string", ONE, to_string),
    Function::global("string(uint) -> string", ONE, to_string),
    Function::global("string(double) -> string", ONE, to_string),
    Function::global("string(bytes) -> string", Cost::First(TRAVERSAL), to_string),
    Function::global("string(timestamp) -> string", ONE, to_string),
    Function::global("string(duration) -> string", ONE, to_string),
    Function::global("string(net.IP) -> string", ONE, to_string),
    Function::global("string(net.CIDR) -> string", ONE, to_string),
    Function::global("timestamp(timestamp) -> timestamp", ONE, same),
    Function::global("timestamp(string) -> timestamp", ONE, to_timestamp),
    Function::global("timestamp(int) -> timestamp", ONE, to_timestamp),
    Function::global("type(T) -> type", ONE, |_, args| match args {
        [value] => Ok(CelValue::Type(value.type_of())),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("uint(uint) -> uint", ONE, same),
    Function::global("uint(int) -> uint", ONE, to_uint),
    Function::global("uint(double) -> uint", ONE, to_uint),
    Function::global("uint(string) -> uint", ONE, to_uint),
];

fn same<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    args.first().cloned().ok_or_else(EvalError::no_such_overload)
}

fn range() -> EvalError {
    EvalError::new("integer overflow")
}

fn unparsable(text: &str, of: &str) -> EvalError {
    EvalError::new(format!("type conversion error from 'string' to '{of}': invalid syntax: {text:?}"))
}

fn to_bool<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let Some(text) = args.first().and_then(CelValue::as_str) else { return Err(EvalError::no_such_overload()) };
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(CelValue::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(CelValue::Bool(false)),
        _ => Err(EvalError::new("type conversion error from 'string' to 'bool'")),
    }
}

fn to_bytes<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let Some(text) = args.first().and_then(CelValue::as_str) else { return Err(EvalError::no_such_overload()) };
    context.budget.allocate(text.len())?;
    Ok(CelValue::Bytes(text.as_bytes().into()))
}

fn to_double<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let value = match args {
        [CelValue::Int(value)] => *value as f64,
        [CelValue::Uint(value)] => *value as f64,
        [CelValue::String(text)] => text.trim_start_matches('+').parse().map_err(|_| unparsable(text, "double"))?,
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(CelValue::Double(value))
}

fn to_duration<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let Some(text) = args.first().and_then(CelValue::as_str) else { return Err(EvalError::no_such_overload()) };
    time::parse_duration(text).map(CelValue::Duration)
}

fn to_timestamp<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    match args {
        [CelValue::String(text)] => time::parse_timestamp(text).map(CelValue::Timestamp),
        [CelValue::Int(seconds)] => time::at(*seconds, 0).map(CelValue::Timestamp),
        _ => Err(EvalError::no_such_overload()),
    }
}

/// Two to the power of 63, the first double that is no `int`.
const BEYOND_INT: f64 = 9_223_372_036_854_775_808.0;

fn to_int<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let value = match args {
        [CelValue::Uint(value)] => i64::try_from(*value).map_err(|_| range())?,
        [CelValue::Double(value)] if *value > -BEYOND_INT && *value < BEYOND_INT => *value as i64,
        [CelValue::Double(_)] => return Err(range()),
        [CelValue::String(text)] => text.parse().map_err(|_| unparsable(text, "int"))?,
        [CelValue::Timestamp(at)] => at.as_nanosecond().div_euclid(1_000_000_000).try_into().map_err(|_| range())?,
        [CelValue::Duration(nanos)] => *nanos,
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(CelValue::Int(value))
}

fn to_uint<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let out_of_range = || EvalError::new("unsigned integer overflow");
    let value = match args {
        [CelValue::Int(value)] => u64::try_from(*value).map_err(|_| out_of_range())?,
        [CelValue::Double(value)] if *value >= 0.0 && *value < 2.0 * BEYOND_INT => *value as u64,
        [CelValue::Double(_)] => return Err(out_of_range()),
        [CelValue::String(text)] => text.parse().map_err(|_| unparsable(text, "uint"))?,
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(CelValue::Uint(value))
}

fn to_string<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let text = match args {
        [text @ CelValue::String(_)] => return Ok(text.clone()),
        [CelValue::Bool(value)] => value.to_string(),
        [CelValue::Int(value)] => value.to_string(),
        [CelValue::Uint(value)] => value.to_string(),
        [CelValue::Double(value)] => double_text(*value),
        [CelValue::Bytes(bytes)] => {
            context.budget.allocate(bytes.len())?;
            let text = std::str::from_utf8(bytes);
            text.map_err(|_| EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))?.to_owned()
        }
        [CelValue::Timestamp(at)] => at.to_string(),
        [CelValue::Duration(nanos)] => time::duration_text(*nanos),
        [CelValue::Extension(Extension::Ip(ip))] => ip.to_string(),
        [CelValue::Extension(Extension::Cidr(net))] => net.to_string(),
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(CelValue::string(text))
}

/// A double in the fewest digits that it is read back from, with an exponent if it is below -4 or above 20 as Go
/// writes it with `%g`: from 21 on; cel-go's default.
pub(super) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
