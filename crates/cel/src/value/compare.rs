//! Equality of any two values and order of those that have one.

use std::cmp::Ordering;

use super::{CelValue, Extension, List, Map};
use crate::budget::Budget;
use crate::error::EvalError;
use crate::types::ListKind;

impl<'a> CelValue<'a> {
    /// Whether two values are equal. Numbers are by value, whatever their types; other values of different
    /// types are not equal; NaN is not equal to itself.
    ///
    /// # Errors
    /// If a part of an object does not fit its type, or the comparison takes too long.
    pub fn equals(&self, other: &CelValue<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
        budget.work(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => {
                budget.work(a.len().min(b.len()) / 64)?;
                a == b
            }
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a.same_kind(b),
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b, budget)?,
                (None, None) => true,
                _ => false,
            },
            (Self::List(a), Self::List(b)) => lists_equal(a, b, budget)?,
            (Self::Map(a), Self::Map(b)) => maps_equal(a, b, budget)?,
            (Self::Extension(a), Self::Extension(b)) => a == b,
            _ => numeric_order(self, other) == Some(Ordering::Equal),
        })
    }

    /// The order of two values of one type, or of two numbers; nothing if they have none.
    pub fn order(&self, other: &CelValue<'a>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            _ => numeric_order(self, other),
        }
    }
}

/// The order of two numbers by value. As in cel-go, a whole number that is compared with a double becomes one, and
/// may lose its last digits.
fn numeric_order(a: &CelValue<'_>, b: &CelValue<'_>) -> Option<Ordering> {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(a), None) => (a as f64).partial_cmp(&double(b)?),
        (None, Some(b)) => double(a)?.partial_cmp(&(b as f64)),
        (None, None) => double(a)?.partial_cmp(&double(b)?),
    }
}

fn whole(value: &CelValue<'_>) -> Option<i128> {
    match value {
        CelValue::Int(value) => Some(i128::from(*value)),
        CelValue::Uint(value) => Some(i128::from(*value)),
        _ => None,
    }
}

fn double(value: &CelValue<'_>) -> Option<f64> {
    if let CelValue::Double(value) = value { Some(*value) } else { None }
}

fn lists_equal<'a>(a: &List<'a>, b: &List<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    match (a.kind(), b.kind()) {
        (ListKind::Atomic, _) | (_, ListKind::Atomic) => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !a?.equals(&b?, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => same_items(a, b, budget),
    }
}

/// Whether every item of each is in the other: sets and lists of type `map`, whose items are all different.
fn same_items<'a>(a: &List<'a>, b: &List<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
    for item in a.iter() {
        if !contains(b, &item?, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a list has an item.
pub(crate) fn contains<'a>(list: &List<'a>, wanted: &CelValue<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
    for item in list.iter() {
        if item?.equals(wanted, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn maps_equal<'a>(a: &Map<'a>, b: &Map<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
    let is_made = matches!(a, Map::Object(..)) || matches!(b, Map::Object(..));
    if is_made && a.object_type() != b.object_type() {
        return Ok(false);
    }
    let keys = a.keys();
    if keys.len() != b.len() {
        return Ok(false);
    }
    for key in keys {
        match (a.get(&key), b.get(&key)) {
            (Some(a), Some(b)) if a.clone()?.equals(&b.clone()?, budget)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

impl PartialEq for Extension<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.cmp_precedence(b) == Ordering::Equal,
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::Authorization(a), Self::Authorization(b)) => a == b,
            _ => false,
        }
    }
}
