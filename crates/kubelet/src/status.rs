//! A pod's status: a pure function of its spec and of what was observed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use coracle_matching::pods::qos;
use coracle_runtime::cri::{self, ContainerState as CriState};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, HostIP, LinuxContainerUser, Pod, PodCondition, PodIP, PodStatus, VolumeMount, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::images::Waiting;
use crate::pod::{PodExt, ephemeral_as_container, is_recursively_read_only, is_sidecar};
use crate::resize::allocation::Allocation;
use crate::resize::{IN_PROGRESS, PENDING, Resizes, Told};
use crate::sync::{IMAGE, Observed, ProbeState};

/// Everything a status is made from.
pub(crate) struct Input<'a> {
    /// With the resources that it is allocated.
    pub(crate) pod: &'a Pod,
    /// The status that this one follows.
    pub(crate) old: &'a PodStatus,
    pub(crate) allocation: &'a Allocation,
    pub(crate) resizes: &'a Resizes,
    pub(crate) observed: &'a Observed,
    /// Why containers wait, by name.
    pub(crate) waiting: &'a BTreeMap<String, Waiting>,
    pub(crate) probes: &'a HashMap<String, ProbeState>,
    pub(crate) host_ips: Vec<IpAddr>,
    pub(crate) start_time: Timestamp,
    /// Nothing runs any more, nor will.
    pub(crate) terminal: bool,
    /// Why the kubelet failed the pod as a whole: reason and message.
    pub(crate) failure: Option<&'a (String, String)>,
    /// It was ended because the node had too little of something.
    pub(crate) disrupted: bool,
    pub(crate) now: Timestamp,
}

fn time(nanos: i64) -> Option<Time> {
    Timestamp::from_nanosecond(i128::from(nanos)).ok().filter(|_| nanos > 0).map(Time)
}

fn terminated(status: &cri::ContainerStatus) -> ContainerState {
    let reason = match (status.reason.as_str(), status.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: status.exit_code,
            reason: Some(reason.to_owned()),
            message: Some(status.message.clone()).filter(|message| !message.is_empty()),
            started_at: time(status.started_at),
            finished_at: time(status.finished_at),
            container_id: Some(container_id(&status.id)),
            signal: None,
        }),
        ..Default::default()
    }
}

/// The reason of a pod's Ready that others write of a node that does not.
pub(crate) const NODE_NOT_READY: &str = "NodeNotReady";

/// How statuses name a container of the runtime.
pub(crate) fn container_id(id: &str) -> String {
    format!("coracle://{id}")
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let message = Some(message.to_owned()).filter(|message| !message.is_empty());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..Default::default()
    }
}

fn user(user: &cri::LinuxContainerUser) -> ContainerUser {
    let groups = Some(user.supplemental_groups.clone()).filter(|groups| !groups.is_empty());
    ContainerUser { linux: Some(LinuxContainerUser { uid: user.uid, gid: user.gid, supplemental_groups: groups }) }
}

/// How the volumes are mounted: `IfPossible` has become yes or no.
fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_deref().filter(|mounts| !mounts.is_empty())?;
    let status = |mount: &VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: (mount.read_only == Some(true))
            .then(|| if is_recursively_read_only(mount) { "Enabled" } else { "Disabled" }.to_owned()),
    };
    Some(mounts.iter().map(status).collect())
}

