//! Which route a request takes: plain data, and functions of it and the request alone.

pub mod action;
pub mod host;
pub mod path;

use std::collections::HashMap;
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
            PathMatch::Regex(regex) => (false, regex.as_str().len()),
        }
    }
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

    /// Whether all but the path fits.
    fn fits(&self, request: &Asked<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method)
            && self.headers.iter().all(|(name, wanted)| has_header(request.headers, name, wanted))
            && self.query.iter().all(|(name, wanted)| {
                // Of several of one name, the first counts.
                let mut found = request.parameters().filter(|(own, _)| own == name);
                found.next().is_some_and(|(_, value)| wanted.fits(&value))
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
    routes: Vec<Route>,
    /// Places of routes by their path.
    exact: HashMap<String, Vec<usize>>,
    prefixes: HashMap<String, Vec<usize>>,
    expressions: Vec<usize>,
    longest_prefix: usize,
}

impl OfHost {
    fn index(&mut self) {
        // Routes were added oldest first, and sorting keeps that.
        self.routes.sort_by_cached_key(|route| route.matches.rank());
        for (at, route) in self.routes.iter().enumerate() {
            match &route.matches.path {
                PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default().push(at),
                PathMatch::Prefix(path) => {
                    self.longest_prefix = self.longest_prefix.max(path.len());
                    self.prefixes.entry(path.clone()).or_default().push(at);
                }
                PathMatch::Regex(_) => self.expressions.push(at),
            }
        }
    }

    fn find(&self, request: &Asked<'_>) -> Option<(&Route, usize)> {
        let path: &str = &request.path.compared;
        let first =
            |places: Option<&Vec<usize>>| places?.iter().copied().find(|at| self.routes[*at].matches.fits(request));
        let exact = first(self.exact.get(path)).map(|at| (at, path.len()));
        let by_prefix = || {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let ends: Vec<usize> = ends.take_while(|end| *end <= self.longest_prefix).collect();
            ends.into_iter().rev().find_map(|end| Some((first(self.prefixes.get(&path[..end]))?, end)))
        };
        let found = exact.or_else(by_prefix);
        // What is behind what was found needs no look.
        let before = found.map_or(usize::MAX, |(at, _)| at);
        let expression = self.expressions.iter().copied().take_while(|at| *at < before).find_map(|at| {
            let matches = &self.routes[at].matches;
            let PathMatch::Regex(regex) = &matches.path else { return None };
            let end = regex.find(path).filter(|found| found.start() == 0)?.end();
            matches.fits(request).then_some((at, end))
        });
        let (at, end) = expression.or(found)?;
        Some((&self.routes[at], end))
    }
}

/// The routes of a listener, by host.
#[derive(Debug)]
pub struct Routes {
    hosts: Hosts<OfHost>,
    /// What becomes of what takes no route.
    fallback: Option<Arc<Action>>,
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
    fallback: Option<Arc<Action>>,
}

impl Builder {
    /// One without routes.
    pub fn new(wildcard: Wildcard) -> Builder {
        Builder { hosts: Hosts::new(wildcard), fallback: None }
    }

    /// Adds a route to a host; the empty one is every host.
    pub fn add(&mut self, host: &str, route: Route) {
        self.hosts.entry(host, OfHost::default).routes.push(route);
    }

    /// What becomes of what takes no route, unless that was said before.
    pub fn fall_back(&mut self, action: Arc<Action>) {
        self.fallback.get_or_insert(action);
    }

    /// All of them.
    pub fn build(mut self) -> Routes {
        self.hosts.values_mut().for_each(OfHost::index);
        Routes { hosts: self.hosts, fallback: self.fallback }
    }
}

impl Routes {
    /// The route that a request takes, if there is one. A host that has no route for it leaves it to less special ones.
    pub fn find(&self, request: &Asked<'_>) -> Option<Found<'_>> {
        let found = self.hosts.fitting(request.host).find_map(|host| host.find(request));
        match found {
            Some((route, end)) => Some(Found { action: &route.action, matched: Some(&route.matches.path), end }),
            None => self.fallback.as_ref().map(|action| Found { action, matched: None, end: 0 }),
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
            builder.add(host, Route { matches: Match::of(path.clone()), action });
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
    fn an_expression_counts_by_its_length_and_from_the_beginning() {
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
    fn of_calls_the_service_counts_before_the_method() {
        let mut builder = Builder::new(Wildcard::Labels);
        let method = PathMatch::Regex(bounded_regex("^/[^/]+/AMethodOfALongName$", false).unwrap());
        for (name, path, call) in [
            ("method", method, (0, 18)),
            ("service", PathMatch::prefix("/s"), (1, 0)),
            ("all", PathMatch::prefix("/"), (0, 0)),
        ] {
            let matches = Match { call: Some(call), ..Match::of(path) };
            builder.add("", Route { matches, action: Arc::new(Action::answer(name, 200)) });
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
            builder.add("", Route { matches, action: Arc::new(Action::answer(name, 200)) });
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
