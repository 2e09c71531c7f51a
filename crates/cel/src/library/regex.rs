//! Patterns in RE2's syntax, with bounds on what they may need.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::CelValue;

type Value<'a> = Result<CelValue<'a>, EvalError>;

/// The most bytes that a compiled pattern, and the cache of its automaton, may take.
const LARGEST: usize = 1 << 20;
/// The deepest that groups may nest.
const DEEPEST: u32 = 100;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("matches(string, string) -> bool", Cost::Pattern, matches),
    Function::member("string", "matches(string) -> bool", Cost::Pattern, matches),
    Function::member("string", "find(string) -> string", Cost::Pattern, |context, args| {
        let (text, pattern) = text_and_pattern(context, args)?;
        let found = pattern.find(text).map_or("", |found| found.as_str());
        Ok(CelValue::string(found))
    }),
    Function::member("string", "findAll(string) -> list(string)", Cost::Pattern, find_all),
    Function::member("string", "findAll(string, int) -> list(string)", Cost::Pattern, find_all),
];

/// The pattern, ready to be matched in time linear in the text.
pub(crate) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    let built = RegexBuilder::new(pattern).size_limit(LARGEST).dfa_size_limit(LARGEST).nest_limit(DEEPEST).build();
    built.map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        EvalError::new(format!("error parsing regexp: {reason}: `{pattern}`"))
    })
}

fn text_and_pattern<'v, 'p>(
    context: &Context<'p>,
    args: &'v [CelValue<'_>],
) -> Result<(&'v str, Cow<'p, Regex>), EvalError> {
    let [CelValue::String(text), CelValue::String(pattern), ..] = args else {
        return Err(EvalError::no_such_overload());
    };
    let compiled = match context.patterns.get(&**pattern) {
        Some(compiled) => Cow::Borrowed(compiled),
        None => Cow::Owned(compile(pattern)?),
    };
    Ok((text, compiled))
}

fn matches<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (text, pattern) = text_and_pattern(context, args)?;
    Ok(CelValue::Bool(pattern.is_match(text)))
}

fn find_all<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let (text, pattern) = text_and_pattern(context, args)?;
    let most = match args.get(2) {
        Some(CelValue::Int(most)) => usize::try_from(*most).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let found: Vec<_> = pattern.find_iter(text).take(most).map(|found| CelValue::string(found.as_str())).collect();
    context.budget.allocate(text.len() + found.len() * 64)?;
    Ok(CelValue::list(found))
}
