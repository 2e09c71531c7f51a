//! What rules of routes do with requests.

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::types::{CorsFilter, Filter, HeaderModifier, PathModifier, RequestRedirect, RetryRule, Timeouts};
use crate::route::action::{Cors, HeaderChanges, Redirect, Retry, Rewrite};

/// A filter that changes headers, if it is one.
///
/// # Errors
/// It is none that a header can be, or one about the connection, the end of the body, or the host, which rewriting changes.
pub fn headers(modifier: &HeaderModifier) -> Result<HeaderChanges, String> {
    let name = |text: &str| {
        let name = HeaderName::from_str(text).map_err(|_| format!("{text:?} is no name of a header"))?;
        if is_fixed(&name) { Err(format!("the header {name} is not for filters to change")) } else { Ok(name) }
    };
    let pairs = |all: &[super::types::Named]| {
        let pair = |one: &super::types::Named| {
            let value =
                HeaderValue::from_str(&one.value).map_err(|_| format!("{:?} is no value of a header", one.value));
            Ok((name(&one.name)?, value?))
        };
        all.iter().map(pair).collect::<Result<Vec<_>, String>>()
    };
    Ok(HeaderChanges {
        set: pairs(&modifier.set)?,
        add: pairs(&modifier.add)?,
        remove: modifier.remove.iter().map(|own| name(own)).collect::<Result<_, _>>()?,
    })
}

/// Whether a header says where a message ends, what becomes of the connection, or to whom the request goes.
fn is_fixed(name: &HeaderName) -> bool {
    const FIXED: [&str; 9] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    FIXED.contains(&name.as_str()) || name.as_str().starts_with("proxy-")
}

/// Joins changes of headers.
pub fn join(all: &mut HeaderChanges, more: HeaderChanges) {
    all.set.extend(more.set);
    all.add.extend(more.add);
    all.remove.extend(more.remove);
}

/// How a path changes.
pub fn path(modifier: &PathModifier) -> Rewrite {
    match &modifier.replace_full_path {
        Some(path) if modifier.kind == "ReplaceFullPath" => Rewrite::Full(path.clone()),
        _ => Rewrite::Prefix(modifier.replace_prefix_match.clone().unwrap_or_default()),
    }
}

/// Where a filter sends clients.
pub fn redirect(asked: &RequestRedirect) -> Redirect {
    Redirect {
        status: asked.status_code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::FOUND),
        location: None,
        scheme: asked.scheme.clone(),
        host: asked.hostname.clone(),
        port: asked.port,
        path: asked.path.as_ref().map(path),
    }
}

/// What browsers are told of other origins.
///
/// # Errors
/// It names what is no method or header.
pub fn cors(asked: &CorsFilter) -> Result<Cors, String> {
    let joined = |all: &[String]| {
        let text = all.join(", ");
        // Names of methods and of headers are made of the same signs.
        match all.iter().find(|name| Method::from_str(name).is_err()) {
            Some(name) => Err(format!("{name:?} is no name of a method or header")),
            None => Ok(HeaderValue::from_str(&text).ok().filter(|_| !text.is_empty())),
        }
    };
    // Browsers do not name the port of the scheme.
    let origin = |origin: &String| {
        let port = if origin.starts_with("https:") { ":443" } else { ":80" };
        origin.strip_suffix(port).unwrap_or(origin).to_owned()
    };
    Ok(Cors {
        origins: asked.allow_origins.iter().map(origin).collect(),
        methods: joined(&asked.allow_methods)?,
        headers: joined(&asked.allow_headers)?,
        expose: joined(&asked.expose_headers)?,
        credentials: asked.allow_credentials,
        echoes: asked.allow_credentials,
        max_age: asked.max_age.unwrap_or(5).into(),
    })
}

/// Why a filter cannot be followed, if it cannot.
pub fn unsupported(filter: &Filter) -> Option<String> {
    let is_known = matches!(
        filter.kind.as_str(),
        "RequestHeaderModifier"
            | "ResponseHeaderModifier"
            | "RequestRedirect"
            | "URLRewrite"
            | "RequestMirror"
            | "CORS"
    );
    (!is_known).then(|| format!("filters of type {} are not supported", filter.kind))
}

