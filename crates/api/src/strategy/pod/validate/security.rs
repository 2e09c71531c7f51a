//! Checks of what a pod and its containers may do on their node.

use std::collections::HashSet;

use serde_json::Value;

use super::Errors;
use super::mounts::local_path;
use crate::field::{self, FieldError, Path};
use crate::meta::{at, list, string_map, text};
use crate::strategy::common::one_of;

const POD_SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Checks the security context of a pod and the operating system that its fields are for.
pub(super) fn of_pod(spec: &Value, path: &Path, errors: &mut Errors) {
    let context = &spec["securityContext"];
    let at = path.child("securityContext");
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&context[key], &at.child(key), errors);
    }
    for (i, group) in list(context, &["supplementalGroups"]).iter().enumerate() {
        id(group, &at.child("supplementalGroups").index(i), errors);
    }
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&at.child("shareProcessNamespace"), &true.into(), detail));
    }
    sysctls(spec, &at.child("sysctls"), errors);
    let policies = ["Always", "OnRootMismatch"];
    one_of(errors, &at.child("fsGroupChangePolicy"), &context["fsGroupChangePolicy"], &policies, false);
    seccomp(&context["seccompProfile"], &at.child("seccompProfile"), errors);
    app_armor(&context["appArmorProfile"], &at.child("appArmorProfile"), errors);
    let policies = ["Merge", "Strict"];
    one_of(errors, &at.child("supplementalGroupsPolicy"), &context["supplementalGroupsPolicy"], &policies, false);
    let policies = ["MountOption", "Recursive"];
    one_of(errors, &at.child("seLinuxChangePolicy"), &context["seLinuxChangePolicy"], &policies, false);
    if spec["hostUsers"] == false {
        for (key, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
            if spec[key] == true {
                errors.push(FieldError::forbidden(&path.child(shown), "when `pod.Spec.HostUsers` is false"));
            }
        }
    }
    operating_system(spec, path, errors);
}

/// Checks the security context of a container.
pub(super) fn of_container(context: &Value, path: &Path, errors: &mut Errors) {
    for key in ["runAsUser", "runAsGroup"] {
        id(&context[key], &path.child(key), errors);
    }
    one_of(errors, &path.child("procMount"), &context["procMount"], &["Default", "Unmasked"], false);
    seccomp(&context["seccompProfile"], &path.child("seccompProfile"), errors);
    app_armor(&context["appArmorProfile"], &path.child("appArmorProfile"), errors);
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(path, context, detail));
        }
        let added = list(context, &["capabilities", "add"]);
        if added.iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(path, context, detail));
        }
    }
}

fn id(value: &Value, path: &Path, errors: &mut Errors) {
    if value.as_i64().is_some_and(|n| !(0..=i64::from(i32::MAX)).contains(&n)) {
        errors.push(FieldError::invalid(path, value, "must be between 0 and 2147483647, inclusive"));
    }
}

fn sysctls(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut names: HashSet<&str> = HashSet::new();
    for (i, sysctl) in list(spec, &["securityContext", "sysctls"]).iter().enumerate() {
        let path = path.index(i).child("name");
        let name = text(sysctl, &["name"]);
        let is_first = names.insert(name);
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !field::is_sysctl_name(name) {
            let detail = "must have at most 253 characters and match regex \
                          ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.push(FieldError::invalid(&path, &sysctl["name"], detail));
        } else if !is_first {
            errors.push(FieldError::duplicate(&path, &sysctl["name"]));
        }
        let dotted = name.replace('/', ".");
        let ipc = ["kernel.sem", "fs.mqueue."].iter().any(|start| dotted.starts_with(start))
            || dotted.starts_with("kernel.shm")
            || dotted.starts_with("kernel.msg");
        for (key, shared) in [("hostNetwork", dotted.starts_with("net.")), ("hostIPC", ipc)] {
            if shared && spec[key] == true {
                let detail = format!("may not be specified when '{key}' is true");
                errors.push(FieldError::invalid(&path, &sysctl["name"], detail));
            }
        }
    }
}

fn seccomp(profile: &Value, path: &Path, errors: &mut Errors) {
    if profile.is_null() {
        return;
    }
    let kind = text(profile, &["type"]);
    match kind {
        "" => errors.push(FieldError::required(&path.child("type"), "type is required when seccompProfile is set")),
        _ => one_of(errors, &path.child("type"), &profile["type"], &PROFILES, true),
    }
    let path = path.child("localhostProfile");
    match (kind, profile["localhostProfile"].as_str()) {
        ("Localhost", None) => errors.push(FieldError::required(&path, "must be set when seccomp type is Localhost")),
        ("Localhost", Some(file)) => local_path(file, &path, errors),
        (_, Some(_)) => {
            errors.push(FieldError::invalid(&path, profile, "can only be set when seccomp type is Localhost"));
        }
        (_, None) => {}
    }
}

