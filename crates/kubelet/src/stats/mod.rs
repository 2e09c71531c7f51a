//! What pods, containers and the node use: the one source of `/stats/summary`, the metrics pages, and evictions.

pub(crate) mod counts;
pub(crate) mod disk;
pub(crate) mod node;
pub(crate) mod volumes;

use std::sync::Arc;

use coracle_runtime::cri::{ContainerState, ContainerStats, ContainerStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::sync::Observed;

/// A running container with what it uses.
#[derive(Clone, Debug)]
pub(crate) struct ContainerUsage {
    pub(crate) status: ContainerStatus,
    pub(crate) stats: ContainerStats,
}

/// A pod with what it and its running containers use.
#[derive(Clone, Debug)]
pub(crate) struct PodUsage {
    pub(crate) pod: Arc<Pod>,
    /// All of the pod; nothing while it has no sandbox.
    pub(crate) sandbox: Option<ContainerStats>,
    /// The sandbox itself.
    pub(crate) sandbox_id: Option<String>,
    pub(crate) containers: Vec<ContainerUsage>,
}

/// Use of CPU, memory and disks' bandwidth by every pod of the node. Cheap: some files of the kernel a container.
pub(crate) async fn pods(k: &Kubelet) -> Vec<PodUsage> {
    let all = k.pods.allocated().into_iter().filter_map(|pod| {
        let observed = k.pods.observed(pod.uid())?;
        Some(of_pod(k, pod, observed))
    });
    futures::future::join_all(all).await
}

async fn of_pod(k: &Kubelet, pod: Arc<Pod>, observed: Observed) -> PodUsage {
    let sandbox_id = observed.sandbox.as_ref().filter(|_| observed.sandbox_ready()).map(|sandbox| sandbox.id.clone());
    let sandbox = match &sandbox_id {
        Some(id) => k.runtime.pod_sandbox_stats(id).await.ok(),
        None => None,
    };
    let running = observed.containers.values().filter_map(|list| list.first());
    let running = running.filter(|status| status.state == ContainerState::Running);
    let mut containers = Vec::new();
    for status in running {
        if let Ok(stats) = k.runtime.container_stats(&status.id).await {
            containers.push(ContainerUsage { status: status.clone(), stats });
        }
    }
    PodUsage { pod, sandbox, sandbox_id, containers }
}
