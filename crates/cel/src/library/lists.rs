//! Lists: Kubernetes' library and cel-go's extension, version 3.

use std::cmp::Ordering;
use std::mem::size_of;

use crate::budget::LIST_CREATE;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::{CelValue, List};

type Value<'a> = Result<CelValue<'a>, EvalError>;

/// A copy of the list.
const COPY: Cost = Cost::Sizes(|sizes| sizes.first().map_or(0, |size| LIST_CREATE.saturating_add(*size)));
/// A sorted copy: every item with every other.
const SORT: Cost =
    Cost::Sizes(|sizes| sizes.first().map_or(0, |size| LIST_CREATE.saturating_add(size.saturating_mul(*size))));

/// Functions on lists of each type that has an order.
macro_rules! ordered {
    ($item:literal) => {
        [
            Function::member(concat!("list(", $item, ")"), "isSorted() -> bool", Cost::Deep, is_sorted),
            Function::member(concat!("list(", $item, ")"), concat!("max() -> ", $item), Cost::Deep, |_, args| {
                extreme(args, Ordering::Greater, "max")
            }),
            Function::member(concat!("list(", $item, ")"), concat!("min() -> ", $item), Cost::Deep, |_, args| {
                extreme(args, Ordering::Less, "min")
            }),
            Function::member(concat!("list(", $item, ")"), concat!("sort() -> list(", $item, ")"), SORT, sort),
        ]
    };
}

/// The tables one behind the other.
macro_rules! ordered_of {
    ($($item:literal),*) => {{
        const TABLES: &[[Function; 4]] = &[$(ordered!($item)),*];
        TABLES.as_flattened()
    }};
}

pub(super) const ORDERED: &[Function] =
    ordered_of!("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes");

pub(super) const FUNCTIONS: &[Function] = &[
    Function::member("list(int)", "sum() -> int", Cost::Deep, |_, args| sum(args, CelValue::Int(0))),
    Function::member("list(uint)", "sum() -> uint", Cost::Deep, |_, args| sum(args, CelValue::Uint(0))),
    Function::member("list(double)", "sum() -> double", Cost::Deep, |_, args| sum(args, CelValue::Double(0.0))),
    Function::member("list(duration)", "sum() -> duration", Cost::Deep, |_, args| sum(args, CelValue::Duration(0))),
    Function::member("list(T)", "indexOf(T) -> int", Cost::Deep, |context, args| index_of(context, args, false)),
    Function::member("list(T)", "lastIndexOf(T) -> int", Cost::Deep, |context, args| index_of(context, args, true)),
    Function::member("list(T)", "slice(int, int) -> list(T)", COPY, slice),
    Function::member("list(list(T))", "flatten() -> list(T)", COPY, flatten),
    Function::member("list(dyn)", "flatten(int) -> list(dyn)", COPY, flatten),
    Function::member("list(T)", "distinct() -> list(T)", SORT, distinct),
    Function::member("list(T)", "reverse() -> list(T)", COPY, |context, args| {
        let mut items = items(context, args.first())?;
        items.reverse();
        Ok(CelValue::list(items))
    }),
    Function::member("list(T)", "@sortByAssociatedKeys(list(K)) -> list(T)", SORT, sort_by_keys),
    Function::global("lists.range(int) -> list(int)", Cost::Fixed(LIST_CREATE), range),
];

fn list_of<'v, 'a>(value: Option<&'v CelValue<'a>>) -> Result<&'v List<'a>, EvalError> {
    match value {
        Some(CelValue::List(list)) => Ok(list),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn items<'a>(context: &mut Context<'_>, list: Option<&CelValue<'a>>) -> Result<Vec<CelValue<'a>>, EvalError> {
    let list = list_of(list)?;
    context.budget.allocate(list.len() * size_of::<CelValue<'_>>())?;
    context.budget.work(list.len())?;
    list.iter().collect()
}

fn ordering<'a>(a: &CelValue<'a>, b: &CelValue<'a>) -> Result<Ordering, EvalError> {
    a.order(b).ok_or_else(|| EvalError::new("NaN values cannot be ordered"))
}

fn is_sorted<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let mut before: Option<CelValue<'a>> = None;
    for item in list_of(args.first())?.iter() {
        let item = item?;
        if let Some(before) = &before
            && ordering(before, &item)?.is_gt()
        {
            return Ok(CelValue::Bool(false));
        }
        before = Some(item);
    }
    Ok(CelValue::Bool(true))
}

fn extreme<'a>(args: &[CelValue<'a>], wanted: Ordering, name: &str) -> Value<'a> {
    let mut best: Option<CelValue<'a>> = None;
    for item in list_of(args.first())?.iter() {
        let item = item?;
        let better = match &best {
            Some(best) => ordering(&item, best)? == wanted,
            None => true,
        };
        if better {
            best = Some(item);
        }
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn sum<'a>(args: &[CelValue<'a>], zero: CelValue<'a>) -> Value<'a> {
    let overflow = || EvalError::new("integer overflow");
    let mut total = zero;
    for item in list_of(args.first())?.iter() {
        total = match (&total, item?) {
            (CelValue::Int(a), CelValue::Int(b)) => CelValue::Int(a.checked_add(b).ok_or_else(overflow)?),
            (CelValue::Uint(a), CelValue::Uint(b)) => {
                let sum = a.checked_add(b);
                CelValue::Uint(sum.ok_or_else(|| EvalError::new("unsigned integer overflow"))?)
            }
            (CelValue::Double(a), CelValue::Double(b)) => CelValue::Double(a + b),
            (CelValue::Duration(a), CelValue::Duration(b)) => {
                CelValue::Duration(a.checked_add(b).ok_or_else(|| EvalError::new("duration overflow"))?)
            }
            // A list that is typed only at run time takes the zero of its items.
            (CelValue::Int(0), first @ (CelValue::Uint(_) | CelValue::Double(_) | CelValue::Duration(_))) => first,
            _ => return Err(EvalError::no_such_overload()),
        };
    }
    Ok(total)
}

