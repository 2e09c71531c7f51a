//! The end of the node: containers end as those of deleted pods do, hooks first, and nothing is started anew. The API is not told:
//! the pods are to run again when the node does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_runtime::cri::{ContainerState, ContainerStatus, CriError};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;

use crate::kubelet::Kubelet;
use crate::lifecycle::{kill_container, stop_container};
use crate::pod::{PodExt, grace_seconds, is_sidecar};
use crate::sync::Observed;

/// How long one has to end whose time is over.
const LAST: Duration = Duration::from_secs(1);
/// How long beyond the time for all one may take that has a hook to the end, or is killed then: its end is written down, so that
/// the next start knows how it ended.
const KILLED: Duration = Duration::from_secs(4);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Ends all containers, each within its pod's grace period, but within `longest` all together; those that run then are killed.
pub(crate) async fn run(k: &Kubelet, longest: Duration) {
    let pods = k.pods.take();
    let all = join_all(pods.iter().map(|(pod, observed)| end(k, pod, observed, longest)));
    if tokio::time::timeout(longest.saturating_add(KILLED), all).await.is_err() {
        tracing::warn!("not all containers ended within {longest:?}");
    }
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
