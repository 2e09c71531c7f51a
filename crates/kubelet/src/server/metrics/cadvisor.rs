//! `/metrics/cadvisor`: what cAdvisor tells of containers, pods and the machine, as dashboards ask for it.
//!
//! A row of a container names it; one of a pod has no container, and one of the node or of all pods no pod either.

use coracle_metrics::{Named, Page, seconds};
use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_runtime::cri::{ContainerStats, IoUsage, NetworkInterfaceUsage};
use http::{Response, StatusCode};
use jiff::Timestamp;

use super::super::{Body, text};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::resources::{cgroup_parent, container_resources};
use crate::stats::disk::{self, ContainerDisk, PodDisk};
use crate::stats::node::{self, FileSystem, Memory};
use crate::stats::{self, PodUsage};

/// What a row is about.
#[derive(Clone, Default)]
struct Row {
    container: String,
    id: String,
    image: String,
    name: String,
    namespace: String,
    pod: String,
    stats: ContainerStats,
    /// Of a container: what it may use, takes of the disk, and since when it runs.
    spec: Option<Spec>,
    disk: Option<ContainerDisk>,
    network: Vec<NetworkInterfaceUsage>,
}

#[derive(Clone, Copy, Default)]
struct Spec {
    shares: u64,
    quota: i64,
    period: u64,
    memory: i64,
    started: i64,
}

type Family = (&'static str, &'static str, &'static str, fn(&ContainerStats) -> f64);

const FAMILIES: [Family; 18] = [
    ("container_cpu_user_seconds_total", "counter", "Cumulative user cpu time consumed in seconds.", |stats| {
        seconds(stats.cpu.user_nano_seconds)
    }),
    ("container_cpu_system_seconds_total", "counter", "Cumulative system cpu time consumed in seconds.", |stats| {
        seconds(stats.cpu.system_nano_seconds)
    }),
    ("container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals.", |stats| {
        stats.cpu.periods as f64
    }),
    ("container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals.", |stats| {
        stats.cpu.throttled_periods as f64
    }),
    (
        "container_cpu_cfs_throttled_seconds_total",
        "counter",
        "Total time duration the container has been throttled.",
        |stats| seconds(stats.cpu.throttled_nano_seconds),
    ),
    (
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |stats| stats.memory.usage_bytes as f64,
    ),
    ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |stats| {
        stats.memory.working_set_bytes as f64
    }),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", |stats| stats.memory.rss_bytes as f64),
    ("container_memory_cache", "gauge", "Number of bytes of page cache memory.", |stats| {
        stats.memory.cache_bytes as f64
    }),
    ("container_memory_mapped_file", "gauge", "Size of memory mapped files in bytes.", |stats| {
        stats.memory.mapped_file_bytes as f64
    }),
    ("container_memory_swap", "gauge", "Container swap usage in bytes.", |stats| stats.memory.swap_bytes as f64),
    ("container_memory_max_usage_bytes", "gauge", "Maximum memory usage recorded in bytes", |stats| {
        stats.memory.max_usage_bytes as f64
    }),
    ("container_memory_failcnt", "counter", "Number of memory usage hits limits", |stats| stats.memory.failures as f64),
    ("container_oom_events_total", "counter", "Count of out of memory events observed for the container", |stats| {
        stats.memory.oom_kills as f64
    }),
    ("container_processes", "gauge", "Number of processes running inside the container.", |stats| {
        stats.process_count as f64
    }),
    ("container_threads", "gauge", "Number of threads running inside the container", |stats| {
        stats.process_count as f64
    }),
    ("container_last_seen", "gauge", "Last time a container was seen by the exporter", |stats| {
        seconds(stats.timestamp.max(0) as u64)
    }),
    ("container_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise", |_| {
        0.0
    }),
];

