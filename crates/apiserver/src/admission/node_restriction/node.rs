//! A kubelet's Node: which one, and which of its labels and taints the kubelet may write.

use std::collections::BTreeSet;
use std::net::IpAddr;

use coracle_api::status::Status;
use coracle_api::{hollow, meta};
use memchr::memmem::Finder;
use serde_json::Value;

use super::Write;
use crate::object::Object;
use crate::operation::Verb;
use crate::storage::{Storage, core};

/// Labels of Kubernetes that kubelets give their nodes.
const LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Domains of Kubernetes whose labels are the kubelet's.
const DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Addresses that a node has, as a rule, or fewer.
const FEW: usize = 8;
/// The domain of labels by which workloads are kept away from nodes that could be taken over.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

pub(super) fn check(storage: &Storage, write: &Write<'_>) -> Result<(), Status> {
    let (node, requested) = (write.node, write.name());
    if requested != node {
        return write.forbidden(format!("node \"{node}\" is not allowed to modify node \"{requested}\""));
    }
    let config_source = |node: &Value| node["spec"]["configSource"].clone();
    let forbidden = forbidden_labels(write.object, write.old.unwrap_or(&Value::Null));
    match (write.op.verb, write.old) {
        (Verb::Create, _) if !config_source(write.object).is_null() => {
            write.forbidden(format!("node \"{node}\" is not allowed to create pods with a non-nil configSource"))
        }
        (Verb::Create, _) if !forbidden.is_empty() => write
            .forbidden(format!("node \"{node}\" is not allowed to set the following labels: {}", forbidden.join(", "))),
        (Verb::Update, Some(old)) => {
            if !config_source(write.object).is_null() && config_source(write.object) != config_source(old) {
                return write.forbidden(format!(
                    "node \"{node}\" is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if meta::list(write.object, &["spec", "taints"]) != meta::list(old, &["spec", "taints"]) {
                return write.forbidden(format!("node \"{node}\" is not allowed to modify taints"));
            }
            if !forbidden.is_empty() {
                return write.forbidden(format!("is not allowed to modify labels: {}", forbidden.join(", ")));
            }
            addresses(storage, write)
        }
        _ => addresses(storage, write),
    }
}

/// An address by which a ready node is found in the cluster is not given to another node by that one's word: packets to pods, and
/// certificates, go by it. A node whose machine is gone is not ready soon, and what it had may be another's then. Upstream
/// does not look at addresses.
fn addresses(storage: &Storage, write: &Write<'_>) -> Result<(), Status> {
    let had = write.old.map(internal).unwrap_or_default();
    let new: BTreeSet<IpAddr> = internal(write.object).difference(&had).copied().collect();
    if new.is_empty() || write.op.verb == Verb::Delete {
        return Ok(());
    }
    let finders: Vec<Finder> =
        new.iter().take(FEW).map(|address| Finder::new(&address.to_string()).into_owned()).collect();
    let nodes = storage.cache(core("nodes"))?.snapshot();
    let others = nodes.range("", None).filter(|other| other.name() != write.node);
    let others = others.filter(|other| other.label(hollow::LABEL) != Some("true"));
    // To look for a few is less than to read all nodes; to look for many is more.
    let may_have =
        |other: &Object| new.len() > FEW || finders.iter().any(|finder| finder.find(other.stored()).is_some());
    for other in others.filter(|other| may_have(other)) {
        let other = other.value();
        if let Some(address) = internal(&other).intersection(&new).next().filter(|_| is_ready(&other)) {
            let (node, other) = (write.node, meta::name(&other));
            return write.forbidden(format!(
                "node \"{node}\" is not allowed to have the InternalIP {address}: it is that of the node \"{other}\", which is Ready"
            ));
        }
    }
    Ok(())
}

/// The addresses by which a node says that it is found within the cluster. To a hollow one nothing is sent.
fn internal(node: &Value) -> BTreeSet<IpAddr> {
    if node["metadata"]["labels"][hollow::LABEL] == "true" {
        return BTreeSet::new();
    }
    let own = meta::list(node, &["status", "addresses"]).iter().filter(|address| address["type"] == "InternalIP");
    own.filter_map(|address| Some(address["address"].as_str()?.parse::<IpAddr>().ok()?.to_canonical())).collect()
}

fn is_ready(node: &Value) -> bool {
    let conditions = meta::list(node, &["status", "conditions"]);
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Labels, in order, that are not the same on both and that a kubelet may not change.
fn forbidden_labels<'a>(new: &'a Value, old: &'a Value) -> Vec<&'a str> {
    let labels = |node: &'a Value| meta::string_map(&node["metadata"]["labels"]).collect::<BTreeSet<_>>();
    let (new, old) = (labels(new), labels(old));
    let changed: BTreeSet<&str> = new.symmetric_difference(&old).map(|(key, _)| *key).collect();
    changed.into_iter().filter(|label| !is_allowed(label)).collect()
}

fn is_allowed(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let is_in = |parent: &str| domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if is_in(RESTRICTED) {
        return false;
    }
    let is_of_kubernetes = is_in("kubernetes.io") || is_in("k8s.io");
    !is_of_kubernetes || LABELS.contains(&label) || DOMAINS.into_iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_give_their_nodes_labels_of_their_own_and_of_others_but_not_the_rest_of_kubernetes() {
        for label in [
            "kubernetes.io/hostname",
            "node.kubernetes.io/anything",
            "a.kubelet.kubernetes.io/b",
            "example.com/a",
            "plain",
            "notkubernetes.io/a",
        ] {
            assert!(is_allowed(label), "{label}");
        }
        for label in [
            "node-restriction.kubernetes.io/a",
            "x.node-restriction.kubernetes.io/a",
            "node-role.kubernetes.io/control-plane",
            "kubernetes.io/other",
            "foo.k8s.io/a",
            "topology.kubernetes.io/rack",
        ] {
            assert!(!is_allowed(label), "{label}");
        }
    }
}
