//! Resizing pods in place: containers get other amounts of processor and memory while they run.
//!
//! What a pod asks for becomes what it is *allocated* once the node has room for it (`pods::room`); that is written down
//! (`allocation`) before it is used, so that the next daemon goes on from it. What running containers *have* follows:
//! `plan` says which of them are updated and which are started anew, `actuate` does the former, and the worker drives both
//! (`worker::resize`). Everything in the kubelet but these sees the pod with what it is allocated in the place of what it
//! asks for.
//! <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>

pub(crate) mod actuate;
pub(crate) mod allocation;
pub(crate) mod plan;

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, ResourceRequirements};
use serde::Serialize;

use crate::pod::{PodExt, is_sidecar};

/// The condition of a pod that is not given what it asks for.
pub(crate) const PENDING: &str = "PodResizePending";
/// The condition of a pod whose containers do not have yet what it is given.
pub(crate) const IN_PROGRESS: &str = "PodResizeInProgress";
/// The reason of the latter when it cannot be done now.
const ERROR: &str = "Error";

/// The containers that can be resized: those that run beside each other for the pod's life.
pub(crate) fn resizable(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.init_containers().iter().filter(|container| is_sidecar(container)).chain(&pod.spec().containers)
}

/// Why a pod is not given what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The node has it, but not now.
    Deferred(String),
    /// The node will never have it.
    Infeasible(String),
}

impl Refusal {
    /// The condition's reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Deferred(_) => "Deferred",
            Self::Infeasible(_) => "Infeasible",
        }
    }

    /// The condition's message.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Deferred(message) | Self::Infeasible(message) => message,
        }
    }
}

/// A resize that waits for room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) refusal: Refusal,
    /// The pod's generation that asked for it.
    pub(crate) generation: Option<i64>,
}

/// A resize that is being carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The pod's generation that was allocated.
    pub(crate) generation: Option<i64>,
    /// Why it cannot be done now.
    pub(crate) error: Option<String>,
}

/// What the status tells of a pod's resizes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resizes {
    pub(crate) pending: Option<Pending>,
    pub(crate) progress: Option<Progress>,
}

/// A condition that is true: type, reason, message, and the generation that it tells of.
pub(crate) type Told = (&'static str, &'static str, String, Option<i64>);

impl Resizes {
    /// What an earlier daemon told, so that it is not told as new.
    pub(crate) fn of(status: &PodStatus) -> Resizes {
        let find = |type_: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
        let pending = find(PENDING).map(|condition| {
            let message = condition.message.clone().unwrap_or_default();
            let refusal = match condition.reason.as_deref() {
                Some("Infeasible") => Refusal::Infeasible(message),
                _ => Refusal::Deferred(message),
            };
            Pending { refusal, generation: condition.observed_generation }
        });
        let progress = find(IN_PROGRESS).map(|condition| Progress {
            generation: condition.observed_generation,
            error: condition.message.clone().filter(|_| condition.reason.as_deref() == Some(ERROR)),
        });
        Resizes { pending, progress }
    }

    /// The conditions.
    pub(crate) fn told(&self) -> Vec<Told> {
        let pending = self.pending.iter().map(|pending| {
            (PENDING, pending.refusal.reason(), pending.refusal.message().to_owned(), pending.generation)
        });
        let progress = self.progress.iter().map(|progress| {
            let reason = if progress.error.is_some() { ERROR } else { "" };
            (IN_PROGRESS, reason, progress.error.clone().unwrap_or_default(), progress.generation)
        });
        pending.chain(progress).collect()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Amounts<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Amounts<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct Amounts<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

/// The message of an event, as upstream's: `what`, then the amounts of all containers that can be resized.
pub(crate) fn event_message(what: &str, pod: &Pod, generation: Option<i64>, error: &str) -> String {
    fn amounts(container: &Container) -> Amounts<'_> {
        Amounts { name: &container.name, resources: container.resources.clone().unwrap_or_default() }
    }
    let summary = Summary {
        init_containers: pod.init_containers().iter().filter(|container| is_sidecar(container)).map(amounts).collect(),
        containers: pod.spec().containers.iter().map(amounts).collect(),
        generation: generation.unwrap_or_default(),
        error,
    };
    format!("{what}: {}", serde_json::to_string(&summary).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_tell_the_amounts_of_containers_and_sidecars() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1m"}}}],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}}, {"name": "b"}]}}))
        .unwrap();
        assert_eq!(
            event_message("Pod resize started", &pod, Some(2), ""),
            "Pod resize started: {\"initContainers\":[{\"name\":\"s\",\"resources\":{\"requests\":{\"cpu\":\"1m\"}}}],\
             \"containers\":[{\"name\":\"a\",\"resources\":{\"limits\":{\"memory\":\"1Gi\"},\"requests\":{\"cpu\":\"1\"}}},\
             {\"name\":\"b\",\"resources\":{}}],\"generation\":2}"
        );
        assert!(
            event_message("Pod resize error", &pod, Some(2), "why").ends_with(",\"generation\":2,\"error\":\"why\"}")
        );
    }

    #[test]
    fn what_an_earlier_daemon_told_is_known() {
        let resizes = Resizes {
            pending: Some(Pending { refusal: Refusal::Infeasible("too much".into()), generation: Some(3) }),
            progress: Some(Progress { generation: Some(2), error: Some("busy".into()) }),
        };
        let conditions: Vec<_> = resizes
            .told()
            .into_iter()
            .map(|(type_, reason, message, generation)| {
                json!({"type": type_, "status": "True", "reason": reason, "message": message, "observedGeneration": generation})
            })
            .collect();
        let status: PodStatus = serde_json::from_value(json!({"conditions": conditions})).unwrap();
        assert_eq!(Resizes::of(&status), resizes);
    }
}
