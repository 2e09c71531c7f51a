//! Ingress and IngressClass.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, or};
use super::{AGE, Column, NAME, Strategy, column};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, text};

/// An Ingress.
pub struct Ingress;

impl Strategy for Ingress {
    fn warnings_on_create(&self, obj: &Value) -> Vec<String> {
        let class = "kubernetes.io/ingress.class";
        let given = !at(obj, &["metadata", "annotations", class]).is_null();
        given
            .then(|| format!("annotation \"{class}\" is deprecated, please use 'spec.ingressClassName' instead"))
            .into_iter()
            .collect()
    }

    fn empty_status(&self) -> Value {
        json!({"loadBalancer": {}})
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        if list(obj, &["spec", "rules"]).is_empty() && at(obj, &["spec", "defaultBackend"]).is_null() {
            let value = &obj["spec"]["rules"];
            errors.push(FieldError::invalid(&path, value, "either `defaultBackend` or `rules` must be specified"));
        }
        let class = text(obj, &["spec", "ingressClassName"]);
        if !class.is_empty() {
            push_all(&mut errors, &path.child("ingressClassName"), class, field::dns1123_subdomain(class));
        }
        let default = at(obj, &["spec", "defaultBackend"]);
        if !default.is_null() {
            backend(default, &path.child("defaultBackend"), &mut errors);
        }
        for (i, rule) in list(obj, &["spec", "rules"]).iter().enumerate() {
            self::rule(rule, &path.child("rules").index(i), &mut errors);
        }
        for (i, tls) in list(obj, &["spec", "tls"]).iter().enumerate() {
            let path = path.child("tls").index(i);
            for (j, name) in list(tls, &["hosts"]).iter().filter_map(Value::as_str).enumerate() {
                push_all(&mut errors, &path.child("hosts").index(j), name, host_name(name));
            }
            let name = text(tls, &["secretName"]);
            if !name.is_empty() {
                push_all(&mut errors, &path.child("secretName"), name, field::dns1123_subdomain(name));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Class"), column("Hosts"), column("Address"), column("Ports"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            or(class(obj), "<none>"),
            hosts(obj).into(),
            addresses(obj).into(),
            if list(obj, &["spec", "tls"]).is_empty() { "80".into() } else { "80, 443".into() },
            age(obj, now),
        ]
    }
}

/// An IngressClass.
pub struct IngressClass;

impl Strategy for IngressClass {
    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Controller"), column("Parameters"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), text(obj, &["spec", "controller"]).into(), parameters(obj).into(), age(obj, now)]
    }
}

/// Checks a host name, whose first label may be a star.
fn host_name(host: &str) -> Vec<String> {
    match host.strip_prefix("*.") {
        Some(rest) if !field::dns1123_subdomain(rest).is_empty() || rest.is_empty() => vec![WILDCARD.to_owned()],
        Some(_) => Vec::new(),
        None => field::dns1123_subdomain(host),
    }
}

const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
/// What a path that is compared may not have in it, and not at its end.
const NOT_IN_PATHS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const NOT_AT_ENDS: [&str; 2] = ["/..", "/."];

fn rule(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let host = text(rule, &["host"]);
    if !host.is_empty() {
        if field::parse_ip(host).is_some() {
            errors.push(FieldError::invalid_str(&path.child("host"), host, "must be a DNS name, not an IP address"));
        }
        push_all(errors, &path.child("host"), host, host_name(host));
    }
    let paths = list(rule, &["http", "paths"]);
    if paths.is_empty() && !rule["http"].is_null() {
        errors.push(FieldError::required(&path.child("http").child("paths"), ""));
    }
    for (i, entry) in paths.iter().enumerate() {
        let path = path.child("http").child("paths").index(i);
        http_path(entry, &path, errors);
        backend(&entry["backend"], &path.child("backend"), errors);
    }
}

fn http_path(entry: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (kind, given) = (&entry["pathType"], text(entry, &["path"]));
    let place = path.child("path");
    if kind.is_null() {
        return errors.push(FieldError::required(&path.child("pathType"), "pathType must be specified"));
    }
    if kind == "ImplementationSpecific" {
        if !given.is_empty() && !given.starts_with('/') {
            errors.push(FieldError::invalid_str(&place, given, "must be an absolute path"));
        }
        return;
    }
    common::one_of(errors, &path.child("pathType"), kind, &["Exact", "Prefix", "ImplementationSpecific"], true);
    if kind != "Exact" && kind != "Prefix" {
        return;
    }
    if !given.starts_with('/') {
        errors.push(FieldError::invalid_str(&place, given, "must be an absolute path"));
    }
    for part in NOT_IN_PATHS.into_iter().filter(|part| given.contains(part)) {
        errors.push(FieldError::invalid_str(&place, given, format!("must not contain '{part}'")));
    }
    for end in NOT_AT_ENDS.into_iter().filter(|end| given.ends_with(end)) {
        errors.push(FieldError::invalid_str(&place, given, format!("cannot end with '{end}'")));
    }
}

fn backend(backend: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    let invalid = |detail: &str| FieldError::invalid_str(path, "", detail);
    if !service.is_null() && !resource.is_null() {
        return errors.push(invalid("cannot set both resource and service backends"));
    }
    if !resource.is_null() {
        for key in ["kind", "name"] {
            if text(resource, &[key]).is_empty() {
                errors.push(FieldError::required(&path.child("resource").child(key), ""));
            }
        }
        return;
    }
    if service.is_null() {
        return errors.push(invalid("resource or service backend is required"));
    }
    let name = text(service, &["name"]);
    let place = path.child("service").child("name");
    if name.is_empty() {
        errors.push(FieldError::required(&place, ""));
    } else {
        push_all(errors, &place, name, field::dns1035_label(name));
    }
    let port = path.child("service").child("port");
    match (text(service, &["port", "name"]), at(service, &["port", "number"]).as_i64().unwrap_or(0)) {
        ("", 0) => errors.push(FieldError::required(path, "port name or number is required")),
        ("", number) => {
            for message in field::port_number(number) {
                errors.push(FieldError::invalid(&port.child("number"), &number.into(), message));
            }
        }
        (name, 0) => push_all(errors, &port.child("name"), name, field::port_name(name)),
        _ => errors.push(invalid("cannot set both port name & port number")),
    }
}

fn class(obj: &Value) -> &str {
    let class = text(obj, &["spec", "ingressClassName"]);
    if class.is_empty() { meta::annotation(obj, "kubernetes.io/ingress.class") } else { class }
}

fn hosts(obj: &Value) -> String {
    let all: Vec<&str> =
        list(obj, &["spec", "rules"]).iter().map(|r| text(r, &["host"])).filter(|h| !h.is_empty()).collect();
    match all.len() {
        0 => "*".into(),
        n if n > 3 => format!("{} + {} more...", all[..3].join(","), n - 3),
        _ => all.join(","),
    }
}

fn addresses(obj: &Value) -> String {
    let all: Vec<&str> = list(obj, &["status", "loadBalancer", "ingress"])
        .iter()
        .map(|i| if text(i, &["ip"]).is_empty() { text(i, &["hostname"]) } else { text(i, &["ip"]) })
        .collect();
    all.join(",")
}

fn parameters(obj: &Value) -> String {
    let reference = at(obj, &["spec", "parameters"]);
    if reference.is_null() {
        return "<none>".into();
    }
    let group = text(reference, &["apiGroup"]);
    let kind = text(reference, &["kind"]);
    let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    format!("{kind}/{}", text(reference, &["name"]))
}
