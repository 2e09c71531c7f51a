//! The annotations by which users of nginx say more than an Ingress has fields for.
//! <https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/>

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use coracle_client::ObjectKey;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use crate::backend::Protocol;
use crate::proxy::Rate;
use crate::route::action::{Affinity, Cors, Policy, Redirect, ToHttps};

/// What their names begin with.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Those that keep somebody out. A route that has one which cannot be followed is not served at all.
const RESTRICTING: &[&str] = &[
    "auth-",
    "enable-global-auth",
    "global-",
    "satisfy",
    "whitelist-",
    "allowlist-",
    "denylist-",
    "limit-",
    "enable-modsecurity",
    "modsecurity-",
    "enable-owasp",
    "server-snippet",
    "configuration-snippet",
    "proxy-ssl-",
];

/// How many ranges of addresses one annotation may have.
const RANGES: usize = 1000;

/// What the annotations of an Ingress say.
pub struct Annotations {
    /// What is done with requests.
    pub policy: Policy,
    /// Where all of them are sent.
    pub redirect: Option<Redirect>,
    /// Paths without a type of their own are expressions.
    pub use_regex: bool,
    /// What the path becomes.
    pub rewrite_target: Option<String>,
    /// What the backends speak.
    pub protocol: Option<Protocol>,
    /// The secret that has the names and passwords of who may ask.
    pub auth: Option<Auth>,
    /// Whether clients are sent to HTTPS where a host has TLS.
    pub ssl_redirect: bool,
    /// What is wrong, or not supported.
    pub faults: Vec<String>,
    /// Nothing is served, as it would be served to who is to be kept out.
    pub is_refused: bool,
    /// It is for a share of the requests of another Ingress: it is as if it were not there.
    pub is_canary: bool,
}

/// Whose names and passwords count.
pub struct Auth {
    /// The secret, in the namespace of the Ingress.
    pub secret: ObjectKey,
    /// Whether its keys are names, instead of one file with lines of `name:hash`.
    pub is_map: bool,
    /// What browsers tell that it is for.
    pub realm: String,
}

/// Reads the annotations of an Ingress in a namespace, whose unique name is known.
pub fn read(namespace: &str, uid: &str, all: &BTreeMap<String, String>) -> Annotations {
    let own = all.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.trim()))).collect();
    let mut reader = Reader { left: own, faults: Vec::new(), is_refused: false };
    let r = &mut reader;
    let mut policy = Policy::default();

    let is_canary = canary(r);
    let use_regex = r.flag("use-regex").unwrap_or(false);
    let rewrite_target = r.checked("rewrite-target", path);
    let ssl_redirect = r.flag("ssl-redirect").unwrap_or(true);
    if r.flag("force-ssl-redirect").unwrap_or(false) {
        policy.to_https = ToHttps::Always;
    }
    policy.app_root = r.checked("app-root", path);
    let permanent = r.checked("permanent-redirect", location);
    let permanent_code = r.checked("permanent-redirect-code", redirect_code).unwrap_or(StatusCode::MOVED_PERMANENTLY);
    let temporal = r.checked("temporal-redirect", location);
    let temporal_code = r.checked("temporal-redirect-code", redirect_code).unwrap_or(StatusCode::FOUND);
    let whole = |status, location| Redirect {
        status,
        location: Some(location),
        scheme: None,
        host: None,
        port: None,
        path: None,
    };
    let redirect =
        temporal.map(|to| whole(temporal_code, to)).or_else(|| permanent.map(|to| whole(permanent_code, to)));

    policy.max_body = r.checked("proxy-body-size", size).unwrap_or(policy.max_body);
    policy.connect_timeout = r.checked("proxy-connect-timeout", seconds).unwrap_or(policy.connect_timeout);
    policy.read_timeout = r.checked("proxy-read-timeout", seconds).unwrap_or(policy.read_timeout);
    policy.send_timeout = r.checked("proxy-send-timeout", seconds).unwrap_or(policy.send_timeout);
    let protocol = r.checked("backend-protocol", protocol);
    policy.host = r.checked("upstream-vhost", host);

    let allowed = r.checked("allowlist-source-range", ranges);
    let also = r.checked("whitelist-source-range", ranges);
    policy.allowed = allowed.or(also).map(Into::into);
    policy.denied = r.checked("denylist-source-range", ranges).unwrap_or_default().into();
    policy.limits = limits(r);
    policy.affinity = affinity(r, uid).map(Into::into);
    policy.cors = cors(r).map(Into::into);
    let auth = auth(r, namespace);

    // These choose between things of which there is one here.
    for (name, only) in [("proxy-buffering", "off"), ("proxy-request-buffering", "off"), ("proxy-http-version", "1.1")]
    {
        r.only(name, only);
    }
    for name in std::mem::take(&mut r.left).into_keys() {
        r.fault(name, "is not supported by the class coracle");
    }
    let Reader { faults, is_refused, .. } = reader;
    Annotations {
        policy,
        redirect,
        use_regex,
        rewrite_target,
        protocol,
        auth,
        ssl_redirect,
        faults,
        is_refused,
        is_canary,
    }
}

