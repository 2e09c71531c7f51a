//! Which route a request takes: plain data, and functions of it and the request alone.

pub mod action;
pub mod host;
pub mod path;

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;
use smol_str::SmolStr;

pub use self::action::Action;
pub use self::host::{Hosts, Wildcard};
use self::path::Path;

/// How long an expression and its program may be.
const REGEX_SOURCE: usize = 1024;
const REGEX_PROGRAM: usize = 64 << 10;
/// How many expressions the routes of a host may have.
pub const EXPRESSIONS: usize = 50;
/// How many bytes the path of a rule may have.
pub const PATH_OF_RULE: usize = 4 << 10;
/// How many bytes the path of a request may have.
pub const PATH_OF_REQUEST: usize = 8 << 10;

/// An expression of a user, of bounded size.
///
/// # Errors
/// It is none, or too large.
pub fn bounded_regex(source: &str, ignore_case: bool) -> Result<Regex, String> {
    if source.len() > REGEX_SOURCE {
        return Err(format!("a regular expression has more than {REGEX_SOURCE} bytes"));
    }
    let mut builder = regex::RegexBuilder::new(source);
    builder.size_limit(REGEX_PROGRAM).dfa_size_limit(REGEX_PROGRAM).case_insensitive(ignore_case);
    builder.build().map_err(|error| format!("{source:?} is no regular expression: {error}"))
}

/// How the path of a route is compared.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// It is this one.
    Exact(String),
    /// Its first elements are these; without a slash at the end.
    Prefix(String),
    /// An expression is found at its beginning.
    Regex(Regex),
}

impl PathMatch {
    /// A prefix by elements, however it is written.
    pub fn prefix(path: &str) -> PathMatch {
        let path = path::canonical(path).unwrap_or_default();
        PathMatch::Prefix(path.strip_suffix('/').unwrap_or(&path).to_owned())
    }

    /// One path and no other.
    pub fn exact(path: &str) -> PathMatch {
        PathMatch::Exact(path::canonical(path).unwrap_or_else(|| "/".into()))
    }

    fn rank(&self) -> (bool, usize) {
        match self {
            PathMatch::Exact(path) => (true, path.len()),
            PathMatch::Prefix(path) => (false, path.len().max(1)),
            // Any text can be made longer; what comes first must be the same in every path that fits.
            PathMatch::Regex(regex) => (false, fixed_start(regex.as_str())),
        }
    }
}

/// How many bytes at the beginning of all that an expression fits are the same.
fn fixed_start(source: &str) -> usize {
    let source = source.strip_prefix('^').unwrap_or(source);
    let (mut depth, mut is_escaped) = (0_usize, false);
    for character in source.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            // There are two beginnings.
            '|' if depth == 0 => return 0,
            _ => {}
        }
    }
    let (mut length, mut last) = (0, 0);
    let mut left = source.chars();
    while let Some(character) = left.next() {
        let literal = match character {
            '*' | '?' | '{' => return length - last,
            '\\' => match left.next().filter(char::is_ascii_punctuation) {
                Some(literal) => literal,
                None => break,
            },
            '.' | '+' | '(' | ')' | '[' | ']' | '}' | '^' | '$' | '|' => break,
            literal => literal,
        };
        last = literal.len_utf8();
        length += last;
    }
    length
}

/// How a header or a parameter of the query is compared.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// It is this.
    Exact(String),
    /// An expression is found in it.
    Regex(Regex),
}

impl ValueMatch {
    fn fits(&self, value: &str) -> bool {
        match self {
            ValueMatch::Exact(wanted) => wanted == value,
            ValueMatch::Regex(regex) => regex.is_match(value),
        }
    }
}

/// What a request must be to take a route.
#[derive(Clone, Debug)]
pub struct Match {
    /// Its path.
    pub path: PathMatch,
    /// Its method, if that counts.
    pub method: Option<Method>,
    /// Its headers, each of them.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// The parameters of its query, each of them.
    pub query: Vec<(String, ValueMatch)>,
    /// Of a call of gRPC: how much of its service and of its method is compared, which counts in place of the path's length.
    pub call: Option<(usize, usize)>,
}

impl Match {
    /// One that asks for nothing but a path.
    pub fn of(path: PathMatch) -> Match {
        Match { path, method: None, headers: Vec::new(), query: Vec::new(), call: None }
    }

