//! Operators, `size` and `in`.

use std::cmp::Ordering;
use std::mem::size_of;
use std::sync::Arc;

use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::types::ListKind;
use crate::value::{CelValue, Extension, Key, List};

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("_+_(int, int) -> int", ONE, |_, args| int(args, i64::checked_add)),
    Function::global("_+_(uint, uint) -> uint", ONE, |_, args| uint(args, u64::checked_add)),
    Function::global("_+_(double, double) -> double", ONE, |_, args| double(args, |a, b| a + b)),
    Function::global("_+_(string, string) -> string", Cost::Both, add_strings),
    Function::global("_+_(bytes, bytes) -> bytes", Cost::Both, add_bytes),
    Function::global("_+_(list(T), list(T)) -> list(T)", ONE, add_lists),
    Function::global("_-_(int, int) -> int", ONE, |_, args| int(args, i64::checked_sub)),
    Function::global("_-_(uint, uint) -> uint", ONE, |_, args| uint(args, u64::checked_sub)),
    Function::global("_-_(double, double) -> double", ONE, |_, args| double(args, |a, b| a - b)),
    Function::global("_*_(int, int) -> int", ONE, |_, args| int(args, i64::checked_mul)),
    Function::global("_*_(uint, uint) -> uint", ONE, |_, args| uint(args, u64::checked_mul)),
    Function::global("_*_(double, double) -> double", ONE, |_, args| double(args, |a, b| a * b)),
    Function::global("_/_(int, int) -> int", ONE, |_, args| divisor(args, "division").and(int(args, i64::checked_div))),
    Function::global("_/_(uint, uint) -> uint", ONE, |_, args| {
        divisor(args, "division").and(uint(args, u64::checked_div))
    }),
    Function::global("_/_(double, double) -> double", ONE, |_, args| double(args, |a, b| a / b)),
    Function::global("_%_(int, int) -> int", ONE, |_, args| divisor(args, "modulus").and(int(args, i64::checked_rem))),
    Function::global("_%_(uint, uint) -> uint", ONE, |_, args| {
        divisor(args, "modulus").and(uint(args, u64::checked_rem))
    }),
    Function::global("-_(int) -> int", ONE, |_, args| match args {
        [CelValue::Int(value)] => value.checked_neg().map(CelValue::Int).ok_or_else(overflow),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("-_(double) -> double", ONE, |_, args| match args {
        [CelValue::Double(value)] => Ok(CelValue::Double(-value)),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("!_(bool) -> bool", ONE, |_, args| match args {
        [CelValue::Bool(value)] => Ok(CelValue::Bool(!value)),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::global("_==_(T, T) -> bool", Cost::By(equality, |sizes| Cost::Smaller.of(sizes)), |context, args| {
        Ok(equal(context, args)?.into())
    }),
    Function::global("_!=_(T, T) -> bool", Cost::Smaller, |context, args| Ok((!equal(context, args)?).into())),
    Function::global("@in(T, list(T)) -> bool", Cost::SecondItems, in_list),
    Function::global("@in(K, map(K, V)) -> bool", ONE, |_, args| match args {
        [key, CelValue::Map(map)] => Ok(CelValue::Bool(Key::new(key).is_some_and(|key| map.contains(&key)))),
        _ => Err(EvalError::no_such_overload()),
    }),
    // The evaluator does the work of these; the checker needs their types.
    Function::global("_[_](list(T), int) -> T", ONE, never),
    Function::global("_[_](map(K, V), K) -> V", ONE, never),
    Function::global("_[_](optional(list(T)), int) -> optional(T)", ONE, never),
    Function::global("_[_](optional(map(K, V)), K) -> optional(V)", ONE, never),
    Function::global("_[?_](list(T), int) -> optional(T)", ONE, never),
    Function::global("_[?_](map(K, V), K) -> optional(V)", ONE, never),
    Function::global("_[?_](optional(list(T)), int) -> optional(T)", ONE, never),
    Function::global("_[?_](optional(map(K, V)), K) -> optional(V)", ONE, never),
    Function::global("_?_:_(bool, T, T) -> T", ONE, never),
    Function::global("_&&_(bool, bool) -> bool", ONE, never),
    Function::global("_||_(bool, bool) -> bool", ONE, never),
    Function::global("@not_strictly_false(bool) -> bool", ONE, never),
    Function::global("cel.@mapInsert(map(K, V), K, V) -> map(K, V)", ONE, never),
    Function::global("cel.@mapInsert(map(K, V), map(K, V)) -> map(K, V)", ONE, never),
    Function::global("size(string) -> int", ONE, size),
    Function::global("size(bytes) -> int", ONE, size),
    Function::global("size(list(T)) -> int", ONE, size),
    Function::global("size(map(K, V)) -> int", ONE, size),
    Function::member("string", "size() -> int", ONE, size),
    Function::member("bytes", "size() -> int", ONE, size),
    Function::member("list(T)", "size() -> int", ONE, size),
    Function::member("map(K, V)", "size() -> int", ONE, size),
    Function::global("_<_(bool, bool) -> bool", ONE, less),
    Function::global("_<_(int, int) -> bool", ONE, less),
    Function::global("_<_(int, double) -> bool", ONE, less),
    Function::global("_<_(int, uint) -> bool", ONE, less),
    Function::global("_<_(uint, uint) -> bool", ONE, less),
    Function::global("_<_(uint, double) -> bool", ONE, less),
    Function::global("_<_(uint, int) -> bool", ONE, less),
    Function::global("_<_(double, double) -> bool", ONE, less),
    Function::global("_<_(double, int) -> bool", ONE, less),
    Function::global("_<_(double, uint) -> bool", ONE, less),
    Function::global("_<_(string, string) -> bool", Cost::Smaller, less),
    Function::global("_<_(bytes, bytes) -> bool", Cost::Smaller, less),
    Function::global("_<_(timestamp, timestamp) -> bool", ONE, less),
    Function::global("_<_(duration, duration) -> bool", ONE, less),
    Function::global("_<=_(bool, bool) -> bool", ONE, at_most),
    Function::global("_<=_(int, int) -> bool", ONE, at_most),
    Function::global("_<=_(int, double) -> bool", ONE, at_most),
    Function::global("_<=_(int, uint) -> bool", ONE, at_most),
    Function::global("_<=_(uint, uint) -> bool", ONE, at_most),
    Function::global("_<=_(uint, double) -> bool", ONE, at_most),
    Function::global("_<=_(uint, int) -> bool", ONE, at_most),
    Function::global("_<=_(double, double) -> bool", ONE, at_most),
    Function::global("_<=_(double, int) -> bool", ONE, at_most),
    Function::global("_<=_(double, uint) -> bool", ONE, at_most),
    Function::global("_<=_(string, string) -> bool", Cost::Smaller, at_most),
    Function::global("_<=_(bytes, bytes) -> bool", Cost::Smaller, at_most),
    Function::global("_<=_(timestamp, timestamp) -> bool", ONE, at_most),
    Function::global("_<=_(duration, duration) -> bool", ONE, at_most),
    Function::global("_>_(bool, bool) -> bool", ONE, greater),
    Function::global("_>_(int, int) -> bool", ONE, greater),
    Function::global("_>_(int, double) -> bool", ONE, greater),
    Function::global("_>_(int, uint) -> bool", ONE, greater),
    Function::global("_>_(uint, uint) -> bool", ONE, greater),
    Function::global("_>_(uint, double) -> bool", ONE, greater),
    Function::global("_>_(uint, int) -> bool", ONE, greater),
    Function::global("_>_(double, double) -> bool", ONE, greater),
    Function::global("_>_(double, int) -> bool", ONE, greater),
    Function::global("_>_(double, uint) -> bool", ONE, greater),
    Function::global("_>_(string, string) -> bool", Cost::Smaller, greater),
    Function::global("_>_(bytes, bytes) -> bool", Cost::Smaller, greater),
    Function::global("_>_(timestamp, timestamp) -> bool", ONE, greater),
    Function::global("_>_(duration, duration) -> bool", ONE, greater),
    Function::global("_>=_(bool, bool) -> bool", ONE, at_least),
    Function::global("_>=_(int, int) -> bool", ONE, at_least),
    Function::global("_>=_(int, double) -> bool", ONE, at_least),
    Function::global("_>=_(int, uint) -> bool", ONE, at_least),
    Function::global("_>=_(uint, uint) -> bool", ONE, at_least),
    Function::global("_>=_(uint, double) -> bool", ONE, at_least),
    Function::global("_>=_(uint, int) -> bool", ONE, at_least),
    Function::global("_>=_(double, double) -> bool", ONE, at_least),
    Function::global("_>=_(double, int) -> bool", ONE, at_least),
    Function::global("_>=_(double, uint) -> bool", ONE, at_least),
    Function::global("_>=_(string, string) -> bool", Cost::Smaller, at_least),
    Function::global("_>=_(bytes, bytes) -> bool", Cost::Smaller, at_least),
    Function::global("_>=_(timestamp, timestamp) -> bool", ONE, at_least),
    Function::global("_>=_(duration, duration) -> bool", ONE, at_least),
];

fn never<'a>(_: &mut Context<'_>, _: &[CelValue<'a>]) -> Value<'a> {
    Err(EvalError::no_such_overload())
}

fn overflow() -> EvalError {
    EvalError::new("integer overflow")
}

fn int<'a>(args: &[CelValue<'a>], work: fn(i64, i64) -> Option<i64>) -> Value<'a> {
    match args {
        [CelValue::Int(a), CelValue::Int(b)] => work(*a, *b).map(CelValue::Int).ok_or_else(overflow),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn uint<'a>(args: &[CelValue<'a>], work: fn(u64, u64) -> Option<u64>) -> Value<'a> {
    match args {
        [CelValue::Uint(a), CelValue::Uint(b)] => {
            work(*a, *b).map(CelValue::Uint).ok_or_else(|| EvalError::new("unsigned integer overflow"))
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

fn double<'a>(args: &[CelValue<'a>], work: fn(f64, f64) -> f64) -> Value<'a> {
    match args {
        [CelValue::Double(a), CelValue::Double(b)] => Ok(CelValue::Double(work(*a, *b))),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn divisor<'a>(args: &[CelValue<'a>], what: &str) -> Value<'a> {
    match args {
        [_, CelValue::Int(0) | CelValue::Uint(0)] => Err(EvalError::new(format!("{what} by zero"))),
        _ => Ok(CelValue::Null),
    }
}

fn add_strings<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::String(a), CelValue::String(b)] = args else { return Err(EvalError::no_such_overload()) };
    context.budget.allocate(a.len() + b.len())?;
    Ok(CelValue::string([&**a, &**b].concat()))
}

