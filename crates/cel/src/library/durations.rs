//! Spans of time.

use crate::error::EvalError;
use crate::function::{Cost, Function};
use crate::value::CelValue;

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("_+_(duration, duration) -> duration", ONE, |_, args| both(args, i64::checked_add)),
    Function::global("_-_(duration, duration) -> duration", ONE, |_, args| both(args, i64::checked_sub)),
    Function::member("duration", "getHours() -> int", ONE, |_, args| whole(args, 3_600_000_000_000)),
    Function::member("duration", "getMinutes() -> int", ONE, |_, args| whole(args, 60_000_000_000)),
    Function::member("duration", "getSeconds() -> int", ONE, |_, args| whole(args, 1_000_000_000)),
    Function::member("duration", "getMilliseconds() -> int", ONE, |_, args| whole(args, 1_000_000)),
];

fn overflow() -> EvalError {
    EvalError::new("duration overflow")
}

fn both<'a>(args: &[CelValue<'a>], work: fn(i64, i64) -> Option<i64>) -> Value<'a> {
    match args {
        [CelValue::Duration(a), CelValue::Duration(b)] => work(*a, *b).map(CelValue::Duration).ok_or_else(overflow),
        _ => Err(EvalError::no_such_overload()),
    }
}

/// The whole duration in a unit, what is left over cut off.
fn whole<'a>(args: &[CelValue<'a>], unit: i64) -> Value<'a> {
    match args {
        [CelValue::Duration(nanos)] => Ok(CelValue::Int(nanos / unit)),
        _ => Err(EvalError::no_such_overload()),
    }
}
