//! Routes of the Gateway API: to which listeners they belong, and what they become there.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::ObjectKey;
use http::{HeaderName, Method};

use super::filters;
use super::grants::permits;
use super::listeners::{Heard, Protocol};
use super::types::{
    BackendRef, Filter, GROUP, GrpcMatch, GrpcRule, HttpMatch, HttpRule, Named, ObjectRef, ParentRef, RequestMirror,
    TlsRule,
};
use super::{Means, status::Condition};
use crate::backend::{self, Backend, Fault, Port, Reference};
use crate::route::action::{Action, HeaderChanges, Mirror, Policy, Target, Weighted};
use crate::route::{Match, PATH_OF_RULE, PathMatch, Route, ValueMatch, bounded_regex};

/// A route of any kind.
pub struct AnyRoute {
    /// Its kind.
    pub kind: &'static str,
    /// The plural of that, and its version.
    pub at: (&'static str, &'static str),
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its generation.
    pub generation: i64,
    /// To which Gateways it belongs.
    pub parents: Vec<ParentRef>,
    /// For which hosts it is.
    pub hostnames: Vec<String>,
    /// What it does.
    pub rules: Rules,
    /// What was told of it.
    pub status: serde_json::Value,
    /// The name of the object in its version now.
    pub version: Option<String>,
}

/// The rules of a route.
pub enum Rules {
    /// Of an HTTPRoute.
    Http(Vec<HttpRule>),
    /// Of a GRPCRoute.
    Grpc(Vec<GrpcRule>),
    /// Of a TLSRoute.
    Tls(Vec<TlsRule>),
}

/// What became of the rules of a route.
#[derive(Default)]
pub struct Made {
    /// For HTTP: what takes a route, and what becomes of it.
    pub routes: Vec<Route>,
    /// For TLS: where connections go.
    pub backends: Vec<(u32, Arc<Backend>)>,
    /// Why references lead nowhere.
    pub unresolved: Option<(&'static str, String)>,
    /// What cannot be followed. The rules of which that is are answered by an error.
    pub unsupported: Option<String>,
    /// No rule is served.
    pub is_refused: bool,
    /// What is named and is not there: it is followed, as it may come.
    pub awaited: Vec<Arc<Backend>>,
}

/// Makes what a route becomes, wherever it belongs.
pub fn make(route: &AnyRoute, means: &Means<'_>) -> Made {
    let mut making = Making { route, means, made: Made::default(), fault: None, is_served: false, is_unplaced: false };
    match &route.rules {
        Rules::Http(rules) => rules.iter().for_each(|rule| making.http(rule)),
        Rules::Grpc(rules) => rules.iter().for_each(|rule| making.grpc(rule)),
        Rules::Tls(rules) => {
            for reference in rules.iter().flat_map(|rule| &rule.backend_refs) {
                // The share of one that leads nowhere is refused, and no other's.
                let backend = making.backend(&reference.to, None);
                let backend = backend.unwrap_or_else(|| Backend::fixed("none", Vec::new(), backend::Protocol::Http));
                making.made.backends.push((reference.weight.unwrap_or(1), backend));
            }
            return making.made;
        }
    }
    making.finish()
}

struct Making<'a> {
    route: &'a AnyRoute,
    means: &'a Means<'a>,
    made: Made,
    /// Why the rule that is being made cannot be followed.
    fault: Option<String>,
    /// Whether a rule can be.
    is_served: bool,
    /// Whether there is a match of which nobody knows what takes it.
    is_unplaced: bool,
}

