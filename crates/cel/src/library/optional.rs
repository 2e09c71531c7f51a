//! Optional values: <https://github.com/google/cel-spec/wiki/proposal-246>.

use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::CelValue;

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("optional.of(T) -> optional(T)", ONE, |_, args| match args {
        [value] => Ok(CelValue::some(value.clone())),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("optional.ofNonZeroValue(T) -> optional(T)", ONE, |_, args| match args {
        [value] if value.is_zero() => Ok(CelValue::none()),
        [value] => Ok(CelValue::some(value.clone())),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("optional.none() -> optional(T)", ONE, |_, _| Ok(CelValue::none())),
    Function::global("optional.unwrap(list(optional(T))) -> list(T)", ONE, unwrap),
    Function::member("list(optional(T))", "unwrapOpt() -> list(T)", ONE, unwrap),
    Function::member("optional(T)", "hasValue() -> bool", ONE, |_, args| match args {
        [CelValue::Optional(value)] => Ok(CelValue::Bool(value.is_some())),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::member("optional(T)", "value() -> T", ONE, |_, args| match args {
        [CelValue::Optional(Some(value))] => Ok((**value).clone()),
        [CelValue::Optional(None)] => Err(EvalError::new("optional.none() dereference")),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::member("optional(T)", "or(optional(T)) -> optional(T)", ONE, |_, args| match args {
        [CelValue::Optional(None), other @ CelValue::Optional(_)] => Ok(other.clone()),
        [present @ CelValue::Optional(Some(_)), CelValue::Optional(_)] => Ok(present.clone()),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::member("optional(T)", "orValue(T) -> T", ONE, |_, args| match args {
        [CelValue::Optional(Some(value)), _] => Ok((**value).clone()),
        [CelValue::Optional(None), other] => Ok(other.clone()),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::member("list(T)", "first() -> optional(T)", ONE, |_, args| end_of(args, false)),
    Function::member("list(T)", "last() -> optional(T)", ONE, |_, args| end_of(args, true)),
];

fn end_of<'a>(args: &[CelValue<'a>], last: bool) -> Value<'a> {
    let [CelValue::List(list)] = args else { return Err(EvalError::no_such_overload()) };
    let index = if last { list.len().saturating_sub(1) } else { 0 };
    match list.get(index) {
        Some(item) => item.map(CelValue::some),
        None => Ok(CelValue::none()),
    }
}

fn unwrap<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::List(list)] = args else { return Err(EvalError::no_such_overload()) };
    context.budget.allocate(list.len() * std::mem::size_of::<CelValue<'_>>())?;
    let mut present = Vec::new();
    for item in list.iter() {
        if let CelValue::Optional(Some(value)) = item? {
            present.push((*value).clone());
        }
    }
    Ok(CelValue::list(present))
}
