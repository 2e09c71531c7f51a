//! `/stats/summary`: node, pods, containers and volumes as one object.
//! <https://pkg.go.dev/k8s.io/kubelet/pkg/apis/stats/v1alpha1>

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_runtime::cri::{ContainerStats, FilesystemUsage, NetworkInterfaceUsage};
use http::Response;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Body, json as json_response};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::stats::disk::{self, PodDisk};
use crate::stats::node::{self, FileSystem, Memory, Processes};
use crate::stats::volumes::VolumeUsage;
use crate::stats::{self, ContainerUsage, PodUsage};

/// The time over which a rate is taken at least, once it can be.
const WINDOW: Duration = Duration::from_secs(10);
/// Rates that are remembered.
const MAX_RATES: usize = 10_000;

/// CPU time as it was, so that a rate can be told.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<String, Rate>>);

struct Rate {
    at: Instant,
    nanos: u64,
    last: Option<u64>,
}

impl Rates {
    /// Nanoseconds of CPU time a second, if something was known before.
    fn of(&self, id: &str, nanos: u64) -> Option<u64> {
        let mut rates = self.0.lock();
        if rates.len() >= MAX_RATES {
            rates.retain(|_, rate| rate.at.elapsed() < WINDOW.saturating_mul(60));
        }
        let now = Instant::now();
        let Some(rate) = rates.get_mut(id) else {
            if rates.len() < MAX_RATES {
                rates.insert(id.to_owned(), Rate { at: now, nanos, last: None });
            }
            return None;
        };
        let elapsed = now.duration_since(rate.at);
        let since = || (nanos.saturating_sub(rate.nanos) as f64 / elapsed.as_secs_f64()) as u64;
        if elapsed >= WINDOW {
            let found = Some(since());
            *rate = Rate { at: now, nanos, last: found };
            return found;
        }
        rate.last.or_else(|| (elapsed >= Duration::from_secs(1)).then(since))
    }
}

/// The answer.
pub(super) async fn summary(k: &Arc<Kubelet>) -> Response<Body> {
    let mut pods = Vec::new();
    let (usages, disks) = tokio::join!(stats::pods(k), disk::shown(k));
    for usage in usages {
        let disk = disks.get(usage.pod.uid()).map(|disk| &**disk);
        let network = match &usage.sandbox_id {
            Some(id) => k.runtime.pod_sandbox_network(id).await.unwrap_or_default(),
            None => Vec::new(),
        };
        pods.push(of_pod(k, &usage, disk, &network));
    }
    json_response(&json!({"node": of_node(k).await, "pods": pods}))
}

fn time(nanos: i64) -> String {
    text(Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default())
}

fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn now() -> String {
    time(Timestamp::now().as_nanosecond() as i64)
}

fn cpu(k: &Kubelet, stats: &ContainerStats) -> Value {
    let total = stats.cpu.usage_core_nano_seconds;
    let mut cpu = json!({"time": time(stats.timestamp), "usageCoreNanoSeconds": total});
    if let Some(rate) = k.rates.of(&stats.id, total) {
        cpu["usageNanoCores"] = rate.into();
    }
    cpu
}

/// `limit` is how much there may be.
fn memory(stats: &ContainerStats, limit: i64) -> Value {
    let memory = &stats.memory;
    let mut object = json!({"time": time(stats.timestamp), "usageBytes": memory.usage_bytes,
        "workingSetBytes": memory.working_set_bytes, "rssBytes": memory.rss_bytes,
        "pageFaults": memory.page_faults, "majorPageFaults": memory.major_page_faults});
    if let Some(limit) = u64::try_from(limit).ok().filter(|limit| *limit > 0) {
        object["availableBytes"] = limit.saturating_sub(memory.working_set_bytes).into();
    }
    object
}

fn swap(stats: &ContainerStats) -> Value {
    json!({"time": time(stats.timestamp), "swapUsageBytes": stats.memory.swap_bytes})
}

/// What is used of the node's disk.
fn part(disk: &FileSystem, used: FilesystemUsage, at: &str) -> Value {
    json!({"time": at, "availableBytes": disk.available, "capacityBytes": disk.capacity, "usedBytes": used.used_bytes,
        "inodesFree": disk.inodes_free, "inodes": disk.inodes, "inodesUsed": used.inodes_used})
}

fn network(interfaces: &[NetworkInterfaceUsage], default: &str) -> Option<Value> {
    let figures = |found: &NetworkInterfaceUsage| {
        json!({"name": found.name, "rxBytes": found.rx_bytes, "rxErrors": found.rx_errors,
            "txBytes": found.tx_bytes, "txErrors": found.tx_errors})
    };
    let first = interfaces.iter().find(|found| found.name == default).or(interfaces.first())?;
    let mut object = figures(first);
    object["time"] = now().into();
    object["interfaces"] = interfaces.iter().map(figures).collect();
    Some(object)
}