impl Making<'_> {
    fn http(&mut self, rule: &HttpRule) {
        let (request, backend) = self.checked(filters::timeouts(&rule.timeouts)).unwrap_or_default();
        let retry = rule.retry.as_ref().and_then(|asked| self.checked(filters::retry(asked))).map(Into::into);
        let policy = Policy { request_timeout: request, backend_timeout: backend, retry, ..unhurried() };
        self.has_none("sessionPersistence", &rule.session_persistence);
        let action = self.action(&rule.filters, &rule.backend_refs, policy);
        let whole = [HttpMatch::default()];
        let matches = if rule.matches.is_empty() { &whole[..] } else { &rule.matches };
        self.rule(action, matches.iter().map(http_match));
    }

    fn grpc(&mut self, rule: &GrpcRule) {
        let policy = Policy { is_grpc: true, ..unhurried() };
        self.has_none("sessionPersistence", &rule.session_persistence);
        let action = self.action(&rule.filters, &rule.backend_refs, policy);
        let whole = [GrpcMatch::default()];
        let matches = if rule.matches.is_empty() { &whole[..] } else { &rule.matches };
        self.rule(action, matches.iter().map(grpc_match));
    }

    /// Adds a rule. One that cannot be followed is answered by an error in its place, so that nothing that it is to keep out
    /// takes a less special one.
    fn rule(&mut self, mut action: Action, matches: impl Iterator<Item = Result<Match, String>>) {
        let found: Vec<Match> = matches.filter_map(|found| self.placed(found)).collect();
        match self.fault.take() {
            None => self.is_served = true,
            Some(why) => {
                action.target = FAILS;
                self.made.unsupported.get_or_insert(why);
            }
        }
        let action = Arc::new(action);
        self.made.routes.extend(found.into_iter().map(|matches| Route { matches, action: action.clone() }));
    }

    fn placed(&mut self, found: Result<Match, String>) -> Option<Match> {
        self.is_unplaced |= found.is_err();
        self.checked(found)
    }

    /// What became of the rules. If it is not known what one of them takes, none is served, and whatever no other route takes
    /// more specially is answered by an error.
    fn finish(mut self) -> Made {
        self.made.is_refused = self.made.unsupported.is_some() && (self.is_unplaced || !self.is_served);
        if self.is_unplaced {
            let policy = Policy { is_grpc: matches!(self.route.rules, Rules::Grpc(_)), ..Policy::default() };
            let action = Arc::new(Action { source: self.route.key.to_string().into(), target: FAILS, policy });
            self.made.routes.iter_mut().for_each(|route| route.action = action.clone());
            self.made.routes.push(Route { matches: Match::of(PathMatch::prefix("/")), action });
        }
        self.made
    }

    /// What could be read; else the rule cannot be followed.
    fn checked<T>(&mut self, read: Result<T, String>) -> Option<T> {
        read.map_err(|why| self.fault.get_or_insert(why).clone()).ok()
    }

    fn has_none(&mut self, name: &str, value: &Option<serde_json::Value>) {
        if value.is_some() {
            self.fault.get_or_insert_with(|| format!("{name} is not supported"));
        }
    }

    fn action(&mut self, all: &[Filter], backends: &[BackendRef], mut policy: Policy) -> Action {
        let mut redirect = None;
        for filter in all {
            if let Some(why) = filters::unsupported(filter) {
                self.fault.get_or_insert(why);
            }
            self.headers(filter, &mut policy.headers, &mut policy.response_headers);
            if let Some(asked) = &filter.request_redirect {
                redirect = Some(filters::redirect(asked));
            }
            if let Some(asked) = &filter.url_rewrite {
                policy.rewrite = asked.path.as_ref().map(filters::path);
                let host = |host: &str| host.parse().map_err(|_| format!("{host:?} is no host"));
                policy.host = self.checked(asked.hostname.as_deref().map(host).transpose()).flatten();
            }
            if let Some(asked) = &filter.cors {
                policy.cors = self.checked(filters::cors(asked)).map(Into::into);
            }
            policy.mirrors.extend(filter.request_mirror.as_ref().and_then(|mirror| self.mirror(mirror)));
        }
        let source = self.route.key.to_string().into();
        let target = match redirect {
            Some(redirect) => Target::Redirect(redirect),
            None => Target::Backends(backends.iter().map(|backend| self.weighted(backend)).collect()),
        };
        Action { source, target, policy }
    }

    /// Adds what a filter changes of headers.
    fn headers(&mut self, filter: &Filter, request: &mut HeaderChanges, response: &mut HeaderChanges) {
        for (modifier, changes) in
            [(&filter.request_header_modifier, request), (&filter.response_header_modifier, response)]
        {
            if let Some(more) = modifier.as_ref().and_then(|modifier| self.checked(filters::headers(modifier))) {
                filters::join(changes, more);
            }
        }
    }

    fn mirror(&mut self, mirror: &RequestMirror) -> Option<Mirror> {
        let backend = self.backend(&mirror.backend_ref, self.protocol_of(&mirror.backend_ref))?;
        let (numerator, denominator) = match (&mirror.fraction, mirror.percent) {
            (Some(fraction), _) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
            (None, Some(percent)) => (percent, 100),
            (None, None) => (1, 1),
        };
        Some(Mirror { backend, numerator, denominator })
    }

    fn weighted(&mut self, reference: &BackendRef) -> Weighted {
        let (mut headers, mut response_headers) = (HeaderChanges::default(), HeaderChanges::default());
        for filter in &reference.filters {
            let is_header = matches!(filter.kind.as_str(), "RequestHeaderModifier" | "ResponseHeaderModifier");
            if !is_header {
                let why = format!("filters of type {} of a backend are not supported", filter.kind);
                self.fault.get_or_insert(why);
            }
            self.headers(filter, &mut headers, &mut response_headers);
        }
        let backend = self.backend(&reference.to, self.protocol_of(&reference.to));
        Weighted { weight: reference.weight.unwrap_or(1), backend, headers, response_headers }
    }

    /// What is spoken there: what the service's port says, and by calls HTTP/2 in any case.
    fn protocol_of(&self, reference: &ObjectRef) -> Option<backend::Protocol> {
        let Rules::Grpc(_) = &self.route.rules else { return None };
        let namespace = reference.namespace.as_ref().unwrap_or(&self.route.key.namespace);
        let service = ObjectKey::new(namespace.clone(), reference.name.clone());
        match self.means.backends.says(&service, &Port::Number(reference.port.unwrap_or_default().into())) {
            Some(backend::Protocol::Https | backend::Protocol::H2) => Some(backend::Protocol::H2),
            _ => Some(backend::Protocol::H2c),
        }
    }

    /// The service to which a reference leads, if it leads to one.
    fn backend(&mut self, reference: &ObjectRef, protocol: Option<backend::Protocol>) -> Option<Arc<Backend>> {
        let own = &self.route.key.namespace;
        let (group, kind) =
            (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Service"));
        let key = ObjectKey::new(reference.namespace.as_deref().unwrap_or(own), reference.name.clone());
        let mut fault = |reason, message: String| {
            self.made.unresolved = self.made.unresolved.take().or(Some((reason, message)));
            None
        };
        if !group.is_empty() || kind != "Service" {
            return fault("InvalidKind", format!("{kind} {key} is no service"));
        }
        if key.namespace != *own && !permits(self.means.grants, (GROUP, self.route.kind, own), ("", "Service", &key)) {
            return fault("RefNotPermitted", format!("no ReferenceGrant allows to refer to service {key}"));
        }
        let Some(port) = reference.port else {
            return fault("UnsupportedValue", format!("the reference to service {key} names no port"));
        };
        let meant = Reference { service: key.clone(), port: Port::Number(port.into()), protocol };
        let backend = self.means.backends.get(meant);
        let found = backend.endpoints().fault;
        if found.is_some() {
            self.made.awaited.push(backend.clone());
        }
        match found {
            None => Some(backend),
            Some(Fault::NoService) => fault("BackendNotFound", format!("service {key} is not there")),
            Some(Fault::NoPort) => fault("BackendNotFound", format!("service {key} has no port {port}")),
            Some(Fault::ExternalName) => {
                fault("UnsupportedValue", format!("service {key} is a name elsewhere, to which no request is led"))
            }
        }
    }
}