impl Input<'_> {
    fn container(&self, container: &Container, default_reason: &str, init: bool) -> ContainerStatus {
        let list = self.observed.containers.get(&container.name).map(Vec::as_slice).unwrap_or_default();
        let latest = list.first();
        let probe = self.probes.get(&container.name).copied().unwrap_or_default();
        // What runs has what it was given so far; what does not will have what it is allocated.
        let runs = latest.filter(|status| status.state == CriState::Running);
        let has = runs.and_then(|status| self.allocation.actual(status)).or(container.resources.clone());
        let mut result = ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            allocated_resources: container.resources.as_ref().and_then(|resources| resources.requests.clone()),
            // There also when there are none: who resizes looks whether the node tells of them.
            resources: Some(has.unwrap_or_default()),
            started: Some(false),
            // There also when there is none, as the server shows it: what is the same is not written again.
            last_state: Some(ContainerState::default()),
            ..Default::default()
        };
        let previous =
            |from: usize| list[from..].iter().find(|status| status.state == CriState::Exited).map(terminated);
        if let Some(status) = latest {
            result.container_id = Some(container_id(&status.id));
            result.image_id.clone_from(&status.image_ref);
            if let Some(image) = status.annotations.get(IMAGE) {
                result.image.clone_from(image);
            }
            result.restart_count = status.metadata.attempt as i32;
            result.volume_mounts = volume_mounts(container);
            result.user = status.user.as_ref().map(user);
        }
        let waits = self.waiting.get(&container.name).filter(|_| !self.terminal);
        let state = match (waits, latest) {
            (_, Some(status)) if status.state == CriState::Running => {
                result.last_state = Some(previous(1).unwrap_or_default());
                result.started = Some(probe.started);
                result.ready = if init && !is_sidecar(container) { false } else { probe.started && probe.ready };
                ContainerState {
                    running: Some(ContainerStateRunning { started_at: time(status.started_at) }),
                    ..Default::default()
                }
            }
            (Some(reason), _) => {
                result.last_state = Some(previous(0).unwrap_or_default());
                waiting(&reason.reason, &reason.message)
            }
            (None, Some(status)) if status.state == CriState::Exited => {
                result.last_state = Some(previous(1).unwrap_or_default());
                result.ready = init && !is_sidecar(container) && status.exit_code == 0;
                terminated(status)
            }
            (None, Some(_)) => {
                result.last_state = Some(previous(0).unwrap_or_default());
                waiting(default_reason, "")
            }
            (None, None)
                if self.terminal && self.failure.is_none() && !init && !self.observed.containers.is_empty() =>
            {
                // It never ran because an init container failed.
                waiting(default_reason, "")
            }
            (None, None) => waiting(default_reason, ""),
        };
        result.state = Some(state);
        result
    }

    fn phase(&self, init: &[ContainerStatus], regular: &[ContainerStatus], initialized: bool) -> &'static str {
        if self.failure.is_some() && self.terminal {
            return "Failed";
        }
        let exit_code = |status: &ContainerStatus| Some(status.state.as_ref()?.terminated.as_ref()?.exit_code);
        if self.terminal && !initialized && !init.is_empty() {
            return "Failed";
        }
        if !initialized {
            // Upstream counts a failed init container as failure only when it will not be tried again.
            return "Pending";
        }
        let (mut running, mut waits, mut stopped, mut succeeded) = (0, 0, 0, 0);
        for (status, container) in regular.iter().zip(&self.pod.spec().containers) {
            let state = status.state.clone().unwrap_or_default();
            if state.running.is_some() {
                running += 1;
            } else if let Some(code) = exit_code(status) {
                let latest = self.observed.latest(&container.name);
                let again = !self.terminal && self.observed.should_start(self.pod, container, latest);
                if again {
                    running += 1;
                } else {
                    stopped += 1;
                    succeeded += usize::from(code == 0);
                }
            } else if status.last_state.as_ref().is_some_and(|last| last.terminated.is_some()) {
                // It waits for a restart.
                running += 1;
            } else {
                waits += 1;
            }
        }
        match () {
            () if self.terminal => {
                if stopped > 0 && stopped == succeeded && waits == 0 {
                    "Succeeded"
                } else {
                    "Failed"
                }
            }
            () if waits > 0 => "Pending",
            () if running > 0 => "Running",
            () if stopped > 0 && stopped == succeeded => "Succeeded",
            () if stopped > 0 => "Failed",
            () => "Pending",
        }
    }
}