fn app_armor(profile: &Value, path: &Path, errors: &mut Errors) {
    if profile.is_null() {
        return;
    }
    const MAX: usize = 4095;
    let local = path.child("localhostProfile");
    let given = profile["localhostProfile"].as_str();
    match text(profile, &["type"]) {
        "Localhost" => match given {
            Some(name) if name.trim() != name => {
                errors.push(FieldError::invalid_str(&local, name, "must not be padded with whitespace"));
            }
            Some(name) if name.len() > MAX => errors.push(FieldError::too_long(&local, MAX)),
            None | Some("") => {
                errors.push(FieldError::required(&local, "must be set when AppArmor type is Localhost"));
            }
            Some(_) => {}
        },
        "RuntimeDefault" | "Unconfined" => {
            if let Some(name) = given {
                let detail = "can only be set when AppArmor type is Localhost";
                errors.push(FieldError::invalid_str(&local, name, detail));
            }
        }
        "" => errors.push(FieldError::required(&path.child("type"), "type is required when appArmorProfile is set")),
        kind => errors.push(FieldError::not_supported(&path.child("type"), kind, &PROFILES)),
    }
}

/// Fields that a pod for Windows does not have: of the pod, of its security context, of that of a container.
const NOT_WINDOWS: [&[&str]; 3] = [
    &["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"],
    &[
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    ],
    &[
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ],
];

fn operating_system(spec: &Value, path: &Path, errors: &mut Errors) {
    let (name, os) = (text(spec, &["os", "name"]), path.child("os"));
    if spec["os"].is_null() {
        return;
    }
    let detail = "cannot be set for a windows pod";
    let (of_pod, of_context, of_container): (&[&str], &[&str], &[&str]) = match name {
        "" => return errors.push(FieldError::required(&os.child("name"), "cannot be empty")),
        "windows" => (NOT_WINDOWS[0], NOT_WINDOWS[1], NOT_WINDOWS[2]),
        "linux" => (&[], &["windowsOptions"], &["windowsOptions"]),
        _ => return errors.push(FieldError::not_supported(&os, name, &["linux", "windows"])),
    };
    let detail = if name == "linux" { "windows options cannot be set for a linux pod" } else { detail };
    let mut refuse = |object: &Value, keys: &[&str], path: &Path| {
        for key in keys.iter().filter(|key| !object[**key].is_null()) {
            errors.push(FieldError::forbidden(&path.child(key), detail));
        }
    };
    refuse(spec, of_pod, path);
    refuse(&spec["securityContext"], of_context, &path.child("securityContext"));
    for group in CONTAINERS {
        for (i, container) in list(spec, &[group]).iter().enumerate() {
            let path = path.child(group).index(i).child("securityContext");
            refuse(&container["securityContext"], of_container, &path);
        }
    }
}

/// Checks the profiles that old annotations name.
pub(super) fn annotations(annotations: &Value, path: &Path, errors: &mut Errors) {
    for (key, profile) in string_map(annotations) {
        if key != POD_SECCOMP && !key.starts_with(CONTAINER_SECCOMP) {
            continue;
        }
        match profile.strip_prefix("localhost/") {
            Some(file) => local_path(file, &path.child(key), errors),
            None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
            None => {
                errors.push(FieldError::invalid_str(&path.child(key), profile, "must be a valid seccomp profile"));
            }
        }
    }
}

/// Checks that old annotations say the same as the fields that replaced them.
pub(super) fn annotations_match(annotations: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    seccomp_matches(text(annotations, &[POD_SECCOMP]), &spec["securityContext"], path, errors);
    for group in CONTAINERS {
        for (i, container) in list(spec, &[group]).iter().enumerate() {
            let key = format!("{CONTAINER_SECCOMP}{}", text(container, &["name"]));
            let annotation = text(annotations, &[&key]);
            seccomp_matches(annotation, &container["securityContext"], &path.child(group).index(i), errors);
        }
    }
}

fn seccomp_matches(annotation: &str, context: &Value, path: &Path, errors: &mut Errors) {
    let profile = &context["seccompProfile"];
    if annotation.is_empty() || profile.is_null() {
        return;
    }
    let path = path.child("securityContext").child("seccompProfile");
    let same = match text(profile, &["type"]) {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => matches!(annotation, "runtime/default" | "docker/default"),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(file) if *at(profile, &["localhostProfile"]) != file => {
                let detail = "seccomp profile in annotation and field must match";
                return errors.push(FieldError::forbidden(&path.child("localhostProfile"), detail));
            }
            file => file.is_some(),
        },
        _ => true,
    };
    if !same {
        let detail = "seccomp type in annotation and field must match";
        errors.push(FieldError::forbidden(&path.child("type"), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(spec: Value) -> Vec<String> {
        let mut errors = Vec::new();
        of_pod(&spec, &Path::new("spec"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sysctls_of_the_node_are_not_a_pods() {
        let spec = json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]}});
        assert_eq!(
            refused(spec),
            [
                "spec.securityContext.sysctls[0].name: Invalid value: \"net.ipv4.ip_forward\": may not be specified when 'hostNetwork' is true"
            ]
        );
    }

    #[test]
    fn user_namespaces_are_not_mixed_with_those_of_the_host() {
        assert_eq!(
            refused(json!({"hostUsers": false, "hostPID": true})),
            ["spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false"]
        );
    }
}
