//! Texts: CEL's own functions and cel-go's strings extension, version 2. Places are counted in code points.

use crate::budget::TRAVERSAL;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::CelValue;

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);
const WALK: Cost = Cost::First(TRAVERSAL);
/// Once over the text and once over the result.
const TWICE: Cost = Cost::First(2.0 * TRAVERSAL);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::member("string", "contains(string) -> bool", Cost::Search, |_, args| test(args, |a, b| a.contains(b))),
    Function::member("string", "startsWith(string) -> bool", WALK, |_, args| test(args, |a, b| a.starts_with(b))),
    Function::member("string", "endsWith(string) -> bool", WALK, |_, args| test(args, |a, b| a.ends_with(b))),
    Function::member("string", "charAt(int) -> string", ONE, char_at),
    Function::member("string", "indexOf(string) -> int", Cost::Deep, |context, args| index_of(context, args, find)),
    Function::member("string", "indexOf(string, int) -> int", Cost::Deep, |context, args| {
        index_of(context, args, find)
    }),
    Function::member("string", "lastIndexOf(string) -> int", Cost::Deep, |context, args| {
        index_of(context, args, find_last)
    }),
    Function::member("string", "lastIndexOf(string, int) -> int", Cost::Deep, |context, args| {
        index_of(context, args, find_last)
    }),
    Function::member("list(string)", "join() -> string", Cost::Result(2.0 * TRAVERSAL), join),
    Function::member("list(string)", "join(string) -> string", Cost::Result(2.0 * TRAVERSAL), join),
    Function::member("string", "lowerAscii() -> string", WALK, |c, args| change(c, args, str::to_ascii_lowercase)),
    Function::member("string", "upperAscii() -> string", WALK, |c, args| change(c, args, str::to_ascii_uppercase)),
    Function::member("string", "trim() -> string", WALK, |c, args| change(c, args, |text| text.trim().to_owned())),
    Function::member("string", "replace(string, string) -> string", TWICE, replace),
    Function::member("string", "replace(string, string, int) -> string", TWICE, replace),
    Function::member("string", "split(string) -> list(string)", TWICE, split),
    Function::member("string", "split(string, int) -> list(string)", TWICE, split),
    Function::member("string", "substring(int) -> string", WALK, substring),
    Function::member("string", "substring(int, int) -> string", WALK, substring),
];

fn test<'a>(args: &[CelValue<'a>], holds: fn(&str, &str) -> bool) -> Value<'a> {
    match args {
        [CelValue::String(a), CelValue::String(b)] => Ok(CelValue::Bool(holds(a, b))),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn change<'a>(context: &mut Context<'_>, args: &[CelValue<'a>], work: fn(&str) -> String) -> Value<'a> {
    let [CelValue::String(text)] = args else { return Err(EvalError::no_such_overload()) };
    context.budget.allocate(text.len())?;
    Ok(CelValue::string(work(text)))
}

fn out_of_range(index: i64) -> EvalError {
    EvalError::new(format!("index out of range: {index}"))
}

/// Where the code point of a number begins; the end of the text has a number, too.
fn offset(text: &str, index: i64) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(index)
}

fn char_at<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::String(text), CelValue::Int(index)] = args else { return Err(EvalError::no_such_overload()) };
    let at = offset(text, *index).ok_or_else(|| out_of_range(*index))?;
    Ok(CelValue::string(text[at..].chars().take(1).collect::<String>()))
}

/// Looks for a text in another from a place on; finds its place.
type Find = fn(text: &str, wanted: &str, from: Option<usize>) -> Option<usize>;

fn find(text: &str, wanted: &str, from: Option<usize>) -> Option<usize> {
    let from = from.unwrap_or(0);
    text[from..].find(wanted).map(|at| from + at)
}