/// Makes the status. Conditions that the kubelet does not own are kept.
pub(crate) fn pod_status(input: &Input<'_>) -> PodStatus {
    let pod = input.pod;
    let spec = pod.spec();
    let old = input.old;
    let has_init = !pod.init_containers().is_empty();
    let regular_reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
    let init: Vec<_> =
        pod.init_containers().iter().map(|container| input.container(container, "PodInitializing", true)).collect();
    let mut regular: Vec<_> =
        spec.containers.iter().map(|container| input.container(container, regular_reason, false)).collect();
    let ephemeral: Vec<_> = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|container| {
            let mut status = input.container(&ephemeral_as_container(container), "ContainerCreating", false);
            status.ready = false;
            status
        })
        .collect();
    let any_regular = spec.containers.iter().any(|container| input.observed.latest(&container.name).is_some());
    let incomplete: Vec<&str> = init
        .iter()
        .zip(pod.init_containers())
        .filter(|(status, container)| {
            let done = if is_sidecar(container) { status.started == Some(true) } else { status.ready };
            !done && !any_regular
        })
        .map(|(status, _)| status.name.as_str())
        .collect();
    let initialized = incomplete.is_empty();
    let phase = match pod.phase() {
        // A pod that ended stays ended.
        phase @ ("Succeeded" | "Failed") => phase,
        _ => input.phase(&init, &regular, initialized),
    };
    let ended = matches!(phase, "Succeeded" | "Failed");
    if ended {
        regular.iter_mut().for_each(|status| status.ready = false);
    }
    let host_network = pod.host_network();
    let ips: Vec<IpAddr> = match &input.observed.sandbox {
        Some(_) if host_network => input.host_ips.clone(),
        Some(sandbox) => sandbox.ips.clone(),
        None => Vec::new(),
    };
    let mut pod_ips: Vec<PodIP> = ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect();
    if pod_ips.is_empty() && (ended || pod.is_deleted()) {
        pod_ips = old.pod_ips.clone().unwrap_or_default();
    }
    // Nothing of it was ever begun: its containers wait for nothing.
    let was_refused =
        input.failure.is_some() && input.observed.sandbox.is_none() && input.observed.containers.is_empty();
    let mut status = PodStatus {
        phase: Some(phase.to_owned()),
        reason: input.failure.map(|(reason, _)| reason.clone()).or(old.reason.clone().filter(|_| ended)),
        message: input.failure.map(|(_, message)| message.clone()).or(old.message.clone().filter(|_| ended)),
        host_ip: input.host_ips.first().map(ToString::to_string),
        host_ips: Some(input.host_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        pod_ip: pod_ips.first().map(|ip| ip.ip.clone()),
        pod_ips: Some(pod_ips).filter(|ips| !ips.is_empty()),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos(pod).as_str().to_owned())),
        start_time: Some(old.start_time.clone().unwrap_or(Time(input.start_time))),
        observed_generation: pod.metadata.generation,
        init_container_statuses: Some(init.clone()).filter(|list| !list.is_empty() && !was_refused),
        container_statuses: Some(regular).filter(|_| !was_refused),
        ephemeral_container_statuses: Some(ephemeral).filter(|list| !list.is_empty()),
        nominated_node_name: old.nominated_node_name.clone(),
        resource_claim_statuses: old.resource_claim_statuses.clone(),
        ..Default::default()
    };
    status.conditions = Some(conditions(input, &status, &incomplete));
    status
}

fn conditions(input: &Input<'_>, status: &PodStatus, incomplete: &[&str]) -> Vec<PodCondition> {
    let old = input.old;
    let pod = input.pod;
    let phase = status.phase.as_deref().unwrap_or_default();
    let completed = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let unready: Vec<&str> = {
        let regular = status.container_statuses.iter().flatten();
        let sidecars = status.init_container_statuses.iter().flatten().zip(pod.init_containers());
        let sidecars = sidecars.filter(|(_, container)| is_sidecar(container)).map(|(status, _)| status);
        sidecars.chain(regular).filter(|status| !status.ready).map(|status| status.name.as_str()).collect()
    };
    let containers_ready = match completed {
        Some(reason) => (false, reason, String::new()),
        None if unready.is_empty() => (true, "", String::new()),
        None => (false, "ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))),
    };
    let gates: Vec<String> = pod
        .spec()
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| {
            let name = &gate.condition_type;
            match old.conditions.iter().flatten().find(|condition| condition.type_ == *name) {
                None => Some(format!("corresponding condition of pod readiness gate {name:?} does not exist.")),
                Some(condition) if condition.status != "True" => {
                    Some(format!("the status of pod readiness gate {name:?} is not \"True\", but {}", condition.status))
                }
                Some(_) => None,
            }
        })
        .collect();
    let ready = match containers_ready {
        (true, ..) if !gates.is_empty() => (false, "ReadinessGatesNotReady", gates.join(", ")),
        ref other => other.clone(),
    };
    let initialized = match phase {
        "Succeeded" => (true, "PodCompleted", String::new()),
        _ if incomplete.is_empty() => (true, "", String::new()),
        _ => (
            false,
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", incomplete.join(" ")),
        ),
    };
    let sandbox = (input.observed.sandbox_ready() && !input.terminal, "", String::new());
    let generation = pod.metadata.generation;
    let mut own = vec![
        ("PodReadyToStartContainers", sandbox, generation),
        ("Initialized", initialized, generation),
        ("Ready", ready, generation),
        ("ContainersReady", containers_ready, generation),
        ("PodScheduled", (true, "", String::new()), generation),
    ];
    // What has ended is not resized any more.
    let told = if completed.is_some() { Vec::new() } else { input.resizes.told() };
    let resizes = told.into_iter().map(|(type_, reason, message, of): Told| (type_, (true, reason, message), of));
    own.extend(resizes);
    if let Some((_, message)) = input.failure.filter(|_| input.disrupted) {
        own.push((DISRUPTION, (true, BY_KUBELET, message.clone()), generation));
    }
    let is_told: HashSet<&str> = own.iter().map(|(type_, ..)| *type_).collect();
    let mut list: Vec<PodCondition> = own
        .into_iter()
        .map(|(type_, (value, reason, message), generation)| {
            let value = if value { "True" } else { "False" };
            let before = old.conditions.iter().flatten().find(|condition| condition.type_ == type_);
            let since = before
                .filter(|condition| condition.status == value)
                .and_then(|condition| condition.last_transition_time.clone());
            PodCondition {
                type_: type_.to_owned(),
                status: value.to_owned(),
                reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
                message: Some(message).filter(|message| !message.is_empty()),
                last_transition_time: since.or(Some(Time(input.now))),
                last_probe_time: None,
                observed_generation: generation,
            }
        })
        .collect();
    let is_foreign =
        |condition: &&PodCondition| !own_condition(&condition.type_) && !is_told.contains(condition.type_.as_str());
    list.extend(old.conditions.iter().flatten().filter(is_foreign).cloned());
    list
}

