//! `/metrics`: the kubelet itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use coracle_matching::pods::is_terminal;
use coracle_metrics::{Named, Page, process};
use coracle_pki::Current;
use coracle_runtime::cri::ContainerState;
use http::{Response, StatusCode};

use super::super::{Body, text};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::resize::{Refusal, Resizes};
use crate::stats::disk;
use crate::stats::volumes::VolumeUsage;
use crate::volumes::kind::Usage;

/// The page.
pub(in crate::server) async fn kubelet(k: &Arc<Kubelet>) -> Response<Body> {
    let mut page = Page::default();
    pods(k, &mut page);
    resizes(k, &mut page);
    volumes(k, &mut page).await;
    let name = "volume_manager_total_volumes";
    page.family(name, "gauge", "Number of volumes in Volume Manager");
    for (plugin, (wanted, ready)) in k.volumes.state.counts() {
        let plugin = format!("kubernetes.io/{plugin}");
        for (state, count) in [("actual_state_of_world", ready), ("desired_state_of_world", wanted)] {
            page.sample(name, &[("plugin_name", &plugin), ("state", state)], count);
        }
    }
    certificates(k, &mut page);
    let name = "kubelet_evictions";
    page.family(name, "counter", "Cumulative number of pod evictions by eviction signal");
    for (signal, count) in k.metrics.evictions() {
        page.sample(name, &[("eviction_signal", signal)], count);
    }
    page.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.");
    page.sample("kubelet_node_name", &[("node", &k.config.node_name)], 1);
    let name = "kubernetes_build_info";
    page.family(name, "gauge", "A metric with a constant '1' value labeled by git version.");
    page.sample(name, &[("git_version", &k.config.kubernetes_version)], 1);
    k.metrics.write(&mut page);
    process(&mut page);
    text(StatusCode::OK, page.into_text())
}

/// Resizes that wait, and those that are carried out, as the pods' conditions tell of them.
fn resizes(k: &Kubelet, page: &mut Page) {
    let (mut deferred, mut infeasible, mut progress) = (0_usize, 0_usize, 0_usize);
    for pod in k.pods.list() {
        let told = pod.status.as_ref().map(Resizes::of).unwrap_or_default();
        match told.pending.map(|pending| pending.refusal) {
            Some(Refusal::Deferred(_)) => deferred = deferred.saturating_add(1),
            Some(Refusal::Infeasible(_)) => infeasible = infeasible.saturating_add(1),
            None => {}
        }
        progress = progress.saturating_add(usize::from(told.progress.is_some()));
    }
    let name = "kubelet_pod_pending_resizes";
    page.family(name, "gauge", "Number of pending resizes for pods");
    page.sample(name, &[("reason", "deferred")], deferred);
    page.sample(name, &[("reason", "infeasible")], infeasible);
    page.single("kubelet_pod_in_progress_resizes", "gauge", "Number of in-progress resizes for pods", progress);
}

fn pods(k: &Kubelet, page: &mut Page) {
    let pods = k.pods.list();
    let observed: Vec<_> = pods.iter().filter_map(|pod| k.pods.observed(pod.uid())).collect();
    let running = observed.iter().filter(|observed| observed.sandbox_ready()).count();
    page.single("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox", running);
    let name = "kubelet_running_containers";
    page.family(name, "gauge", "Number of containers currently running");
    let mut states: BTreeMap<&str, usize> = BTreeMap::from([("running", 0), ("exited", 0)]);
    for status in observed.iter().flat_map(|observed| observed.containers.values().flatten()) {
        let state = match status.state {
            ContainerState::Created => "created",
            ContainerState::Running => "running",
            ContainerState::Exited => "exited",
            ContainerState::Unknown => "unknown",
        };
        let count = states.entry(state).or_default();
        *count = count.saturating_add(1);
    }
    states.iter().for_each(|(state, count)| page.sample(name, &[("container_state", state)], count));
    let help = "The number of pods the kubelet is being instructed to run.";
    page.single("kubelet_desired_pods", "gauge", help, pods.len());
    let active = pods.iter().filter(|pod| !is_terminal(pod)).count();
    page.single("kubelet_active_pods", "gauge", "The number of pods the kubelet considers active.", active);
}

const OF_VOLUMES: [Named<Usage, u64>; 6] = [
    ("kubelet_volume_stats_capacity_bytes", "Capacity in bytes of the volume", |usage| usage.capacity),
    ("kubelet_volume_stats_available_bytes", "Number of available bytes in the volume", |usage| usage.available),
    ("kubelet_volume_stats_used_bytes", "Number of used bytes in the volume", |usage| usage.used),
    ("kubelet_volume_stats_inodes", "Maximum number of inodes in the volume", |usage| usage.inodes),
    ("kubelet_volume_stats_inodes_free", "Number of free inodes in the volume", |usage| usage.inodes_free),
    ("kubelet_volume_stats_inodes_used", "Number of used inodes in the volume", |usage| usage.inodes_used),
];

/// How long the certificates of server and client are valid still.
fn certificates(k: &Kubelet, page: &mut Page) {
    let left = |current: &Current| {
        let left = current.ends()?.duration_since(SystemTime::now()).unwrap_or_default();
        Some(left.as_secs())
    };
    let (server, client) = (&k.config.serving, k.config.client_certificate.as_ref());
    let help = "Seconds until the kubelet's server certificate expires";
    if let Some(left) = left(server) {
        page.single("kubelet_certificate_manager_server_ttl_seconds", "gauge", help, left);
    }
    let help = "Seconds until the kubelet's client certificate expires";
    if let Some(left) = client.and_then(|client| left(client)) {
        page.single("kubelet_certificate_manager_client_ttl_seconds", "gauge", help, left);
    }
}

/// What is claimed, each claim once.
async fn volumes(k: &Arc<Kubelet>, page: &mut Page) {
    let mut claimed: BTreeMap<(String, String), Usage> = BTreeMap::new();
    for disk in disk::shown(k).await.values() {
        for VolumeUsage { claim, usage, .. } in &disk.volumes {
            if let Some(claim) = claim {
                claimed.insert((claim.namespace.clone(), claim.name.clone()), *usage);
            }
        }
    }
    for (name, help, read) in OF_VOLUMES {
        page.family(name, "gauge", help);
        for ((namespace, claim), usage) in &claimed {
            page.sample(name, &[("namespace", namespace), ("persistentvolumeclaim", claim)], read(usage));
        }
    }
}
