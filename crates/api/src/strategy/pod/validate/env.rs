//! Checks of environment variables and of the fields and resources that they, and volumes, show.

use serde_json::Value;

use super::Errors;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{list, text};

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of the pod that a volume may show.
pub(super) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Fields of the pod that can be named but not shown.
const OTHER_FIELDS: &[&str] = &["spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Checks the variables of a container.
pub(super) fn env(container: &Value, path: &Path, errors: &mut Errors) {
    for (i, var) in list(container, &["env"]).iter().enumerate() {
        let path = path.child("env").index(i);
        let name = text(var, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            push_all(errors, &path.child("name"), name, field::env_var_name(name));
        }
        if var["valueFrom"].is_object() {
            source(var, &path.child("valueFrom"), errors);
        }
    }
    let path = path.child("envFrom");
    for (i, from) in list(container, &["envFrom"]).iter().enumerate() {
        let prefix = text(from, &["prefix"]);
        if !prefix.is_empty() {
            push_all(errors, &path.index(i).child("prefix"), prefix, field::env_var_name(prefix));
        }
        let mut given = 0;
        for key in ["configMapRef", "secretRef"] {
            if from[key].is_null() {
                continue;
            }
            given += 1;
            let path = path.index(i).child(key).child("name");
            match text(from, &[key, "name"]) {
                "" => errors.push(FieldError::required(&path, "")),
                name => push_all(errors, &path, name, field::dns1123_subdomain(name)),
            }
        }
        if given == 0 {
            let detail = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(FieldError::invalid_str(&path, "", detail));
        } else if given > 1 {
            errors.push(FieldError::invalid_str(&path, "", "may not have more than one field specified at a time"));
        }
    }
}

fn source(var: &Value, path: &Path, errors: &mut Errors) {
    let source = &var["valueFrom"];
    if !source["fieldRef"].is_null() {
        field_path(&source["fieldRef"], &path.child("fieldRef"), ENV_FIELDS, errors);
    }
    if !source["resourceFieldRef"].is_null() {
        resource_field(&source["resourceFieldRef"], false, &path.child("resourceFieldRef"), errors);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if source[key].is_null() {
            continue;
        }
        let path = path.child(key);
        let (name, key) = (text(source, &[key, "name"]), text(source, &[key, "key"]));
        push_all(errors, &path.child("name"), name, field::dns1123_subdomain(name));
        match key {
            "" => errors.push(FieldError::required(&path.child("key"), "")),
            key => push_all(errors, &path.child("key"), key, field::config_map_key(key)),
        }
    }
    let given = source.as_object().map_or(0, serde_json::Map::len);
    if given == 0 {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(FieldError::invalid_str(path, "", detail));
    } else if !text(var, &["value"]).is_empty() {
        errors.push(FieldError::invalid_str(path, "", "may not be specified when `value` is not empty"));
    } else if given > 1 {
        errors.push(FieldError::invalid_str(path, "", "may not have more than one field specified at a time"));
    }
}

/// Checks a reference to a field of the pod.
pub(super) fn field_path(reference: &Value, path: &Path, supported: &[&str], errors: &mut Errors) {
    let given = text(reference, &["fieldPath"]);
    let path = path.child("fieldPath");
    if given.is_empty() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    let subscript = ["metadata.annotations['", "metadata.labels['"]
        .iter()
        .any(|p| given.strip_prefix(p).is_some_and(|rest| rest.len() > 2 && rest.ends_with("']")));
    let known = [ENV_FIELDS, VOLUME_FIELDS, OTHER_FIELDS].iter().any(|fields| fields.contains(&given));
    if subscript || supported.contains(&given) {
        return;
    }
    if known {
        errors.push(FieldError::not_supported(&path, given, supported));
    } else {
        let detail = format!("error converting fieldPath: field label not supported: {given}");
        errors.push(FieldError::invalid_str(&path, given, detail));
    }
}

/// Checks a reference to a resource of a container.
pub(super) fn resource_field(reference: &Value, in_volume: bool, path: &Path, errors: &mut Errors) {
    let resource = text(reference, &["resource"]);
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && text(reference, &["containerName"]).is_empty() {
        errors.push(FieldError::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.push(FieldError::not_supported(&path.child("resource"), resource, RESOURCES));
    }
    let divisor = text(reference, &["divisor"]);
    let (name, allowed, values): (&str, &[&str], &str) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => ("cpu", &["1m", "1"], "1m and 1"),
        "memory" => ("memory", BYTES, BYTES_TEXT),
        "ephemeral-storage" => ("local ephemeral storage", BYTES, BYTES_TEXT),
        _ if huge => ("hugepages", BYTES, BYTES_TEXT),
        _ => return,
    };
    if !matches!(divisor, "" | "0") && !allowed.contains(&divisor) {
        let detail = format!("only divisor's values {values} are supported with the {name} resource");
        errors.push(FieldError::invalid_str(&path.child("divisor"), resource, detail));
    }
}

const BYTES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
const BYTES_TEXT: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
