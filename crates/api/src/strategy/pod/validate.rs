//! Checks of pods and pod templates: `ValidatePodSpec` upstream.

use std::collections::HashSet;

use serde_json::Value;

use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{at, int, list, text};
use crate::meta_validate;
use crate::quantity::Quantity;
use crate::strategy::common::{non_negative, one_of};

type Errors = Vec<FieldError>;

/// Checks a pod template: its labels, annotations and spec.
pub fn template(template: &Value, path: &Path, errors: &mut Errors) {
    let metadata = path.child("metadata");
    meta_validate::labels(at(template, &["metadata", "labels"]), &path.child("labels"), errors);
    meta_validate::annotations(at(template, &["metadata", "annotations"]), &metadata.child("annotations"), errors);
    pod_spec(&template["spec"], &path.child("spec"), errors);
    if !list(template, &["spec", "ephemeralContainers"]).is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&path.child("spec").child("ephemeralContainers"), detail));
    }
}

fn sysctls(sysctls: &[Value], path: &Path, errors: &mut Errors) {
    let mut names: HashSet<&str> = HashSet::new();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let path = path.index(i).child("name");
        let name = text(sysctl, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !field::is_sysctl_name(name) {
            let detail = "must have at most 253 characters and match regex \
                          ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.push(FieldError::invalid(&path, &sysctl["name"], detail));
        } else if !names.insert(name) {
            errors.push(FieldError::duplicate(&path, &sysctl["name"]));
        }
    }
}

/// Checks the spec of a pod.
pub fn pod_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let volumes = volumes(list(spec, &["volumes"]), &path.child("volumes"), errors);
    let mut names: HashSet<String> = HashSet::new();
    let host_network = spec["hostNetwork"] == true;
    if list(spec, &["containers"]).is_empty() {
        errors.push(FieldError::required(&path.child("containers"), ""));
    }
    for group in ["containers", "initContainers", "ephemeralContainers"] {
        let mut ports: HashSet<String> = HashSet::new();
        for (i, container) in list(spec, &[group]).iter().enumerate() {
            let path = path.child(group).index(i);
            self::container(container, &path, &volumes, host_network, errors);
            let name = text(container, &["name"]);
            if !name.is_empty() && !names.insert(name.to_owned()) {
                errors.push(FieldError::duplicate(&path.child("name"), &container["name"]));
            }
            host_ports(container, &path, &mut ports, errors);
            if group == "initContainers" {
                init_container(container, &path, errors);
            }
        }
    }
    let policies = ["Always", "OnFailure", "Never"];
    one_of(errors, &path.child("restartPolicy"), &spec["restartPolicy"], &policies, true);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(errors, &path.child("dnsPolicy"), &spec["dnsPolicy"], &policies, true);
    dns_config(spec, path, errors);
    sysctls(list(spec, &["securityContext", "sysctls"]), &path.child("securityContext").child("sysctls"), errors);
    meta_validate::labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    let name = text(spec, &["serviceAccountName"]);
    if !name.is_empty() {
        push_all(errors, &path.child("serviceAccountName"), name, field::dns1123_subdomain(name));
    }
    let name = text(spec, &["nodeName"]);
    if !name.is_empty() {
        push_all(errors, &path.child("nodeName"), name, field::dns1123_subdomain(name));
    }
    for key in ["hostname", "subdomain"] {
        let name = text(spec, &[key]);
        if !name.is_empty() {
            push_all(errors, &path.child(key), name, field::dns1123_label(name));
        }
    }
    if let Some(seconds) = int(spec, &["activeDeadlineSeconds"])
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(&path.child("activeDeadlineSeconds"), &spec["activeDeadlineSeconds"], detail));
    }
    non_negative(errors, &path.child("terminationGracePeriodSeconds"), &spec["terminationGracePeriodSeconds"]);
    let name = text(spec, &["priorityClassName"]);
    if !name.is_empty() {
        push_all(errors, &path.child("priorityClassName"), name, field::dns1123_subdomain(name));
    }
    tolerations(spec, path, errors);
    for (i, alias) in list(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.child("hostAliases").index(i);
        push_all(errors, &path.child("ip"), text(alias, &["ip"]), field::ip(text(alias, &["ip"])));
        for name in list(alias, &["hostnames"]).iter().filter_map(Value::as_str) {
            push_all(errors, &path.child("hostnames"), name, field::dns1123_subdomain(name));
        }
    }
    for (i, secret) in list(spec, &["imagePullSecrets"]).iter().enumerate() {
        if text(secret, &["name"]).is_empty() {
            errors.push(FieldError::required(&path.child("imagePullSecrets").index(i).child("name"), ""));
        }
    }
    spread(spec, path, errors);
    affinity(&spec["affinity"], &path.child("affinity"), errors);
}

