//! Whether a pod may run on this node: the kubelet checks what the scheduler promised.

use std::collections::BTreeMap;

use coracle_matching::amounts::{Amounts, amount};
use coracle_matching::nodes::{Place, is_wanted};
use coracle_matching::pods::{HostPort, host_ports, requests};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod::PodExt;

/// What the pods that were admitted take of the node.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub resources: Amounts,
    pub ports: Vec<HostPort>,
    pub pods: usize,
}

/// Checks a pod against what is left of the node.
///
/// # Errors
/// Reason and message of the pod's failure, as upstream's.
pub(crate) fn check(
    pod: &Pod,
    node: Option<&Node>,
    allocatable: &BTreeMap<String, Quantity>,
    taken: &Taken,
    max_pods: usize,
) -> Result<(), (String, String)> {
    if taken.pods >= max_pods {
        let message =
            format!("Node didn't have enough resource: pods, requested: 1, used: {}, capacity: {max_pods}", taken.pods);
        return Err(("OutOfpods".into(), message));
    }
    check_resources(pod, node, allocatable, taken)?;
    if let Some(node) = node
        && !selects(pod, node)
    {
        return Err((
            "NodeAffinity".into(),
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".into(),
        ));
    }
    let ports = host_ports(pod.spec());
    if ports.iter().any(|port| taken.ports.iter().any(|other| other.conflicts(port))) {
        return Err((
            "NodePorts".into(),
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports".into(),
        ));
    }
    sysctls(pod)
}

/// Checks what a pod requests against what is left of the node.
///
/// # Errors
/// Reason and message, as upstream's.
pub(crate) fn check_resources(
    pod: &Pod,
    node: Option<&Node>,
    allocatable: &BTreeMap<String, Quantity>,
    taken: &Taken,
) -> Result<(), (String, String)> {
    let of_node = node.and_then(|node| node.status.as_ref()?.allocatable.as_ref());
    for (name, wanted) in requests(pod).iter() {
        // A resource that nobody has told of is not counted here: whoever brings it may come later.
        let Some(capacity) = allocatable.get(name).or_else(|| of_node?.get(name)) else { continue };
        let (capacity, used) = (amount(name, capacity), taken.resources.named(name));
        if wanted > 0 && wanted > capacity.saturating_sub(used) {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
            );
            return Err((format!("OutOf{name}"), message));
        }
    }
    Ok(())
}

/// Kernel parameters that a namespace of the pod has to itself, and with which it harms nobody:
/// <https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls>.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Pod) -> Result<(), (String, String)> {
    let spec = pod.spec();
    let context = spec.security_context.as_ref();
    for sysctl in context.and_then(|context| context.sysctls.as_ref()).into_iter().flatten() {
        // With slashes between segments, dots belong to them.
        let is_slashed = sysctl.name.find(['.', '/']).is_some_and(|at| sysctl.name[at..].starts_with('/'));
        let name = if is_slashed { sysctl.name.replace('/', ".") } else { sysctl.name.clone() };
        let shared = match name.split('.').next() {
            Some("net") if spec.host_network == Some(true) => Some("net"),
            Some("kernel") if spec.host_ipc == Some(true) => Some("ipc"),
            _ => None,
        };
        let why = match shared {
            _ if !SAFE_SYSCTLS.contains(&name.as_str()) => "not allowlisted".to_owned(),
            Some(namespace) => format!("not allowed with host {namespace} enabled"),
            None => continue,
        };
        return Err(("SysctlForbidden".into(), format!("forbidden sysctl: \"{}\" {why}", sysctl.name)));
    }
    Ok(())
}

fn selects(pod: &Pod, node: &Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    is_wanted(pod.spec(), Place { name: node.metadata.name.as_deref().unwrap_or_default(), labels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_that_does_not_fit_fails_with_upstreams_reason() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"nodeSelector": {"disk": "ssd"},
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}}))
            .unwrap();
        let node = |labels: serde_json::Value| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": labels}})).unwrap()
        };
        let allocatable = |cpu: &str| BTreeMap::from([("cpu".to_owned(), Quantity(cpu.into()))]);
        let taken = |pods| Taken { resources: Amounts { cpu: 500, ..Amounts::default() }, pods, ..Taken::default() };
        let ssd = node(json!({"disk": "ssd"}));
        assert!(check(&pod, Some(&ssd), &allocatable("4"), &taken(0), 10).is_ok());
        let (reason, message) = check(&pod, Some(&ssd), &allocatable("2"), &taken(0), 10).unwrap_err();
        assert_eq!(reason, "OutOfcpu");
        assert_eq!(message, "Node didn't have enough resource: cpu, requested: 2000, used: 500, capacity: 2000");
        assert_eq!(
            check(&pod, Some(&node(json!({}))), &allocatable("4"), &taken(0), 10).unwrap_err().0,
            "NodeAffinity"
        );
        assert_eq!(check(&pod, None, &allocatable("4"), &taken(10), 10).unwrap_err().0, "OutOfpods");
    }

    #[test]
    fn resources_that_others_tell_of_are_counted_as_the_node_has_them() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "resources": {"requests": {"example.com/dongle": "2"}}}]}}))
        .unwrap();
        let checked = |allocatable: serde_json::Value, used: i64| {
            let node: Node = serde_json::from_value(json!({"status": {"allocatable": allocatable}})).unwrap();
            let mut resources = Amounts::default();
            *resources.at("example.com/dongle") = used;
            let taken = Taken { resources, ..Taken::default() };
            check(&pod, Some(&node), &BTreeMap::new(), &taken, 10).map_err(|(reason, _)| reason)
        };
        assert_eq!(checked(json!({"example.com/dongle": "3"}), 1), Ok(()));
        assert_eq!(checked(json!({"example.com/dongle": "3"}), 2), Err("OutOfexample.com/dongle".into()));
        assert_eq!(checked(json!({}), 2), Ok(()));
    }

    #[test]
    fn sysctls_of_the_node_are_forbidden() {
        let checked = |spec: serde_json::Value| {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            sysctls(&pod).map_err(|(reason, message)| format!("{reason}: {message}"))
        };
        let with =
            |name: &str| json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        assert_eq!(checked(with("kernel.shm_rmid_forced")), Ok(()));
        assert_eq!(checked(with("net/ipv4/tcp_syncookies")), Ok(()));
        let refused = "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted";
        assert_eq!(checked(with("kernel.msgmax")), Err(refused.into()));
        let mut host = with("net.ipv4.tcp_syncookies");
        host["hostNetwork"] = true.into();
        let refused =
            "SysctlForbidden: forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled";
        assert_eq!(checked(host), Err(refused.into()));
    }
}
