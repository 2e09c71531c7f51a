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

/// A pattern of RE2, ready to be matched in time linear in the text.
///
/// # Errors
/// It is none, or too large.
pub fn compile(pattern: &str) -> Result<Regex, EvalError> {
    let built =
        RegexBuilder::new(&translate(pattern)).size_limit(LARGEST).dfa_size_limit(LARGEST).nest_limit(DEEPEST).build();
    built.map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        EvalError::new(format!("error parsing regexp: {reason}: `{pattern}`"))
    })
}

/// A pattern of RE2 in the syntax of the crate `regex`: what RE2 calls a digit, a space and part of a word is ASCII, and
/// its classes are not nested and have no operators.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    // Inside of a class, how many characters of it have been read.
    let mut class: Option<usize> = None;
    while let Some(char) = chars.next() {
        match (char, class) {
            ('\\', _) => {
                let escaped = chars.next();
                match escaped.and_then(|letter| ascii_class(letter, class.is_some())) {
                    Some(ascii) => out.push_str(ascii),
                    None => out.extend(['\\'].into_iter().chain(escaped)),
                }
                class = class.map(|read| read + 1);
            }
            ('[', None) => {
                out.push('[');
                class = Some(0);
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            // A bracket that comes first in a class means itself.
            (']', Some(0)) => {
                out.push_str("\\]");
                class = Some(1);
            }
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            ('[', Some(read)) if chars.peek() == Some(&':') => {
                // `[:alpha:]`, up to its own bracket.
                out.push('[');
                for char in chars.by_ref() {
                    out.push(char);
                    if char == ']' {
                        break;
                    }
                }
                class = Some(read + 1);
            }
            ('[' | '&' | '~', Some(read)) => {
                out.extend(['\\', char]);
                class = Some(read + 1);
            }
            (other, read) => {
                out.push(other);
                class = read.map(|read| read + 1);
            }
        }
    }
    out
}

/// What a letter behind a backslash stands for, if RE2 and the crate do not agree.
fn ascii_class(letter: char, inside: bool) -> Option<&'static str> {
    Some(match (letter, inside) {
        ('d', true) => "0-9",
        ('d', false) => "[0-9]",
        ('D', _) => "[^0-9]",
        ('w', true) => "0-9A-Za-z_",
        ('w', false) => "[0-9A-Za-z_]",
        ('W', _) => "[^0-9A-Za-z_]",
        ('s', true) => r"\t\n\f\r ",
        ('s', false) => r"[\t\n\f\r ]",
        ('S', _) => r"[^\t\n\f\r ]",
        ('b', false) => r"(?-u:\b)",
        _ => return None,
    })
}

fn text_and_pattern<'v, 'p>(
    context: &mut Context<'p>,
    args: &'v [CelValue<'_>],
) -> Result<(&'v str, Cow<'p, Regex>), EvalError> {
    let [CelValue::String(text), CelValue::String(pattern), ..] = args else {
        return Err(EvalError::no_such_overload());
    };
    let compiled = match (context.patterns.get(&**pattern), &*context.made) {
        (Some(compiled), _) => Cow::Borrowed(compiled),
        (None, Some((made, compiled))) if **made == **pattern => Cow::Owned(compiled.clone()),
        (None, _) => {
            context.budget.pattern()?;
            let compiled = compile(pattern)?;
            *context.made = Some((pattern.to_string(), compiled.clone()));
            Cow::Owned(compiled)
        }
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