/// The last place that is not behind `from`.
fn find_last(text: &str, wanted: &str, from: Option<usize>) -> Option<usize> {
    let end = from.map_or(text.len(), |from| from.saturating_add(wanted.len()).min(text.len()));
    // A cut inside of a code point only cuts off what cannot match.
    let end = (end..=text.len()).find(|end| text.is_char_boundary(*end))?;
    let at = text[..end].rfind(wanted)?;
    if from.is_some_and(|from| at > from) { text[..at].rfind(wanted) } else { Some(at) }
}

fn index_of<'a>(context: &mut Context<'_>, args: &[CelValue<'a>], find: Find) -> Value<'a> {
    let (text, wanted, from) = match args {
        [CelValue::String(text), CelValue::String(wanted)] => (text, wanted, None),
        [CelValue::String(text), CelValue::String(wanted), CelValue::Int(from)] => (text, wanted, Some(*from)),
        _ => return Err(EvalError::no_such_overload()),
    };
    context.budget.work(text.len() / 16)?;
    let from = match from {
        Some(from) if from < 0 => return Err(out_of_range(from)),
        // Behind the end is nothing but the empty text.
        Some(from) => match offset(text, from) {
            None if !wanted.is_empty() => return Ok(CelValue::Int(-1)),
            at => Some(at.unwrap_or(text.len())),
        },
        None => None,
    };
    let place = find(text, wanted, from).map_or(-1, |at| text[..at].chars().count() as i64);
    Ok(CelValue::Int(place))
}

fn join<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (list, separator) = match args {
        [CelValue::List(list)] => (list, ""),
        [CelValue::List(list), CelValue::String(separator)] => (list, &**separator),
        _ => return Err(EvalError::no_such_overload()),
    };
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let CelValue::String(item) = item? else { return Err(EvalError::no_such_overload()) };
        let separator = if index == 0 { "" } else { separator };
        context.budget.allocate(separator.len() + item.len())?;
        joined.push_str(separator);
        joined.push_str(&item);
    }
    Ok(CelValue::string(joined))
}

fn replace<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (text, from, to, most) = match args {
        [CelValue::String(text), CelValue::String(from), CelValue::String(to)] => (text, from, to, -1),
        [CelValue::String(text), CelValue::String(from), CelValue::String(to), CelValue::Int(most)] => {
            (text, from, to, *most)
        }
        _ => return Err(EvalError::no_such_overload()),
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let times = if from.is_empty() { text.len() + 1 } else { text.len() / from.len() };
    context.budget.allocate(text.len().saturating_add(times.min(most).saturating_mul(to.len())))?;
    Ok(CelValue::string(text.replacen(&**from, to, most)))
}

fn split<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (text, separator, most) = match args {
        [CelValue::String(text), CelValue::String(separator)] => (text, separator, -1),
        [CelValue::String(text), CelValue::String(separator), CelValue::Int(most)] => (text, separator, *most),
        _ => return Err(EvalError::no_such_overload()),
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let parts: Vec<&str> = match most {
        0 => Vec::new(),
        _ if separator.is_empty() => explode(text, most),
        _ => text.splitn(most, &**separator).collect(),
    };
    context.budget.allocate(text.len() + parts.len() * 64)?;
    Ok(CelValue::list(parts.into_iter().map(CelValue::string).collect()))
}

/// The code points of a text, the last part with all that is left.
fn explode(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if parts.len() + 1 == most {
            parts.push(rest);
            break;
        }
        let (part, next) = rest.split_at(first.len_utf8());
        parts.push(part);
        rest = next;
    }
    parts
}

fn substring<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (text, start, end) = match args {
        [CelValue::String(text), CelValue::Int(start)] => (text, *start, None),
        [CelValue::String(text), CelValue::Int(start), CelValue::Int(end)] => (text, *start, Some(*end)),
        _ => return Err(EvalError::no_such_overload()),
    };
    if let Some(end) = end.filter(|end| start > *end) {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let first = offset(text, start).ok_or_else(|| out_of_range(start))?;
    let last = match end {
        Some(end) => offset(text, end).ok_or_else(|| out_of_range(end))?,
        None => text.len(),
    };
    context.budget.allocate(last - first)?;
    Ok(CelValue::string(&text[first..last]))
}
