//! Quantities such as `1.5Gi`.

use coracle_values::quantity::Quantity;

use crate::budget::TRAVERSAL;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::{CelValue, Extension};

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);
const Q: &str = "kubernetes.Quantity";

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("quantity(string) -> kubernetes.Quantity", Cost::First(TRAVERSAL), |_, args| match args {
        [CelValue::String(text)] => made(
            text.parse().map_err(|error: coracle_values::quantity::ParseError| EvalError::new(error.to_string()))?,
        ),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("isQuantity(string) -> bool", Cost::First(TRAVERSAL), |_, args| match args {
        [CelValue::String(text)] => Ok(CelValue::Bool(text.parse::<Quantity>().is_ok())),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("sign(kubernetes.Quantity) -> int", ONE, sign),
    Function::member(Q, "sign() -> int", ONE, sign),
    Function::member(Q, "isGreaterThan(kubernetes.Quantity) -> bool", ONE, |_, args| {
        two(args).map(|(a, b)| CelValue::Bool(a > b))
    }),
    Function::member(Q, "isLessThan(kubernetes.Quantity) -> bool", ONE, |_, args| {
        two(args).map(|(a, b)| CelValue::Bool(a < b))
    }),
    Function::member(Q, "compareTo(kubernetes.Quantity) -> int", ONE, |_, args| {
        two(args).map(|(a, b)| CelValue::Int(a.cmp(&b) as i64))
    }),
    Function::member(Q, "asApproximateFloat() -> double", ONE, |_, args| one(args).map(|q| CelValue::Double(float(q)))),
    Function::member(Q, "asInteger() -> int", ONE, |_, args| match one(args)? {
        quantity if quantity.is_integer() => Ok(CelValue::Int(quantity.value())),
        _ => Err(EvalError::new("cannot convert value to integer")),
    }),
    Function::member(Q, "isInteger() -> bool", ONE, |_, args| one(args).map(|q| CelValue::Bool(q.is_integer()))),
    Function::member(Q, "add(kubernetes.Quantity) -> kubernetes.Quantity", ONE, |_, args| {
        let (a, b) = two(args)?;
        made(a + b)
    }),
    Function::member(Q, "add(int) -> kubernetes.Quantity", ONE, |_, args| made(one(args)? + number(args)?)),
    Function::member(Q, "sub(kubernetes.Quantity) -> kubernetes.Quantity", ONE, |_, args| {
        let (a, b) = two(args)?;
        made(a - b)
    }),
    Function::member(Q, "sub(int) -> kubernetes.Quantity", ONE, |_, args| made(one(args)? - number(args)?)),
];

fn made<'a>(quantity: Quantity) -> Value<'a> {
    Ok(CelValue::Extension(Extension::Quantity(quantity)))
}

fn one(args: &[CelValue<'_>]) -> Result<Quantity, EvalError> {
    match args.first() {
        Some(CelValue::Extension(Extension::Quantity(quantity))) => Ok(*quantity),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn two(args: &[CelValue<'_>]) -> Result<(Quantity, Quantity), EvalError> {
    Ok((one(args)?, one(args.get(1..).unwrap_or_default())?))
}

/// The second argument, a whole number, as a quantity.
fn number(args: &[CelValue<'_>]) -> Result<Quantity, EvalError> {
    match args.get(1) {
        Some(CelValue::Int(value)) => value.to_string().parse().map_err(|_| EvalError::no_such_overload()),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn sign<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let quantity = one(args)?;
    Ok(CelValue::Int(match quantity {
        quantity if quantity.is_zero() => 0,
        quantity if quantity.is_negative() => -1,
        _ => 1,
    }))
}

/// The nearest double. What is no whole number prints as thousandths or smaller parts.
fn float(quantity: Quantity) -> f64 {
    if quantity.is_integer() {
        return quantity.value() as f64;
    }
    let text = quantity.to_string();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let scale = match &text[end..] {
        "n" | "e-9" => 1e9,
        "u" | "e-6" => 1e6,
        _ => 1e3,
    };
    text[..end].parse::<f64>().unwrap_or(0.0) / scale
}
