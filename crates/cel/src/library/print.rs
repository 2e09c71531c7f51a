//! `format` and `strings.quote`.

use std::fmt::Write as _;

use super::conversions::double_text;

use crate::budget::TRAVERSAL;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::time::duration_text;
use crate::value::{CelValue, runtime_name};

type Value<'a> = Result<CelValue<'a>, EvalError>;

/// Digits behind the point where a clause does not say how many.
const DEFAULT_PRECISION: usize = 6;
const MOST_PRECISION: usize = 1000;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::member("string", "format(list(dyn)) -> string", Cost::First(TRAVERSAL), format),
    Function::global("strings.quote(string) -> string", Cost::First(TRAVERSAL), |context, args| {
        let [CelValue::String(text)] = args else { return Err(EvalError::no_such_overload()) };
        context.budget.allocate(2 * text.len() + 2)?;
        Ok(CelValue::string(quote(text)))
    }),
];

/// The text as a literal that reads back as it.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn format<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::String(text), CelValue::List(values)] = args else { return Err(EvalError::no_such_overload()) };
    let mut out = String::new();
    let mut next = 0;
    let mut rest: &str = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('%') {
            out.push('%');
            rest = behind;
            continue;
        }
        let (precision, clause, behind) = parse_clause(rest)?;
        rest = behind;
        let value = values.get(next).ok_or_else(|| EvalError::new(format!("index {next} out of range")))??;
        next += 1;
        let printed = print_clause(context, clause, precision, &value)?;
        context.budget.allocate(printed.len())?;
        out.push_str(&printed);
    }
    out.push_str(rest);
    context.budget.allocate(out.len())?;
    Ok(CelValue::string(out))
}

/// Precision, letter and what comes behind a clause whose `%` is read.
fn parse_clause(text: &str) -> Result<(Option<usize>, char, &str), EvalError> {
    let (precision, text) = match text.strip_prefix('.') {
        None => (None, text),
        Some(digits) => {
            let end = digits.find(|c: char| !c.is_ascii_digit());
            let end = end.ok_or_else(|| EvalError::new("could not find end of precision specifier"))?;
            let precision = digits[..end].parse().unwrap_or(if end == 0 { 0 } else { usize::MAX });
            if precision > MOST_PRECISION {
                let message = format!("precision {precision} exceeds maximum allowed precision {MOST_PRECISION}");
                return Err(EvalError::new(message));
            }
            (Some(precision), &digits[end..])
        }
    };
    let mut chars = text.chars();
    let clause = chars.next().ok_or_else(|| EvalError::new("unexpected end of string"))?;
    Ok((precision, clause, chars.as_str()))
}

fn print_clause(
    context: &mut Context<'_>,
    clause: char,
    precision: Option<usize>,
    value: &CelValue<'_>,
) -> Result<String, EvalError> {
    let digits = precision.unwrap_or(DEFAULT_PRECISION);
    match clause {
        's' => {
            let mut out = String::new();
            print(context, value, false, &mut out)?;
            Ok(out)
        }
        'd' => match value {
            CelValue::Int(value) => Ok(value.to_string()),
            CelValue::Uint(value) => Ok(value.to_string()),
            CelValue::Double(value) if !value.is_finite() => Ok(special(*value)),
            CelValue::Double(value) => Ok(double_text(*value)),
            other => Err(wrong_clause("decimal clause can only be used on numbers", other)),
        },
        'f' => number(value, "fixed-point clause can only be used on doubles").map(|value| match value {
            value if value.is_finite() => format!("{value:.digits$}"),
            value => special(value),
        }),
        'e' => number(value, "scientific clause can only be used on doubles").map(|value| match value {
            value if value.is_finite() => scientific(value, digits),
            value => special(value),
        }),
        'b' => match value {
            CelValue::Int(value) if *value < 0 => Ok(format!("-{:b}", value.unsigned_abs())),
            CelValue::Int(value) => Ok(format!("{value:b}")),
            CelValue::Uint(value) => Ok(format!("{value:b}")),
            CelValue::Bool(value) => Ok(i32::from(*value).to_string()),
            other => Err(wrong_clause("only integers and bools can be formatted as binary", other)),
        },
        'x' => hexadecimal(value),
        'X' => hexadecimal(value).map(|text| text.to_uppercase()),
        'o' => match value {
            CelValue::Int(value) if *value < 0 => Ok(format!("-{:o}", value.unsigned_abs())),
            CelValue::Int(value) => Ok(format!("{value:o}")),
            CelValue::Uint(value) => Ok(format!("{value:o}")),
            other => Err(wrong_clause("octal clause can only be used on integers", other)),
        },
        other => Err(EvalError::new(format!(
            "could not parse formatting clause: unrecognized formatting clause \"{other}\""
        ))),
    }
}

