//! Checks of the containers of a pod.

use std::collections::HashSet;

use serde_json::Value;

use super::{Errors, Surroundings, env, handlers, mounts, resources, security};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{int, list, text};
use crate::strategy::common::one_of;

/// Fields that an ephemeral container does not have.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
];

/// Checks the three lists of containers.
pub(super) fn containers(spec: &Value, surroundings: &Surroundings<'_>, path: &Path, errors: &mut Errors) {
    if list(spec, &["containers"]).is_empty() {
        errors.push(FieldError::required(&path.child("containers"), ""));
    }
    let mut names: HashSet<&str> = HashSet::new();
    let mut ports: HashSet<String> = HashSet::new();
    for group in ["containers", "initContainers", "ephemeralContainers"] {
        for (i, container) in list(spec, &[group]).iter().enumerate() {
            let path = path.child(group).index(i);
            common(container, surroundings, &path, errors);
            let name = text(container, &["name"]);
            if !name.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), &container["name"]));
            }
            match group {
                "containers" => running(container, surroundings, &path, errors),
                "initContainers" => {
                    // They run one by one, so each has its ports for itself.
                    ports.clear();
                    init(container, surroundings, &path, errors);
                }
                _ => ephemeral(container, spec, &path, errors),
            }
            host_ports(container, &path, &mut ports, errors);
            if group == "containers" && spec["hostNetwork"] == true {
                ports_of_the_node(container, surroundings, &path, errors);
            }
        }
    }
}

fn common(container: &Value, surroundings: &Surroundings<'_>, path: &Path, errors: &mut Errors) {
    let name = text(container, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        push_all(errors, &path.child("name"), name, field::dns1123_label(name));
    }
    let image = text(container, &["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    } else if surroundings.is_pod && image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid_str(&path.child("image"), image, detail));
    }
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(errors, &path.child("terminationMessagePolicy"), &container["terminationMessagePolicy"], &policies, true);
    ports(container, &path.child("ports"), errors);
    env::env(container, path, errors);
    mounts::mounts(container, surroundings, &path.child("volumeMounts"), errors);
    mounts::devices(container, surroundings, &path.child("volumeDevices"), errors);
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(errors, &path.child("imagePullPolicy"), &container["imagePullPolicy"], &policies, true);
    resources::requirements(&container["resources"], &path.child("resources"), errors);
    let claims = list(container, &["resources", "claims"]);
    resources::claims(claims, &surroundings.claims, &path.child("resources").child("claims"), errors);
    resize_policy(container, surroundings, &path.child("resizePolicy"), errors);
    security::of_container(&container["securityContext"], &path.child("securityContext"), errors);
}

/// What a container that goes on running may have: hooks, probes and a policy of restarts.
fn running(container: &Value, surroundings: &Surroundings<'_>, path: &Path, errors: &mut Errors) {
    handlers::lifecycle(container, surroundings.grace_seconds, &path.child("lifecycle"), errors);
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if !container[key].is_null() {
            handlers::probe(&container[key], key, &path.child(key), errors);
        }
    }
    let policies = ["Always", "OnFailure", "Never"];
    one_of(errors, &path.child("restartPolicy"), &container["restartPolicy"], &policies, false);
}

fn init(container: &Value, surroundings: &Surroundings<'_>, path: &Path, errors: &mut Errors) {
    if text(container, &["restartPolicy"]) == "Always" {
        return running(container, surroundings, path, errors);
    }
    let policies = ["Always", "OnFailure", "Never"];
    one_of(errors, &path.child("restartPolicy"), &container["restartPolicy"], &policies, false);
    let detail = "may not be set for init containers without restartPolicy=Always";
    for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if !container[key].is_null() {
            errors.push(FieldError::forbidden(&path.child(key), detail));
        }
    }
}

fn ephemeral(container: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let target = text(container, &["targetContainerName"]);
    let named = |group: &str| list(spec, &[group]).iter().any(|c| text(c, &["name"]) == target);
    if !target.is_empty() && !named("containers") && !named("initContainers") {
        errors.push(FieldError::not_found(&path.child("targetContainerName"), &container["targetContainerName"]));
    }
    let detail = "cannot be set for an Ephemeral Container";
    for key in NOT_EPHEMERAL {
        let empty = match &container[key] {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if !empty {
            errors.push(FieldError::forbidden(&path.child(key), detail));
        }
    }
    for (i, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
        for key in ["subPath", "subPathExpr"] {
            if !text(mount, &[key]).is_empty() {
                errors.push(FieldError::forbidden(&path.child("volumeMounts").index(i).child(key), detail));
            }
        }
    }
}

fn ports(container: &Value, path: &Path, errors: &mut Errors) {
    let mut names: HashSet<&str> = HashSet::new();
    for (i, port) in list(container, &["ports"]).iter().enumerate() {
        let path = path.index(i);
        let name = text(port, &["name"]);
        if !name.is_empty() {
            push_all(errors, &path.child("name"), name, field::port_name(name));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), &port["name"]));
            }
        }
        match int(port, &["containerPort"]) {
            None | Some(0) => errors.push(FieldError::required(&path.child("containerPort"), "")),
            Some(number) => {
                for message in field::port_number(number) {
                    errors.push(FieldError::invalid(&path.child("containerPort"), &port["containerPort"], message));
                }
            }
        }
        if let Some(number) = int(port, &["hostPort"]).filter(|n| *n != 0) {
            for message in field::port_number(number) {
                errors.push(FieldError::invalid(&path.child("hostPort"), &port["hostPort"], message));
            }
        }
        one_of(errors, &path.child("protocol"), &port["protocol"], &["TCP", "UDP", "SCTP"], true);
    }
}

fn host_ports(container: &Value, path: &Path, seen: &mut HashSet<String>, errors: &mut Errors) {
    for (i, port) in list(container, &["ports"]).iter().enumerate() {
        let Some(number) = int(port, &["hostPort"]).filter(|n| *n != 0) else { continue };
        let key = format!("{}/{}/{number}", text(port, &["protocol"]), text(port, &["hostIP"]));
        if !seen.insert(key.clone()) {
            let path = path.child("ports").index(i).child("hostPort");
            errors.push(FieldError::duplicate(&path, &key.into()));
        }
    }
}

/// In the network of the node, a port of the container is the node's.
fn ports_of_the_node(container: &Value, surroundings: &Surroundings<'_>, path: &Path, errors: &mut Errors) {
    for (i, port) in list(container, &["ports"]).iter().enumerate() {
        let host = int(port, &["hostPort"]).unwrap_or(0);
        // A template gets the host port when its pods are made.
        if (surroundings.is_pod || host != 0) && host != int(port, &["containerPort"]).unwrap_or(0) {
            let path = path.child("ports").index(i).child("hostPort");
            let detail = "must match `containerPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(&path, &host.into(), detail));
        }
    }
}

fn resize_policy(container: &Value, surroundings: &Surroundings<'_>, path: &Path, errors: &mut Errors) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, policy) in list(container, &["resizePolicy"]).iter().enumerate() {
        if !seen.insert(text(policy, &["resourceName"])) {
            errors.push(FieldError::duplicate(&path.index(i), &policy["resourceName"]));
        }
        one_of(errors, path, &policy["resourceName"], &["cpu", "memory"], true);
        one_of(errors, path, &policy["restartPolicy"], &["NotRequired", "RestartContainer"], true);
        if surroundings.restart_policy == "Never" && policy["restartPolicy"] != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, &policy["restartPolicy"], detail));
        }
    }
}
