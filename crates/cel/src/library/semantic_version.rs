//! Versions as in <https://semver.org>.

use std::sync::Arc;

use semver::Version;

use crate::budget::TRAVERSAL;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::{CelValue, Extension};

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);
const WALK: Cost = Cost::First(TRAVERSAL);
const V: &str = "kubernetes.Semver";

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("semver(string) -> kubernetes.Semver", WALK, make),
    Function::global("semver(string, bool) -> kubernetes.Semver", WALK, make),
    Function::global("isSemver(string) -> bool", WALK, |_, args| Ok(CelValue::Bool(parse(args).is_ok()))),
    Function::global("isSemver(string, bool) -> bool", WALK, |_, args| Ok(CelValue::Bool(parse(args).is_ok()))),
    Function::member(V, "isGreaterThan(kubernetes.Semver) -> bool", ONE, |_, args| {
        two(args).map(|(a, b)| CelValue::Bool(a.cmp_precedence(b).is_gt()))
    }),
    Function::member(V, "isLessThan(kubernetes.Semver) -> bool", ONE, |_, args| {
        two(args).map(|(a, b)| CelValue::Bool(a.cmp_precedence(b).is_lt()))
    }),
    Function::member(V, "compareTo(kubernetes.Semver) -> int", ONE, |_, args| {
        two(args).map(|(a, b)| CelValue::Int(a.cmp_precedence(b) as i64))
    }),
    Function::member(V, "major() -> int", ONE, |_, args| one(args).map(|version| whole(version.major))),
    Function::member(V, "minor() -> int", ONE, |_, args| one(args).map(|version| whole(version.minor))),
    Function::member(V, "patch() -> int", ONE, |_, args| one(args).map(|version| whole(version.patch))),
];

fn whole<'a>(number: u64) -> CelValue<'a> {
    CelValue::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn make<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let version = parse(args).map_err(EvalError::new)?;
    Ok(CelValue::Extension(Extension::Semver(Arc::new(version))))
}

/// The version that a text is; if the second argument says so, one in a loose form such as `v1.01`.
fn parse(args: &[CelValue<'_>]) -> Result<Version, String> {
    let Some(text) = args.first().and_then(CelValue::as_str) else { return Err("no such overload".into()) };
    let normalized = match args.get(1).and_then(CelValue::as_bool) {
        Some(true) => normalize(text)?,
        _ => text.to_owned(),
    };
    Version::parse(&normalized).map_err(|error| error.to_string())
}

/// Without a leading `v` and leading zeros, and with what is missing of minor and patch as zero.
fn normalize(text: &str) -> Result<String, String> {
    let mut parts: Vec<String> = text.strip_prefix('v').unwrap_or(text).splitn(3, '.').map(without_zeros).collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".into());
    }
    parts.resize(3, "0".into());
    Ok(parts.join("."))
}

fn without_zeros(part: &str) -> String {
    let trimmed = part.trim_start_matches('0');
    if part.len() > 1 && trimmed.starts_with(|c: char| c.is_ascii_digit()) || trimmed.len() == part.len() {
        trimmed.to_owned()
    } else {
        format!("0{trimmed}")
    }
}

fn one<'v>(args: &'v [CelValue<'_>]) -> Result<&'v Version, EvalError> {
    match args.first() {
        Some(CelValue::Extension(Extension::Semver(version))) => Ok(version),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn two<'v>(args: &'v [CelValue<'_>]) -> Result<(&'v Version, &'v Version), EvalError> {
    Ok((one(args)?, one(args.get(1..).unwrap_or_default())?))
}
