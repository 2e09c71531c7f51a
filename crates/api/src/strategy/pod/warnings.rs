//! What users should know of a pod that is valid: old labels, annotations and volumes, definitions that hide others, and what
//! this version does not do for it.

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

/// Sources of volumes that are not worked on any more, or are gone.
const VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
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
    pod_or_template(pod, &Path::default(), &mut out);
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

/// Warnings for a template of pods.
pub fn template(template: &Value, path: &Path, out: &mut Vec<String>) {
    pod_or_template(template, path, out);
    // That of a pod becomes 1.
    if at(template, &["spec", "terminationGracePeriodSeconds"]).as_i64().is_some_and(|seconds| seconds < 0) {
        let path = path.child("spec").child("terminationGracePeriodSeconds");
        out.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
}

fn pod_or_template(template: &Value, path: &Path, out: &mut Vec<String>) {
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
        sources(volume, &path, out);
        let empty = |source: &Value| source.as_object().is_some_and(serde_json::Map::is_empty);
        for _ in list(volume, &["projected", "sources"]).iter().filter(|source| empty(source)) {
            out.push(format!("volume {} (Projected) has no sources provided", quote(text(volume, &["name"]))));
        }
    }
    repeated(spec, &path, out);
    let mut ports = Vec::new();
    for group in ["initContainers", "containers"] {
        for (i, container) in list(spec, &[group]).iter().enumerate() {
            let path = path.child(group).index(i);
            self::container(container, &path, out);
            let path = path.child("ports");
            ports.extend(list(container, &["ports"]).iter().enumerate().map(|(i, port)| (port, path.index(i))));
        }
    }
    self::ports(&ports, out);
    port_names(&ports, out);
    pod_affinity(spec, &path.child("affinity"), out);
    if !list(spec, &["resourceClaims"]).is_empty() {
        let path = path.child("resourceClaims");
        out.push(format!("{path}: devices are not allocated in this version: pods that claim some are not run"));
    }
}

/// Warnings for a source of a volume that is old.
pub fn sources(volume: &Value, path: &Path, out: &mut Vec<String>) {
    for (key, detail) in VOLUMES {
        if !volume[key].is_null() {
            out.push(format!("{}: {detail}", path.child(key)));
        }
    }
}

/// Elements of lists that other elements, or nothing, will be taken for.
fn repeated(spec: &Value, path: &Path, out: &mut Vec<String>) {
    for (field, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let items = list(spec, &[field]);
        let mut seen = HashSet::new();
        for (i, item) in items.iter().enumerate() {
            let (given, path) = (text(item, &[key]), path.child(field).index(i).child(key));
            if !seen.insert(given) {
                out.push(format!("{path}: duplicate {key} {}", quote(given)));
            }
            if given.is_empty() && field == "imagePullSecrets" {
                out.push(format!("{path}: invalid empty name \"\""));
            }
        }
    }
}

fn renamed(label: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(name, _)| *name == label).map(|(_, detail)| *detail)
}

fn nodes(spec: &Value, path: &Path, out: &mut Vec<String>) {
    for (key, _) in string_map(&spec["nodeSelector"]) {
        if let Some(detail) = renamed(key) {
            out.push(format!("{}: {detail}", path.child("nodeSelector").key(key)));
        }
    }
    let affinity = at(spec, &["affinity", "nodeAffinity"]);
    let affinity_path = path.child("affinity").child("nodeAffinity");
    let key = "requiredDuringSchedulingIgnoredDuringExecution";
    node_selector(&affinity[key], &affinity_path.child(key), out);
    let key = "preferredDuringSchedulingIgnoredDuringExecution";
    for (i, preferred) in list(affinity, &[key]).iter().enumerate() {
        node_selector_term(&preferred["preference"], &affinity_path.child(key).index(i).child("preference"), out);
    }
    for (i, constraint) in list(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let (path, key) = (path.child("topologySpreadConstraints").index(i), text(constraint, &["topologyKey"]));
        if let Some(detail) = renamed(key) {
            out.push(format!("{}: {key} is {detail}", path.child("topologyKey")));
        }
        no_selector(constraint, &path, out);
    }
}

