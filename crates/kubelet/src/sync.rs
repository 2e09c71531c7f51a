//! What to do next for a pod: a pure function of what is wanted and what was observed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use coracle_runtime::cri::{ContainerState, ContainerStatus, PodSandbox, SandboxState};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pod::{PodExt, container_hash, is_sidecar};

/// The annotation in which a container remembers its hash.
pub(crate) const HASH: &str = "io.kubernetes.container.hash";
/// The annotation in which a container remembers the resources that it was made with; its pod may want others since.
pub(crate) const RESOURCES: &str = "io.kubernetes.container.resources";
/// The annotation in which a container remembers the name of the image it was made from: its pod may want another since.
pub(crate) const IMAGE: &str = "io.kubernetes.container.image";

/// What the runtime has of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// The newest sandbox.
    pub(crate) sandbox: Option<PodSandbox>,
    /// Containers by name, the newest first.
    pub(crate) containers: BTreeMap<String, Vec<ContainerStatus>>,
    /// IDs of containers that are to end: their hooks have begun.
    pub(crate) ending: BTreeSet<String>,
    /// IDs of containers that end so that others take their place, whatever the restart policy.
    pub(crate) replaced: BTreeSet<String>,
}

impl Observed {
    /// The newest container of a name.
    pub(crate) fn latest(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.get(name)?.first()
    }

    /// The newest container of a name, when it is in the present sandbox.
    pub(crate) fn current(&self, name: &str) -> Option<&ContainerStatus> {
        let sandbox = self.sandbox.as_ref()?;
        self.latest(name).filter(|status| status.pod_sandbox_id == sandbox.id)
    }

    /// Adds or replaces what is known of a container. One that has ended stays so: a status that was read before
    /// its end, such as that of a start whose program was quick, may arrive after it.
    pub(crate) fn put(&mut self, status: ContainerStatus) {
        let list = self.containers.entry(status.metadata.name.clone()).or_default();
        match list.iter_mut().find(|known| known.id == status.id) {
            Some(known) if known.state == ContainerState::Exited && status.state != ContainerState::Exited => {}
            Some(known) => *known = status,
            None => list.push(status),
        }
        list.sort_by_key(|status| std::cmp::Reverse((status.metadata.attempt, status.created_at)));
    }

    /// Forgets a container.
    pub(crate) fn forget(&mut self, id: &str) {
        self.containers.values_mut().for_each(|list| list.retain(|status| status.id != id));
        self.containers.retain(|_, list| !list.is_empty());
        self.replaced.remove(id);
    }

    /// A container by its ID.
    pub(crate) fn by_id(&self, id: &str) -> Option<&ContainerStatus> {
        self.containers.values().flatten().find(|status| status.id == id)
    }

    /// All containers that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.containers.values().flatten().filter(|status| status.state == ContainerState::Running)
    }

    /// Whether a container that is not running is to be started (again).
    pub(crate) fn should_start(&self, pod: &Pod, container: &Container, status: Option<&ContainerStatus>) -> bool {
        let is_replaced =
            |status: &ContainerStatus| status.state == ContainerState::Exited && self.replaced.contains(&status.id);
        status.is_some_and(is_replaced) || should_start(pod, container, status)
    }

    /// The pod's own first address.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.sandbox.as_ref().and_then(|sandbox| sandbox.ips.first().copied())
    }

    pub(crate) fn sandbox_ready(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| sandbox.state == SandboxState::Ready)
    }
}

/// What probes and hooks say of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProbeState {
    /// It passed its startup probe and its postStart hook ended.
    pub(crate) started: bool,
    /// It passes its readiness probe.
    pub(crate) ready: bool,
}

/// A container to be stopped, and what its event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) message: String,
}

/// The next steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    /// A new sandbox is needed; what is left of the old one goes first.
    pub(crate) create_sandbox: bool,
    /// Containers to start, in this order.
    pub(crate) start: Vec<String>,
    /// Containers to stop.
    pub(crate) kill: Vec<Kill>,
    /// Nothing will run any more.
    pub(crate) finished: bool,
}