/// A pod; what of it nobody has counted yet is left out.
fn of_pod(k: &Kubelet, usage: &PodUsage, disk: Option<&PodDisk>, interfaces: &[NetworkInterfaceUsage]) -> Value {
    let pod = &usage.pod;
    let node = FileSystem::of(&k.config.root_dir).unwrap_or_default();
    let containers: Vec<Value> =
        usage.containers.iter().map(|found| of_container(k, usage, found, disk, &node)).collect();
    let mut entry = json!({
        "podRef": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()},
        "startTime": pod.status.as_ref().and_then(|status| status.start_time.clone()),
        "containers": containers,
    });
    if let Some(disk) = disk {
        let own = FilesystemUsage { used_bytes: disk.bytes(), inodes_used: disk.inodes() };
        entry["ephemeral-storage"] = part(&node, own, &text(disk.at));
        if !disk.volumes.is_empty() {
            entry["volume"] = volumes(disk).into();
        }
    }
    if let Some(found) = network(interfaces, "eth0") {
        entry["network"] = found;
    }
    if let Some(sandbox) = &usage.sandbox {
        entry["cpu"] = cpu(k, sandbox);
        entry["memory"] = memory(sandbox, 0);
        entry["swap"] = swap(sandbox);
        entry["process_stats"] = json!({"process_count": sandbox.process_count});
    }
    entry
}

fn volumes(disk: &PodDisk) -> Vec<Value> {
    let at = text(disk.at);
    let of = |volume: &VolumeUsage| {
        let usage = &volume.usage;
        let mut object = json!({"time": at, "name": volume.name, "availableBytes": usage.available,
            "capacityBytes": usage.capacity, "usedBytes": usage.used, "inodesFree": usage.inodes_free,
            "inodes": usage.inodes, "inodesUsed": usage.inodes_used});
        if let Some(claim) = &volume.claim {
            object["pvcRef"] = json!({"name": claim.name, "namespace": claim.namespace});
        }
        object
    };
    disk.volumes.iter().map(of).collect()
}

fn of_container(
    k: &Kubelet,
    usage: &PodUsage,
    found: &ContainerUsage,
    disk: Option<&PodDisk>,
    node: &FileSystem,
) -> Value {
    let name = &found.status.metadata.name;
    let container = usage.pod.container(name);
    let limit = container.and_then(|container| crate::resources::effective_limit(&usage.pod, container, "memory"));
    let mut object = json!({
        "name": name, "startTime": time(found.status.started_at),
        "cpu": cpu(k, &found.stats), "memory": memory(&found.stats, limit.map_or(0, crate::quantity::value)),
        "swap": swap(&found.stats),
    });
    if let Some((disk, taken)) = disk.and_then(|disk| Some((disk, disk.containers.get(name)?))) {
        let at = text(disk.at);
        object["rootfs"] = part(node, taken.rootfs, &at);
        object["logs"] = part(node, taken.logs, &at);
    }
    object
}

async fn of_node(k: &Kubelet) -> Value {
    let now = now();
    let (memory, processes) = (Memory::read(), Processes::read());
    let root = FileSystem::of(&k.config.root_dir).unwrap_or_default();
    let images = FileSystem::of(&k.config.image_dir).unwrap_or_default();
    let taken = disk::of_images(k).await;
    let taken = FilesystemUsage { used_bytes: taken.used_bytes, inodes_used: taken.inodes_used };
    let total = node::cpu_nanoseconds();
    let mut object = json!({
        "nodeName": k.config.node_name,
        "startTime": time(k.started.as_nanosecond() as i64),
        "cpu": {"time": now, "usageCoreNanoSeconds": total},
        "memory": {"time": now, "usageBytes": memory.usage(), "workingSetBytes": memory.working_set(),
            "availableBytes": memory.available, "rssBytes": memory.rss},
        "swap": {"time": now, "swapAvailableBytes": memory.swap_free,
            "swapUsageBytes": memory.swap_total.saturating_sub(memory.swap_free)},
        "fs": {"time": now, "availableBytes": root.available, "capacityBytes": root.capacity,
            "usedBytes": root.used, "inodesFree": root.inodes_free, "inodes": root.inodes,
            "inodesUsed": root.inodes.saturating_sub(root.inodes_free)},
        "runtime": {"imageFs": part(&images, taken, &now), "containerFs": part(&images, taken, &now)},
        "rlimit": {"time": now, "maxpid": processes.most, "curproc": processes.running},
    });
    if let Some(rate) = k.rates.of("/", total) {
        object["cpu"]["usageNanoCores"] = rate.into();
    }
    if let Some(found) = network(&node::network(), "eth0") {
        object["network"] = found;
    }
    if let Ok(pods) = k.runtime.pods_stats().await {
        object["systemContainers"] = json!([{"name": "pods", "startTime": time(k.started.as_nanosecond() as i64), "cpu": cpu(k, &pods),
                "memory": self::memory(&pods, k.memory)}]);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_once_time_has_passed() {
        let rates = Rates::default();
        assert_eq!(rates.of("a", 0), None);
        assert_eq!(rates.of("a", 5), None);
        rates.0.lock().get_mut("a").unwrap().at -= Duration::from_secs(2);
        let soon = rates.of("a", 2_000_000_000).unwrap();
        assert!((900_000_000..=1_000_000_000).contains(&soon), "{soon}");
        rates.0.lock().get_mut("a").unwrap().at -= Duration::from_secs(18);
        let later = rates.of("a", 40_000_000_000).unwrap();
        assert!((1_900_000_000..=2_000_000_000).contains(&later), "{later}");
        // Within the window what was told last is told again.
        assert_eq!(rates.of("a", 41_000_000_000), Some(later));
    }
}
