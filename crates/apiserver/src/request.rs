//! What a request asks for: the verb, the kind, the object, and the query parameters of the API.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::field::{FieldError, Path};
use coracle_api::kind::Subresource;
use coracle_api::status::Status;
use coracle_api::{Kind, Registry};
use http::Method;
use percent_encoding::percent_decode_str;

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
        let watching = self.watch_prefix || query.flag("watch");
        match (method, &self.name) {
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, Some(_)) => "delete",
            (&Method::DELETE, None) => "deletecollection",
            (_, _) if watching && self.subresource.is_none() => "watch",
            (_, Some(_)) => "get",
            (_, None) => "list",
        }
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

/// The key of an object below its storage prefix.
pub fn key(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// A segment of a path, whose escaped slash would be a separator to whoever decodes first, and names nothing.
fn segment(raw: &str) -> Option<String> {
    Some(decode(raw)).filter(|segment| !segment.contains('/'))
}

fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
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
        let number = text.parse().map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax (parameter {name})"))
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
