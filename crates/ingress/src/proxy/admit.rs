//! Who may ask, how often, and what browsers are told; and the path as it is rewritten.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, COOKIE, ORIGIN, SET_COOKIE, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use parking_lot::Mutex;
use smol_str::SmolStr;

use super::{Peer, Reply, reply};
use crate::password;
use crate::route::action::{Action, Affinity, Cors, HeaderChanges, Rewrite};
use crate::route::path::{Path, encoded};
use crate::route::{Found, PathMatch};

/// How many addresses are remembered that made requests of limited routes.
const REMEMBERED: usize = 65_536;

/// A hash of which nobody knows the password.
const NOBODY: &str = "$apr1$nobodyis$0000000000000000000000";

/// How many requests one address may make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Each second.
    pub per_second: f64,
    /// At once.
    pub burst: f64,
}

/// What is left of what addresses may make of routes, by each of their rates.
#[derive(Default)]
pub struct Limiter(Mutex<HashMap<(SmolStr, IpAddr), Left>>);

struct Left {
    tokens: [f64; 2],
    at: Instant,
}

impl Limiter {
    fn allows(&self, route: &SmolStr, client: IpAddr, rates: [Option<Rate>; 2]) -> bool {
        let mut left = self.0.lock();
        let now = Instant::now();
        if left.len() >= REMEMBERED {
            // Whoever made none for a while has all of it again.
            left.retain(|_, left| now.duration_since(left.at).as_secs() < 60);
            if left.len() >= REMEMBERED {
                left.clear();
            }
        }
        let entry = left.entry((route.clone(), client));
        let Left { tokens, at } = entry.or_insert(Left { tokens: [f64::INFINITY; 2], at: now });
        let passed = now.duration_since(*at).as_secs_f64();
        *at = now;
        for (tokens, rate) in tokens.iter_mut().zip(rates) {
            *tokens = rate.map_or(f64::INFINITY, |rate| (*tokens + passed * rate.per_second).min(rate.burst));
        }
        let is_allowed = tokens.iter().all(|tokens| *tokens >= 1.0);
        if is_allowed {
            tokens.iter_mut().for_each(|tokens| *tokens -= 1.0);
        }
        is_allowed
    }
}

/// Whether a request may go on; answers what its answer has in addition.
///
/// # Errors
/// It may not: what it is answered instead.
pub fn admit<B>(limiter: &Limiter, peer: &Peer, action: &Action, request: &Request<B>) -> Result<HeaderChanges, Reply> {
    let (policy, client) = (&action.policy, peer.address.ip());
    let is_in = |ranges: &[ipnet::IpNet]| ranges.iter().any(|range| range.contains(&client));
    if is_in(&policy.denied) || policy.allowed.as_ref().is_some_and(|ranges| !is_in(ranges)) {
        return Err(reply(StatusCode::FORBIDDEN));
    }
    if policy.limits.iter().any(Option::is_some) && !limiter.allows(&action.source, client, policy.limits) {
        return Err(reply(StatusCode::SERVICE_UNAVAILABLE));
    }
    let mut extra = HeaderChanges::default();
    if let Some(cors) = &policy.cors {
        extra = allow_origin(cors, request.headers());
        let is_question = request.method() == Method::OPTIONS
            && request.headers().contains_key(ORIGIN)
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if is_question {
            let mut answer = http::Response::new(Bytes::new());
            *answer.status_mut() = StatusCode::NO_CONTENT;
            extra.apply(answer.headers_mut());
            return Err(Box::new(answer));
        }
    }
    if let Some(auth) = &policy.basic_auth {
        let known = request.headers().get(AUTHORIZATION).and_then(credentials).is_some_and(|(name, given)| {
            // Nobody learns by the time that it takes which names there are.
            let hash = auth.users.get(&name);
            password::fits(hash.map_or(NOBODY, String::as_str), &given) && hash.is_some()
        });
        if !known {
            let mut answer = reply(StatusCode::UNAUTHORIZED);
            let realm = auth.realm.replace(['"', '\\'], "");
            if let Ok(challenge) = HeaderValue::try_from(format!("Basic realm=\"{realm}\"")) {
                answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            extra.apply(answer.headers_mut());
            return Err(answer);
        }
    }
    Ok(extra)
}

/// Name and password of `Authorization: Basic`.
fn credentials(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, value) = header.to_str().ok()?.split_once(' ')?;
    let decoded = password::base64(value.trim()).filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn allow_origin(cors: &Cors, headers: &HeaderMap) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    let Some(origin) = headers.get(ORIGIN) else { return changes };
    let text = origin.to_str().unwrap_or_default();
    let is_any = cors.origins.iter().any(|allowed| allowed == "*");
    if !is_any && !cors.origins.iter().any(|allowed| fits_origin(allowed, text)) {
        return changes;
    }
    let star = HeaderValue::from_static("*");
    let named = if is_any && !cors.echoes { star.clone() } else { origin.clone() };
    changes.set.push((ACCESS_CONTROL_ALLOW_ORIGIN, named));
    for (name, allowed, asked) in [
        (ACCESS_CONTROL_ALLOW_METHODS, &cors.methods, ACCESS_CONTROL_REQUEST_METHOD),
        (ACCESS_CONTROL_ALLOW_HEADERS, &cors.headers, ACCESS_CONTROL_REQUEST_HEADERS),
    ] {
        let allowed = match allowed {
            Some(any) if cors.echoes && *any == star => headers.get(asked),
            allowed => allowed.as_ref(),
        };
        changes.set.extend(allowed.map(|allowed| (name, allowed.clone())));
    }
    changes.set.push((ACCESS_CONTROL_MAX_AGE, cors.max_age.clone()));
    if cors.credentials {
        changes.set.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
    }
    if let Some(exposed) = &cors.expose {
        changes.set.push((ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone()));
    }
    changes.add.push((VARY, HeaderValue::from_static("Origin")));
    changes
}