/// The answer of a rule that cannot be followed.
const FAILS: Target = Target::Answer(http::StatusCode::INTERNAL_SERVER_ERROR);

/// Nothing ends for the time that it takes, unless that is asked for.
fn unhurried() -> Policy {
    Policy { read_timeout: Duration::MAX, send_timeout: Duration::MAX, ..Policy::default() }
}

fn value(named: &Named) -> Result<ValueMatch, String> {
    match named.kind.as_deref() {
        None | Some("Exact") => Ok(ValueMatch::Exact(named.value.clone())),
        // The whole value is compared.
        Some("RegularExpression") => bounded_regex(&format!("^(?:{})$", named.value), false).map(ValueMatch::Regex),
        Some(other) => Err(format!("comparisons of type {other} are not supported")),
    }
}

fn header_matches(all: &[Named]) -> Result<Vec<(HeaderName, ValueMatch)>, String> {
    // Of several of one name, the first counts.
    let mut by_name: BTreeMap<String, &Named> = BTreeMap::new();
    for one in all {
        by_name.entry(one.name.to_ascii_lowercase()).or_insert(one);
    }
    let found = by_name.into_values().map(|one| {
        let name = HeaderName::from_str(&one.name).map_err(|_| format!("{:?} is no name of a header", one.name))?;
        Ok((name, value(one)?))
    });
    found.collect()
}