fn add_bytes<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::Bytes(a), CelValue::Bytes(b)] = args else { return Err(EvalError::no_such_overload()) };
    context.budget.allocate(a.len() + b.len())?;
    Ok(CelValue::Bytes([&**a, &**b].concat().into()))
}

/// Lists of a schema that are sets or maps add up as `x-kubernetes-list-type` says.
fn add_lists<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::List(a), CelValue::List(b)] = args else { return Err(EvalError::no_such_overload()) };
    let size = a.len() + b.len();
    context.budget.allocate(size * size_of::<CelValue<'_>>())?;
    context.budget.work(size)?;
    let mut items = a.iter().collect::<Result<Vec<_>, _>>()?;
    match a.kind() {
        ListKind::Atomic => {
            for item in b.iter() {
                items.push(item?);
            }
        }
        ListKind::Set => {
            for item in b.iter() {
                let item = item?;
                if position(context, &items, |known, context| known.equals(&item, context.budget))?.is_none() {
                    items.push(item);
                }
            }
        }
        ListKind::Map(keys) => {
            for item in b.iter() {
                let item = item?;
                match position(context, &items, |known, context| same_keys(context, keys, known, &item))? {
                    Some(place) => items[place] = item,
                    None => items.push(item),
                }
            }
        }
    }
    Ok(CelValue::List(List::Made(Arc::new(items))))
}

