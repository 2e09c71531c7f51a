//! Functions: declared by a signature in words, so that a library is a table.

use std::collections::HashMap;

use regex::Regex;

use crate::budget::{Budget, PATTERN, TRAVERSAL};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::CelValue;

/// What a function has beside its arguments.
pub(crate) struct Context<'c> {
    /// Where memory and work are counted.
    pub budget: &'c mut Budget,
    /// The patterns that are written out in the expression.
    pub patterns: &'c HashMap<String, Regex>,
    /// The last one that was not.
    pub made: &'c mut Option<(String, Regex)>,
}

/// The work of a function. It is called only with arguments of the kinds that its signature says.
pub(crate) type Call = for<'a> fn(&mut Context<'_>, &[CelValue<'a>]) -> Result<CelValue<'a>, EvalError>;

/// What a call costs; the sizes are those of [`CelValue::cost_size`].
#[derive(Clone, Copy)]
pub(crate) enum Cost {
    /// Always the same.
    Fixed(u64),
    /// So much for each unit of the first argument.
    First(f64),
    /// 1 for each item of the second argument.
    SecondItems,
    /// A walk over the smaller of two arguments.
    Smaller,
    /// A walk over both arguments.
    Both,
    /// A search for a text in another.
    Search,
    /// A pattern against a text.
    Pattern,
    /// So much for each unit of the result.
    Result(f64),
    /// A walk over all that is in the first argument.
    Deep,
    /// Anything else that the sizes say.
    Sizes(fn(&[u64]) -> u64),
    /// What the values say, and what is estimated where only their sizes are known.
    By(fn(&[CelValue<'_>]) -> u64, fn(&[u64]) -> u64),
}

impl Cost {
    /// The cost for arguments of these sizes, without what depends on the result or on what is in the arguments.
    pub fn of(&self, sizes: &[u64]) -> u64 {
        let size = |index: usize| sizes.get(index).copied().unwrap_or(0);
        let walk = |size: u64, factor: f64| (size as f64 * factor).ceil() as u64;
        match self {
            Self::Fixed(cost) => *cost,
            Self::First(factor) => walk(size(0), *factor),
            Self::SecondItems => size(1),
            Self::Smaller => walk(size(0).min(size(1)), TRAVERSAL),
            Self::Both => walk(size(0).saturating_add(size(1)), TRAVERSAL),
            Self::Search => walk(size(0), TRAVERSAL).saturating_mul(walk(size(1), TRAVERSAL)),
            Self::Pattern => walk(size(0).saturating_add(1), TRAVERSAL).saturating_mul(walk(size(1), PATTERN)),
            Self::Sizes(cost) | Self::By(_, cost) => cost(sizes),
            Self::Result(_) | Self::Deep => 0,
        }
    }
}

/// One line of a library.
pub(crate) struct Function {
    target: Option<&'static str>,
    pub(crate) signature: &'static str,
    cost: Cost,
    call: Call,
}

impl Function {
    /// `signature` is `name(type, ...) -> type`.
    pub const fn global(signature: &'static str, cost: Cost, call: Call) -> Self {
        Self { target: None, signature, cost, call }
    }

    /// A function called on a value of the type `target`, which is its first argument.
    pub const fn member(target: &'static str, signature: &'static str, cost: Cost, call: Call) -> Self {
        Self { target: Some(target), signature, cost, call }
    }
}

/// A function as the checker sees it.
pub(crate) struct Overload {
    /// Called on its first argument.
    pub member: bool,
    /// The types of the arguments, the target first.
    pub parameters: Vec<Type>,
    /// The type of its value.
    pub result: Type,
    pub cost: Cost,
    pub call: Call,
}

impl std::fmt::Debug for Overload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} -> {}", self.parameters, self.result)
    }
}

/// Name and overload of a line of a library.
pub(crate) fn declare(function: &Function) -> (&'static str, Overload) {
    let (call, result) = function.signature.split_once(" -> ").unwrap_or((function.signature, "dyn"));
    let (name, arguments) = call.trim_end_matches(')').split_once('(').unwrap_or((call, ""));
    // The last bracket may be that of a type.
    let arguments = if call.ends_with("))") { &call[name.len() + 1..call.len() - 1] } else { arguments };
    let mut parameters: Vec<Type> = function.target.iter().map(|target| type_named(target)).collect();
    parameters.extend(split(arguments).into_iter().map(type_named));
    let overload = Overload {
        member: function.target.is_some(),
        parameters,
        result: type_named(result),
        cost: function.cost,
        call: function.call,
    };
    (name, overload)
}

/// The parts between commas that are in no bracket.
fn split(list: &'static str) -> Vec<&'static str> {
    let mut depth = 0;
    let parts = list.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn type_named(name: &'static str) -> Type {
    if let Some((outer, inner)) = name.strip_suffix(')').and_then(|name| name.split_once('(')) {
        let inner = split(inner);
        return match (outer, inner.as_slice()) {
            ("list", [item]) => Type::list(type_named(item)),
            ("map", [key, value]) => Type::map(type_named(key), type_named(value)),
            ("optional", [of]) => Type::optional(type_named(of)),
            _ => Type::Error,
        };
    }
    match name {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "type" => Type::Type,
        _ => match name.as_bytes() {
            [letter] => Type::Var(u32::from(*letter)),
            _ => Type::Opaque(name),
        },
    }
}

impl Overload {
    /// Whether values have the kinds of the parameters.
    pub fn accepts(&self, args: &[CelValue<'_>]) -> bool {
        self.parameters.len() == args.len() && self.parameters.iter().zip(args).all(|(of, value)| is_of(value, of))
    }

    /// What a call with these arguments costs, without what depends on its result.
    pub fn cost(&self, args: &[CelValue<'_>]) -> u64 {
        match self.cost {
            Cost::Fixed(cost) => cost,
            Cost::By(cost, _) => cost(args),
            // Nothing is measured for these.
            Cost::Result(_) | Cost::Deep => 0,
            cost => {
                let mut sizes = [0; 4];
                for (size, arg) in sizes.iter_mut().zip(args) {
                    *size = arg.cost_size() as u64;
                }
                cost.of(&sizes[..args.len().min(4)])
            }
        }
    }
}

fn is_of(value: &CelValue<'_>, of: &Type) -> bool {
    match (of, value) {
        (Type::Dyn | Type::Var(_), _) => true,
        (Type::Null, CelValue::Null)
        | (Type::Bool, CelValue::Bool(_))
        | (Type::Int, CelValue::Int(_))
        | (Type::Uint, CelValue::Uint(_))
        | (Type::Double, CelValue::Double(_))
        | (Type::String, CelValue::String(_))
        | (Type::Bytes, CelValue::Bytes(_))
        | (Type::Duration, CelValue::Duration(_))
        | (Type::Timestamp, CelValue::Timestamp(_))
        | (Type::List(_), CelValue::List(_))
        | (Type::Map(_), CelValue::Map(_))
        | (Type::Optional(_), CelValue::Optional(_))
        | (Type::Type, CelValue::Type(_)) => true,
        (Type::Opaque(name), CelValue::Extension(extension)) => extension.type_name() == *name,
        _ => false,
    }
}