/// Warnings for a selector of nodes.
pub fn node_selector(selector: &Value, path: &Path, out: &mut Vec<String>) {
    for (i, term) in list(selector, &["nodeSelectorTerms"]).iter().enumerate() {
        node_selector_term(term, &path.child("nodeSelectorTerms").index(i), out);
    }
}

fn node_selector_term(term: &Value, path: &Path, out: &mut Vec<String>) {
    for (i, expression) in list(term, &["matchExpressions"]).iter().enumerate() {
        let key = text(expression, &["key"]);
        if let Some(detail) = renamed(key) {
            out.push(format!("{}: {key} is {detail}", path.child("matchExpressions").index(i).child("key")));
        }
    }
}

fn pod_affinity(spec: &Value, path: &Path, out: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, path) = (at(spec, &["affinity", kind]), path.child(kind));
        let key = "requiredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in list(affinity, &[key]).iter().enumerate() {
            no_selector(term, &path.child(key).index(i), out);
        }
        let key = "preferredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in list(affinity, &[key]).iter().enumerate() {
            no_selector(&term["podAffinityTerm"], &path.child(key).index(i).child("podAffinityTerm"), out);
        }
    }
}

fn no_selector(of: &Value, path: &Path, out: &mut Vec<String>) {
    if of["labelSelector"].is_null() {
        out.push(format!("{}: a null labelSelector results in matching no pod", path.child("labelSelector")));
    }
}

fn container(container: &Value, path: &Path, out: &mut Vec<String>) {
    for kind in ["limits", "requests"] {
        fractions(at(container, &["resources", kind]), &path.child("resources").child(kind), out);
    }
    let mut names = HashSet::new();
    for (i, var) in list(container, &["env"]).iter().enumerate() {
        let (name, value) = (text(var, &["name"]), text(var, &["value"]));
        // One that adds to the value before it is meant so.
        let before = format!("$({name})");
        let adds = var["valueFrom"].is_null() && value != before && value.contains(&before);
        if !names.insert(name) && !adds {
            out.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                path.child("env").index(i),
                quote(name)
            ));
        }
    }
}

/// Amounts of bytes that are no whole number.
pub fn fractions(amounts: &Value, path: &Path, out: &mut Vec<String>) {
    for resource in ["memory", "ephemeral-storage", "storage"] {
        let amount = text(amounts, &[resource]);
        if amount.parse::<Quantity>().is_ok_and(|parsed| !parsed.is_integer()) {
            let path = path.key(resource);
            out.push(format!("{path}: fractional byte value {} is invalid, must be an integer", quote(amount)));
        }
    }
}

/// The most ports of one number that another is compared with.
const ALIKE: usize = 64;

/// Ports of all containers, which share their pod's address.
fn ports(ports: &[(&Value, Path)], out: &mut Vec<String>) {
    let number = |key: &'static str, port: &Value| port[key].as_i64().unwrap_or(0);
    let host_ip = |port: &Value| text(port, &["hostIP"]).to_owned();
    let protocol = |port: &Value| match text(port, &["protocol"]) {
        "" => "TCP".to_owned(),
        given => given.to_owned(),
    };
    // Those with one number and protocol; so many that they cannot be meant are compared with the first ones only.
    let mut alike: HashMap<(i64, String), Vec<usize>> = HashMap::new();
    for (i, (port, path)) in ports.iter().enumerate() {
        let (ip, host) = (host_ip(port), number("hostPort", port));
        let before = alike.entry((number("containerPort", port), protocol(port))).or_default();
        for (other, first) in before.iter().filter_map(|other| ports.get(*other)) {
            let (other_ip, other_host) = (host_ip(other), number("hostPort", other));
            if ip == other_ip && host == other_host {
                out.push(format!("{path}: duplicate port definition with {first}"));
            } else if host == 0 || other_host == 0 {
                out.push(format!("{path}: overlapping port definition with {first}"));
            } else if host == other_host && (ip.is_empty() != other_ip.is_empty()) {
                out.push(format!("{path}: dangerously ambiguous port definition with {first}"));
            }
        }
        if before.len() < ALIKE {
            before.push(i);
        }
    }
}

