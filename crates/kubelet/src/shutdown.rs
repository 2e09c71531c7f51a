//! The end of the node: containers end as those of deleted pods do, hooks first, and nothing is started anew. The API is not told
//! how they end: the pods are to run again when the node does. Where other nodes go on, it is told before that neither the node nor
//! its pods are ready, so that services lead elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_client::{EventType, is_not_found, patch_status_strategic};
use coracle_runtime::cri::{ContainerState, ContainerStatus, CriError};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use serde_json::{Value, json};

use crate::kubelet::Kubelet;
use crate::lifecycle::{kill_container, stop_container};
use crate::message_of;
use crate::node_object::now;
use crate::pod::{PodExt, grace_seconds, is_sidecar};
use crate::status::NODE_NOT_READY;
use crate::sync::Observed;

/// How long one has to end whose time is over.
const LAST: Duration = Duration::from_secs(1);
/// How long beyond the time for all one may take that has a hook to the end, or is killed then: its end is written down, so that
/// the next start knows how it ended.
const KILLED: Duration = Duration::from_secs(4);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the API has to hear of it before the containers are told to end.
const TOLD: Duration = Duration::from_secs(1);
const WHY: &str = "node is shutting down";

/// How a node ends.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// How long its containers have, hooks included, before they are killed.
    pub longest: Duration,
    /// Whether other nodes go on, to which services are to lead from now on.
    pub others_go_on: bool,
}

/// Ends all containers, each within its pod's grace period, but within the longest time all together; those that run then are killed.
pub(crate) async fn run(k: &Kubelet, shutdown: Shutdown) {
    let pods = k.pods.take();
    let started = Instant::now();
    if shutdown.others_go_on && tokio::time::timeout(TOLD, tell(k, &pods)).await.is_err() {
        tracing::warn!(
            "the API was not told within {TOLD:?} that the node shuts down: services may lead to its pods for a while"
        );
    }
    let longest = shutdown.longest.saturating_sub(started.elapsed());
    let all = join_all(pods.iter().map(|(pod, observed)| end(k, pod, observed, longest)));
    if tokio::time::timeout(longest.saturating_add(KILLED), all).await.is_err() {
        tracing::warn!("not all containers ended within {longest:?}");
    }
}

/// Says that the node is not ready, and none of its pods.
async fn tell(k: &Kubelet, pods: &[(Arc<Pod>, Observed)]) {
    let name = &k.config.node_name;
    let (nodes, time) = (Api::<Node>::all(k.client.clone()), now());
    let ready = json!({"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": WHY,
        "lastHeartbeatTime": time, "lastTransitionTime": time});
    let node = async {
        let node = patch_status_strategic(&nodes, name, &of_status(ready)).await?;
        let text = format!("Node {name} status is now: NodeNotReady");
        k.recorder.event(&node, EventType::Normal, "NodeNotReady", text);
        Ok(())
    };
    let each = pods.iter().filter(|(pod, observed)| !pod.is_deleted() && observed.running().next().is_some()).map(
        |(pod, _)| async {
            let api: Api<Pod> = Api::namespaced(k.client.clone(), pod.namespace());
            let ready = json!({"type": "Ready", "status": "False", "reason": NODE_NOT_READY, "message": WHY,
            "lastTransitionTime": now()});
            let mut patch = of_status(ready);
            patch["metadata"] = json!({"uid": pod.uid()});
            patch_status_strategic(&api, pod.name(), &patch).await.map(drop)
        },
    );
    let (node, each): (kube::Result<()>, _) = tokio::join!(node, join_all(each));
    for error in std::iter::once(node).chain(each).filter_map(Result::err).filter(|error| !is_not_found(error)) {
        tracing::warn!("the API was not told that the node shuts down: {}", message_of(&error));
    }
}

fn of_status(condition: Value) -> Value {
    json!({"status": {"conditions": [condition]}})
}

/// One that was ending already goes on as it was: its hook is not begun again. Only in the end it is told to end at once.
async fn wait_for_end(k: &Kubelet, id: &str, grace: Duration) -> Result<(), CriError> {
    let ended = async {
        while k.runtime.container_status(id).await.is_ok_and(|status| status.state == ContainerState::Running) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let patience = grace.saturating_sub(LAST);
    match tokio::time::timeout(patience, ended).await {
        Ok(()) => Ok(()),
        Err(_) => stop_container(k, id, LAST.min(grace)).await.map(drop),
    }
}

/// Sidecars end when the others have, so that those can use them to the last.
async fn end(k: &Kubelet, pod: &Arc<Pod>, observed: &Observed, longest: Duration) {
    let whole = Duration::from_secs(grace_seconds(pod.spec().termination_grace_period_seconds)).min(longest);
    let started = Instant::now();
    let is_late = |status: &ContainerStatus| {
        pod.init_containers().iter().any(|container| container.name == status.metadata.name && is_sidecar(container))
    };
    for late in [false, true] {
        let grace = whole.saturating_sub(started.elapsed()).max(LAST.min(whole));
        let these = observed.running().filter(|status| is_late(status) == late);
        let ends = these.map(|status| async {
            let name = &status.metadata.name;
            let message = format!("Stopping container {name}");
            let ended = match observed.ending.contains(&status.id) {
                true => wait_for_end(k, &status.id, grace).await,
                false => kill_container(k, pod, name, &status.id, observed.ip(), grace, &message).await.map(drop),
            };
            if let Err(error) = ended {
                tracing::warn!(pod = %pod.describe(), container = name, %error, "a container does not end");
            }
        });
        join_all(ends).await;
    }
}
