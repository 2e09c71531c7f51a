//! Ingress and IngressClass.

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age, or};
use super::{AGE, Column, NAME, Strategy, column};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, text};

/// An Ingress.
pub struct Ingress;

impl Strategy for Ingress {
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
        for (i, rule) in list(obj, &["spec", "rules"]).iter().enumerate() {
            let path = path.child("rules").index(i);
            let host = text(rule, &["host"]);
            let plain = host.strip_prefix("*.").unwrap_or(host);
            if !plain.is_empty() {
                push_all(&mut errors, &path.child("host"), host, field::dns1123_subdomain(plain));
            }
            for (j, entry) in list(rule, &["http", "paths"]).iter().enumerate() {
                let path = path.child("http").child("paths").index(j);
                let kinds = ["Exact", "Prefix", "ImplementationSpecific"];
                if entry["pathType"].is_null() {
                    errors.push(FieldError::required(&path.child("pathType"), "pathType must be specified"));
                } else {
                    common::one_of(&mut errors, &path.child("pathType"), &entry["pathType"], &kinds, true);
                }
                let given = text(entry, &["path"]);
                if entry["pathType"] != "ImplementationSpecific" && !given.starts_with('/') {
                    errors.push(FieldError::invalid_str(&path.child("path"), given, "must be an absolute path"));
                }
                let service = at(entry, &["backend", "service"]);
                if service.is_null() && at(entry, &["backend", "resource"]).is_null() {
                    errors.push(FieldError::required(
                        &path.child("backend"),
                        "cannot set both resource and service backends",
                    ));
                } else if !service.is_null() && text(service, &["name"]).is_empty() {
                    errors.push(FieldError::required(&path.child("backend").child("service").child("name"), ""));
                }
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
