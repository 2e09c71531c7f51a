//! The end of the node: containers end as those of deleted pods do, hooks first, and nothing is started anew. The API is not told:
//! the pods are to run again when the node does.

use std::sync::Arc;
use std::time::Duration;

use coracle_runtime::cri::ContainerStatus;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;

use crate::kubelet::Kubelet;
use crate::lifecycle::kill_container;
use crate::pod::{PodExt, grace_seconds, is_sidecar};
use crate::sync::Observed;

/// Ends all containers, each within its pod's grace period, but within `longest` all together.
pub(crate) async fn run(k: &Kubelet, longest: Duration) {
    let pods = k.pods.take();
    let all = join_all(pods.iter().map(|(pod, observed)| end(k, pod, observed, longest)));
    if tokio::time::timeout(longest, all).await.is_err() {
        tracing::warn!("not all containers ended within {longest:?}");
    }
}

/// Sidecars end when the others have, so that those can use them to the last.
async fn end(k: &Kubelet, pod: &Arc<Pod>, observed: &Observed, longest: Duration) {
    let grace = Duration::from_secs(grace_seconds(pod.spec().termination_grace_period_seconds)).min(longest);
    let is_late = |status: &ContainerStatus| {
        pod.init_containers().iter().any(|container| container.name == status.metadata.name && is_sidecar(container))
    };
    for late in [false, true] {
        let these = observed.running().filter(|status| is_late(status) == late);
        let ends = these.map(|status| async {
            let name = &status.metadata.name;
            let message = format!("Stopping container {name}");
            if let Err(error) = kill_container(k, pod, name, &status.id, observed.ip(), grace, &message).await {
                tracing::warn!(pod = %pod.describe(), container = name, %error, "a container does not end");
            }
        });
        join_all(ends).await;
    }
}