fn http_match(asked: &HttpMatch) -> Result<Match, String> {
    let root = Named { value: "/".into(), ..Named::default() };
    let path = asked.path.as_ref().unwrap_or(&root);
    let text = if path.value.is_empty() { "/" } else { &path.value };
    if text.len() > PATH_OF_RULE {
        return Err(format!("a path has more than {PATH_OF_RULE} bytes"));
    }
    let path = match path.kind.as_deref() {
        None | Some("PathPrefix") => PathMatch::prefix(text),
        Some("Exact") => PathMatch::exact(text),
        Some("RegularExpression") => PathMatch::Regex(bounded_regex(&format!("^(?:{text})$"), false)?),
        Some(other) => return Err(format!("paths of type {other} are not supported")),
    };
    let method = asked.method.as_deref().map(Method::from_str).transpose();
    let query = asked.query_params.iter().map(|one| Ok((one.name.clone(), value(one)?)));
    Ok(Match {
        path,
        method: method.map_err(|error| error.to_string())?,
        headers: header_matches(&asked.headers)?,
        query: query.collect::<Result<_, String>>()?,
        call: None,
    })
}

fn grpc_match(asked: &GrpcMatch) -> Result<Match, String> {
    let method = asked.method.clone().unwrap_or_default();
    let service = method.service.filter(|text| !text.is_empty());
    let name = method.method.filter(|text| !text.is_empty());
    let is_expression = method.kind.as_deref() == Some("RegularExpression");
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let call = Some((length(&service), length(&name)));
    let path = match (service, name, is_expression) {
        (None, None, _) => PathMatch::prefix("/"),
        (Some(service), Some(name), false) => PathMatch::exact(&format!("/{service}/{name}")),
        (Some(service), None, false) => PathMatch::prefix(&format!("/{service}")),
        (None, Some(name), false) => {
            PathMatch::Regex(bounded_regex(&format!("^/[^/]+/{}$", regex::escape(&name)), false)?)
        }
        (service, name, true) => {
            let (service, name) = (service.unwrap_or("[^/]+".into()), name.unwrap_or("[^/]+".into()));
            PathMatch::Regex(bounded_regex(&format!("^/(?:{service})/(?:{name})$"), false)?)
        }
    };
    Ok(Match { path, method: None, headers: header_matches(&asked.headers)?, query: Vec::new(), call })
}

/// The hosts for which a route is at a listener: those that both name. `None` if there are none.
pub fn common_hosts(listener: Option<&str>, route: &[String]) -> Option<Vec<String>> {
    let listener = listener.unwrap_or_default().to_ascii_lowercase();
    if route.is_empty() {
        return Some(vec![listener]);
    }
    let both = |own: &String| {
        let own = own.to_ascii_lowercase();
        match (listener.strip_prefix('*'), own.strip_prefix('*')) {
            _ if listener.is_empty() || listener == own => Some(own),
            (Some(suffix), None) => own.ends_with(suffix).then_some(own),
            (None, Some(suffix)) => listener.ends_with(suffix).then(|| listener.clone()),
            // The longer of two stars has all that both have.
            (Some(one), Some(other)) if other.ends_with(one) => Some(own),
            (Some(one), Some(other)) if one.ends_with(other) => Some(listener.clone()),
            _ => None,
        }
    };
    let hosts: Vec<String> = route.iter().filter_map(both).collect();
    (!hosts.is_empty()).then_some(hosts)
}