    /// What of several that fit comes first: as the Gateway API says, which agrees with what Ingress says.
    fn rank(&self) -> impl Ord + use<> {
        let (is_exact, length) = self.path.rank();
        let (length, more) = self.call.unwrap_or((length, 0));
        std::cmp::Reverse((is_exact, length, more, self.method.is_some(), self.headers.len(), self.query.len()))
    }

    /// How many expressions it has.
    fn expressions(&self) -> usize {
        let values = self.headers.iter().map(|(_, value)| value).chain(self.query.iter().map(|(_, value)| value));
        usize::from(matches!(self.path, PathMatch::Regex(_)))
            + values.filter(|value| matches!(value, ValueMatch::Regex(_))).count()
    }

    /// Whether all but the path fits.
    fn fits(&self, request: &Reading<'_>) -> bool {
        let (request, parameters) = (request.asked, || request.parameters());
        self.method.as_ref().is_none_or(|method| method == request.method)
            && self.headers.iter().all(|(name, wanted)| has_header(request.headers, name, wanted))
            && self.query.iter().all(|(name, wanted)| {
                // Of several of one name, the first counts.
                parameters().iter().find(|(own, _)| own == name).is_some_and(|(_, value)| wanted.fits(value))
            })
    }
}

/// Several headers of one name count as one with their values joined.
fn has_header(headers: &HeaderMap, name: &HeaderName, wanted: &ValueMatch) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    match (values.next(), values.next()) {
        (None, _) => false,
        (Some(one), None) => wanted.fits(one),
        (Some(first), Some(second)) => {
            let all: Vec<&str> = [first, second].into_iter().chain(values).collect();
            wanted.fits(&all.join(","))
        }
    }
}

/// What of a request decides its route.
pub struct Asked<'a> {
    /// Its host, normalized.
    pub host: &'a str,
    /// Its path.
    pub path: &'a Path<'a>,
    /// Its method.
    pub method: &'a Method,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its query.
    pub query: Option<&'a str>,
}

fn namespace(action: &Action) -> &str {
    action.source.split('/').next().unwrap_or_default()
}

/// A request whose route is looked for. Its query is decoded once, and only if a route asks for that.
struct Reading<'a> {
    asked: &'a Asked<'a>,
    parameters: OnceCell<Vec<(String, String)>>,
    /// The namespace whose routes alone are meant.
    owner: Option<&'a str>,
}

impl Reading<'_> {
    /// Whether a route is of the namespace that has the host.
    fn may_take(&self, action: &Action) -> bool {
        self.owner.is_none_or(|owner| namespace(action) == owner)
    }

    fn parameters(&self) -> &[(String, String)] {
        self.parameters.get_or_init(|| self.asked.parameters().collect())
    }
}

impl Asked<'_> {
    fn parameters(&self) -> impl Iterator<Item = (String, String)> {
        let decoded = |text: &str| {
            let text = text.replace('+', " ");
            percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let pairs = self.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs.map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
    }
}

/// A route: what takes it, and what becomes of that.
#[derive(Clone, Debug)]
pub struct Route {
    /// What takes it.
    pub matches: Match,
    /// What becomes of it.
    pub action: Arc<Action>,
}

/// The routes of one host, those first that come first.
#[derive(Debug, Default)]
struct OfHost {
    /// The namespace that has the host, if one does.
    owner: Option<String>,
    routes: Vec<Route>,
    /// Places of routes by their path.
    exact: HashMap<String, Vec<usize>>,
    prefixes: HashMap<String, Vec<usize>>,
    expressions: Vec<usize>,
    /// The lengths that prefixes have.
    lengths: BTreeSet<usize>,
    /// How many expressions routes have, of paths and others.
    used: usize,
}

impl OfHost {
    fn index(&mut self, is_one_owners: bool) {
        // Of expressions that begin alike the longer one is first, but not among owners who could outdo each other so.
        let text = |matches: &Match| match &matches.path {
            PathMatch::Regex(regex) if is_one_owners => regex.as_str().len(),
            _ => 0,
        };
        // Routes were added oldest first, and sorting keeps that.
        self.routes.sort_by_cached_key(|route| (route.matches.rank(), std::cmp::Reverse(text(&route.matches))));
        for (at, route) in self.routes.iter().enumerate() {
            match &route.matches.path {
                PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default().push(at),
                PathMatch::Prefix(path) => {
                    self.lengths.insert(path.len());
                    self.prefixes.entry(path.clone()).or_default().push(at);
                }
                PathMatch::Regex(_) => self.expressions.push(at),
            }
        }
    }