fn wrong_clause(message: &str, value: &CelValue<'_>) -> EvalError {
    EvalError::new(format!("error during formatting: {message}, was given {}", value.type_name()))
}

fn special(value: f64) -> String {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
    .to_owned()
}

fn number(value: &CelValue<'_>, message: &str) -> Result<f64, EvalError> {
    match value {
        CelValue::Double(value) => Ok(*value),
        CelValue::String(text) if &**text == "NaN" => Ok(f64::NAN),
        CelValue::String(text) if &**text == "Infinity" => Ok(f64::INFINITY),
        CelValue::String(text) if &**text == "-Infinity" => Ok(f64::NEG_INFINITY),
        other => Err(wrong_clause(message, other)),
    }
}

fn scientific(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{mantissa}e{sign}{exponent:0>2}")
}

fn hexadecimal(value: &CelValue<'_>) -> Result<String, EvalError> {
    let bytes: &[u8] = match value {
        CelValue::Int(value) if *value < 0 => return Ok(format!("-{:x}", value.unsigned_abs())),
        CelValue::Int(value) => return Ok(format!("{value:x}")),
        CelValue::Uint(value) => return Ok(format!("{value:x}")),
        CelValue::String(text) => text.as_bytes(),
        CelValue::Bytes(bytes) => bytes,
        other => return Err(wrong_clause("only integers, byte buffers, and strings can be formatted as hex", other)),
    };
    Ok(bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    }))
}

/// A value as `%s` shows it; inside of lists and maps as a literal.
fn print(context: &mut Context<'_>, value: &CelValue<'_>, literal: bool, out: &mut String) -> Result<(), EvalError> {
    let before = out.len();
    context.budget.work(1)?;
    match value {
        CelValue::Null => out.push_str("null"),
        CelValue::Bool(value) => out.push_str(&value.to_string()),
        CelValue::Int(value) => out.push_str(&value.to_string()),
        CelValue::Uint(value) => out.push_str(&value.to_string()),
        CelValue::Double(value) if literal && value.is_finite() => {
            let _ = write!(out, "{value:.DEFAULT_PRECISION$}");
        }
        CelValue::Double(value) if literal => out.push_str(&quote(&special(*value))),
        CelValue::Double(value) if !value.is_finite() => out.push_str(&special(*value)),
        CelValue::Double(value) => out.push_str(&double_text(*value)),
        CelValue::String(text) if literal => out.push_str(&quote(text)),
        CelValue::String(text) => out.push_str(text),
        CelValue::Bytes(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            out.push_str(&if literal { format!("b{}", quote(&text)) } else { text.into_owned() });
        }
        CelValue::Timestamp(at) if literal => {
            let _ = write!(out, "timestamp(\"{at}\")");
        }
        CelValue::Timestamp(at) => out.push_str(&at.to_string()),
        CelValue::Duration(nanos) if literal => {
            let _ = write!(out, "duration(\"{}\")", duration_text(*nanos));
        }
        CelValue::Duration(nanos) => out.push_str(&duration_text(*nanos)),
        CelValue::Type(of) => out.push_str(&runtime_name(of)),
        CelValue::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                print(context, &item?, true, out)?;
            }
            out.push(']');
        }
        CelValue::Map(map) if map.object_type().is_none() => {
            out.push('{');
            for (index, key) in map.keys().into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                print(context, &key.value(), true, out)?;
                out.push(':');
                if let Some(value) = map.get(&key) {
                    print(context, &value?, true, out)?;
                }
            }
            out.push('}');
        }
        other => {
            return Err(wrong_clause(
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
                 durations, and timestamps",
                other,
            ));
        }
    }
    context.budget.allocate(out.len() - before)
}
