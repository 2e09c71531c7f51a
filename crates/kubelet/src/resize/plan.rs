//! What is missing until a pod's containers have what it is allocated: a pure function of both.

use coracle_runtime::cri::{ContainerState, ContainerStatus, LinuxContainerResources};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use super::allocation::Allocation;
use super::resizable;
use crate::quantity::milli_value;
use crate::resources::{container_resources, pod_resources};
use crate::sync::Observed;

/// What can be resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Memory,
    Cpu,
}

impl Resource {
    /// In the order in which they are changed.
    pub(crate) const ALL: [Resource; 2] = [Resource::Memory, Resource::Cpu];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }

    /// The limit; 0 is none.
    pub(super) fn limit(self, resources: &LinuxContainerResources) -> i64 {
        match self {
            Self::Memory => resources.memory_limit_in_bytes,
            Self::Cpu => resources.cpu_quota,
        }
    }

    /// Only this of them, for the kernel: a limit that there is none of any more is taken away.
    pub(super) fn only(self, to: &LinuxContainerResources) -> LinuxContainerResources {
        let limit = Some(self.limit(to)).filter(|limit| *limit > 0).unwrap_or(-1);
        match self {
            Self::Memory => LinuxContainerResources { memory_limit_in_bytes: limit, ..Default::default() },
            Self::Cpu => LinuxContainerResources {
                cpu_shares: to.cpu_shares,
                cpu_quota: limit,
                cpu_period: to.cpu_period,
                ..Default::default()
            },
        }
    }

    /// Whether requests or limits of it are not the same.
    fn differs(self, one: &ResourceRequirements, other: &ResourceRequirements) -> bool {
        let of = |resources: &ResourceRequirements| {
            [&resources.requests, &resources.limits]
                .map(|list| list.as_ref().and_then(|list| list.get(self.name())).map(milli_value))
        };
        of(one) != of(other)
    }

    /// Takes over requests and limits of it.
    pub(crate) fn copy(self, from: &ResourceRequirements, to: &mut ResourceRequirements) {
        for (from, to) in [(&from.requests, &mut to.requests), (&from.limits, &mut to.limits)] {
            match from.as_ref().and_then(|list| list.get(self.name())) {
                Some(quantity) => drop(to.get_or_insert_default().insert(self.name().to_owned(), quantity.clone())),
                None => drop(to.as_mut().and_then(|list| list.remove(self.name()))),
            }
        }
    }

    /// Whether a container is started anew to get another amount of it.
    fn restarts(self, container: &Container) -> bool {
        let policies = container.resize_policy.iter().flatten();
        policies
            .into_iter()
            .any(|policy| policy.resource_name == self.name() && policy.restart_policy == "RestartContainer")
    }
}

/// Whether a limit is lower than another; 0 is none.
pub(super) fn is_lower(limit: i64, than: i64) -> bool {
    limit > 0 && (than <= 0 || limit < than)
}

/// Another amount for a container that goes on running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) resource: Resource,
    pub(super) from: LinuxContainerResources,
    pub(super) to: LinuxContainerResources,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Containers, by name and ID, that are started anew, as their policy wants it.
    pub(crate) restarts: Vec<(String, String)>,
    pub(crate) updates: Vec<Update>,
    /// What the pod has as a whole, and what it is to have.
    pub(super) pod: (LinuxContainerResources, LinuxContainerResources),
}

impl Plan {
    /// Nothing runs with something else than it is allocated.
    pub(crate) fn is_done(&self) -> bool {
        self.restarts.is_empty() && self.updates.is_empty()
    }
}