/// How long all of a request, and one try of a backend, may take; zero is no bound.
///
/// # Errors
/// One is no duration.
pub fn timeouts(asked: &Timeouts) -> Result<(Option<Duration>, Option<Duration>), String> {
    let of = |text: &Option<String>| {
        let Some(text) = text.as_deref() else { return Ok(None) };
        let limit = duration(text).ok_or_else(|| format!("{text:?} is no duration"))?;
        Ok::<_, String>(Some(limit).filter(|limit| !limit.is_zero()))
    };
    Ok((of(&asked.request)?, of(&asked.backend_request)?))
}

/// When a backend is asked once more.
///
/// # Errors
/// It is too often, or after no duration or too long a one, or names what is no status, or the one of requests that go round.
pub fn retry(asked: &RetryRule) -> Result<Retry, String> {
    const MOST: u32 = 10;
    const LONGEST: Duration = Duration::from_secs(30);
    let attempts = asked.attempts.unwrap_or(1);
    if attempts > MOST {
        return Err(format!("a backend is asked at most {MOST} times more, not {attempts}"));
    }
    let code = |code: &u16| match StatusCode::from_u16(*code) {
        Ok(StatusCode::LOOP_DETECTED) => Err("what goes round (508) is not asked once more".to_owned()),
        Ok(status) => Ok(status),
        Err(_) => Err(format!("{code} is no status")),
    };
    let backoff = asked.backoff.as_deref().map_or(Some(Duration::from_millis(25)), duration);
    let backoff = backoff.ok_or_else(|| format!("{:?} is no duration", asked.backoff))?;
    if backoff > LONGEST {
        return Err(format!("a backend is asked once more {LONGEST:?} later at most, not {backoff:?}"));
    }
    Ok(Retry { codes: asked.codes.iter().map(code).collect::<Result<_, _>>()?, attempts, backoff })
}

/// A duration of GEP-2257: whole numbers, each with `h`, `m`, `s` or `ms`.
fn duration(text: &str) -> Option<Duration> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"hms".contains(&byte)) && !text.ends_with('0');
    coracle_values::duration::parse(text).filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_frame_a_message_are_not_changed() {
        use super::super::types::Named;
        let named = |name: &str| vec![Named { name: name.into(), value: "0".into(), ..Named::default() }];
        for name in ["Content-Length", "transfer-encoding", "Connection", "Host", "TE", "Proxy-Authorization", "Expect"]
        {
            let modifiers = [
                HeaderModifier { set: named(name), ..HeaderModifier::default() },
                HeaderModifier { add: named(name), ..HeaderModifier::default() },
                HeaderModifier { remove: vec![name.into()], ..HeaderModifier::default() },
            ];
            assert!(modifiers.iter().all(|modifier| headers(modifier).is_err()), "{name}");
        }
        assert!(headers(&HeaderModifier { set: named("X-Own"), ..HeaderModifier::default() }).is_ok());
    }

    #[test]
    fn no_time_and_no_bound_are_the_same_and_nonsense_is_neither() {
        let asked = |request: &str| Timeouts { request: Some(request.into()), backend_request: None };
        assert_eq!(timeouts(&asked("0s")), Ok((None, None)));
        assert_eq!(timeouts(&asked("2s")), Ok((Some(Duration::from_secs(2)), None)));
        assert!(timeouts(&asked("soon")).is_err());
    }

    #[test]
    fn a_backend_is_asked_again_within_bounds() {
        let asked = |attempts, backoff: &str| RetryRule { codes: vec![500], attempts, backoff: Some(backoff.into()) };
        assert_eq!(retry(&asked(None, "1s")).unwrap().attempts, 1);
        assert!(retry(&RetryRule::default()).unwrap().codes.is_empty());
        assert!(retry(&asked(Some(11), "1s")).is_err() && retry(&asked(Some(1), "soon")).is_err());
        assert!(retry(&asked(Some(1), "30s")).is_ok() && retry(&asked(Some(1), "31s")).is_err());
        assert!(retry(&RetryRule { codes: vec![508], ..RetryRule::default() }).is_err());
    }

    #[test]
    fn durations_are_read_as_the_interface_writes_them() {
        for (text, millis) in [("10s", 10_000), ("1h30m", 5_400_000), ("1m500ms", 60_500), ("0s", 0)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["s", "1", "-1s", "1x", "99999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
