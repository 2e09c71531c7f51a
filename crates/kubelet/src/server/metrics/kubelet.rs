//! `/metrics`: the kubelet itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use coracle_pki::Current;
use coracle_runtime::cri::ContainerState;
use http::{Response, StatusCode};

use super::super::{Body, text};
use super::page::{Named, Page, seconds};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::stats::disk;
use crate::stats::volumes::VolumeUsage;
use crate::volumes::kind::Usage;

/// The page.
pub(in crate::server) async fn kubelet(k: &Arc<Kubelet>) -> Response<Body> {
    let mut page = Page::default();
    pods(k, &mut page);
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
    page.append(&k.metrics.text());
    process(&mut page);
    text(StatusCode::OK, page.into_text())
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
    let active = pods.iter().filter(|pod| !matches!(pod.phase(), "Succeeded" | "Failed")).count();
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

/// The process itself, under the names that client libraries give it.
fn process(page: &mut Page) {
    let Some(found) = Process::read() else { return };
    let families: [(&str, &str, &str, f64); 6] = [
        ("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", found.cpu),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", found.resident),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", found.virtual_size),
        ("process_open_fds", "gauge", "Number of open file descriptors.", found.open_files),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", found.most_files),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            found.started,
        ),
    ];
    for (name, kind, help, value) in families {
        page.single(name, kind, help, value);
    }
}

struct Process {
    cpu: f64,
    resident: f64,
    virtual_size: f64,
    open_files: f64,
    most_files: f64,
    started: f64,
}

/// Bytes of memory that are the process's now.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

impl Process {
    fn read() -> Option<Process> {
        /// Hundredths of a second.
        const TICK: u64 = 10_000_000;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name may have anything in it, and ends with the last parenthesis.
        let fields: Vec<u64> =
            stat.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let at = |index: usize| fields.get(index).copied().unwrap_or(0);
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(0);
        let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
        let ticks = |count: u64| seconds(count.saturating_mul(TICK));
        Some(Process {
            cpu: ticks(at(11).saturating_add(at(12))),
            resident: resident()? as f64,
            virtual_size: at(20) as f64,
            open_files: open as f64,
            most_files: limit as f64,
            started: boot as f64 + ticks(at(19)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_seen_as_it_is() {
        let found = Process::read().unwrap();
        assert!(found.resident > 1e6 && found.virtual_size >= found.resident);
        assert!(found.open_files >= 3.0 && found.most_files >= found.open_files);
        let now = jiff::Timestamp::now().as_second() as f64;
        assert!(found.started <= now + 1.0 && found.started > now - 86_400.0, "{} {now}", found.started);
    }
}