/// Plans what is missing. `pod` has what is allocated, and of containers that end, nothing is expected any more.
pub(crate) fn plan(
    pod: &Pod,
    allocation: &Allocation,
    observed: &Observed,
    ends: impl Fn(&str) -> bool,
    node_memory: i64,
) -> Plan {
    let mut plan = Plan { pod: (LinuxContainerResources::default(), pod_resources(pod)), ..Plan::default() };
    let mut before = pod.clone();
    for container in resizable(pod) {
        let Some(status) = running(observed, container).filter(|status| !ends(&status.id)) else { continue };
        let Some(has) = allocation.actual(status) else { continue };
        let wanted = container.resources.clone().unwrap_or_default();
        let changes = Resource::ALL.into_iter().filter(|resource| resource.differs(&has, &wanted));
        let changes: Vec<Resource> = changes.collect();
        if changes.is_empty() {
            continue;
        }
        let mut old = container.clone();
        old.resources = Some(has.clone());
        set_resources(&mut before, &container.name, has);
        let (name, id) = (container.name.clone(), status.id.clone());
        if changes.iter().any(|resource| resource.restarts(container)) {
            plan.restarts.push((name, id));
            continue;
        }
        let from = container_resources(pod, &old, node_memory);
        let to = container_resources(pod, container, node_memory);
        plan.updates.extend(changes.into_iter().map(|resource| Update {
            id: id.clone(),
            name: name.clone(),
            resource,
            from: from.clone(),
            to: to.clone(),
        }));
    }
    // What is given back makes room for what is taken.
    plan.updates.sort_by_key(|update| {
        let resource = update.resource;
        !is_lower(resource.limit(&update.to), resource.limit(&update.from))
    });
    plan.pod.0 = pod_resources(&before);
    plan
}

fn running<'a>(observed: &'a Observed, container: &Container) -> Option<&'a ContainerStatus> {
    let status = observed.current(&container.name)?;
    (status.state == ContainerState::Running).then_some(status)
}

fn set_resources(pod: &mut Pod, name: &str, resources: ResourceRequirements) {
    let Some(spec) = &mut pod.spec else { return };
    let mut all = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
    if let Some(container) = all.find(|container| container.name == name) {
        container.resources = Some(resources);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::RESOURCES;
    use crate::testing::{container_status, sandbox};
    use serde_json::{Value, json};

    fn resources(cpu: &str, memory: &str) -> Value {
        json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}})
    }

    /// What is planned for containers that have the first and are allocated the second.
    fn planned(containers: &[(&str, Value, Value)], policy: Value) -> Plan {
        let mut observed = Observed { sandbox: Some(sandbox("u")), ..Default::default() };
        for (name, has, _) in containers {
            let mut status = container_status("u", name, 0, ContainerState::Running, 0);
            status.annotations.insert(RESOURCES.into(), has.to_string());
            observed.put(status);
        }
        let list: Vec<_> = containers
            .iter()
            .map(|(name, _, wanted)| json!({"name": name, "resources": wanted, "resizePolicy": policy}))
            .collect();
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": list}})).unwrap();
        plan(&pod, &Allocation::of(&pod), &observed, |_| false, 1 << 30)
    }

    #[test]
    fn only_what_differs_is_updated_and_what_shrinks_first() {
        let same = planned(&[("a", resources("1", "1Gi"), resources("1000m", "1024Mi"))], json!([]));
        assert!(same.is_done());
        let both = planned(
            &[("a", resources("1", "1Gi"), resources("2", "1Gi")), ("b", resources("2", "1Gi"), resources("1", "1Gi"))],
            json!([]),
        );
        let order: Vec<_> = both.updates.iter().map(|update| (update.name.as_str(), update.resource)).collect();
        assert_eq!(order, [("b", Resource::Cpu), ("a", Resource::Cpu)]);
        assert_eq!((both.pod.0.cpu_quota, both.pod.1.cpu_quota), (300_000, 300_000));
    }

    #[test]
    fn a_container_is_started_anew_when_its_policy_for_the_resource_says_so() {
        let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"},
            {"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        let cpu = planned(&[("a", resources("1", "1Gi"), resources("2", "1Gi"))], policy.clone());
        assert_eq!((cpu.restarts.len(), cpu.updates.len()), (0, 1));
        let both = planned(&[("a", resources("1", "1Gi"), resources("2", "2Gi"))], policy);
        assert_eq!((both.restarts, both.updates.len()), (vec![("a".into(), "u-a-0".into())], 0));
    }

    #[test]
    fn limits_that_come_shrink_and_those_that_go_grow() {
        assert!(is_lower(1, 0) && is_lower(1, 2) && !is_lower(0, 1) && !is_lower(2, 2));
        let gone = Resource::Cpu.only(&LinuxContainerResources { cpu_shares: 7, ..Default::default() });
        assert_eq!((gone.cpu_quota, gone.cpu_shares, gone.memory_limit_in_bytes), (-1, 7, 0));
    }
}