fn init_container(container: &Value, path: &Path, errors: &mut Errors) {
    let policy = text(container, &["restartPolicy"]);
    if policy == "Always" {
        return;
    }
    let detail = "may not be set for init containers without restartPolicy=Always";
    for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if !container[key].is_null() {
            errors.push(FieldError::forbidden(&path.child(key), detail));
        }
    }
}

fn container(container: &Value, path: &Path, volumes: &HashSet<String>, host_network: bool, errors: &mut Errors) {
    let name = text(container, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        push_all(errors, &path.child("name"), name, field::dns1123_label(name));
    }
    let image = text(container, &["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid_str(&path.child("image"), image, detail));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(errors, &path.child("imagePullPolicy"), &container["imagePullPolicy"], &policies, true);
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(errors, &path.child("terminationMessagePolicy"), &container["terminationMessagePolicy"], &policies, false);
    ports(container, path, host_network, errors);
    env(container, path, volumes, errors);
    mounts(container, path, volumes, errors);
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if !container[key].is_null() {
            probe(&container[key], key, &path.child(key), errors);
        }
    }
    for key in ["postStart", "preStop"] {
        let hook = at(container, &["lifecycle", key]);
        if !hook.is_null() {
            handler(hook, &["exec", "httpGet", "tcpSocket", "sleep"], &path.child("lifecycle").child(key), errors);
        }
    }
    resources(&container["resources"], &path.child("resources"), errors);
    let context = &container["securityContext"];
    for key in ["runAsUser", "runAsGroup"] {
        non_negative(errors, &path.child("securityContext").child(key), &context[key]);
    }
    if context["privileged"] == true && context["allowPrivilegeEscalation"] == false {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(&path.child("securityContext"), context, detail));
    }
}

