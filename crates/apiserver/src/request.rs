//! What a request asks for: the verb, the kind, the object, and the query parameters of the API.

use std::collections::HashMap;
use std::num::{IntErrorKind, ParseIntError};
use std::sync::Arc;

use coracle_api::field::{FieldError, Path, path_segment_name};
use coracle_api::kind::Subresource;
use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::status::Status;
use coracle_api::{Kind, Registry};
use http::Method;
use percent_encoding::percent_decode_str;

use crate::authz::Attributes;
use crate::storage::key;

/// Where a path of the API leads.
#[derive(Clone, Debug)]
pub struct Target {
    pub kind: Arc<Kind>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// The name of one that the kind has.
    pub subresource: Option<&'static str>,
    /// The path had upstream's old `watch/` prefix.
    pub watch_prefix: bool,
}

/// The API group and version of a path, and its segments behind them.
pub fn split(path: &str) -> Option<(&str, &str, Vec<&str>)> {
    let mut segments = path.trim_matches('/').split('/');
    match segments.next()? {
        "api" => Some(("", segments.next()?, segments.collect())),
        "apis" => Some((segments.next()?, segments.next()?, segments.collect())),
        _ => None,
    }
}

/// Reads the segments of a path behind group and version; `None` when they name nothing that is served.
pub fn target(registry: &Registry, group: &str, version: &str, segments: &[&str]) -> Option<Target> {
    let (watch_prefix, segments) = match segments {
        ["watch", rest @ ..] => (true, rest),
        all => (false, all),
    };
    let (namespace, segments) = match segments {
        // A namespace is also an object with subresources of its own.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, segments),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(segment(namespace)?), rest),
        all => (None, all),
    };
    let (resource, rest) = segments.split_first()?;
    let kind = registry.by_resource(group, version, resource)?;
    if namespace.is_some() && !kind.namespaced {
        return None;
    }
    let name = match rest.first() {
        Some(name) => Some(segment(name)?),
        None => None,
    };
    let subresource = match rest.get(1) {
        Some(name) => Some(kind.subresource(name)?.name),
        None => None,
    };
    if rest.len() > 2 && subresource.is_some_and(|subresource| subresource != "proxy") {
        return None;
    }
    Some(Target { kind: kind.clone(), namespace, name, subresource, watch_prefix })
}

impl Target {
    /// The verb as the authorizer knows it.
    pub fn verb(&self, method: &Method, query: &Query) -> &'static str {
        let watching = self.subresource.is_none() && (self.watch_prefix || query.flag("watch"));
        verb(method, self.name.is_some(), watching)
    }

    /// What the authorizer is asked about something with the objects that are selected.
    pub fn attributes<'a>(&'a self, verb: &'a str, selected: &'a Selected) -> Attributes<'a> {
        let kind = &self.kind;
        let name = self.name.as_deref().or(selected.name()).unwrap_or_default();
        // A namespace is in itself: who may read all of it may read it, too.
        let own = Some(name).filter(|_| kind.group.is_empty() && kind.plural == "namespaces" && self.name.is_some());
        let namespace = self.namespace.as_deref().or(own).unwrap_or_default();
        let subresource = self.subresource.unwrap_or_default();
        let (fields, labels) = (selected.fields.as_ref(), selected.labels.as_ref());
        let what = Attributes::resource(verb, &kind.group, &kind.plural, namespace, name);
        Attributes { version: &kind.version, subresource, fields, labels, ..what }
    }

    /// The subresource that the path names.
    pub fn subresource(&self) -> Option<&Subresource> {
        self.kind.subresource(self.subresource?)
    }

    /// The key below the storage prefix.
    pub fn key(&self) -> String {
        key(self.namespace.as_deref(), self.name.as_deref().unwrap_or_default())
    }
}

fn verb(method: &Method, named: bool, watching: bool) -> &'static str {
    match (method, named) {
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        (&Method::GET | &Method::HEAD, _) if watching => "watch",
        (&Method::GET | &Method::HEAD, true) => "get",
        (&Method::GET | &Method::HEAD, false) => "list",
        // What else is passed on by `proxy` is no reading: only who may do everything may do it.
        _ => "",
    }
}