/// The annotations that nobody has read yet.
struct Reader<'a> {
    left: BTreeMap<&'a str, &'a str>,
    faults: Vec<String>,
    is_refused: bool,
}

impl Reader<'_> {
    fn fault(&mut self, name: &str, what: &str) {
        let is_restricting = RESTRICTING.iter().any(|prefix| name.starts_with(prefix));
        let refused = if is_restricting { "; nothing of this Ingress is served until it is removed" } else { "" };
        self.is_refused |= is_restricting;
        let what: String = what.chars().take(256).collect();
        self.faults.push(format!("annotation {PREFIX}{name} {what}{refused}"));
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.left.remove(name).map(str::to_owned)
    }

    fn checked<T>(&mut self, name: &str, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.left.remove(name)?;
        check(value).map_err(|why| self.fault(name, &format!("is ignored: {why}"))).ok()
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        self.checked(name, |value| match value {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("{other:?} is neither true nor false")),
        })
    }

    fn only(&mut self, name: &str, only: &str) {
        self.checked(name, |value| (value == only).then_some(()).ok_or(format!("only {only:?} is supported")));
    }

    fn number(&mut self, name: &str) -> Option<u32> {
        self.checked(name, |value| value.parse().map_err(|_| format!("{value:?} is no number")))
    }
}

/// Whether an Ingress is for a share of another's requests only.
fn canary(r: &mut Reader<'_>) -> bool {
    let is_named = r.left.keys().any(|name| *name == "canary" || name.starts_with("canary-"));
    if !is_named || r.left.get("canary") == Some(&"false") {
        r.left.remove("canary");
        return false;
    }
    r.left.retain(|name, _| *name != "canary" && !name.starts_with("canary-"));
    r.fault("canary", "is not supported by the class coracle; nothing of this Ingress is served");
    true
}

/// A path that may be told to a client, or a backend asked for it.
fn path(value: &str) -> Result<String, String> {
    let fits = value.starts_with('/') && value.len() <= 1024 && value.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| value.to_owned()).ok_or(format!("{value:?} is no path"))
}

fn location(value: &str) -> Result<String, String> {
    let is_address = ["http://", "https://"].iter().any(|scheme| value.to_ascii_lowercase().starts_with(scheme));
    let fits = (is_address || value.starts_with('/')) && value.bytes().all(|byte| byte.is_ascii_graphic());
    (fits && value.len() <= 2048).then(|| value.to_owned()).ok_or(format!("{value:?} is no address of a page"))
}

fn redirect_code(value: &str) -> Result<StatusCode, String> {
    let code = StatusCode::from_str(value).ok().filter(StatusCode::is_redirection);
    code.ok_or(format!("{value:?} is no status of a redirect"))
}