fn ports(container: &Value, path: &Path, host_network: bool, errors: &mut Errors) {
    let mut names: HashSet<&str> = HashSet::new();
    for (i, port) in list(container, &["ports"]).iter().enumerate() {
        let path = path.child("ports").index(i);
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
            if host_network && port["hostPort"] != port["containerPort"] {
                let detail = "must match `hostPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&path.child("containerPort"), &port["containerPort"], detail));
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

fn env(container: &Value, path: &Path, _volumes: &HashSet<String>, errors: &mut Errors) {
    for (i, var) in list(container, &["env"]).iter().enumerate() {
        let path = path.child("env").index(i);
        let name = text(var, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            push_all(errors, &path.child("name"), name, field::env_var_name(name));
        }
        let Some(source) = var["valueFrom"].as_object() else { continue };
        let path = path.child("valueFrom");
        let given: Vec<&String> = source.keys().collect();
        if given.is_empty() {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid_str(&path, "", detail));
        } else if !text(var, &["value"]).is_empty() {
            errors.push(FieldError::invalid_str(&path, "", "may not be specified when `value` is not empty"));
        } else if given.len() > 1 {
            errors.push(FieldError::invalid_str(&path, "", "may not have more than one field specified at a time"));
        }
        let source = &var["valueFrom"];
        if source.get("fieldRef").is_some() {
            field_path(&source["fieldRef"], &path.child("fieldRef"), ENV_FIELDS, errors);
        }
        if source.get("resourceFieldRef").is_some() && text(source, &["resourceFieldRef", "resource"]).is_empty() {
            errors.push(FieldError::required(&path.child("resourceFieldRef").child("resource"), ""));
        }
        for key in ["configMapKeyRef", "secretKeyRef"] {
            if source.get(key).is_some() {
                let path = path.child(key);
                if text(source, &[key, "key"]).is_empty() {
                    errors.push(FieldError::required(&path.child("key"), ""));
                } else {
                    let value = text(source, &[key, "key"]);
                    push_all(errors, &path.child("key"), value, field::config_map_key(value));
                }
            }
        }
    }
    for (i, from) in list(container, &["envFrom"]).iter().enumerate() {
        let path = path.child("envFrom").index(i);
        let given = ["configMapRef", "secretRef"].iter().filter(|k| !from[**k].is_null()).count();
        if given == 0 {
            let detail = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(FieldError::invalid_str(&path, "", detail));
        } else if given > 1 {
            errors.push(FieldError::invalid_str(&path, "", "may not have more than one field specified at a time"));
        }
    }
}

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
const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

fn field_path(reference: &Value, path: &Path, supported: &[&str], errors: &mut Errors) {
    let given = text(reference, &["fieldPath"]);
    let path = path.child("fieldPath");
    if given.is_empty() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    let subscript = ["metadata.annotations['", "metadata.labels['"]
        .iter()
        .any(|p| given.strip_prefix(p).is_some_and(|rest| rest.len() > 2 && rest.ends_with("']")));
    if !subscript && !supported.contains(&given) {
        errors.push(FieldError::not_supported(&path, given, supported));
    }
}

fn mounts(container: &Value, path: &Path, volumes: &HashSet<String>, errors: &mut Errors) {
    let mut paths: HashSet<&str> = HashSet::new();
    for (i, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
        let path = path.child("volumeMounts").index(i);
        let name = text(mount, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError::not_found(&path.child("name"), &mount["name"]));
        }
        let target = text(mount, &["mountPath"]);
        if target.is_empty() {
            errors.push(FieldError::required(&path.child("mountPath"), ""));
        } else if !paths.insert(target) {
            errors.push(FieldError::invalid_str(&path.child("mountPath"), target, "must be unique"));
        }
        for key in ["subPath", "subPathExpr"] {
            local_path(text(mount, &[key]), &path.child(key), errors);
        }
        if !text(mount, &["subPath"]).is_empty() && !text(mount, &["subPathExpr"]).is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("subPathExpr"), &mount["subPathExpr"], detail));
        }
        let modes = ["Bidirectional", "HostToContainer", "None"];
        one_of(errors, &path.child("mountPropagation"), &mount["mountPropagation"], &modes, false);
    }
}

/// A path that stays below where it starts.
fn local_path(value: &str, path: &Path, errors: &mut Errors) {
    if value.starts_with('/') {
        errors.push(FieldError::invalid_str(path, value, "must be a relative path"));
    }
    if value.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid_str(path, value, "must not contain '..'"));
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
            }
            "tcpSocket" | "grpc" => port_number_or_name(&body["port"], &path.child("port"), errors),
            _ => {}
        }
    }
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

fn probe(probe: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], path, errors);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        non_negative(errors, &path.child(key), &probe[key]);
    }
    let success = int(probe, &["successThreshold"]).unwrap_or(1);
    if kind != "readinessProbe" && success != 1 {
        errors.push(FieldError::invalid(&path.child("successThreshold"), &probe["successThreshold"], "must be 1"));
    }
    if let Some(seconds) = int(probe, &["terminationGracePeriodSeconds"]) {
        let path = path.child("terminationGracePeriodSeconds");
        if kind == "readinessProbe" {
            errors.push(FieldError::invalid(&path, &seconds.into(), "must not be set for readinessProbes"));
        } else if seconds <= 0 {
            errors.push(FieldError::invalid(&path, &seconds.into(), "must be greater than 0"));
        }
    }
}