/// What the authorizer is asked about a path that leads nowhere, or out of the API: one below a group and version is about
/// a resource, whether or not there is one.
pub fn attributes_of_unknown<'a>(path: &'a str, method: &Method, query: &Query) -> Attributes<'a> {
    let outside = Attributes::path(lower(method), path);
    let Some((group, version, segments)) = split(path) else { return outside };
    let (watch_prefix, segments) = match &segments[..] {
        ["watch", rest @ ..] => (true, rest),
        all => (false, all),
    };
    let (namespace, segments) = match segments {
        ["namespaces", namespace] | ["namespaces", namespace, "status" | "finalize"] => (*namespace, segments),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        all => ("", all),
    };
    let Some((resource, rest)) = segments.split_first().filter(|(resource, _)| !resource.is_empty()) else {
        return outside;
    };
    let (name, subresource) = (rest.first().copied(), rest.get(1).copied().unwrap_or_default());
    let watching = subresource.is_empty() && (watch_prefix || query.flag("watch"));
    let verb = verb(method, name.is_some(), watching);
    let what = Attributes::resource(verb, group, resource, namespace, name.unwrap_or_default());
    Attributes { version, subresource, ..what }
}

/// The verb of a path outside the API.
pub fn lower(method: &Method) -> &'static str {
    match *method {
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::HEAD => "head",
        _ => "get",
    }
}

/// A segment of a path, whose escaped slash would be a separator to whoever decodes first, and names nothing.
fn segment(raw: &str) -> Option<String> {
    Some(decode(raw)).filter(|segment| !segment.contains('/'))
}

/// A part of a path without escapes.
pub fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// The selectors of a request, as authorizers are told of them.
#[derive(Debug, Default)]
pub struct Selected {
    pub fields: Option<FieldSelector>,
    pub labels: Option<LabelSelector>,
}

impl Selected {
    /// The name of the one object that is selected: who may read that one may list or watch it.
    fn name(&self) -> Option<&str> {
        self.fields.as_ref()?.exact("metadata.name").filter(|name| path_segment_name(name).is_empty())
    }
}

/// The parameters behind the question mark.
#[derive(Debug, Default)]
pub struct Query(HashMap<String, Vec<String>>);

impl Query {
    pub fn parse(query: Option<&str>) -> Query {
        let mut parameters: HashMap<String, Vec<String>> = HashMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let unescape = |text: &str| decode(&text.replace('+', " "));
            parameters.entry(unescape(name)).or_default().push(unescape(value));
        }
        Query(parameters)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|values| values.first()).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// What of a collection is listed, watched or deleted. A selector that is not understood selects nothing here: it is
    /// refused later.
    pub fn selected(&self, verb: &str) -> Selected {
        if !matches!(verb, "list" | "watch" | "deletecollection") {
            return Selected::default();
        }
        Selected {
            fields: self.get("fieldSelector").and_then(|text| FieldSelector::parse(text).ok()),
            labels: self.get("labelSelector").and_then(|text| LabelSelector::parse(text).ok()),
        }
    }

    /// Whether a boolean parameter is set: `?watch`, `?watch=1` and `?watch=true` are.
    pub fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .and_then(|values| values.first())
            .is_some_and(|value| !matches!(value.as_str(), "0" | "false" | "False" | "f"))
    }

    /// A number, or why it is none.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().map_err(|error: ParseIntError| {
            let why = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": {why} (parameter {name})"))
        })?;
        Ok(Some(number))
    }

    /// The resource version that an answer must not be older than; 0 without one.
    pub fn revision(&self) -> Result<u64, Status> {
        let Some(text) = self.get("resourceVersion") else { return Ok(0) };
        text.parse().map_err(|_| {
            Status::bad_request(format!(
                "invalid resource version: strconv.ParseUint: parsing {}: invalid syntax",
                coracle_api::field::quote(text)
            ))
        })
    }

    /// Whether the request must change nothing.
    pub fn dry_run(&self, verb: &str) -> Result<bool, Status> {
        let options = match verb {
            "create" => "CreateOptions",
            "update" => "UpdateOptions",
            "patch" => "PatchOptions",
            _ => "DeleteOptions",
        };
        dry_run(self.all("dryRun"), options)
    }
}