/// The places among the listeners of a Gateway to which a reference attaches a route, with the hosts there.
///
/// # Errors
/// There are none: the reason and what it is.
pub fn attach(
    route: &AnyRoute,
    reference: &ParentRef,
    gateway: &ObjectKey,
    heard: &[Heard],
    means: &Means<'_>,
) -> Result<Vec<(usize, Vec<String>)>, Condition> {
    let refused = |reason, message: &str| Err(Condition::new("Accepted", false, reason, message));
    let is_meant = |one: &Heard| {
        reference.section_name.as_ref().is_none_or(|name| *name == one.listener.name)
            && reference.port.is_none_or(|port| port == one.listener.port)
    };
    let meant: Vec<usize> = (0..heard.len()).filter(|at| is_meant(&heard[*at])).collect();
    if meant.is_empty() {
        return refused("NoMatchingParent", "the Gateway has no such listener");
    }
    let allows = |at: &usize| {
        let one = &heard[*at];
        one.kinds.contains(&route.kind) && means.allows(one, gateway, &route.key.namespace)
    };
    let allowed: Vec<usize> = meant.into_iter().filter(allows).collect();
    if allowed.is_empty() {
        return refused("NotAllowedByListeners", "no listener takes routes of this kind and namespace");
    }
    let with_hosts: Vec<(usize, Vec<String>)> = allowed
        .into_iter()
        .filter_map(|at| Some((at, common_hosts(heard[at].listener.hostname.as_deref(), &route.hostnames)?)))
        .collect();
    if with_hosts.is_empty() {
        return refused("NoMatchingListenerHostname", "no listener is for a host of the route");
    }
    Ok(with_hosts)
}

/// Whether a listener speaks what a route is about: those of TLS have no HTTP.
pub fn is_http(one: &Heard) -> bool {
    matches!(one.protocol, Some(Protocol::Http | Protocol::Https))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_for_the_hosts_that_its_listener_has_too() {
        let common = |listener: &str, route: &[&str]| {
            let route: Vec<String> = route.iter().map(|host| (*host).to_owned()).collect();
            common_hosts(Some(listener).filter(|host| !host.is_empty()), &route).map(|hosts| hosts.join(" "))
        };
        assert_eq!(common("", &[]).as_deref(), Some(""));
        assert_eq!(common("a.com", &[]).as_deref(), Some("a.com"));
        assert_eq!(common("", &["a.com", "*.b.com"]).as_deref(), Some("a.com *.b.com"));
        assert_eq!(common("*.a.com", &["x.a.com", "a.com", "x.y.a.com"]).as_deref(), Some("x.a.com x.y.a.com"));
        assert_eq!(common("x.a.com", &["*.a.com", "*.com", "*.x.a.com"]).as_deref(), Some("x.a.com x.a.com"));
        assert_eq!(common("*.a.com", &["*.x.a.com", "*.com"]).as_deref(), Some("*.x.a.com *.a.com"));
        assert_eq!(common("*.a.com", &["b.com", "*.ba.com"]), None);
    }

    #[test]
    fn calls_are_paths() {
        let path = |kind: Option<&str>, service: Option<&str>, method: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let method =
                super::super::types::GrpcMethod { kind: text(kind), service: text(service), method: text(method) };
            match grpc_match(&GrpcMatch { method: Some(method), headers: vec![] }).unwrap().path {
                PathMatch::Exact(path) => path,
                PathMatch::Prefix(path) => format!("{path}/*"),
                PathMatch::Regex(regex) => regex.to_string(),
            }
        };
        assert_eq!(path(None, Some("pkg.S"), Some("M")), "/pkg.S/M");
        assert_eq!(path(None, Some("pkg.S"), None), "/pkg.S/*");
        assert_eq!(path(None, None, Some("M")), "^/[^/]+/M$");
        assert_eq!(path(Some("RegularExpression"), Some("a|b"), None), "^/(?:a|b)/(?:[^/]+)$");
        assert_eq!(path(None, None, None), "/*");
    }
}