const SPECS: [Named<Spec, Option<f64>>; 7] = [
    ("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", |spec| {
        Some(seconds(spec.started.max(0) as u64))
    }),
    ("container_spec_cpu_period", "CPU period of the container.", |spec| Some(spec.period as f64)),
    // What has no limit has no quota, and no row.
    ("container_spec_cpu_quota", "CPU quota of the container.", |spec| (spec.quota > 0).then_some(spec.quota as f64)),
    ("container_spec_cpu_shares", "CPU share of the container.", |spec| Some(spec.shares as f64)),
    ("container_spec_memory_limit_bytes", "Memory limit for the container.", |spec| Some(spec.memory as f64)),
    ("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.", |spec| Some(spec.memory as f64)),
    ("container_spec_memory_reservation_limit_bytes", "Memory reservation limit for the container.", |_| Some(0.0)),
];

const NETWORK: [Named<NetworkInterfaceUsage, u64>; 8] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", |found| found.rx_bytes),
    ("container_network_receive_packets_total", "Cumulative count of packets received", |found| found.rx_packets),
    ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", |found| {
        found.rx_errors
    }),
    (
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |found| found.rx_dropped,
    ),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |found| found.tx_bytes),
    ("container_network_transmit_packets_total", "Cumulative count of packets transmitted", |found| found.tx_packets),
    ("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", |found| {
        found.tx_errors
    }),
    (
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |found| found.tx_dropped,
    ),
];

const DISKS: [Named<IoUsage, u64>; 4] = [
    ("container_fs_reads_bytes_total", "Cumulative count of bytes read", |disk| disk.read_bytes),
    ("container_fs_writes_bytes_total", "Cumulative count of bytes written", |disk| disk.written_bytes),
    ("container_fs_reads_total", "Cumulative count of reads completed", |disk| disk.reads),
    ("container_fs_writes_total", "Cumulative count of writes completed", |disk| disk.writes),
];

const FILE_SYSTEMS: [Named<FileSystem, u64>; 4] = [
    ("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.", |disk| {
        disk.used
    }),
    ("container_fs_limit_bytes", "Number of bytes that can be consumed by the container on this filesystem.", |disk| {
        disk.capacity
    }),
    ("container_fs_inodes_free", "Number of available Inodes", |disk| disk.inodes_free),
    ("container_fs_inodes_total", "Number of Inodes", |disk| disk.inodes),
];

/// The page.
pub(in crate::server) async fn cadvisor(k: &Arc<Kubelet>) -> Response<Body> {
    let mut rows = vec![of_node(), of_all_pods(k).await];
    let (usages, taken) = tokio::join!(stats::pods(k), disk::of_pods(k, disk::SHOWN));
    for usage in usages {
        let disk = taken.get(usage.pod.uid()).cloned().unwrap_or_default();
        of_pod(k, usage, &disk, &mut rows).await;
    }
    let mut page = Page::default();
    let root = k.config.root_dir.clone();
    let disk = tokio::task::spawn_blocking(move || FileSystem::of(&root)).await.ok().flatten().unwrap_or_default();
    machine(&mut page);
    figures(&mut page, &rows);
    disks(&mut page, &rows, &disk);
    text(StatusCode::OK, page.into_text())
}

fn of_node() -> Row {
    let memory = Memory::read();
    let mut stats = ContainerStats { timestamp: Timestamp::now().as_nanosecond() as i64, ..Default::default() };
    stats.cpu.usage_core_nano_seconds = node::cpu_nanoseconds();
    stats.memory.usage_bytes = memory.usage();
    stats.memory.working_set_bytes = memory.working_set();
    stats.memory.rss_bytes = memory.rss;
    stats.process_count = node::Processes::read().running;
    Row { id: "/".into(), stats, network: node::network(), ..Default::default() }
}

async fn of_all_pods(k: &Kubelet) -> Row {
    Row { id: "/kubepods".into(), stats: k.runtime.pods_stats().await.unwrap_or_default(), ..Default::default() }
}

