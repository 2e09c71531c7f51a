//! Checks of what is called in a container or asked of it: hooks and probes.

use serde_json::Value;

use super::Errors;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{int, list, text};
use crate::strategy::common::{non_negative, one_of};

/// Checks the hooks of a container, whose pod has `grace` seconds to end.
pub(super) fn lifecycle(container: &Value, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    for key in ["postStart", "preStop"] {
        let hook = &container["lifecycle"][key];
        if hook.is_null() {
            continue;
        }
        let path = path.child(key);
        handler(hook, &["exec", "httpGet", "tcpSocket", "sleep"], &path, errors);
        if let (Some(grace), Some(seconds)) = (grace, int(hook, &["sleep", "seconds"]))
            && !(0..=grace).contains(&seconds)
        {
            let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
            errors.push(FieldError::invalid(&path.child("sleep"), &seconds.into(), detail));
        }
    }
}

/// Checks a probe, `kind` being its field.
pub(super) fn probe(probe: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], path, errors);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        non_negative(errors, &path.child(key), &probe[key]);
    }
    let seconds = int(probe, &["terminationGracePeriodSeconds"]);
    let grace = path.child("terminationGracePeriodSeconds");
    if seconds.is_some_and(|seconds| seconds <= 0) {
        errors.push(FieldError::invalid(&grace, &probe["terminationGracePeriodSeconds"], "must be greater than 0"));
    }
    if kind == "readinessProbe" {
        if let Some(seconds) = seconds {
            errors.push(FieldError::invalid(&grace, &seconds.into(), "must not be set for readinessProbes"));
        }
    } else if int(probe, &["successThreshold"]).unwrap_or(1) != 1 {
        errors.push(FieldError::invalid(&path.child("successThreshold"), &probe["successThreshold"], "must be 1"));
    }
}

fn handler(handler: &Value, kinds: &[&str], path: &Path, errors: &mut Errors) {
    let given: Vec<&&str> = kinds.iter().filter(|k| !handler[**k].is_null()).collect();
    if given.is_empty() {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    for (i, kind) in given.into_iter().enumerate() {
        let path = path.child(kind);
        if i > 0 {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        let body = &handler[*kind];
        match *kind {
            "exec" if list(body, &["command"]).is_empty() => {
                errors.push(FieldError::required(&path.child("command"), ""));
            }
            "httpGet" => {
                if text(body, &["path"]).is_empty() {
                    errors.push(FieldError::required(&path.child("path"), ""));
                }
                port_number_or_name(&body["port"], &path.child("port"), errors);
                one_of(errors, &path.child("scheme"), &body["scheme"], &["HTTP", "HTTPS"], false);
                for header in list(body, &["httpHeaders"]) {
                    let name = text(header, &["name"]);
                    push_all(errors, &path.child("httpHeaders"), name, header_name(name));
                }
            }
            "tcpSocket" | "grpc" => port_number_or_name(&body["port"], &path.child("port"), errors),
            _ => {}
        }
    }
}

fn header_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Vec::new();
    }
    vec!["a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')".to_owned()]
}

/// Checks a port that is given by its number or its name.
pub fn port_number_or_name(port: &Value, path: &Path, errors: &mut Errors) {
    match port {
        Value::String(name) => push_all(errors, path, name, field::port_name(name)),
        Value::Null => errors.push(FieldError::required(path, "")),
        other => {
            for message in field::port_number(other.as_i64().unwrap_or(0)) {
                errors.push(FieldError::invalid(path, other, message));
            }
        }
    }
}