/// Bytes, with nginx' suffixes.
fn size(value: &str) -> Result<u64, String> {
    let (digits, factor) = match value.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&value[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&value[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&value[..at], 1 << 30),
        _ => (value, 1),
    };
    let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
    count.ok_or(format!("{value:?} is no size, as 8m is"))
}

fn seconds(value: &str) -> Result<Duration, String> {
    let count = value.parse::<u64>().ok().filter(|count| (1..=86_400).contains(count));
    count.map(Duration::from_secs).ok_or(format!("{value:?} is no number of seconds between 1 and 86400"))
}

fn protocol(value: &str) -> Result<Protocol, String> {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" => Ok(Protocol::Http),
        "HTTPS" => Ok(Protocol::Https),
        "GRPC" => Ok(Protocol::H2c),
        "GRPCS" => Ok(Protocol::H2),
        _ => Err(format!("{value:?} is none of HTTP, HTTPS, GRPC and GRPCS")),
    }
}

fn host(value: &str) -> Result<HeaderValue, String> {
    let name = crate::route::host::normalized(value).filter(|_| value.len() <= 260);
    let is_plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    let header = HeaderValue::from_str(value).ok();
    name.and(header).filter(|_| is_plain).ok_or(format!("{value:?} is no host"))
}

fn ranges(value: &str) -> Result<Vec<IpNet>, String> {
    let parse = |text: &str| {
        let text = text.trim();
        let whole = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| whole()).map_err(|_| format!("{text:?} is no range of addresses"))
    };
    let all: Vec<&str> = value.split(',').filter(|text| !text.trim().is_empty()).collect();
    if all.len() > RANGES {
        return Err(format!("there are more than {RANGES} ranges of addresses"));
    }
    all.into_iter().map(parse).collect()
}

fn limits(r: &mut Reader<'_>) -> [Option<Rate>; 2] {
    let (second, minute) = (r.number("limit-rps"), r.number("limit-rpm"));
    let multiplier = r.number("limit-burst-multiplier").unwrap_or(5).max(1);
    [(second, 1.0), (minute, 60.0)].map(|(count, seconds)| {
        let count = count.filter(|count| *count > 0).map(f64::from)?;
        Some(Rate { per_second: count / seconds, burst: count * f64::from(multiplier) })
    })
}

fn token(value: &str) -> Result<String, String> {
    let fits = HeaderName::from_str(value).is_ok() && value.len() <= 128;
    fits.then(|| value.to_owned()).ok_or(format!("{value:?} is no name"))
}

fn affinity(r: &mut Reader<'_>, uid: &str) -> Option<Affinity> {
    let wanted = r.checked("affinity", |value| match value {
        "cookie" => Ok(()),
        other => Err(format!("{other:?} is not \"cookie\"")),
    });
    let cookie = r.checked("session-cookie-name", token).unwrap_or_else(|| "INGRESSCOOKIE".into());
    let plain = |value: &str| {
        let fits = value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';' && byte != b',');
        (fits && value.len() <= 256).then(|| value.to_owned()).ok_or(format!("{value:?} does not fit into a cookie"))
    };
    let mut attributes = format!(
        "; Path={}",
        r.checked("session-cookie-path", path).filter(|path| !path.contains(';')).unwrap_or_else(|| "/".into())
    );
    let expires = r.number("session-cookie-expires");
    if let Some(age) = r.number("session-cookie-max-age").or(expires) {
        attributes += &format!("; Max-Age={age}");
    }
    if let Some(domain) = r.checked("session-cookie-domain", plain) {
        attributes += &format!("; Domain={domain}");
    }
    let same_site = r.checked("session-cookie-samesite", |value| match value {
        "None" | "Lax" | "Strict" => Ok(value.to_owned()),
        other => Err(format!("{other:?} is none of None, Lax and Strict")),
    });
    if let Some(same_site) = same_site {
        attributes += &format!("; SameSite={same_site}");
    }
    if r.flag("session-cookie-secure").unwrap_or(false) {
        attributes += "; Secure";
    }
    let changes_on_failure = r.flag("session-cookie-change-on-failure").unwrap_or(false);
    // Clients stay where they are as long as that is there.
    r.only("affinity-mode", "persistent");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, uid.as_bytes());
    wanted.map(|()| Affinity { cookie, attributes, changes_on_failure, key })
}