    fn find(&self, request: &Reading<'_>) -> Option<(&Route, usize)> {
        let path: &str = &request.asked.path.compared;
        let takes = |route: &Route| request.may_take(&route.action) && route.matches.fits(request);
        let first = |places: Option<&Vec<usize>>| places?.iter().copied().find(|at| takes(&self.routes[*at]));
        let exact = first(self.exact.get(path)).map(|at| (at, path.len()));
        let by_prefix = || {
            let is_end = |end: &&usize| **end == path.len() || path.as_bytes()[**end] == b'/';
            let ends = self.lengths.range(..=path.len()).rev().filter(is_end);
            ends.copied().find_map(|end| Some((first(self.prefixes.get(&path[..end]))?, end)))
        };
        let found = exact.or_else(by_prefix);
        // What is behind what was found needs no look.
        let before = found.map_or(usize::MAX, |(at, _)| at);
        let expression = self.expressions.iter().copied().take_while(|at| *at < before).find_map(|at| {
            let matches = &self.routes[at].matches;
            let PathMatch::Regex(regex) = &matches.path else { return None };
            let end = regex.find(path).filter(|found| found.start() == 0)?.end();
            takes(&self.routes[at]).then_some((at, end))
        });
        let (at, end) = expression.or(found)?;
        Some((&self.routes[at], end))
    }
}

/// What becomes of what takes no route: what was said first, and first of each namespace.
#[derive(Debug, Default)]
struct Fallback {
    first: Option<Arc<Action>>,
    of_namespace: HashMap<String, Arc<Action>>,
}

/// The routes of a listener, by host.
#[derive(Debug)]
pub struct Routes {
    hosts: Hosts<OfHost>,
    /// What becomes of what takes no route.
    fallback: Fallback,
}

/// The route that a request takes.
#[derive(Debug)]
pub struct Found<'a> {
    /// What becomes of it.
    pub action: &'a Arc<Action>,
    /// How it was found; `None` for what takes no route.
    pub matched: Option<&'a PathMatch>,
    /// Where the part of the path ends that was compared.
    pub end: usize,
}

/// Collects routes, in the order in which they came to be: of two that ask for the same, the first one is taken.
pub struct Builder {
    hosts: Hosts<OfHost>,
    fallback: Fallback,
}

impl Builder {
    /// One without routes.
    pub fn new(wildcard: Wildcard) -> Builder {
        Builder { hosts: Hosts::new(wildcard), fallback: Fallback::default() }
    }

    /// Gives a host to a namespace: what takes no route of it is left to that namespace's other routes alone.
    pub fn own(&mut self, host: &str, namespace: &str) {
        self.hosts.entry(host, OfHost::default).owner.get_or_insert_with(|| namespace.to_owned());
    }

    /// Adds a route to a host; the empty one is every host.
    ///
    /// # Errors
    /// The host has too many expressions already.
    pub fn add(&mut self, host: &str, route: Route) -> Result<(), String> {
        let of_host = self.hosts.entry(host, OfHost::default);
        let used = of_host.used + route.matches.expressions();
        if used > EXPRESSIONS && used > of_host.used {
            return Err(format!("the routes of host {host:?} have more than {EXPRESSIONS} regular expressions"));
        }
        of_host.used = used;
        of_host.routes.push(route);
        Ok(())
    }

    /// What becomes of what takes no route, unless that was said before.
    pub fn fall_back(&mut self, action: Arc<Action>) {
        self.fallback.of_namespace.entry(namespace(&action).to_owned()).or_insert_with(|| action.clone());
        self.fallback.first.get_or_insert(action);
    }

    /// All of them.
    pub fn build(mut self) -> Routes {
        // Hosts of Ingresses are one namespace's each.
        let is_one_owners = self.hosts.wildcard() == Wildcard::OneLabel;
        self.hosts.values_mut().for_each(|host| host.index(is_one_owners));
        Routes { hosts: self.hosts, fallback: self.fallback }
    }
}