fn index_of<'a>(context: &mut Context<'_>, args: &[CelValue<'a>], last: bool) -> Value<'a> {
    let [list, wanted] = args else { return Err(EvalError::no_such_overload()) };
    let mut place = -1;
    for (index, item) in list_of(Some(list))?.iter().enumerate() {
        if item?.equals(wanted, context.budget)? {
            place = index as i64;
            if !last {
                break;
            }
        }
    }
    Ok(CelValue::Int(place))
}

fn slice<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::List(list), CelValue::Int(start), CelValue::Int(end)] = args else {
        return Err(EvalError::no_such_overload());
    };
    let wrong = |why: String| EvalError::new(format!("cannot slice({start}, {end}), {why}"));
    if *start < 0 || *end < 0 {
        return Err(wrong("negative indexes not supported".into()));
    }
    if start > end {
        return Err(wrong("start index must be less than or equal to end index".into()));
    }
    if *end > list.len() as i64 {
        return Err(wrong(format!("list is length {}", list.len())));
    }
    context.budget.allocate((end - start) as usize * size_of::<CelValue<'_>>())?;
    let items = (*start..*end).filter_map(|index| list.get(index as usize));
    Ok(CelValue::list(items.collect::<Result<_, _>>()?))
}

fn flatten<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (list, level) = match args {
        [CelValue::List(list)] => (list, 1),
        [CelValue::List(list), CelValue::Int(level)] => (list, *level),
        _ => return Err(EvalError::no_such_overload()),
    };
    if level < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(context, list, level, &mut out)?;
    Ok(CelValue::list(out))
}

fn flatten_into<'a>(
    context: &mut Context<'_>,
    list: &List<'a>,
    level: i64,
    out: &mut Vec<CelValue<'a>>,
) -> Result<(), EvalError> {
    for item in list.iter() {
        match item? {
            CelValue::List(inner) if level > 0 => {
                context.budget.work(1)?;
                flatten_into(context, &inner, level - 1, out)?;
            }
            item => {
                context.budget.allocate(size_of::<CelValue<'_>>())?;
                out.push(item);
            }
        }
    }
    Ok(())
}

fn distinct<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let mut kept: Vec<CelValue<'a>> = Vec::new();
    for item in items(context, args.first())? {
        let mut known = false;
        for other in &kept {
            known = known || other.equals(&item, context.budget)?;
        }
        if !known {
            kept.push(item);
        }
    }
    Ok(CelValue::list(kept))
}

fn sort<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let items = items(context, args.first())?;
    sorted(items.into_iter().map(|item| (item.clone(), item)).collect())
}

fn sort_by_keys<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (values, keys) = (items(context, args.first())?, items(context, args.get(1))?);
    if values.len() != keys.len() {
        let message = "@sortByAssociatedKeys() expected a list of the same size as the associated keys list";
        return Err(EvalError::new(format!(
            "{message}, but got {} and {} elements respectively",
            values.len(),
            keys.len()
        )));
    }
    sorted(keys.into_iter().zip(values).collect())
}

/// The values in the order of their keys, which are all of one type.
fn sorted<'a>(mut pairs: Vec<(CelValue<'a>, CelValue<'a>)>) -> Value<'a> {
    if let Some((first, _)) = pairs.first() {
        let of = first.type_of();
        if pairs.iter().any(|(key, _)| !key.type_of().same_kind(&of)) {
            return Err(EvalError::new("list elements must have the same type"));
        }
        if pairs.iter().any(|(key, _)| key.order(key).is_none()) {
            return Err(EvalError::new("list elements must be comparable"));
        }
    }
    pairs.sort_by(|(a, _), (b, _)| a.order(b).unwrap_or(Ordering::Equal));
    Ok(CelValue::list(pairs.into_iter().map(|(_, value)| value).collect()))
}

fn range<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::Int(end)] = args else { return Err(EvalError::no_such_overload()) };
    let count = usize::try_from(*end).unwrap_or(0);
    context.budget.spend(count as u64)?;
    context.budget.allocate(count.saturating_mul(size_of::<CelValue<'_>>()))?;
    Ok(CelValue::list((0..*end).map(CelValue::Int).collect()))
}
