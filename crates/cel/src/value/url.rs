//! URLs as they are written.

/// The parts of a URL as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub(crate) scheme: String,
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) fragment: String,
}

impl Url {
    /// An absolute URI or an absolute path; otherwise why it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
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

pub(crate) fn check_escapes(text: &str) -> Result<(), String> {
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

/// What keeps a text from being a URL.
pub(super) fn validate(text: &str) -> Vec<String> {
    match Url::parse(text) {
        Ok(_) => Vec::new(),
        Err(why) => vec![format!("parse {text:?}: {why}")],
    }
}