async fn of_pod(k: &Kubelet, usage: PodUsage, disk: &PodDisk, rows: &mut Vec<Row>) {
    let PodUsage { pod, sandbox, sandbox_id, containers } = usage;
    let id = format!("/{}", cgroup_parent(&pod));
    let common = Row { namespace: pod.namespace().into(), pod: pod.name().into(), ..Default::default() };
    if let Some(stats) = sandbox {
        let network = match &sandbox_id {
            Some(id) => k.runtime.pod_sandbox_network(id).await.unwrap_or_default(),
            None => Vec::new(),
        };
        rows.push(Row { id: id.clone(), stats, network, ..common.clone() });
    }
    for found in containers {
        let name = found.status.metadata.name.clone();
        let spec = pod.container(&name).map(|container| {
            let limits = container_resources(&pod, container, k.memory);
            Spec {
                shares: limits.cpu_shares,
                quota: limits.cpu_quota,
                period: limits.cpu_period,
                memory: limits.memory_limit_in_bytes,
                started: found.status.started_at,
            }
        });
        rows.push(Row {
            id: format!("{id}/{}", found.status.id),
            image: found.status.annotations.get(crate::sync::IMAGE).cloned().unwrap_or_default(),
            disk: disk.containers.get(&name).copied(),
            container: name,
            name: found.status.id,
            stats: found.stats,
            spec: spec.or(Some(Spec { started: found.status.started_at, ..Default::default() })),
            ..common.clone()
        });
    }
}

impl Row {
    fn labels(&self) -> [(&str, &str); 6] {
        [
            ("container", &self.container),
            ("id", &self.id),
            ("image", &self.image),
            ("name", &self.name),
            ("namespace", &self.namespace),
            ("pod", &self.pod),
        ]
    }

    fn with<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        more.iter().copied().chain(self.labels()).collect()
    }
}

fn machine(page: &mut Page) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let (machine, boot) = (read("/etc/machine-id"), read("/proc/sys/kernel/random/boot_id"));
    let uuid = Some(read("/sys/class/dmi/id/product_uuid")).filter(|uuid| !uuid.is_empty());
    let uuid = uuid.unwrap_or_else(|| machine.clone());
    let labels = [("boot_id", boot.as_str()), ("machine_id", machine.as_str()), ("system_uuid", uuid.as_str())];
    let memory = Memory::read();
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    for (name, help, value) in [
        ("machine_cpu_cores", "Number of logical CPU cores.", cores),
        ("machine_cpu_physical_cores", "Number of physical CPU cores.", cores),
        ("machine_cpu_sockets", "Number of CPU sockets.", 1),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", memory.total),
        ("machine_swap_bytes", "Amount of swap memory available on the machine.", memory.swap_total),
    ] {
        page.family(name, "gauge", help);
        page.sample(name, &labels, value);
    }
    page.single(
        "machine_scrape_error",
        "gauge",
        "1 if there was an error while getting machine metrics, 0 otherwise.",
        0,
    );
    let help = "A metric with a constant '1' value labeled by kernel version and OS version.";
    page.family("cadvisor_version_info", "gauge", help);
    page.sample("cadvisor_version_info", &[("kernelVersion", &read("/proc/sys/kernel/osrelease"))], 1);
}

fn figures(page: &mut Page, rows: &[Row]) {
    let name = "container_cpu_usage_seconds_total";
    page.family(name, "counter", "Cumulative cpu time consumed in seconds.");
    for row in rows {
        page.sample(name, &row.with(&[("cpu", "total")]), seconds(row.stats.cpu.usage_core_nano_seconds));
    }
    for (name, kind, help, read) in FAMILIES {
        page.family(name, kind, help);
        // Only what has a limit is throttled.
        let is_told = |row: &&Row| !name.starts_with("container_cpu_cfs") || row.stats.cpu.periods > 0;
        rows.iter().filter(is_told).for_each(|row| page.sample(name, &row.labels(), read(&row.stats)));
    }
    let name = "container_memory_failures_total";
    page.family(name, "counter", "Cumulative count of memory allocation failures.");
    for row in rows {
        let memory = &row.stats.memory;
        for (kind, count) in [("pgfault", memory.page_faults), ("pgmajfault", memory.major_page_faults)] {
            page.sample(name, &row.with(&[("failure_type", kind), ("scope", "container")]), count);
        }
    }
    for (name, help, read) in SPECS {
        page.family(name, "gauge", help);
        for row in rows {
            if let Some(value) = row.spec.as_ref().and_then(read) {
                page.sample(name, &row.labels(), value);
            }
        }
    }
    for (name, help, read) in NETWORK {
        page.family(name, "counter", help);
        for row in rows {
            for interface in &row.network {
                page.sample(name, &row.with(&[("interface", &interface.name)]), read(interface));
            }
        }
    }
}

