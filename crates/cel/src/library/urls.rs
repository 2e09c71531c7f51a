//! URLs as Go's `net/url` reads them, which keeps what is written: no part is normalized.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::budget::TRAVERSAL;
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::{CelValue, Extension, Key, Map, Text};

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

/// The parts of a URL as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    user: String,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

impl Url {
    /// An absolute URI or an absolute path; otherwise why it is none.
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty url".into());
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err("net/url: invalid control character in URL".into());
        }
        let (scheme, rest) = split_scheme(text)?;
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Self {
            scheme: scheme.to_ascii_lowercase(),
            user: String::new(),
            host: String::new(),
            path: String::new(),
            query: query.into(),
            fragment: fragment.into(),
        };
        if !rest.starts_with('/') {
            // What has a scheme and no path, such as `mailto:a`, has no parts to ask for.
            return if scheme.is_empty() { Err("invalid URI for request".into()) } else { Ok(url) };
        }
        let mut path = rest;
        if let Some(authority) = rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
            let end = authority.find('/').unwrap_or(authority.len());
            path = &authority[end..];
            let (user, host) = authority[..end].rsplit_once('@').unwrap_or(("", &authority[..end]));
            check_escapes(user)?;
            check_host(host)?;
            (url.user, url.host) = (user.into(), host.into());
        }
        check_escapes(path)?;
        url.path = path.into();
        Ok(url)
    }
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(text.len());
    if !text[end..].starts_with(':') || text.starts_with(|c: char| !c.is_ascii_alphabetic() && c != ':') {
        return Ok(("", text));
    }
    if end == 0 { Err("missing protocol scheme".into()) } else { Ok((&text[..end], &text[end + 1..])) }
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let digits = text.as_bytes().get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(format!("invalid URL escape {:?}", text[at..].chars().take(3).collect::<String>()));
        }
    }
    Ok(())
}

fn check_host(host: &str) -> Result<(), String> {
    if let Some(inner) = host.strip_prefix('[') {
        let end = inner.find(']').ok_or("missing ']' in host")?;
        return check_port(&inner[end + 1..]);
    }
    if let Some(colon) = host.find(':') {
        check_port(&host[colon..])?;
    }
    match host.chars().find(|c| " \"<>\\^`{|}".contains(*c)) {
        Some(invalid) => Err(format!("invalid character {:?} in host name", invalid.to_string())),
        None => Ok(()),
    }
}

fn check_port(port: &str) -> Result<(), String> {
    let valid = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    if valid { Ok(()) } else { Err(format!("invalid port {port:?} after host")) }
}

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

/// What keeps a text from being a URL.
pub(super) fn validate(text: &str) -> Vec<String> {
    match Url::parse(text) {
        Ok(_) => Vec::new(),
        Err(why) => vec![format!("parse {text:?}: {why}")],
    }
}