/// The condition of a pod that is ended by no wish of its own, and the reason when it is the kubelet that ends it.
const DISRUPTION: &str = "DisruptionTarget";
const BY_KUBELET: &str = "TerminationByKubelet";

/// Whether a condition is told by the kubelet alone.
pub(crate) fn own_condition(type_: &str) -> bool {
    matches!(type_, PENDING | IN_PROGRESS)
        || matches!(type_, "PodReadyToStartContainers" | "Initialized" | "Ready" | "ContainersReady" | "PodScheduled")
}

/// The strategic merge patch from one status to another; `None` when they are equal. Conditions of others are not
/// touched, so a readiness gate that is set at the same time is not lost.
pub(crate) fn status_patch(pod: &Pod, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    // Most times.
    if old == new {
        return None;
    }
    let (before, after) = (serde_json::to_value(old).ok()?, serde_json::to_value(new).ok()?);
    let (before, after) = (before.as_object()?, after.as_object()?);
    let mut patch = serde_json::Map::new();
    for (key, value) in after {
        let was = before.get(key);
        if was == Some(value) {
            continue;
        }
        match key.as_str() {
            "conditions" => {
                let known = was.and_then(Value::as_array);
                let (wanted, own) = (value.as_array()?, |condition: &&Value| {
                    let disrupts = condition["type"] == DISRUPTION && condition["reason"] == BY_KUBELET;
                    disrupts || own_condition(condition["type"].as_str().unwrap_or_default())
                });
                let mut changed: Vec<Value> = wanted
                    .iter()
                    .filter(own)
                    .filter(|condition| !known.is_some_and(|known| known.contains(condition)))
                    .map(|condition| nulls_for_absent(condition, known))
                    .collect();
                let stays = |old: &&Value| wanted.iter().any(|condition| condition["type"] == old["type"]);
                let gone = known.into_iter().flatten().filter(own).filter(|old| !stays(old));
                changed.extend(gone.map(|old| json!({"$patch": "delete", "type": old["type"]})));
                if !changed.is_empty() {
                    patch.insert(key.clone(), Value::Array(changed));
                }
            }
            "podIPs" | "hostIPs" if was.is_some() => {
                let mut list = vec![json!({"$patch": "replace"})];
                list.extend(value.as_array()?.iter().cloned());
                patch.insert(key.clone(), Value::Array(list));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        if matches!(key.as_str(), "reason" | "message" | "podIP" | "podIPs") {
            patch.insert(key.clone(), Value::Null);
        }
    }
    (!patch.is_empty()).then(|| json!({"metadata": {"uid": pod.uid()}, "status": patch}))
}

/// A condition entry is merged by type: what it no longer says must be removed by name.
fn nulls_for_absent(condition: &Value, known: Option<&Vec<Value>>) -> Value {
    let mut entry = condition.clone();
    let before = known.and_then(|known| known.iter().find(|old| old["type"] == condition["type"]));
    if let (Some(entry), Some(before)) = (entry.as_object_mut(), before.and_then(Value::as_object)) {
        for key in before.keys() {
            entry.entry(key.clone()).or_insert(Value::Null);
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{container_status, sandbox};
    use CriState::{Exited, Running};

    fn status_of(
        policy: &str,
        containers: &[(&str, u32, CriState, i32)],
        waits: &[(&str, &str)],
        terminal: bool,
    ) -> PodStatus {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u", "generation": 3}, "spec": {
            "restartPolicy": policy, "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}}))
        .unwrap();
        status_in(&pod, containers, waits, terminal)
    }

    fn status_in(
        pod: &Pod,
        containers: &[(&str, u32, CriState, i32)],
        waits: &[(&str, &str)],
        terminal: bool,
    ) -> PodStatus {
        let mut observed = Observed { sandbox: Some(sandbox("u")), ..Default::default() };
        for (name, attempt, state, code) in containers {
            observed.put(container_status("u", name, *attempt, *state, *code));
        }
        status_of_observed(pod, &observed, waits, terminal)
    }

    fn status_of_observed(pod: &Pod, observed: &Observed, waits: &[(&str, &str)], terminal: bool) -> PodStatus {
        let waiting: BTreeMap<_, _> =
            waits.iter().map(|(name, reason)| (name.to_string(), Waiting::new(reason, "m"))).collect();
        let ready = ProbeState { started: true, ready: true };
        let probes = HashMap::from([("a".to_owned(), ready), ("b".to_owned(), ready)]);
        pod_status(&Input {
            pod,
            old: &pod.status.clone().unwrap_or_default(),
            allocation: &Allocation::default(),
            resizes: &Resizes::default(),
            observed,
            waiting: &waiting,
            probes: &probes,
            host_ips: vec!["10.0.0.1".parse().unwrap()],
            start_time: Timestamp::UNIX_EPOCH,
            terminal,
            failure: None,
            disrupted: false,
            now: Timestamp::UNIX_EPOCH,
        })
    }

    fn condition<'a>(status: &'a PodStatus, name: &str) -> &'a PodCondition {
        status.conditions.iter().flatten().find(|condition| condition.type_ == name).unwrap()
    }

    #[test]
    fn the_phase_follows_the_containers() {
        let phase = |policy, containers: &[_], terminal| status_of(policy, containers, &[], terminal).phase.unwrap();
        assert_eq!(phase("Always", &[], false), "Pending");
        assert_eq!(phase("Always", &[("a", 0, Running, 0)], false), "Pending");
        assert_eq!(phase("Always", &[("a", 0, Running, 0), ("b", 0, Running, 0)], false), "Running");
        assert_eq!(phase("Always", &[("a", 0, Exited, 1), ("b", 0, Running, 0)], false), "Running");
        assert_eq!(phase("Never", &[("a", 0, Exited, 0), ("b", 0, Exited, 0)], false), "Succeeded");
        assert_eq!(phase("Never", &[("a", 0, Exited, 0), ("b", 0, Exited, 1)], false), "Failed");
        assert_eq!(phase("Always", &[("a", 0, Exited, 0), ("b", 0, Exited, 0)], true), "Succeeded");
    }

    #[test]
    fn resources_are_told_of_also_where_there_are_none() {
        let status = status_of("Always", &[("a", 0, Running, 0), ("b", 0, Exited, 0)], &[], false);
        for container in status.container_statuses.unwrap() {
            assert_eq!(serde_json::to_value(&container).unwrap()["resources"], json!({}), "{}", container.name);
        }
    }

    #[test]
    fn what_the_server_shows_of_a_status_is_not_written_again() {
        let containers = [("a", 0, Running, 0), ("b", 0, Exited, 0)];
        let status = status_of("Always", &containers, &[], false);
        let shown = serde_json::to_value(&status).unwrap();
        for container in shown["containerStatuses"].as_array().unwrap() {
            assert!(container["state"].is_object() && container["lastState"].is_object(), "{container}");
        }
    }

    #[test]
    fn it_is_told_who_the_first_process_of_a_container_is() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"},
            "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}}))
        .unwrap();
        let mut known = container_status("u", "a", 0, Running, 0);
        known.user = Some(cri::LinuxContainerUser { uid: 1000, gid: 3000, supplemental_groups: vec![3000, 4000] });
        let mut observed = Observed { sandbox: Some(sandbox("u")), ..Default::default() };
        observed.put(known);
        observed.put(container_status("u", "b", 0, Running, 0));
        let status = status_of_observed(&pod, &observed, &[], false);
        let told = serde_json::to_value(status.container_statuses.unwrap()).unwrap();
        let linux = json!({"uid": 1000, "gid": 3000, "supplementalGroups": [3000, 4000]});
        assert_eq!((&told[0]["user"]["linux"], told[1].get("user")), (&linux, None));
    }

    #[test]
    fn a_crash_loop_waits_with_its_last_state() {
        let status =
            status_of("Always", &[("a", 2, Exited, 1), ("b", 0, Running, 0)], &[("a", "CrashLoopBackOff")], false);
        let a = &status.container_statuses.as_ref().unwrap()[0];
        assert_eq!(a.state.as_ref().unwrap().waiting.as_ref().unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
        assert_eq!(a.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 1);
        assert_eq!(a.restart_count, 2);
        assert_eq!(status.phase.as_deref(), Some("Running"));
        let ready = condition(&status, "Ready");
        assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
        assert_eq!(ready.message.as_deref(), Some("containers with unready status: [a]"));
        assert_eq!(ready.observed_generation, Some(3));
    }

    #[test]
    fn what_was_made_and_does_not_run_yet_waits_as_what_was_not_made() {
        let pod = |init: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"},
                "spec": {"initContainers": init, "containers": [{"name": "a", "image": "i"}]}}))
            .unwrap()
        };
        let reason = |status: &ContainerStatus| status.state.clone().unwrap().waiting.unwrap().reason;
        let status =
            status_in(&pod(json!([{"name": "i", "image": "i"}])), &[("i", 0, CriState::Created, 0)], &[], false);
        assert_eq!(reason(&status.init_container_statuses.unwrap()[0]).as_deref(), Some("PodInitializing"));
        let status = status_in(&pod(json!([])), &[("a", 0, CriState::Created, 0)], &[], false);
        assert_eq!(reason(&status.container_statuses.unwrap()[0]).as_deref(), Some("ContainerCreating"));
    }

    #[test]
    fn a_completed_pod_is_not_ready() {
        let status = status_of("Never", &[("a", 0, Exited, 0), ("b", 0, Exited, 0)], &[], true);
        assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("PodCompleted"));
        assert_eq!(condition(&status, "Initialized").status, "True");
        assert_eq!(condition(&status, "PodReadyToStartContainers").status, "False");
    }

    #[test]
    fn a_pod_that_was_refused_has_no_containers_that_could_wait() {
        let pod = serde_json::json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [{"name": "a"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let failure = ("OutOfpods".to_owned(), "Pod was rejected: m".to_owned());
        let status = pod_status(&Input {
            pod: &pod,
            old: &PodStatus::default(),
            allocation: &Allocation::default(),
            resizes: &Resizes::default(),
            observed: &Observed::default(),
            waiting: &BTreeMap::new(),
            probes: &HashMap::new(),
            host_ips: vec!["10.0.0.1".parse().unwrap()],
            start_time: Timestamp::UNIX_EPOCH,
            terminal: true,
            failure: Some(&failure),
            disrupted: false,
            now: Timestamp::UNIX_EPOCH,
        });
        assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfpods")));
        assert!(status.container_statuses.is_none() && status.init_container_statuses.is_none());
        assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("PodFailed"));
    }

    #[test]
    fn a_patch_names_only_what_changed() {
        let old = status_of("Always", &[("a", 0, Running, 0)], &[], false);
        let new = status_of("Always", &[("a", 0, Running, 0), ("b", 0, Running, 0)], &[], false);
        let pod = Pod::default();
        assert!(status_patch(&pod, &old, &old).is_none());
        let patch = status_patch(&pod, &old, &new).unwrap();
        assert_eq!(patch["status"]["phase"], "Running");
        assert!(patch["status"].get("hostIP").is_none());
        let ready = &patch["status"]["conditions"][0];
        assert_eq!((ready["type"].as_str(), ready["reason"].is_null()), (Some("Ready"), true));
    }
}