fn cors(r: &mut Reader<'_>) -> Option<Cors> {
    let is_wanted = r.flag("enable-cors").unwrap_or(false);
    const METHODS: HeaderValue = HeaderValue::from_static("GET, PUT, POST, DELETE, PATCH, OPTIONS");
    const HEADERS: HeaderValue = HeaderValue::from_static(
        "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
    );
    let names = |value: &str| {
        let fits = |name: &str| name.trim() == "*" || HeaderName::from_str(name.trim()).is_ok();
        let all = value.split(',').all(fits) && value.len() <= 1024;
        HeaderValue::from_str(value).ok().filter(|_| all).ok_or(format!("{value:?} is no list of names"))
    };
    let origin = |value: &str| {
        let origins: Vec<String> = value.split(',').map(|origin| origin.trim().to_owned()).collect();
        let fits = |origin: &String| origin == "*" || origin.contains("://");
        if origins.len() <= 64 && origins.iter().all(fits) {
            Ok(origins)
        } else {
            Err(format!("{value:?} has what is no origin"))
        }
    };
    let methods = |value: &str| {
        let all = value.split(',').all(|method| Method::from_str(method.trim()).is_ok());
        HeaderValue::from_str(value).ok().filter(|_| all).ok_or(format!("{value:?} is no list of methods"))
    };
    let cors = Cors {
        origins: r.checked("cors-allow-origin", origin).unwrap_or_else(|| vec!["*".into()]),
        methods: r.checked("cors-allow-methods", methods).or(Some(METHODS)),
        headers: r.checked("cors-allow-headers", names).or(Some(HEADERS)),
        expose: r.checked("cors-expose-headers", names),
        credentials: r.flag("cors-allow-credentials").unwrap_or(true),
        // A star stays one: every page there is could ask with cookies otherwise.
        echoes: false,
        max_age: r.number("cors-max-age").unwrap_or(1_728_000).into(),
    };
    is_wanted.then_some(cors)
}