fn position<'a>(
    context: &mut Context<'_>,
    items: &[CelValue<'a>],
    same: impl Fn(&CelValue<'a>, &mut Context<'_>) -> Result<bool, EvalError>,
) -> Result<Option<usize>, EvalError> {
    for (place, known) in items.iter().enumerate() {
        if same(known, context)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn same_keys<'a>(
    context: &mut Context<'_>,
    keys: &[String],
    a: &CelValue<'a>,
    b: &CelValue<'a>,
) -> Result<bool, EvalError> {
    let (CelValue::Map(a), CelValue::Map(b)) = (a, b) else { return Ok(false) };
    for key in keys {
        let key = Key::String(crate::value::Text::Borrowed(key));
        let same = match (a.get(&key), b.get(&key)) {
            (Some(a), Some(b)) => a?.equals(&b?, context.budget)?,
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Values of Kubernetes' types compare in one step.
fn equality(args: &[CelValue<'_>]) -> u64 {
    match args {
        [CelValue::Extension(Extension::Ip(_) | Extension::Cidr(_)), _] => 1,
        [a, b] => crate::budget::traversal(a.cost_size().min(b.cost_size()), crate::budget::TRAVERSAL),
        _ => 1,
    }
}

fn equal(context: &mut Context<'_>, args: &[CelValue<'_>]) -> Result<bool, EvalError> {
    match args {
        [a, b] => a.equals(b, context.budget),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn in_list<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [wanted, CelValue::List(list)] = args else { return Err(EvalError::no_such_overload()) };
    Ok(CelValue::Bool(crate::value::contains(list, wanted, context.budget)?))
}

fn size<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    match args {
        [CelValue::String(_) | CelValue::Bytes(_) | CelValue::List(_) | CelValue::Map(_)] => {
            Ok(CelValue::Int(args[0].cost_size() as i64))
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

fn compare<'a>(args: &[CelValue<'a>], holds: fn(Ordering) -> bool) -> Value<'a> {
    let [a, b] = args else { return Err(EvalError::no_such_overload()) };
    match a.order(b) {
        Some(order) => Ok(CelValue::Bool(holds(order))),
        None => Err(EvalError::new("NaN values cannot be ordered")),
    }
}

fn less<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    compare(args, Ordering::is_lt)
}

fn at_most<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    compare(args, Ordering::is_le)
}

fn greater<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    compare(args, Ordering::is_gt)
}

fn at_least<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    compare(args, Ordering::is_ge)
}
