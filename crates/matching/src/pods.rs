//! What a pod takes of its node: resources, by which it is scheduled, admitted, limited and evicted, and ports.
//! <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/>

use coracle_values::pods::{Qos, Sizes, Sum, may_be_of_pod, together};
use coracle_values::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::amounts::{Amounts, ResourceList, amount, amounts};

/// Requests or limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// What is set aside.
    Requests,
    /// What is not exceeded.
    Limits,
}

impl Which {
    /// What somebody says that has resources.
    pub fn of(self, said: Option<&ResourceRequirements>) -> Option<&ResourceList> {
        match self {
            Self::Requests => said?.requests.as_ref(),
            Self::Limits => said?.limits.as_ref(),
        }
    }
}

/// Whether an init container goes on beside the containers.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether all of a pod's containers have ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// What a pod requests, with its overhead.
pub fn requests(pod: &Pod) -> Amounts {
    of(pod, Which::Requests)
}

/// The limits of a pod, with its overhead where there is one. A pod may have more if a container has none and the pod as a
/// whole has none.
pub fn limits(pod: &Pod) -> Amounts {
    of(pod, Which::Limits)
}

fn of(pod: &Pod, which: Which) -> Amounts {
    let total = |spec| total(spec, which, |container| amounts(which.of(container.resources.as_ref())));
    pod.spec.as_ref().map(total).unwrap_or_default()
}

/// What the containers of a pod need together, when each needs what `of` tells.
pub fn of_containers(spec: &PodSpec, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let init_containers = spec.init_containers.iter().flatten();
    let init_containers = init_containers.map(|container| (of(container), is_sidecar(container)));
    together(spec.containers.iter().map(&of), init_containers)
}

/// What a pod needs when its containers need what `of` tells: what they need together; in its place what is said of the pod as
/// a whole; and its overhead.
pub fn total(spec: &PodSpec, which: Which, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut total = of_containers(spec, of);
    let whole = which.of(spec.resources.as_ref()).into_iter().flatten();
    for (name, quantity) in whole.filter(|(name, _)| may_be_of_pod(name)) {
        *total.at(name) = amount(name, quantity);
    }
    let mut overhead = amounts(spec.overhead.as_ref());
    if which == Which::Limits {
        // Who has no limit does not get one by the overhead.
        overhead.keep(|name| total.named(name) != 0);
    }
    total.add(&overhead);
    total
}

/// What is said of the pod as a whole of one of the resources of which that is possible.
pub fn of_whole<'a>(spec: &'a PodSpec, which: Which, resource: &str) -> Option<&'a ApiQuantity> {
    which.of(spec.resources.as_ref())?.get(resource).filter(|_| may_be_of_pod(resource))
}

/// The quality of service class of a pod, as its spec has it.
pub fn qos(pod: &Pod) -> Qos {
    let Some(spec) = &pod.spec else { return Qos::BestEffort };
    let lists = [Which::Requests, Which::Limits].into_iter().filter_map(|which| which.of(spec.resources.as_ref()));
    let has_own = lists.flat_map(ResourceList::keys).any(|name| may_be_of_pod(name));
    if has_own {
        return Qos::of([sizes(spec.resources.as_ref())]);
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    Qos::of(containers.map(|container| sizes(container.resources.as_ref())))
}

fn sizes(said: Option<&ResourceRequirements>) -> Sizes {
    let [requests, limits] = [Which::Requests, Which::Limits].map(|which| {
        let amount = |name| which.of(said)?.get(name)?.0.trim().parse::<Quantity>().ok();
        ["cpu", "memory"].map(|name| amount(name).unwrap_or_default())
    });
    Sizes { requests, limits }
}

/// A port of the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HostPort {
    /// The node's address; `0.0.0.0` is all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether only one of two pods can have theirs.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == "0.0.0.0" || other.ip == "0.0.0.0")
    }
}

/// The ports of the node that a pod has as long as it runs.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                port: port.host_port.filter(|port| *port > 0)?,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                ip: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a pod")
    }

    #[test]
    fn what_a_pod_says_for_itself_takes_the_place_of_what_its_containers_say() {
        let resources = json!({"requests": {"cpu": "100m", "example.com/foo": "2"}, "limits": {"memory": "1Gi"}});
        let mut pod = pod(json!({"containers": [{"name": "a", "resources": resources}, {"name": "b"}],
            "overhead": {"cpu": "10m", "memory": "1Mi"}}));
        assert_eq!(
            (requests(&pod).cpu, requests(&pod).memory, requests(&pod).scalar("example.com/foo")),
            (110, 1 << 20, 2)
        );
        assert_eq!((limits(&pod).cpu, limits(&pod).memory), (0, (1 << 30) + (1 << 20)));
        assert_eq!(qos(&pod), Qos::Burstable);
        let both = json!({"cpu": "2", "memory": "2Gi"});
        let spec = pod.spec.as_mut().expect("a spec");
        spec.resources = serde_json::from_value(json!({"requests": both, "limits": both})).expect("resources");
        assert_eq!((requests(&pod).cpu, limits(&pod).cpu, requests(&pod).scalar("example.com/foo")), (2010, 2010, 2));
        assert_eq!(qos(&pod), Qos::Guaranteed);
    }

    #[test]
    fn a_pod_that_only_is_limited_is_not_best_effort() {
        let limited = json!({"containers": [{"name": "a"}], "resources": {"limits": {"memory": "1Gi"}}});
        assert_eq!(qos(&pod(limited)), Qos::Burstable);
        assert_eq!(qos(&pod(json!({"containers": [{"name": "a"}], "resources": {}}))), Qos::BestEffort);
    }

    #[test]
    fn a_port_of_the_node_is_given_once() {
        let of = |port: Value| {
            host_ports(pod(json!({"containers": [{"name": "c", "ports": [port]}]})).spec.as_ref().unwrap())
        };
        let conflict = |port: Value, ip: &str| {
            let taken = of(json!({"containerPort": 1, "hostPort": 80, "hostIP": ip}));
            of(port).iter().any(|port| taken.iter().any(|taken| port.conflicts(taken)))
        };
        assert!(of(json!({"containerPort": 80})).is_empty());
        assert!(!conflict(json!({"containerPort": 1, "hostPort": 81}), ""));
        assert!(!conflict(json!({"containerPort": 1, "hostPort": 80, "protocol": "UDP"}), ""));
        assert!(conflict(json!({"containerPort": 1, "hostPort": 80, "hostIP": "127.0.0.1"}), ""));
        assert!(conflict(json!({"containerPort": 1, "hostPort": 80}), "127.0.0.1"));
        assert!(!conflict(json!({"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"}), "127.0.0.1"));
    }
}