/// Paths of disks by their numbers.
struct Devices(BTreeMap<String, String>);

impl Devices {
    /// Of all disks that rows tell of.
    fn of(rows: &[Row]) -> Devices {
        let mut paths = BTreeMap::new();
        for disk in rows.iter().flat_map(|row| &row.stats.io) {
            paths.entry(disk.device.clone()).or_insert_with(|| device_path(&disk.device));
        }
        Devices(paths)
    }

    fn path<'a>(&'a self, number: &'a str) -> &'a str {
        self.0.get(number).map_or(number, String::as_str)
    }
}

/// The path of a disk by its number, as the kernel names it; the number where it does not know it any more.
fn device_path(number: &str) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{number}"));
    let name = link.ok().and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
    name.map_or_else(|| number.to_owned(), |name| format!("/dev/{name}"))
}

fn disks(page: &mut Page, rows: &[Row], disk: &FileSystem) {
    let devices = Devices::of(rows);
    for (name, help, read) in DISKS {
        page.family(name, "counter", help);
        for row in rows {
            for disk in &row.stats.io {
                page.sample(name, &row.with(&[("device", devices.path(&disk.device))]), read(disk));
            }
        }
    }
    let of = |row: &Row| match row.id.as_str() {
        "/" => Some(*disk),
        _ => row.disk.map(|taken| FileSystem { used: taken.bytes(), ..*disk }),
    };
    for (name, help, read) in FILE_SYSTEMS {
        page.family(name, "gauge", help);
        for row in rows {
            if let Some(disk) = of(row) {
                page.sample(name, &row.with(&[("device", "")]), read(&disk));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_limit_has_no_quota_and_each_disk_has_a_row() {
        let io = |device: &str| IoUsage { device: device.into(), reads: 7, ..Default::default() };
        let stats = ContainerStats { io: vec![io("1:2:3"), io("4:5:6")], ..Default::default() };
        let row = |name: &str, quota: i64| Row {
            name: name.into(),
            stats: stats.clone(),
            spec: Some(Spec { quota, period: 100_000, ..Default::default() }),
            ..Default::default()
        };
        let mut page = Page::default();
        let rows = [row("free", 0), row("limited", 5000)];
        figures(&mut page, &rows);
        disks(&mut page, &rows, &FileSystem::default());
        let text = page.into_text();
        let of = |start: &str| text.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
        let [quota] = of("container_spec_cpu_quota{").try_into().unwrap();
        assert!(quota.contains("name=\"limited\"") && quota.ends_with(" 5000"), "{quota}");
        assert_eq!((of("container_spec_cpu_period{").len(), of("container_spec_memory_limit_bytes{").len()), (2, 2));
        let reads = of("container_fs_reads_total{");
        assert!(reads.len() == 4 && reads[0].contains("device=\"1:2:3\"") && reads[0].ends_with(" 7"), "{reads:?}");
    }

    #[test]
    fn a_disk_has_the_kernels_name() {
        for disk in std::fs::read_dir("/sys/dev/block").into_iter().flatten().flatten().take(3) {
            let number = disk.file_name().into_string().unwrap();
            assert!(device_path(&number).starts_with("/dev/"), "{number}");
        }
        assert_eq!(device_path("9999:9"), "9999:9");
    }
}