/// A star stands for one label or more at the beginning of the host, or for all of it.
fn fits_origin(allowed: &str, origin: &str) -> bool {
    let fits =
        |(scheme, rest): &(&str, &str)| scheme.ends_with("://") && (rest.is_empty() || rest.starts_with(['.', ':']));
    match allowed.split_once('*').filter(fits) {
        None => allowed.eq_ignore_ascii_case(origin),
        Some((scheme, rest)) => origin.strip_prefix(scheme).is_some_and(|host| {
            let (host, rest) = (host.to_ascii_lowercase(), rest.to_ascii_lowercase());
            host.strip_suffix(&rest).is_some_and(|labels| !labels.is_empty() && !labels.contains(':'))
        }),
    }
}

/// The parts of a path that a rewrite works with.
pub struct Ways {
    compared: String,
    sent: String,
    prefix: Option<usize>,
}

impl Ways {
    /// Of a path that took a route.
    pub fn of(found: &Found<'_>, path: &Path<'_>) -> Ways {
        let prefix = matches!(found.matched, Some(PathMatch::Prefix(_))).then_some(found.end);
        Ways { compared: path.compared.clone().into_owned(), sent: path.sent.clone().into_owned(), prefix }
    }

    /// The path that comes of it, encoded; an expression may lead to one with a query.
    pub fn rewritten(&self, rewrite: &Rewrite) -> String {
        let mut query = None;
        let changed = match rewrite {
            Rewrite::Full(path) => path.clone(),
            Rewrite::Prefix(with) => match self.prefix {
                Some(end) => {
                    let rest = &self.compared[end..];
                    let with = with.strip_suffix('/').unwrap_or(with);
                    format!("{with}{rest}")
                }
                None => return self.sent.clone(),
            },
            Rewrite::Expression(regex, with, asked) => match regex.captures(&self.compared) {
                Some(groups) => {
                    let mut whole = String::new();
                    groups.expand(with, &mut whole);
                    query = asked.as_ref().map(|asked| expanded(asked, &groups));
                    whole
                }
                None => return self.sent.clone(),
            },
        };
        let changed = if changed.starts_with('/') { changed } else { format!("/{changed}") };
        // What a client put into a group shall not lead out of where the rewrite leads.
        let changed = crate::route::path::canonical(&encoded(&changed)).unwrap_or_else(|| "/".into());
        let path = encoded(&changed);
        query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
    }
}

/// A query in which groups of an expression stand, none of which can end a parameter.
fn expanded(query: &str, groups: &regex::Captures<'_>) -> String {
    let value = |number: usize| {
        let group = groups.get(number).map_or("", |group| group.as_str());
        encoded(group).replace('&', "%26").replace('+', "%2B").replace(';', "%3B").replace('=', "%3D")
    };
    let fill = |query: String, number: usize| query.replace(&format!("${{{number}}}"), &value(number));
    (0..10).fold(query.to_owned(), fill).replace("$$", "$")
}