/// Checks requests and limits.
pub fn resources(resources: &Value, path: &Path, errors: &mut Errors) {
    let amount = |kind: &str, name: &str| -> Option<Quantity> { text(resources, &[kind, name]).parse().ok() };
    for kind in ["limits", "requests"] {
        for (name, value) in crate::meta::string_map(&resources[kind]) {
            let path = path.child(kind);
            push_all(errors, &path, name, field::qualified_name(name));
            let standard = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
            if !standard && !name.contains('/') {
                let detail = "must be a standard resource for containers";
                errors.push(FieldError::invalid_str(&path, name, detail));
            }
            if amount(kind, name).is_some_and(Quantity::is_negative) {
                let detail = "must be greater than or equal to 0";
                errors.push(FieldError::invalid_str(&path.key(name), value, detail));
            }
        }
    }
    for (name, value) in crate::meta::string_map(&resources["requests"]) {
        let (Some(request), Some(limit)) = (amount("requests", name), amount("limits", name)) else { continue };
        let exact = name.contains('/') || name.starts_with("hugepages-");
        if exact && request != limit {
            let detail = format!("must be equal to {name} limit of {limit}");
            errors.push(FieldError::invalid_str(&path.child("requests"), value, detail));
        } else if request > limit {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid_str(&path.child("requests"), value, detail));
        }
    }
}

fn volumes(volumes: &[Value], path: &Path, errors: &mut Errors) -> HashSet<String> {
    let mut names = HashSet::new();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        let name = text(volume, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            push_all(errors, &path.child("name"), name, field::dns1123_label(name));
            if !names.insert(name.to_owned()) {
                errors.push(FieldError::duplicate(&path.child("name"), &volume["name"]));
            }
        }
        let sources: Vec<&String> =
            volume.as_object().into_iter().flatten().map(|(k, _)| k).filter(|k| *k != "name").collect();
        if sources.is_empty() {
            errors.push(FieldError::required(&path, "must specify a volume type"));
        }
        for (j, source) in sources.iter().enumerate() {
            let path = path.child(source);
            if j > 0 {
                errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
                continue;
            }
            volume_source(source, &volume[source.as_str()], &path, errors);
        }
    }
    names
}

fn volume_source(kind: &str, source: &Value, path: &Path, errors: &mut Errors) {
    let required: &[&str] = match kind {
        "hostPath" => &["path"],
        "secret" => &["secretName"],
        "configMap" => &["name"],
        "persistentVolumeClaim" => &["claimName"],
        "nfs" => &["server", "path"],
        "csi" => &["driver"],
        _ => &[],
    };
    for key in required {
        if text(source, &[key]).is_empty() {
            errors.push(FieldError::required(&path.child(key), ""));
        }
    }
    if kind == "hostPath" && text(source, &["path"]).split('/').any(|p| p == "..") {
        errors.push(FieldError::invalid(&path.child("path"), &source["path"], "must not contain '..'"));
    }
    if kind == "hostPath" {
        let types =
            ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
        one_of(errors, &path.child("type"), &source["type"], &types, false);
    }
    if let Some(mode) = int(source, &["defaultMode"])
        && !(0..=0o777).contains(&mode)
    {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(&path.child("defaultMode"), &source["defaultMode"], detail));
    }
    for (i, item) in list(source, &["items"]).iter().enumerate() {
        let path = path.child("items").index(i);
        if kind == "downwardAPI" {
            if !item["fieldRef"].is_null() {
                field_path(&item["fieldRef"], &path.child("fieldRef"), VOLUME_FIELDS, errors);
            } else if item["resourceFieldRef"].is_null() {
                errors.push(FieldError::required(&path, "one of fieldRef and resourceFieldRef is required"));
            }
        } else if text(item, &["key"]).is_empty() {
            errors.push(FieldError::required(&path.child("key"), ""));
        }
        if text(item, &["path"]).is_empty() {
            errors.push(FieldError::required(&path.child("path"), ""));
        }
        local_path(text(item, &["path"]), &path.child("path"), errors);
    }
    if kind == "projected" {
        for (i, projection) in list(source, &["sources"]).iter().enumerate() {
            let path = path.child("sources").index(i);
            let kinds: Vec<&String> = projection.as_object().into_iter().flatten().map(|(k, _)| k).collect();
            if kinds.len() > 1 {
                errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
            }
            let token = &projection["serviceAccountToken"];
            if token.is_object() {
                let path = path.child("serviceAccountToken");
                if int(token, &["expirationSeconds"]).unwrap_or(3600) < 600 {
                    let detail = "may not specify a duration less than 10 minutes";
                    errors.push(FieldError::invalid(
                        &path.child("expirationSeconds"),
                        &token["expirationSeconds"],
                        detail,
                    ));
                }
                if text(token, &["path"]).is_empty() {
                    errors.push(FieldError::required(&path.child("path"), ""));
                }
            }
        }
    }
}

