//! Requests and limits: QoS class, cgroup settings, and what the downward API says of them.

use std::collections::BTreeMap;

use coracle_matching::amounts::Amounts;
use coracle_matching::pods::{Which, limits, of_containers, of_whole, qos, requests};
use coracle_runtime::cri::LinuxContainerResources;
use coracle_values::pods::Qos;
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

/// A container's request of a resource.
pub fn request<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    container.resources.as_ref()?.requests.as_ref()?.get(name)
}

/// A container's limit of a resource.
pub fn limit<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(name)
}

/// The limit that a container runs with: its own, or else that of the pod as a whole.
pub fn effective_limit<'a>(pod: &'a Pod, container: &'a Container, name: &str) -> Option<&'a Quantity> {
    let own = limit(container, name).filter(|limit| !is_zero(limit));
    own.or_else(|| of_whole(pod.spec(), Which::Limits, name).filter(|limit| !is_zero(limit)))
}

fn shares(milli_cpu: i64) -> u64 {
    if milli_cpu <= 0 {
        MIN_SHARES
    } else {
        ((milli_cpu as u64).saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
    }
}

fn quota(milli_cpu: i64) -> i64 {
    if milli_cpu <= 0 { 0 } else { (milli_cpu.saturating_mul(PERIOD as i64) / 1000).max(MIN_QUOTA) }
}

/// The cgroup settings of a container; `node_memory` is the node's memory in bytes.
pub fn container_resources(pod: &Pod, container: &Container, node_memory: i64) -> LinuxContainerResources {
    let cpu_limit = effective_limit(pod, container, "cpu").map(milli_value).unwrap_or(0);
    // A limit without a request counts as the request.
    let cpu_request = request(container, "cpu").map(milli_value).unwrap_or(cpu_limit);
    LinuxContainerResources {
        cpu_shares: shares(cpu_request),
        cpu_quota: quota(cpu_limit),
        cpu_period: PERIOD,
        memory_limit_in_bytes: effective_limit(pod, container, "memory").map(value).unwrap_or(0),
        oom_score_adj: oom_score_adj(pod, container, node_memory),
        ..Default::default()
    }
}

/// The cgroup settings of a pod as a whole.
pub fn pod_resources(pod: &Pod) -> LinuxContainerResources {
    let all = || pod.spec().containers.iter().chain(pod.init_containers());
    // The pod is limited only when it is so as a whole, or each of its containers is.
    let is_limited = |name: &str| all().all(|container| effective_limit(pod, container, name).is_some());
    let limits = limits(pod);
    let limited = |name: &str, amount: i64| if is_limited(name) { amount } else { 0 };
    LinuxContainerResources {
        cpu_shares: shares(requests(pod).cpu),
        cpu_quota: quota(limited("cpu", limits.cpu)),
        cpu_period: PERIOD,
        memory_limit_in_bytes: limited("memory", limits.memory),
        ..Default::default()
    }
}

/// The pod's parent cgroup.
pub fn cgroup_parent(pod: &Pod) -> String {
    match qos(pod) {
        Qos::Guaranteed => format!("kubepods/pod{}", pod.uid()),
        Qos::Burstable => format!("kubepods/burstable/pod{}", pod.uid()),
        Qos::BestEffort => format!("kubepods/besteffort/pod{}", pod.uid()),
    }
}

/// `oom_score_adj`, as upstream's GetContainerOOMScoreAdjust: what uses less than it asked for dies last.
///
/// What the pod as a whole asks for beyond its containers counts for each of them in equal parts, and a sidecar dies no sooner
/// than the container that asked for least.
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory: i64) -> i32 {
    if pod.spec().priority.unwrap_or(0) >= 2_000_000_000 {
        return -997;
    }
    match qos(pod) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let least = || pod.spec().containers.iter().map(requested_memory).min().unwrap_or(0);
            let own = requested_memory(container);
            let own = if is_sidecar(container) { own.max(least()) } else { own };
            let requested = i128::from(own) + i128::from(unclaimed_memory(pod));
            let share = requested * 1000 / i128::from(node_memory.max(1));
            (1000 - share).clamp(3, 999) as i32
        }
    }
}

fn requested_memory(container: &Container) -> i64 {
    request(container, "memory").map(value).unwrap_or(0)
}

/// The part for each container of the memory that the pod as a whole requests and its containers together do not.
fn unclaimed_memory(pod: &Pod) -> i64 {
    let Some(whole) = of_whole(pod.spec(), Which::Requests, "memory").map(value).filter(|whole| *whole > 0) else {
        return 0;
    };
    let together =
        of_containers(pod.spec(), |container| Amounts { memory: requested_memory(container), ..Amounts::default() });
    let number = pod.spec().containers.len().saturating_add(pod.init_containers().len()).max(1);
    whole.saturating_sub(together.memory).max(0) / i64::try_from(number).unwrap_or(i64::MAX)
}

