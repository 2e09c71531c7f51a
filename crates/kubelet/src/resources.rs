//! Requests and limits: QoS class, cgroup settings, and what the downward API says of them.

use std::collections::BTreeMap;

use coracle_runtime::cri::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod::{PodExt, is_sidecar};
use crate::quantity::{divided, is_zero, milli_value, value};

const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
/// CFS period in microseconds.
const PERIOD: u64 = 100_000;
/// The least CFS quota the kernel takes.
const MIN_QUOTA: i64 = 1000;

/// A pod's quality of service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has equal requests and limits of CPU and memory.
    Guaranteed,
    /// Some container has some request or limit.
    Burstable,
    /// None has.
    BestEffort,
}

impl Qos {
    /// As `status.qosClass` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }

    /// Computes the class of a pod.
    pub fn of(pod: &Pod) -> Qos {
        let (mut any, mut all_limited) = (false, true);
        let mut requests: BTreeMap<&str, i64> = BTreeMap::new();
        let mut limits: BTreeMap<&str, i64> = BTreeMap::new();
        for container in pod.spec().containers.iter().chain(pod.init_containers()) {
            let mut limited = 0;
            for name in ["cpu", "memory"] {
                if let Some(request) = request(container, name).filter(|quantity| !is_zero(quantity)) {
                    any = true;
                    *requests.entry(name).or_default() += milli_value(request);
                }
                if let Some(limit) = limit(container, name).filter(|quantity| !is_zero(quantity)) {
                    any = true;
                    limited += 1;
                    *limits.entry(name).or_default() += milli_value(limit);
                }
            }
            all_limited &= limited == 2;
        }
        if !any {
            Qos::BestEffort
        } else if all_limited && requests.iter().all(|(name, amount)| limits.get(name) == Some(amount)) {
            Qos::Guaranteed
        } else {
            Qos::Burstable
        }
    }
}

/// A container's request of a resource.
pub fn request<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    container.resources.as_ref()?.requests.as_ref()?.get(name)
}

/// A container's limit of a resource.
pub fn limit<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(name)
}

/// What the scheduler and the kubelet's admission count for a pod: the sum over its containers and sidecars, or
/// the largest need while init containers run, plus overhead. In thousandths.
pub fn pod_requests(pod: &Pod) -> BTreeMap<String, i64> {
    let mut total = total(pod, |container| container.resources.as_ref()?.requests.as_ref());
    for (name, amount) in amounts(pod.spec().overhead.as_ref()) {
        let entry = total.entry(name).or_default();
        *entry = entry.saturating_add(amount);
    }
    total
}

/// The limits of a pod's containers, summed up as requests are; overhead adds to those that there are. In thousandths.
pub fn pod_limits(pod: &Pod) -> BTreeMap<String, i64> {
    let mut total = total(pod, |container| container.resources.as_ref()?.limits.as_ref());
    for (name, amount) in amounts(pod.spec().overhead.as_ref()) {
        if let Some(limit) = total.get_mut(&name).filter(|limit| **limit != 0) {
            *limit = limit.saturating_add(amount);
        }
    }
    total
}

fn amounts(list: Option<&BTreeMap<String, Quantity>>) -> BTreeMap<String, i64> {
    list.into_iter().flatten().map(|(name, quantity)| (name.clone(), milli_value(quantity))).collect()
}

/// The sum over containers and sidecars, or the most while init containers run.
fn total(pod: &Pod, of: fn(&Container) -> Option<&BTreeMap<String, Quantity>>) -> BTreeMap<String, i64> {
    let add = |sum: &mut BTreeMap<String, i64>, more: &BTreeMap<String, i64>| {
        for (name, amount) in more {
            let entry = sum.entry(name.clone()).or_default();
            *entry = entry.saturating_add(*amount);
        }
    };
    let mut total = BTreeMap::new();
    for container in &pod.spec().containers {
        add(&mut total, &amounts(of(container)));
    }
    let mut sidecars = BTreeMap::new();
    let mut peak: BTreeMap<String, i64> = BTreeMap::new();
    for container in pod.init_containers() {
        let mut need = amounts(of(container));
        if is_sidecar(container) {
            add(&mut total, &need);
            add(&mut sidecars, &need);
            need = sidecars.clone();
        } else {
            add(&mut need, &sidecars);
        }
        for (name, amount) in need {
            let entry = peak.entry(name).or_default();
            *entry = amount.max(*entry);
        }
    }
    for (name, amount) in peak {
        let entry = total.entry(name).or_default();
        *entry = amount.max(*entry);
    }
    total
}