impl Routes {
    /// The route that a request takes, if there is one. A host that has no route for it leaves it to less special ones.
    pub fn find(&self, request: &Asked<'_>) -> Option<Found<'_>> {
        let mut reading = Reading { asked: request, parameters: OnceCell::new(), owner: None };
        let mut found = None;
        for host in self.hosts.fitting(request.host) {
            reading.owner = reading.owner.or(host.owner.as_deref());
            found = host.find(&reading);
            if found.is_some() {
                break;
            }
        }
        match found {
            Some((route, end)) => Some(Found { action: &route.action, matched: Some(&route.matches.path), end }),
            None => {
                let action = match reading.owner {
                    Some(owner) => self.fallback.of_namespace.get(owner),
                    None => self.fallback.first.as_ref(),
                };
                action.map(|action| Found { action, matched: None, end: 0 })
            }
        }
    }
}

/// The name of an object, as logs and metrics have it.
pub type ObjectName = SmolStr;

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(all: &[(&str, PathMatch)]) -> Routes {
        let mut builder = Builder::new(Wildcard::OneLabel);
        for (number, (host, path)) in all.iter().enumerate() {
            let action = Arc::new(Action::answer(&number.to_string(), 200));
            builder.add(host, Route { matches: Match::of(path.clone()), action }).unwrap();
        }
        builder.build()
    }

    fn find(routes: &Routes, url: &str) -> Option<usize> {
        let (host, path) = url.split_at(url.find('/').unwrap());
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let path = Path::of(path).unwrap();
        let headers = HeaderMap::new();
        let asked = Asked { host, path: &path, method: &Method::GET, headers: &headers, query };
        routes.find(&asked).map(|found| found.action.source.parse().unwrap())
    }

    /// The table of <https://kubernetes.io/docs/concepts/services-networking/ingress/#examples>.
    #[test]
    fn paths_are_compared_as_the_documentation_says() {
        let fits = |path: PathMatch, asked: &str| find(&routes(&[("", path)]), &format!("h{asked}")).is_some();
        let (prefix, exact) = (PathMatch::prefix, PathMatch::exact);
        for (path, asked, wanted) in [
            (prefix("/"), "/any/path", true),
            (exact("/foo"), "/foo", true),
            (exact("/foo"), "/bar", false),
            (exact("/foo"), "/foo/", false),
            (exact("/foo/"), "/foo", false),
            (prefix("/foo"), "/foo", true),
            (prefix("/foo"), "/foo/", true),
            (prefix("/foo/"), "/foo", true),
            (prefix("/foo/"), "/foo/", true),
            (prefix("/aaa/bb"), "/aaa/bbb", false),
            (prefix("/aaa/bbb"), "/aaa/bbb", true),
            (prefix("/aaa/bbb/"), "/aaa/bbb", true),
            (prefix("/aaa/bbb"), "/aaa/bbb/", true),
            (prefix("/aaa/bbb"), "/aaa/bbb/ccc", true),
            (prefix("/aaa/bbb"), "/aaa/bbbxyz", false),
        ] {
            assert_eq!(fits(path.clone(), asked), wanted, "{path:?} {asked}");
        }
    }

    #[test]
    fn the_longest_path_wins_and_an_exact_one_before_it() {
        let all = [
            ("", PathMatch::prefix("/")),
            ("", PathMatch::prefix("/aaa")),
            ("", PathMatch::exact("/aaa/b")),
            ("", PathMatch::prefix("/aaa/b")),
            ("", PathMatch::prefix("/aaa")),
        ];
        let routes = routes(&all);
        for (asked, wanted) in [("/x", 0), ("/aaa", 1), ("/aaa/c", 1), ("/aaa/b", 2), ("/aaa/b/", 3), ("/aaa/b/c", 3)] {
            assert_eq!(find(&routes, &format!("h{asked}")), Some(wanted), "{asked}");
        }
    }

    #[test]
    fn the_best_host_wins_and_leaves_the_rest_to_others() {
        let all = [
            ("", PathMatch::prefix("/")),
            ("*.foo.com", PathMatch::prefix("/")),
            ("bar.foo.com", PathMatch::prefix("/bar")),
        ];
        let routes = routes(&all);
        for (asked, wanted) in
            [("bar.foo.com/bar", 2), ("bar.foo.com/", 1), ("baz.foo.com/bar", 1), ("a.b.foo.com/", 0), ("foo.com/", 0)]
        {
            assert_eq!(find(&routes, asked), Some(wanted), "{asked}");
        }
    }

    #[test]
    fn an_expression_counts_by_what_is_fixed_of_it_and_from_the_beginning() {
        let regex = |text: &str| PathMatch::Regex(bounded_regex(text, true).unwrap());
        let all = [("", PathMatch::prefix("/")), ("", regex("/api/v[0-9]+(/|$)(.*)")), ("", PathMatch::prefix("/api"))];
        let routes = routes(&all);
        for (asked, wanted) in [("/API/v1/x", 1), ("/api/vx", 2), ("/x/api/v1/", 0)] {
            assert_eq!(find(&routes, &format!("h{asked}")), Some(wanted), "{asked}");
        }
        assert!(bounded_regex(&"a".repeat(2000), false).is_err());
        assert!(bounded_regex("(a{1000}){1000}", false).is_err());
    }