/// Whether the values of `dryRun`, in options of a kind, say that nothing must change.
pub fn dry_run(values: &[impl AsRef<str>], options: &str) -> Result<bool, Status> {
    if values.iter().all(|value| value.as_ref() == "All") {
        return Ok(!values.is_empty());
    }
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    let error = FieldError::not_supported(&Path::new("dryRun"), &values.join(","), &["All"]);
    Err(Status::invalid("meta.k8s.io", options, "", vec![error]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, uri: &str) -> String {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let query = Query::parse(Some(query));
        let found = split(path)
            .and_then(|(group, version, segments)| target(coracle_api::kinds::built_in(), group, version, &segments));
        let selected;
        let what = match &found {
            Some(target) => {
                let verb = target.verb(&method, &query);
                selected = query.selected(verb);
                target.attributes(verb, &selected)
            }
            None => attributes_of_unknown(path, &method, &query),
        };
        let of = if what.is_resource { what.group } else { "-" };
        let what = [what.verb, of, what.resource, what.subresource, what.namespace, what.name];
        what.join("|")
    }

    #[test]
    fn a_number_that_is_too_large_is_told_from_what_is_none() {
        let why = |text: &str| {
            let query = Query::parse(Some(&format!("timeoutSeconds={text}")));
            query.number("timeoutSeconds").map_err(|refused| refused.message)
        };
        assert_eq!(why("99"), Ok(Some(99)));
        let told = |text: &str| why(text).unwrap_err();
        let large = "99999999999999999999";
        assert!(told(large).starts_with(&format!("strconv.ParseInt: parsing \"{large}\": value out of range")));
        assert!(told(&format!("-{large}")).contains("value out of range"));
        assert!(told("1s").starts_with("strconv.ParseInt: parsing \"1s\": invalid syntax"));
    }

    #[test]
    fn a_request_is_asked_about_as_what_it_does() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/pods", "list||pods|||"),
            (Method::GET, "/api/v1/namespaces/d/pods?watch=1", "watch||pods||d|"),
            (Method::GET, "/api/v1/watch/namespaces/d/pods/a", "watch||pods||d|a"),
            (Method::GET, "/api/v1/namespaces/d/pods/a/log", "get||pods|log|d|a"),
            (Method::DELETE, "/apis/apps/v1/namespaces/d/deployments", "deletecollection|apps|deployments||d|"),
            (Method::HEAD, "/api/v1/namespaces/d/pods/a/proxy/x", "get||pods|proxy|d|a"),
            (Method::OPTIONS, "/api/v1/namespaces/d/pods/a/proxy/x", "||pods|proxy|d|a"),
            (Method::from_bytes(b"post").expect("a method"), "/api/v1/namespaces/d/pods/a/proxy", "||pods|proxy|d|a"),
            (Method::GET, "/api/v1/namespaces/d", "get||namespaces||d|d"),
            (Method::PUT, "/api/v1/namespaces/d/finalize", "update||namespaces|finalize|d|d"),
            (Method::GET, "/api/v1/namespaces?fieldSelector=metadata.name%3Dd", "list||namespaces|||d"),
            (Method::GET, "/api/v1/secrets?fieldSelector=metadata.name=a", "list||secrets|||a"),
            (Method::GET, "/apis/example.com/v1/namespaces/d/foos/a/status", "get|example.com|foos|status|d|a"),
            (Method::POST, "/apis/example.com/v1/foos", "create|example.com|foos|||"),
            (Method::GET, "/apis/example.com/v1", "get|-||||"),
            (Method::GET, "/healthz", "get|-||||"),
            (Method::POST, "/metrics", "post|-||||"),
        ] {
            assert_eq!(asked(method, uri), expected, "{uri}");
        }
    }
}
