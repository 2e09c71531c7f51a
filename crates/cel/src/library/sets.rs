//! Lists as sets: cel-go's extension.

use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::{CelValue, List, contains};

type Value<'a> = Result<CelValue<'a>, EvalError>;

/// Every item with every other.
const PRODUCT: Cost = Cost::Sizes(|sizes| product(sizes).saturating_add(1));
/// The same in both directions.
const TWICE: Cost = Cost::Sizes(|sizes| product(sizes).saturating_mul(2).saturating_add(1));

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("sets.contains(list(T), list(T)) -> bool", PRODUCT, |context, args| {
        let (a, b) = lists(args)?;
        Ok(CelValue::Bool(contains_all(context, a, b)?))
    }),
    Function::global("sets.equivalent(list(T), list(T)) -> bool", TWICE, |context, args| {
        let (a, b) = lists(args)?;
        Ok(CelValue::Bool(contains_all(context, a, b)? && contains_all(context, b, a)?))
    }),
    Function::global("sets.intersects(list(T), list(T)) -> bool", PRODUCT, intersects),
];

fn product(sizes: &[u64]) -> u64 {
    sizes.iter().fold(1, |product, size| product.saturating_mul(*size))
}

fn lists<'v, 'a>(args: &'v [CelValue<'a>]) -> Result<(&'v List<'a>, &'v List<'a>), EvalError> {
    match args {
        [CelValue::List(a), CelValue::List(b)] => Ok((a, b)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn contains_all<'a>(context: &mut Context<'_>, list: &List<'a>, wanted: &List<'a>) -> Result<bool, EvalError> {
    for item in wanted.iter() {
        if !contains(list, &item?, context.budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (a, b) = lists(args)?;
    for item in b.iter() {
        if contains(a, &item?, context.budget)? {
            return Ok(CelValue::Bool(true));
        }
    }
    Ok(CelValue::Bool(false))
}