/// Names of ports of all containers: who looks for one by its name finds the first.
fn port_names(ports: &[(&Value, Path)], out: &mut Vec<String>) {
    let mut named: HashMap<&str, &Path> = HashMap::new();
    for (port, path) in ports {
        let name = text(port, &["name"]);
        if name.is_empty() {
            continue;
        }
        match named.get(name) {
            Some(first) => out.push(format!(
                "{path}: duplicate port name {} with {first}, services and probes that select ports by name will use {first}",
                quote(name)
            )),
            None => {
                named.insert(name, path);
            }
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
                "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            ]
        );
        assert!(pod(&json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}})).is_empty());
    }

    #[test]
    fn what_has_no_source_and_ports_of_one_name_are_told() {
        let given = json!({"metadata": {"name": "a"}, "spec": {
            "volumes": [{"name": "v", "projected": {"sources": [{}, {"secret": {"name": "s"}}]}}],
            "containers": [
                {"name": "c", "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}]},
                {"name": "d", "ports": [{"containerPort": 82}, {"containerPort": 83, "name": "web"}]},
            ],
        }});
        assert_eq!(
            pod(&given),
            [
                "volume \"v\" (Projected) has no sources provided",
                "spec.containers[1].ports[1]: duplicate port name \"web\" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]",
            ]
        );
    }

    #[test]
    fn a_period_below_zero_is_told_of_templates() {
        let given = json!({"metadata": {"name": "a"}, "spec": {"terminationGracePeriodSeconds": -1}});
        assert_eq!(pod(&given), [] as [&str; 0]);
        let mut out = Vec::new();
        template(&given, &Path::new("t"), &mut out);
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        assert_eq!(out, [format!("t.spec.terminationGracePeriodSeconds: {why}")]);
    }

    #[test]
    fn claims_of_devices_are_told_to_be_in_vain() {
        let claims = json!([{"name": "gpu", "resourceClaimName": "gpu"}]);
        let given = json!({"metadata": {"name": "a"}, "spec": {"containers": [], "resourceClaims": claims}});
        let told = "spec.resourceClaims: devices are not allocated in this version: pods that claim some are not run";
        assert_eq!(pod(&given), [told]);
    }

    #[test]
    fn a_container_of_very_many_parts_is_looked_at_once() {
        let parts = |of: fn(u32) -> Value| (0..300_000).map(of).collect::<Value>();
        let env = parts(|n| json!({"name": format!("E{n}")}));
        let ports = parts(|n| json!({"containerPort": n % 60_000 + 1, "hostPort": n + 1}));
        let many =
            json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "env": env, "ports": ports}]}});
        assert_eq!(pod(&many), Vec::<String>::new());
    }

    #[test]
    fn what_stands_twice_or_matches_nothing_is_told() {
        let label = json!({"matchExpressions": [{"key": "beta.kubernetes.io/os", "operator": "Exists"}]});
        let none = json!({"topologyKey": "a"});
        let given = json!({"metadata": {"name": "a"}, "spec": {
        "terminationGracePeriodSeconds": -1,
        "hostAliases": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}],
        "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {"name": ""}],
        "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone", "labelSelector": {}}],
        "affinity": {
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": label}]},
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [none]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": none}]},
        },
        "containers": [
            {"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}],
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A):2"}, {"name": "A", "value": "$(A)"}]},
            {"name": "d", "ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 80, "protocol": "UDP"},
                {"containerPort": 81, "hostPort": 81, "hostIP": "127.0.0.1"}],
                "resources": {"requests": {"ephemeral-storage": "1500m"}}},
        ]}});
        assert_eq!(
            pod(&given),
            [
                "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
                "spec.hostAliases[1].ip: duplicate ip \"1.2.3.4\"",
                "spec.imagePullSecrets[1].name: duplicate name \"a\"",
                "spec.imagePullSecrets[2].name: invalid empty name \"\"",
                "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[1].resources.requests[ephemeral-storage]: fractional byte value \"1500m\" is invalid, must be an integer",
                "spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[2]: dangerously ambiguous port definition with spec.containers[0].ports[1]",
                "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod",
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
            ]
        );
    }
}
