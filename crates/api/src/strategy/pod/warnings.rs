//! What users should know of a pod that is valid: old labels, annotations and volumes, definitions that hide others.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::field::{self, Path, quote};
use crate::meta::{self, at, list, string_map, text};
use crate::quantity::Quantity;

/// Labels of nodes that have other names now, and since when.
const NODE_LABELS: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
];
/// Annotations, or the starts of their names, that fields have replaced.
const ANNOTATIONS: [(&str, &str); 6] = [
    ("seccomp.security.alpha.kubernetes.io/pod", "non-functional in v1.27+; use the \"seccompProfile\" field instead"),
    (
        "container.seccomp.security.alpha.kubernetes.io/",
        "non-functional in v1.27+; use the \"seccompProfile\" field instead",
    ),
    (
        "container.apparmor.security.beta.kubernetes.io/",
        "deprecated since v1.30; use the \"appArmorProfile\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
];

/// Warnings for a pod.
pub fn pod(pod: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let messages = field::dns1123_label(meta::name(pod));
    if !messages.is_empty() && !meta::name(pod).is_empty() {
        out.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        ));
    }
    template(pod, &Path::default(), &mut out);
    out
}

/// Warnings for the name of what makes pods that are named after it.
pub fn workload_name(obj: &Value, out: &mut Vec<String>) {
    let messages = field::dns1123_label(meta::name(obj));
    if !messages.is_empty() && !meta::name(obj).is_empty() {
        out.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        ));
    }
}

/// Warnings for a pod or a template of pods.
pub fn template(template: &Value, path: &Path, out: &mut Vec<String>) {
    for (key, _) in string_map(at(template, &["metadata", "annotations"])) {
        let known = ANNOTATIONS.iter().find(|(name, _)| *name == key || (name.ends_with('/') && key.starts_with(name)));
        if let Some((_, detail)) = known {
            out.push(format!("{}: {detail}", path.child("metadata").child("annotations").key(key)));
        }
    }
    let (spec, path) = (&template["spec"], path.child("spec"));
    nodes(spec, &path, out);
    for (i, volume) in list(spec, &["volumes"]).iter().enumerate() {
        let path = path.child("volumes").index(i);
        for (key, detail) in [
            ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
            ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
            ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
            ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
            ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
            ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
            ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
            ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
        ] {
            if !volume[key].is_null() {
                out.push(format!("{}: {detail}", path.child(key)));
            }
        }
    }
    for (i, secret) in list(spec, &["imagePullSecrets"]).iter().enumerate() {
        if text(secret, &["name"]).is_empty() {
            out.push(format!("{}: invalid empty name \"\"", path.child("imagePullSecrets").index(i).child("name")));
        }
    }
    for group in ["initContainers", "containers"] {
        for (i, container) in list(spec, &[group]).iter().enumerate() {
            self::container(container, &path.child(group).index(i), out);
        }
    }
    for (i, constraint) in list(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        if constraint["labelSelector"].is_null() {
            let path = path.child("topologySpreadConstraints").index(i).child("labelSelector");
            out.push(format!("{path}: a null labelSelector results in matching no pod"));
        }
    }
}

fn nodes(spec: &Value, path: &Path, out: &mut Vec<String>) {
    let renamed = |key: &str| NODE_LABELS.iter().find(|(name, _)| *name == key).map(|(_, detail)| *detail);
    for (key, _) in string_map(&spec["nodeSelector"]) {
        if let Some(detail) = renamed(key) {
            out.push(format!("{}: {detail}", path.child("nodeSelector").key(key)));
        }
    }
    let path = path.child("affinity").child("nodeAffinity").child("requiredDuringSchedulingIgnoredDuringExecution");
    let required = at(spec, &["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"]);
    for (i, term) in list(required, &["nodeSelectorTerms"]).iter().enumerate() {
        for (j, expression) in list(term, &["matchExpressions"]).iter().enumerate() {
            let key = text(expression, &["key"]);
            if let Some(detail) = renamed(key) {
                let path = path.child("nodeSelectorTerms").index(i).child("matchExpressions").index(j).child("key");
                out.push(format!("{path}: {key} is {detail}"));
            }
        }
    }
}

fn container(container: &Value, path: &Path, out: &mut Vec<String>) {
    let mut names = HashSet::new();
    for (i, var) in list(container, &["env"]).iter().enumerate() {
        let name = text(var, &["name"]);
        if !names.insert(name) {
            out.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                path.child("env").index(i),
                quote(name)
            ));
        }
    }
    let mut places = HashMap::new();
    for (i, port) in list(container, &["ports"]).iter().enumerate() {
        let number = |key: &str| port[key].as_i64().unwrap_or(0);
        let protocol = match text(port, &["protocol"]) {
            "" => "TCP",
            protocol => protocol,
        };
        let place = (number("containerPort"), protocol, number("hostPort"), text(port, &["hostIP"]));
        let first = *places.entry(place).or_insert(i);
        if first < i {
            let path = path.child("ports");
            out.push(format!("{}: duplicate port definition with {}", path.index(i), path.index(first)));
        }
    }
    for kind in ["limits", "requests"] {
        let amount = text(container, &["resources", kind, "memory"]);
        if amount.parse::<Quantity>().is_ok_and(|parsed| !parsed.is_integer()) {
            let path = path.child("resources").child(kind).key("memory");
            out.push(format!("{path}: fractional byte value {} is invalid, must be an integer", quote(amount)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_old_or_hidden_is_told() {
        let given = json!({
            "metadata": {"name": "a.b", "annotations": {"seccomp.security.alpha.kubernetes.io/pod": "runtime/default"}},
            "spec": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}, "containers": [{"name": "c",
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
                "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"memory": "100m"}}}]},
        });
        assert_eq!(
            pod(&given),
            [
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
                "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            ]
        );
        assert!(pod(&json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}})).is_empty());
    }
    #[test]
    fn a_container_of_very_many_parts_is_looked_at_once() {
        let parts = |of: fn(u32) -> Value| (0..300_000).map(of).collect::<Value>();
        let env = parts(|n| json!({"name": format!("E{n}")}));
        let ports = parts(|n| json!({"containerPort": n % 60_000 + 1, "hostPort": n}));
        let many =
            json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "env": env, "ports": ports}]}});
        assert_eq!(pod(&many), Vec::<String>::new());
    }
}