/// The cookie of a client that stays where it was.
pub struct Sticky<'a> {
    affinity: &'a Affinity,
    value: Option<u64>,
}

impl<'a> Sticky<'a> {
    /// What a request says of it.
    pub fn of(affinity: &'a Affinity, headers: &HeaderMap) -> Sticky<'a> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|all| all.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let found = pairs.find(|(name, _)| *name == affinity.cookie);
        Sticky { affinity, value: found.and_then(|(_, value)| u64::from_str_radix(value, 16).ok()) }
    }

    /// The place of the endpoint where the client was, if it is still there.
    pub fn place(&self, endpoints: &[SocketAddr]) -> Option<usize> {
        let value = self.value?;
        endpoints.iter().position(|endpoint| self.number(endpoint) == value)
    }

    /// Whether a client is to come again to the endpoint that it was led to, as it had none, or that could not be reached.
    pub fn moves(&self, before: Option<SocketAddr>, now: SocketAddr) -> bool {
        before.is_none_or(|before| before != now && self.affinity.changes_on_failure)
    }

    /// Has the client come to this endpoint again.
    pub fn set(&self, headers: &mut HeaderMap, endpoint: SocketAddr, is_tls: bool) {
        let Affinity { cookie, attributes, .. } = self.affinity;
        let secure = if is_tls { "; Secure" } else { "" };
        let text = format!("{cookie}={:016x}{attributes}; HttpOnly{secure}", self.number(&endpoint));
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(SET_COOKIE, value);
        }
    }

    /// An endpoint's number: the same on every server, and nobody learns the address from it.
    fn number(&self, endpoint: &SocketAddr) -> u64 {
        let tag = ring::hmac::sign(&self.affinity.key, endpoint.to_string().as_bytes());
        tag.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_path_is_rewritten_and_stays_below_what_it_becomes() {
        let ways = |path: &str, prefix: Option<usize>| Ways { compared: path.into(), sent: path.into(), prefix };
        let expression = |from: &str, to: &str| {
            Rewrite::Expression(crate::route::bounded_regex(from, true).unwrap(), to.to_owned(), None)
        };
        let something = expression("^/something(/|$)(.*)", "/${2}");
        assert_eq!(ways("/something", None).rewritten(&something), "/");
        assert_eq!(ways("/something/new?x", None).rewritten(&something), "/new%3Fx");
        let nested = expression("^/something/(.*)", "/inner/${1}");
        assert_eq!(ways("/something/a b", None).rewritten(&nested), "/inner/a%20b");
        let Rewrite::Expression(regex, ..) = &nested else { panic!() };
        let asked = Rewrite::Expression(regex.clone(), "/i".into(), Some("p=${1}&c=$$${7}".into()));
        assert_eq!(ways("/something/a&b=c d", None).rewritten(&asked), "/i?p=a%26b%3Dc%20d&c=$");
        let prefix = |with: &str| Rewrite::Prefix(with.into());
        for (path, end, with, wanted) in [
            ("/foo/bar", 4, "/xyz", "/xyz/bar"),
            ("/foo/bar", 4, "/xyz/", "/xyz/bar"),
            ("/foo/bar", 4, "", "/bar"),
            ("/foo/bar", 4, "/", "/bar"),
            ("/foo", 4, "/", "/"),
            ("/foo/", 4, "/xyz", "/xyz/"),
            ("/foo", 4, "/xyz", "/xyz"),
        ] {
            assert_eq!(ways(path, Some(end)).rewritten(&prefix(with)), wanted, "{path} {with}");
        }
    }

    #[test]
    fn every_origin_is_a_star_and_never_the_one_that_asks() {
        let asked = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("https://evil.example"))]);
        let named = |origins: &[&str]| {
            let text = HeaderValue::from_static;
            let cors = Cors {
                origins: origins.iter().map(ToString::to_string).collect(),
                methods: Some(text("GET")),
                headers: Some(text("Range")),
                expose: None,
                credentials: true,
                echoes: false,
                max_age: text("1"),
            };
            let mut headers = HeaderMap::new();
            allow_origin(&cors, &asked).apply(&mut headers);
            headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert_eq!(named(&["*"]).unwrap(), "*");
        assert_eq!(named(&["https://a.example", "*"]).unwrap(), "*");
        assert_eq!(named(&["https://*.example"]).unwrap(), "https://evil.example");
        assert_eq!(named(&["https://a.example"]), None);
    }

    #[test]
    fn what_is_asked_for_stands_in_the_place_of_stars_where_cookies_are_allowed() {
        let text = HeaderValue::from_static;
        let cors = |echoes| Cors {
            origins: vec!["*".into()],
            methods: Some(text("*")),
            headers: Some(text("*")),
            expose: None,
            credentials: echoes,
            echoes,
            max_age: text("5"),
        };
        let told = |echoes, asked: &[(HeaderName, &'static str)]| {
            let asked = asked.iter().map(|(name, value)| (name.clone(), text(value))).collect();
            let mut headers = HeaderMap::new();
            allow_origin(&cors(echoes), &asked).apply(&mut headers);
            [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_HEADERS]
                .map(|name| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned())
        };
        let question = [
            (ORIGIN, "https://a.example"),
            (ACCESS_CONTROL_REQUEST_METHOD, "PUT"),
            (ACCESS_CONTROL_REQUEST_HEADERS, "x-one, x-two"),
        ];
        assert_eq!(told(true, &question), ["https://a.example", "PUT", "x-one, x-two"]);
        assert_eq!(told(true, &question[..1]), ["https://a.example", "", ""]);
        assert_eq!(told(false, &question), ["*", "*", "*"]);
    }

    #[test]
    fn origins_are_compared_by_labels() {
        assert!(fits_origin("https://*.example.com", "https://a.example.com"));
        assert!(!fits_origin("https://*.example.com", "https://example.com"));
        assert!(!fits_origin("https://*.example.com", "https://evilexample.com"));
        assert!(!fits_origin("https://*.example.com", "http://a.example.com"));
        assert!(!fits_origin("https://*.example.com", "https://a.example.com:8443"));
        assert!(fits_origin("https://*.example.com:8443", "https://a.b.example.com:8443"));
        assert!(fits_origin("https://*", "https://a") && !fits_origin("https://*", "https://a:1"));
        assert!(!fits_origin("https://a*.b", "https://ac.b") && !fits_origin("https://*b", "https://cb"));
        assert!(fits_origin("https://a.b", "https://A.b"));
    }

    #[test]
    fn an_address_has_its_burst_and_then_waits() {
        let (limiter, client) = (Limiter::default(), IpAddr::from([192, 0, 2, 1]));
        let rate = Rate { per_second: 0.001, burst: 5.0 };
        let slower = Rate { per_second: 0.001, burst: 3.0 };
        let allowed =
            |route: &str, client, rates| (0..8).filter(|_| limiter.allows(&route.into(), client, rates)).count();
        assert_eq!(allowed("n/web", client, [Some(rate), None]), 5);
        assert_eq!(allowed("n/web", [192, 0, 2, 2].into(), [Some(rate), None]), 5);
        assert_eq!(allowed("n/both", client, [Some(rate), Some(slower)]), 3);
    }

    #[test]
    fn a_cookie_leads_to_the_same_endpoint_on_every_server() {
        let affinity = |uid: &str, changes_on_failure| Affinity {
            cookie: "c".into(),
            attributes: String::new(),
            changes_on_failure,
            key: ring::hmac::Key::new(ring::hmac::HMAC_SHA256, uid.as_bytes()),
        };
        let endpoints: Vec<SocketAddr> = ["10.0.0.1:80", "10.0.0.2:80"].map(|text| text.parse().unwrap()).into();
        let one = affinity("uid", false);
        let mut answer = HeaderMap::new();
        Sticky::of(&one, &HeaderMap::new()).set(&mut answer, endpoints[1], false);
        let cookie = answer[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let asked = HeaderMap::from_iter([(COOKIE, HeaderValue::try_from(cookie).unwrap())]);
        assert_eq!(Sticky::of(&affinity("uid", false), &asked).place(&endpoints), Some(1));
        assert_eq!(Sticky::of(&affinity("other", false), &asked).place(&endpoints), None);
        let moves = |affinity: &Affinity, before: Option<usize>| {
            Sticky::of(affinity, &asked).moves(before.map(|place| endpoints[place]), endpoints[0])
        };
        assert_eq!((moves(&one, None), moves(&one, Some(1)), moves(&one, Some(0))), (true, false, false));
        assert!(moves(&affinity("uid", true), Some(1)));
    }
}