/// Whether the restart policy has a container that is not running started (again).
fn should_start(pod: &Pod, container: &Container, status: Option<&ContainerStatus>) -> bool {
    let Some(status) = status else { return true };
    match status.state {
        ContainerState::Running => false,
        ContainerState::Created | ContainerState::Unknown => true,
        ContainerState::Exited => {
            for rule in container.restart_policy_rules.iter().flatten() {
                let Some(codes) = &rule.exit_codes else { continue };
                let listed = codes.values.iter().flatten().any(|code| *code == status.exit_code);
                if listed == (codes.operator == "In") {
                    return rule.action == "Restart";
                }
            }
            match container.restart_policy.as_deref().unwrap_or(pod.restart_policy()) {
                "Never" => false,
                "OnFailure" => status.exit_code != 0,
                _ => true,
            }
        }
    }
}

/// Computes the next steps of a pod that is not being deleted.
pub(crate) fn compute(pod: &Pod, observed: &Observed, probes: &HashMap<String, ProbeState>) -> Actions {
    let mut actions = Actions::default();
    let ran = !observed.containers.is_empty();
    let spec = pod.spec();
    if !observed.sandbox_ready() {
        let all_done = ran
            && spec.containers.iter().all(|c| {
                observed.latest(&c.name).is_some() && !observed.should_start(pod, c, observed.latest(&c.name))
            });
        let own_rules = spec.containers.iter().any(|c| c.restart_policy.is_some());
        let never = pod.restart_policy() == "Never" && !own_rules;
        if ran && (never || all_done) {
            actions.finished = true;
        } else {
            actions.create_sandbox = true;
        }
        return actions;
    }
    let status_of = |container: &Container| {
        observed.current(&container.name).or_else(|| {
            // What succeeded in an earlier sandbox is not run again.
            let old = observed.latest(&container.name)?;
            (old.state == ContainerState::Exited && !observed.should_start(pod, container, Some(old))).then_some(old)
        })
    };
    let initialized = spec.containers.iter().any(|container| observed.current(&container.name).is_some());
    let mut ready_for_regular = true;
    for container in pod.init_containers() {
        let status = observed.current(&container.name);
        let running = status.is_some_and(|status| status.state == ContainerState::Running);
        if is_sidecar(container) {
            if !running {
                actions.start.push(container.name.clone());
            } else if let Some(kill) = changed(container, status) {
                actions.kill.push(kill);
            }
            let started = running && probes.get(&container.name).is_some_and(|probe| probe.started);
            if !started && !initialized {
                ready_for_regular = false;
                break;
            }
            continue;
        }
        if initialized {
            continue;
        }
        match status {
            Some(status) if status.state == ContainerState::Exited && status.exit_code == 0 => {}
            Some(status) if status.state == ContainerState::Running => {
                ready_for_regular = false;
                break;
            }
            Some(status) if status.state == ContainerState::Exited && !should_start(pod, container, Some(status)) => {
                // A failed init container ends a pod that does not restart.
                return Actions { finished: true, ..Actions::default() };
            }
            _ => {
                actions.start.push(container.name.clone());
                ready_for_regular = false;
                break;
            }
        }
    }
    if !ready_for_regular {
        return actions;
    }
    let mut pending = 0;
    for container in &spec.containers {
        let status = status_of(container);
        if status.is_some_and(|status| status.state == ContainerState::Running) {
            pending += 1;
            actions.kill.extend(changed(container, status));
        } else if observed.should_start(pod, container, status) {
            pending += 1;
            actions.start.push(container.name.clone());
        }
    }
    if pending == 0 {
        return Actions { finished: true, ..Actions::default() };
    }
    for ephemeral in spec.ephemeral_containers.iter().flatten() {
        if observed.latest(&ephemeral.name).is_none() {
            actions.start.push(ephemeral.name.clone());
        }
    }
    actions
}

