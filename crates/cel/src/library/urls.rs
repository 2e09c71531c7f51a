//! URLs as Go's `net/url` reads them, which keeps what is written: no part is normalized.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::budget::TRAVERSAL;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::url::check_escapes;
use crate::value::{CelValue, Extension, Key, Map, Text, Url};

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("url(string) -> kubernetes.URL", Cost::First(TRAVERSAL), |context, args| {
        let [CelValue::String(text)] = args else { return Err(EvalError::no_such_overload()) };
        context.budget.allocate(text.len())?;
        match Url::parse(text) {
            Ok(url) => Ok(CelValue::Extension(Extension::Url(Arc::new(url)))),
            Err(why) => Err(EvalError::new(format!(
                "URL parse error during conversion from string: parse {text:?}: {why}",
                text = &**text
            ))),
        }
    }),
    Function::global("isURL(string) -> bool", ONE, |_, args| match args {
        [CelValue::String(text)] => Ok(CelValue::Bool(Url::parse(text).is_ok())),
        _ => Err(EvalError::no_such_overload()),
    }),
    Function::member("kubernetes.URL", "getScheme() -> string", ONE, |_, args| part(args, |url| url.scheme.clone())),
    Function::member("kubernetes.URL", "getHost() -> string", ONE, |_, args| part(args, |url| url.host.clone())),
    Function::member("kubernetes.URL", "getHostname() -> string", ONE, |_, args| {
        part(args, |url| split_port(&url.host).0.trim_start_matches('[').trim_end_matches(']').to_owned())
    }),
    Function::member("kubernetes.URL", "getPort() -> string", ONE, |_, args| {
        part(args, |url| split_port(&url.host).1.to_owned())
    }),
    Function::member("kubernetes.URL", "getEscapedPath() -> string", ONE, |_, args| {
        part(args, |url| utf8_percent_encode(&url.path, PATH).to_string())
    }),
    Function::member("kubernetes.URL", "getQuery() -> map(string, list(string))", ONE, query),
];

/// What is escaped in a path; a `%` there is an escape already.
const PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (host, ""),
    }
}

fn part<'a>(args: &[CelValue<'a>], of: fn(&Url) -> String) -> Value<'a> {
    match args {
        [CelValue::Extension(Extension::Url(url))] => Ok(CelValue::string(of(url))),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn query<'a>(context: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let [CelValue::Extension(Extension::Url(url))] = args else { return Err(EvalError::no_such_overload()) };
    context.budget.allocate(url.query.len().saturating_mul(32))?;
    let mut parameters: BTreeMap<String, Vec<CelValue<'a>>> = BTreeMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if check_escapes(pair).is_ok() {
            parameters.entry(decode(name)).or_default().push(CelValue::string(decode(value)));
        }
    }
    let entries =
        parameters.into_iter().map(|(name, values)| (Key::String(Text::Owned(name.into())), CelValue::list(values)));
    Ok(CelValue::Map(Map::Made(Arc::new(entries.collect()))))
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}