    #[test]
    fn no_expression_is_first_by_being_long() {
        for (source, wanted) in [
            ("^/api/v[0-9]+", 6),
            ("^/api/?(.*)", 4),
            (r"^/a\.b\d", 4),
            ("^/(?:a|b)/x", 1),
            ("^/long|/", 0),
            ("^.{0}/aaa", 0),
            ("^/", 1),
        ] {
            assert_eq!(fixed_start(source), wanted, "{source}");
        }
        let long = PathMatch::Regex(bounded_regex(&format!("^/.*{}", "|x".repeat(100)), true).unwrap());
        let other = PathMatch::Regex(bounded_regex(&format!("^/.*{}", "(x)?".repeat(100)), true).unwrap());
        let routes = routes(&[("", PathMatch::prefix("/api")), ("", long), ("", other)]);
        assert_eq!(find(&routes, "h/api/x"), Some(0));
    }

    #[test]
    fn a_host_has_a_bound_of_expressions() {
        let mut builder = Builder::new(Wildcard::Labels);
        let action = Arc::new(Action::answer("", 200));
        let route = |path: PathMatch| Route { matches: Match::of(path), action: action.clone() };
        let regex = || PathMatch::Regex(bounded_regex("^/a", true).unwrap());
        (0..EXPRESSIONS).for_each(|_| builder.add("h", route(regex())).unwrap());
        assert!(builder.add("h", route(regex())).is_err());
        assert!(builder.add("h", route(PathMatch::prefix("/"))).is_ok());
        assert!(builder.add("g", route(regex())).is_ok());
    }

    #[test]
    fn of_calls_the_service_counts_before_the_method() {
        let mut builder = Builder::new(Wildcard::Labels);
        let method = PathMatch::Regex(bounded_regex("^/[^/]+/AMethodOfALongName$", false).unwrap());
        for (name, path, call) in [
            ("method", method, (0, 18)),
            ("service", PathMatch::prefix("/s"), (1, 0)),
            ("all", PathMatch::prefix("/"), (0, 0)),
        ] {
            let matches = Match { call: Some(call), ..Match::of(path) };
            builder.add("", Route { matches, action: Arc::new(Action::answer(name, 200)) }).unwrap();
        }
        let routes = builder.build();
        for (url, wanted) in
            [("/s/AMethodOfALongName", "service"), ("/t/AMethodOfALongName", "method"), ("/t/M", "all")]
        {
            let (path, headers) = (Path::of(url).unwrap(), HeaderMap::new());
            let asked = Asked { host: "h", path: &path, method: &Method::POST, headers: &headers, query: None };
            assert_eq!(routes.find(&asked).unwrap().action.source, wanted, "{url}");
        }
    }

    #[test]
    fn method_headers_and_query_decide_between_equal_paths() {
        let mut builder = Builder::new(Wildcard::Labels);
        let mut add = |name: &str, matches: Match| {
            builder.add("", Route { matches, action: Arc::new(Action::answer(name, 200)) }).unwrap();
        };
        let base = || Match::of(PathMatch::prefix("/"));
        add("0", base());
        add("1", Match { headers: vec![("x-v".parse().unwrap(), ValueMatch::Exact("2".into()))], ..base() });
        add("2", Match { method: Some(Method::POST), ..base() });
        add("3", Match { query: vec![("q".into(), ValueMatch::Exact("a b".into()))], ..base() });
        let routes = builder.build();
        let find = |method: Method, header: &[&'static str], query: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in header {
                headers.append("x-v", value.parse().unwrap());
            }
            let path = Path::of("/x").unwrap();
            let asked = Asked { host: "h", path: &path, method: &method, headers: &headers, query };
            routes.find(&asked).map(|found| found.action.source.to_string()).unwrap()
        };
        assert_eq!(find(Method::GET, &[], None), "0");
        assert_eq!(find(Method::GET, &["2"], Some("q=a+b")), "1");
        assert_eq!(find(Method::GET, &["2", "3"], Some("q=a%20b&q=c")), "3");
        assert_eq!(find(Method::POST, &["2"], None), "2");
        assert_eq!(find(Method::GET, &[], Some("q=c&q=a+b")), "0");
    }
}