fn dns_config(spec: &Value, path: &Path, errors: &mut Errors) {
    let config = &spec["dnsConfig"];
    let path = path.child("dnsConfig");
    let servers = list(config, &["nameservers"]);
    if spec["dnsPolicy"] == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(&path.child("nameservers"), detail));
    }
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(&path.child("nameservers"), &config["nameservers"], detail));
    }
    for (i, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        push_all(errors, &path.child("nameservers").index(i), server, field::ip(server));
    }
    if list(config, &["searches"]).len() > 32 {
        let detail = "must not have more than 32 search paths";
        errors.push(FieldError::invalid(&path.child("searches"), &config["searches"], detail));
    }
    for (i, option) in list(config, &["options"]).iter().enumerate() {
        if text(option, &["name"]).is_empty() {
            errors.push(FieldError::required(&path.child("options").index(i).child("name"), "must not be empty"));
        }
    }
}

fn tolerations(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, toleration) in list(spec, &["tolerations"]).iter().enumerate() {
        let path = path.child("tolerations").index(i);
        let (key, operator) = (text(toleration, &["key"]), text(toleration, &["operator"]));
        if !key.is_empty() {
            push_all(errors, &path.child("key"), key, field::qualified_name(key));
        }
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid_str(&path.child("operator"), operator, detail));
        }
        let effect = text(toleration, &["effect"]);
        if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid_str(&path.child("effect"), effect, detail));
        }
        let value = text(toleration, &["value"]);
        match operator {
            "" | "Equal" => push_all(errors, &path.child("operator"), value, field::label_value(value)),
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(&path.child("operator"), toleration, detail));
            }
            _ => one_of(errors, &path.child("operator"), &toleration["operator"], &["Equal", "Exists"], false),
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of(errors, &path.child("effect"), &toleration["effect"], &effects, false);
    }
}

fn spread(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, constraint) in list(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(i);
        if int(constraint, &["maxSkew"]).unwrap_or(0) <= 0 {
            errors.push(FieldError::invalid(
                &path.child("maxSkew"),
                &constraint["maxSkew"],
                "must be greater than zero",
            ));
        }
        if text(constraint, &["topologyKey"]).is_empty() {
            errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        one_of(errors, &path.child("whenUnsatisfiable"), &constraint["whenUnsatisfiable"], &actions, true);
        meta_validate::label_selector(&constraint["labelSelector"], &path.child("labelSelector"), errors);
    }
}