fn changed(container: &Container, status: Option<&ContainerStatus>) -> Option<Kill> {
    let status = status?;
    let hash = status.annotations.get(HASH)?;
    (*hash != container_hash(container)).then(|| Kill {
        id: status.id.clone(),
        name: container.name.clone(),
        message: format!("Container {} definition changed, will be restarted", container.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{container_status, sandbox};
    use serde_json::json;

    fn pod(policy: &str, init: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"restartPolicy": policy,
            "initContainers": init, "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}}))
        .unwrap()
    }

    fn observed(containers: &[(&str, ContainerState, i32)]) -> Observed {
        let mut observed = Observed { sandbox: Some(sandbox("u")), ..Default::default() };
        for (name, state, code) in containers {
            observed.put(container_status("u", name, 0, *state, *code));
        }
        observed
    }

    use ContainerState::{Exited, Running};

    #[test]
    fn a_new_pod_gets_a_sandbox_and_then_its_containers_in_order() {
        let pod = pod("Always", json!([]));
        assert!(compute(&pod, &Observed::default(), &HashMap::new()).create_sandbox);
        assert_eq!(compute(&pod, &observed(&[]), &HashMap::new()).start, ["a", "b"]);
        assert_eq!(compute(&pod, &observed(&[("a", Running, 0)]), &HashMap::new()).start, ["b"]);
    }

    #[test]
    fn init_containers_run_one_after_the_other_before_the_others() {
        let pod = pod("Always", json!([{"name": "i1"}, {"name": "i2"}]));
        let start = |containers: &[_]| compute(&pod, &observed(containers), &HashMap::new()).start;
        assert_eq!(start(&[]), ["i1"]);
        assert!(start(&[("i1", Running, 0)]).is_empty());
        assert_eq!(start(&[("i1", Exited, 1)]), ["i1"]);
        assert_eq!(start(&[("i1", Exited, 0)]), ["i2"]);
        assert_eq!(start(&[("i1", Exited, 0), ("i2", Exited, 0)]), ["a", "b"]);
    }

    #[test]
    fn a_sidecar_must_have_started_before_the_next_container() {
        let pod = pod("Always", json!([{"name": "s", "restartPolicy": "Always"}]));
        let mut probes = HashMap::new();
        assert_eq!(compute(&pod, &observed(&[]), &probes).start, ["s"]);
        assert!(compute(&pod, &observed(&[("s", Running, 0)]), &probes).start.is_empty());
        probes.insert("s".to_owned(), ProbeState { started: true, ready: true });
        assert_eq!(compute(&pod, &observed(&[("s", Running, 0)]), &probes).start, ["a", "b"]);
        assert_eq!(
            compute(&pod, &observed(&[("s", Exited, 0), ("a", Running, 0), ("b", Running, 0)]), &probes).start,
            ["s"]
        );
    }

    #[test]
    fn the_restart_policy_decides_what_happens_after_an_exit() {
        let after = |policy: &str, a: i32, b: i32| {
            compute(&pod(policy, json!([])), &observed(&[("a", Exited, a), ("b", Exited, b)]), &HashMap::new())
        };
        assert_eq!(after("Always", 0, 0).start, ["a", "b"]);
        assert_eq!(after("OnFailure", 0, 1).start, ["b"]);
        assert!(after("OnFailure", 0, 0).finished);
        assert!(after("Never", 0, 1).finished);
        let failed = compute(&pod("Never", json!([{"name": "i"}])), &observed(&[("i", Exited, 1)]), &HashMap::new());
        assert!(failed.finished && failed.start.is_empty());
    }

    #[test]
    fn a_container_that_ended_does_not_run_again_because_an_older_status_arrives_late() {
        let observed = observed(&[("a", Exited, 3), ("a", Running, 0), ("b", Running, 0), ("b", Exited, 0)]);
        assert_eq!(observed.latest("a").map(|status| (status.state, status.exit_code)), Some((Exited, 3)));
        assert_eq!(observed.latest("b").map(|status| status.state), Some(Exited));
    }

    #[test]
    fn a_lost_sandbox_is_made_anew_unless_the_pod_never_restarts() {
        let mut lost = observed(&[("a", Exited, 137), ("b", Exited, 137)]);
        lost.sandbox = None;
        assert!(compute(&pod("Always", json!([])), &lost, &HashMap::new()).create_sandbox);
        assert!(compute(&pod("Never", json!([])), &lost, &HashMap::new()).finished);
    }

    #[test]
    fn a_changed_image_restarts_the_container() {
        let pod = pod("Always", json!([]));
        let mut observed = observed(&[("a", Running, 0), ("b", Running, 0)]);
        observed.containers.get_mut("a").unwrap()[0].annotations.insert(HASH.into(), "other".into());
        let actions = compute(&pod, &observed, &HashMap::new());
        assert_eq!(actions.kill[0].message, "Container a definition changed, will be restarted");
    }
}