fn auth(r: &mut Reader<'_>, namespace: &str) -> Option<Auth> {
    let kind = r.checked("auth-type", |value| match value {
        "basic" => Ok(()),
        other => Err(format!("{other:?} is not \"basic\"")),
    });
    let secret = r.checked("auth-secret", |value| match value.split_once('/') {
        // Nobody is to learn by a route whether a password of another namespace fits.
        Some((other, _)) if other != namespace => Err(format!("{value:?} is in another namespace")),
        Some((_, name)) => Ok(ObjectKey::new(namespace, name)),
        None => Ok(ObjectKey::new(namespace, value)),
    });
    let is_map = r.checked("auth-secret-type", |value| match value {
        "auth-file" => Ok(false),
        "auth-map" => Ok(true),
        other => Err(format!("{other:?} is neither auth-file nor auth-map")),
    });
    let realm = r.text("auth-realm").map(|realm| realm.chars().filter(|c| !c.is_control()).take(128).collect());
    let realm = realm.unwrap_or_else(|| "Authentication Required".to_owned());
    kind?;
    match secret {
        Some(secret) => Some(Auth { secret, is_map: is_map.unwrap_or(false), realm }),
        None => {
            r.fault("auth-type", "needs a secret: auth-secret");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[(&str, &str)]) -> Annotations {
        let all = all.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned())).collect();
        read("n", "uid", &all)
    }

    #[test]
    fn what_nobody_wrote_has_the_usual_values() {
        let none = of(&[]);
        assert!(none.faults.is_empty() && none.ssl_redirect && !none.use_regex && none.policy.cors.is_none());
        assert_eq!(none.policy.read_timeout, Duration::from_secs(60));
    }

    #[test]
    fn values_are_read_and_bad_ones_named() {
        let read = of(&[
            ("proxy-body-size", "8m"),
            ("proxy-read-timeout", "600"),
            ("backend-protocol", "grpc"),
            ("limit-rps", "10"),
            ("whitelist-source-range", "10.0.0.0/8, 192.0.2.1"),
            ("proxy-connect-timeout", "soon"),
        ]);
        assert_eq!((read.policy.max_body, read.policy.read_timeout), (8 << 20, Duration::from_secs(600)));
        assert_eq!(read.protocol, Some(Protocol::H2c));
        assert_eq!(read.policy.limits, [Some(Rate { per_second: 10.0, burst: 50.0 }), None]);
        assert_eq!(read.policy.allowed.unwrap().len(), 2);
        assert_eq!(read.faults.len(), 1);
        assert!(read.faults[0].contains("proxy-connect-timeout is ignored") && !read.is_refused, "{:?}", read.faults);
    }

    #[test]
    fn an_unknown_annotation_is_named_and_one_that_keeps_out_refuses_all() {
        let unknown = of(&[("mirror-target", "x")]);
        assert_eq!(unknown.faults, [format!("annotation {PREFIX}mirror-target is not supported by the class coracle")]);
        assert!(!unknown.is_refused);
        for (name, value) in [
            ("auth-url", "http://auth"),
            ("auth-type", "digest"),
            ("auth-type", "basic"),
            ("auth-secret", "other/passwords"),
            ("whitelist-source-range", "everyone"),
            ("configuration-snippet", "return 200;"),
        ] {
            assert!(of(&[(name, value)]).is_refused, "{name}: {value}");
        }
    }

    #[test]
    fn what_would_be_done_otherwise_is_named() {
        for (name, value, is_named) in [
            ("affinity-mode", "balanced", true),
            ("affinity-mode", "persistent", false),
            ("proxy-http-version", "1.0", true),
            ("proxy-http-version", "1.1", false),
            ("proxy-request-buffering", "on", true),
            ("proxy-request-buffering", "off", false),
            ("proxy-buffer-size", "8k", true),
            ("session-cookie-change-on-failure", "true", false),
            ("canary", "false", false),
        ] {
            assert_eq!(of(&[(name, value)]).faults.len(), usize::from(is_named), "{name}: {value}");
        }
        for all in
            [&[("canary", "true"), ("canary-weight", "10")][..], &[("canary-weight", "10")], &[("canary", "yes")]]
        {
            let read = of(all);
            assert!(read.is_canary && read.faults.len() == 1, "{:?}", read.faults);
        }
        assert!(!of(&[("canary", "false"), ("canary-weight", "10")]).is_canary);
        let both = of(&[("limit-rps", "1"), ("limit-rpm", "30"), ("limit-burst-multiplier", "2")]);
        let rate = |per_second, burst| Some(Rate { per_second, burst });
        assert_eq!(both.policy.limits, [rate(1.0, 2.0), rate(0.5, 60.0)]);
        let many = vec!["10.0.0.1"; RANGES + 1].join(",");
        assert!(of(&[("denylist-source-range", &many)]).is_refused);
    }

    #[test]
    fn nothing_can_be_written_into_headers() {
        for (name, value) in [
            ("permanent-redirect", "http://a\r\nSet-Cookie: x"),
            ("permanent-redirect", "javascript:alert(1)"),
            ("upstream-vhost", "a\r\nX: y"),
            ("session-cookie-name", "a=b; Domain=x"),
            ("session-cookie-domain", "a; Secure"),
            ("cors-allow-headers", "A\nB"),
            ("app-root", "root"),
            ("rewrite-target", "/a\r\nb"),
        ] {
            let read = of(&[(name, value)]);
            assert_eq!(read.faults.len(), 1, "{name}: {value}");
        }
    }
}