fn shares(milli_cpu: i64) -> u64 {
    if milli_cpu <= 0 { MIN_SHARES } else { (milli_cpu as u64 * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

fn quota(milli_cpu: i64) -> i64 {
    if milli_cpu <= 0 { 0 } else { (milli_cpu.saturating_mul(PERIOD as i64) / 1000).max(MIN_QUOTA) }
}

/// The cgroup settings of a container; `node_memory` is the node's memory in bytes.
pub fn container_resources(pod: &Pod, container: &Container, node_memory: i64) -> LinuxContainerResources {
    let cpu_limit = limit(container, "cpu").map(milli_value).unwrap_or(0);
    // A limit without a request counts as the request.
    let cpu_request = request(container, "cpu").map(milli_value).unwrap_or(cpu_limit);
    LinuxContainerResources {
        cpu_shares: shares(cpu_request),
        cpu_quota: quota(cpu_limit),
        cpu_period: PERIOD,
        memory_limit_in_bytes: limit(container, "memory").map(value).unwrap_or(0),
        oom_score_adj: oom_score_adj(pod, container, node_memory),
        ..Default::default()
    }
}

/// The cgroup settings of a pod as a whole.
pub fn pod_resources(pod: &Pod) -> LinuxContainerResources {
    let requests = pod_requests(pod);
    let all = || pod.spec().containers.iter().chain(pod.init_containers().iter().filter(|c| is_sidecar(c)));
    let total = |name: &str, read: fn(&Quantity) -> i64| -> i64 {
        // The pod is limited only when each of its containers is.
        all()
            .map(|container| limit(container, name).map(read))
            .try_fold(0i64, |sum, limit| Some(sum.saturating_add(limit?)))
            .unwrap_or(0)
    };
    // Init containers run in the same cgroup and may be limited higher.
    let peak = |name: &str, read: fn(&Quantity) -> i64, sum: i64| -> i64 {
        if sum == 0 {
            return 0;
        }
        let mut most = sum;
        for container in pod.init_containers() {
            match limit(container, name) {
                Some(limit) => most = most.max(read(limit)),
                None => return 0,
            }
        }
        most
    };
    LinuxContainerResources {
        cpu_shares: shares(requests.get("cpu").copied().unwrap_or(0)),
        cpu_quota: quota(peak("cpu", milli_value, total("cpu", milli_value))),
        cpu_period: PERIOD,
        memory_limit_in_bytes: peak("memory", value, total("memory", value)),
        ..Default::default()
    }
}

/// The pod's parent cgroup.
pub fn cgroup_parent(pod: &Pod) -> String {
    match Qos::of(pod) {
        Qos::Guaranteed => format!("kubepods/pod{}", pod.uid()),
        Qos::Burstable => format!("kubepods/burstable/pod{}", pod.uid()),
        Qos::BestEffort => format!("kubepods/besteffort/pod{}", pod.uid()),
    }
}

/// `oom_score_adj`, as upstream's GetContainerOOMScoreAdjust: what uses less than it asked for dies last.
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory: i64) -> i32 {
    if pod.spec().priority.unwrap_or(0) >= 2_000_000_000 {
        return -997;
    }
    match Qos::of(pod) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let requested = request(container, "memory").map(value).unwrap_or(0);
            let share = i128::from(requested) * 1000 / i128::from(node_memory.max(1));
            (1000 - share).clamp(3, 999) as i32
        }
    }
}

/// The value of a `resourceFieldRef`; a limit that is not set is what the node can give.
///
/// # Errors
/// With upstream's message, when the resource is unknown.
pub fn resource_field(
    selector: &ResourceFieldSelector,
    container: &Container,
    allocatable: &BTreeMap<String, Quantity>,
) -> Result<String, String> {
    let zero = Quantity("0".into());
    let one = Quantity("1".into());
    let divisor = selector.divisor.as_ref().unwrap_or(&one);
    let (kind, name) = selector.resource.split_once('.').unwrap_or(("", ""));
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    let quantity = match kind {
        "limits" if known => limit(container, name).filter(|q| !is_zero(q)).or_else(|| allocatable.get(name)),
        "requests" if known => request(container, name).or_else(|| limit(container, name)),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    Ok(divided(quantity.unwrap_or(&zero), divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(resources: &[serde_json::Value]) -> Pod {
        let containers: Vec<_> = resources.iter().map(|r| json!({"name": "c", "image": "i", "resources": r})).collect();
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": containers}})).unwrap()
    }

    #[test]
    fn the_qos_class_follows_requests_and_limits() {
        let both = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}});
        assert_eq!(Qos::of(&pod(&[json!({})])), Qos::BestEffort);
        assert_eq!(Qos::of(&pod(std::slice::from_ref(&both))), Qos::Guaranteed);
        assert_eq!(Qos::of(&pod(&[both, json!({})])), Qos::Burstable);
        assert_eq!(Qos::of(&pod(&[json!({"requests": {"cpu": "1m"}})])), Qos::Burstable);
        assert_eq!(cgroup_parent(&pod(&[json!({})])), "kubepods/besteffort/podu");
    }

    #[test]
    fn limits_become_cgroup_settings() {
        let pod =
            pod(&[json!({"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}})]);
        let container = &pod.spec().containers[0];
        let resources = container_resources(&pod, container, 1 << 30);
        assert_eq!((resources.cpu_shares, resources.cpu_quota, resources.cpu_period), (256, 50_000, 100_000));
        assert_eq!(resources.memory_limit_in_bytes, 1 << 30);
        assert_eq!(resources.oom_score_adj, 500);
        assert_eq!(pod_resources(&pod).memory_limit_in_bytes, 1 << 30);
    }

    #[test]
    fn a_resource_field_is_divided_and_rounded_up() {
        let pod = pod(&[json!({"limits": {"cpu": "250m"}})]);
        let field = |resource: &str, divisor: &str| {
            let selector: ResourceFieldSelector =
                serde_json::from_value(json!({"resource": resource, "divisor": divisor})).unwrap();
            let allocatable = BTreeMap::from([("memory".into(), Quantity("2Gi".into()))]);
            resource_field(&selector, &pod.spec().containers[0], &allocatable)
        };
        assert_eq!(field("limits.cpu", "1").unwrap(), "1");
        assert_eq!(field("limits.cpu", "1m").unwrap(), "250");
        assert_eq!(field("limits.memory", "1Mi").unwrap(), "2048");
        assert!(field("limits.gpu", "1").is_err());
    }
}