fn affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = &affinity["nodeAffinity"];
    let node_path = path.child("nodeAffinity");
    if node[REQUIRED].is_object() && list(node, &[REQUIRED, "nodeSelectorTerms"]).is_empty() {
        let path = node_path.child(REQUIRED).child("nodeSelectorTerms");
        errors.push(FieldError::required(&path, "must have at least one node selector term"));
    }
    for (i, term) in list(node, &[PREFERRED]).iter().enumerate() {
        weight(term, &node_path.child(PREFERRED).index(i), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        for (i, term) in list(affinity, &[kind, REQUIRED]).iter().enumerate() {
            affinity_term(term, &path.child(REQUIRED).index(i), errors);
        }
        for (i, term) in list(affinity, &[kind, PREFERRED]).iter().enumerate() {
            let path = path.child(PREFERRED).index(i);
            weight(term, &path, errors);
            affinity_term(&term["podAffinityTerm"], &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut Errors) {
    if !(1..=100).contains(&int(term, &["weight"]).unwrap_or(0)) {
        errors.push(FieldError::invalid(&path.child("weight"), &term["weight"], "must be in the range 1-100"));
    }
}

fn affinity_term(term: &Value, path: &Path, errors: &mut Errors) {
    if text(term, &["topologyKey"]).is_empty() {
        errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
    meta_validate::label_selector(&term["labelSelector"], &path.child("labelSelector"), errors);
}

/// Checks a change of a pod: only a few fields of its spec may change.
pub fn update(new: &Value, old: &Value) -> Errors {
    let mut errors = Vec::new();
    let path = Path::new("spec");
    let (mut ours, theirs) = (new["spec"].clone(), &old["spec"]);
    for group in ["containers", "initContainers"] {
        let (now, before) = (list(new, &["spec", group]), list(old, &["spec", group]));
        if now.len() != before.len() {
            errors.push(FieldError::forbidden(&path.child(group), "pod updates may not add or remove containers"));
            return errors;
        }
        for (i, container) in before.iter().enumerate() {
            if text(&now[i], &["image"]).is_empty() {
                errors.push(FieldError::required(&path.child(group).index(i).child("image"), ""));
            }
            if let Some(map) = ours[group][i].as_object_mut() {
                map.insert("image".into(), container["image"].clone());
            }
        }
    }
    deadline(new, old, &path, &mut errors);
    let added_only =
        list(old, &["spec", "tolerations"]).iter().all(|t| list(new, &["spec", "tolerations"]).contains(t));
    let gates_removed_only =
        list(new, &["spec", "schedulingGates"]).iter().all(|g| list(old, &["spec", "schedulingGates"]).contains(g));
    if !gates_removed_only {
        let added = &new["spec"]["schedulingGates"];
        let detail = format!("only deletion is allowed, but found new scheduling gate {added}");
        errors.push(FieldError::forbidden(&path.child("schedulingGates"), detail));
    }
    if let (Some(map), Some(before)) = (ours.as_object_mut(), theirs.as_object()) {
        let mut keep = vec!["activeDeadlineSeconds", "schedulingGates"];
        if added_only {
            keep.push("tolerations");
        }
        if int(old, &["spec", "terminationGracePeriodSeconds"]).is_some_and(|s| s < 0) {
            keep.push("terminationGracePeriodSeconds");
        }
        for key in keep {
            match before.get(key) {
                Some(value) => map.insert(key.into(), value.clone()),
                None => map.remove(key),
            };
        }
    }
    if ours != *theirs && errors.is_empty() {
        errors.push(FieldError::forbidden(
            &path,
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
    errors
}

fn deadline(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let key = "activeDeadlineSeconds";
    let path = path.child(key);
    match (int(new, &["spec", key]), int(old, &["spec", key])) {
        (None, Some(_)) => {
            errors.push(FieldError::invalid(
                &path,
                &Value::Null,
                "must not update from a positive integer to nil value",
            ));
        }
        (Some(now), Some(before)) if now > before => {
            let detail = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(&path, &now.into(), detail));
        }
        _ => {}
    }
}