/// The value of a `resourceFieldRef`; a limit that is not set is that of the pod as a whole, or what the node can give.
///
/// # Errors
/// With upstream's message, when the resource is unknown.
pub fn resource_field(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    container: &Container,
    allocatable: &BTreeMap<String, Quantity>,
) -> Result<String, String> {
    let zero = Quantity("0".into());
    let one = Quantity("1".into());
    let divisor = selector.divisor.as_ref().unwrap_or(&one);
    let (kind, name) = selector.resource.split_once('.').unwrap_or(("", ""));
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    let quantity = match kind {
        "limits" if known => effective_limit(pod, container, name).or_else(|| allocatable.get(name)),
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
    fn a_pods_group_is_in_that_of_its_class() {
        let both = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}});
        assert_eq!(cgroup_parent(&pod(&[json!({})])), "kubepods/besteffort/podu");
        assert_eq!(cgroup_parent(&pod(&[both, json!({})])), "kubepods/burstable/podu");
        assert_eq!(
            cgroup_parent(&whole(json!({"limits": {"memory": "1Gi"}}), &[json!({})])),
            "kubepods/burstable/podu"
        );
    }

    fn whole(resources: serde_json::Value, containers: &[serde_json::Value]) -> Pod {
        let mut pod = pod(containers);
        pod.spec.as_mut().unwrap().resources = serde_json::from_value(resources).unwrap();
        pod
    }

    #[test]
    fn limits_of_the_whole_pod_are_those_of_its_group_and_of_containers_without_their_own() {
        let limits = json!({"cpu": "2", "memory": "1Gi"});
        let pod = whole(
            json!({"requests": {"cpu": "1", "memory": "512Mi"}, "limits": limits}),
            &[json!({}), json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "500m"}})],
        );
        let group = pod_resources(&pod);
        assert_eq!((group.cpu_shares, group.cpu_quota, group.memory_limit_in_bytes), (1024, 200_000, 1 << 30));
        let of = |at: usize| {
            let found = container_resources(&pod, &pod.spec().containers[at], 1 << 30);
            (found.cpu_shares, found.cpu_quota, found.memory_limit_in_bytes, found.oom_score_adj)
        };
        assert_eq!(of(0), (2048, 200_000, 1 << 30, 750));
        assert_eq!(of(1), (256, 50_000, 1 << 30, 750));
        let selector = serde_json::from_value(json!({"resource": "limits.memory"})).unwrap();
        let told = resource_field(&selector, &pod, &pod.spec().containers[0], &BTreeMap::new());
        assert_eq!(told, Ok((1 << 30).to_string()));
    }

    #[test]
    fn what_a_pod_requests_beyond_its_containers_is_each_ones_and_sidecars_die_no_sooner_than_them() {
        let gib = 1i64 << 30;
        let mut pod = whole(
            json!({"requests": {"memory": "180Gi"}}),
            &[json!({"requests": {"memory": "50Gi"}}), json!({"requests": {"memory": "100Gi"}}), json!({})],
        );
        let score = |pod: &Pod, container: &Container| oom_score_adj(pod, container, 1000 * gib);
        assert_eq!(pod.spec().containers.iter().map(|one| score(&pod, one)).collect::<Vec<_>>(), [940, 890, 990]);
        let sidecar: Container = serde_json::from_value(json!({"name": "s", "restartPolicy": "Always"})).unwrap();
        let spec = pod.spec.as_mut().unwrap();
        spec.containers.pop();
        (spec.resources, spec.init_containers) = (None, Some(vec![sidecar.clone()]));
        assert_eq!(score(&pod, &sidecar), 950);
    }

    #[test]
    fn absurd_amounts_are_the_most_that_the_kernel_takes() {
        let pod = pod(&[json!({"requests": {"cpu": "1e18"}, "limits": {"cpu": "1e18", "memory": "1e30"}})]);
        let resources = container_resources(&pod, &pod.spec().containers[0], 1 << 30);
        assert_eq!((resources.cpu_shares, resources.memory_limit_in_bytes), (MAX_SHARES, i64::MAX));
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
            resource_field(&selector, &pod, &pod.spec().containers[0], &allocatable)
        };
        assert_eq!(field("limits.cpu", "1").unwrap(), "1");
        assert_eq!(field("limits.cpu", "1m").unwrap(), "250");
        assert_eq!(field("limits.memory", "1Mi").unwrap(), "2048");
        assert!(field("limits.gpu", "1").is_err());
    }
}
