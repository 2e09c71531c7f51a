//! `/stats/summary` and the metrics pages.

use std::fmt::Write;
use std::sync::Arc;

use coracle_runtime::cri::{ContainerState, ContainerStats};
use http::Response;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{Body, StatusCode, json as json_response, text};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;

struct Usage {
    pod: Arc<Pod>,
    sandbox: Option<ContainerStats>,
    containers: Vec<(String, i64, ContainerStats)>,
}

async fn usage(k: &Kubelet) -> Vec<Usage> {
    let mut list = Vec::new();
    for pod in k.pods.list() {
        let Some(observed) = k.pods.observed(pod.uid()) else { continue };
        let sandbox = match &observed.sandbox {
            Some(sandbox) if observed.sandbox_ready() => k.runtime.pod_sandbox_stats(&sandbox.id).await.ok(),
            _ => None,
        };
        let mut containers = Vec::new();
        for status in observed
            .containers
            .values()
            .filter_map(|list| list.first())
            .filter(|status| status.state == ContainerState::Running)
        {
            if let Ok(stats) = k.runtime.container_stats(&status.id).await {
                containers.push((status.metadata.name.clone(), status.started_at, stats));
            }
        }
        list.push(Usage { pod, sandbox, containers });
    }
    list
}

/// Cumulative CPU time of the node in nanoseconds, and its memory in use.
fn node_usage() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // Everything but idle and waiting for disks, in hundredths of a second.
    let busy: u64 =
        fields.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, ticks)| ticks).sum();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
            << 10
    };
    (busy.saturating_mul(10_000_000), field("MemTotal:").saturating_sub(field("MemAvailable:")))
}

fn time(nanos: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn cpu(stats: &ContainerStats) -> Value {
    json!({"time": time(stats.timestamp), "usageCoreNanoSeconds": stats.cpu_usage_core_nanoseconds})
}

fn memory(stats: &ContainerStats) -> Value {
    json!({"time": time(stats.timestamp), "usageBytes": stats.memory_usage_bytes,
        "workingSetBytes": stats.memory_working_set_bytes, "rssBytes": stats.memory_rss_bytes})
}

pub(super) async fn summary(k: &Kubelet) -> Response<Body> {
    let now = time(Timestamp::now().as_nanosecond() as i64);
    let pods: Vec<Value> = usage(k)
        .await
        .iter()
        .map(|usage| {
            let containers: Vec<Value> = usage
                .containers
                .iter()
                .map(|(name, started, stats)| {
                    json!({"name": name, "startTime": time(*started), "cpu": cpu(stats), "memory": memory(stats),
                        "rootfs": {"time": time(stats.timestamp), "usedBytes": stats.writable_layer_bytes}})
                })
                .collect();
            let mut entry = json!({
                "podRef": {"name": usage.pod.name(), "namespace": usage.pod.namespace(), "uid": usage.pod.uid()},
                "startTime": usage.pod.status.as_ref().and_then(|status| status.start_time.clone()),
                "containers": containers,
            });
            if let Some(sandbox) = &usage.sandbox {
                entry["cpu"] = cpu(sandbox);
                entry["memory"] = memory(sandbox);
                entry["process_stats"] = json!({"process_count": sandbox.process_count});
            }
            entry
        })
        .collect();
    let (cpu, used) = node_usage();
    let disk = rustix::fs::statvfs(&k.config.root_dir).ok();
    let fs = disk.map(|stat| {
        json!({"time": now, "availableBytes": stat.f_bavail * stat.f_frsize, "capacityBytes": stat.f_blocks * stat.f_frsize,
            "usedBytes": (stat.f_blocks - stat.f_bfree) * stat.f_frsize, "inodesFree": stat.f_ffree, "inodes": stat.f_files})
    });
    let images = k.images.service().image_fs_info().await.unwrap_or_default();
    json_response(&json!({
        "node": {
            "nodeName": k.config.node_name,
            "cpu": {"time": now, "usageCoreNanoSeconds": cpu},
            "memory": {"time": now, "usageBytes": used, "workingSetBytes": used,
                "availableBytes": (k.memory as u64).saturating_sub(used)},
            "fs": fs,
            "runtime": {"imageFs": {"time": now, "usedBytes": images.used_bytes, "inodesUsed": images.inodes_used}},
        },
        "pods": pods,
    }))
}

fn head(page: &mut String, name: &str, help: &str, kind: &str) {
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

pub(super) fn metrics(k: &Kubelet) -> Response<Body> {
    let mut page = String::new();
    let pods = k.pods.list();
    let running =
        pods.iter().filter(|pod| k.pods.observed(pod.uid()).is_some_and(|observed| observed.sandbox_ready())).count();
    head(&mut page, "kubelet_running_pods", "Number of pods that have a running pod sandbox", "gauge");
    let _ = writeln!(page, "kubelet_running_pods {running}");
    head(&mut page, "kubelet_desired_pods", "The number of pods the kubelet is being instructed to run.", "gauge");
    let _ = writeln!(page, "kubelet_desired_pods {}", pods.len());
    head(&mut page, "kubelet_running_containers", "Number of containers currently running", "gauge");
    let containers: usize =
        pods.iter().filter_map(|pod| k.pods.observed(pod.uid())).map(|observed| observed.running().count()).sum();
    let _ = writeln!(page, "kubelet_running_containers{{container_state=\"running\"}} {containers}");
    head(&mut page, "kubelet_node_name", "The node's name. The count is always 1.", "gauge");
    let _ = writeln!(page, "kubelet_node_name{{node={:?}}} 1", k.config.node_name);
    text(StatusCode::OK, page)
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

pub(super) async fn resource(k: &Kubelet) -> Response<Body> {
    let usage = usage(k).await;
    let mut page = String::new();
    let (cpu, memory) = node_usage();
    head(
        &mut page,
        "node_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the node in core-seconds",
        "counter",
    );
    let _ = writeln!(page, "node_cpu_usage_seconds_total {}", seconds(cpu));
    head(&mut page, "node_memory_working_set_bytes", "Current working set of the node in bytes", "gauge");
    let _ = writeln!(page, "node_memory_working_set_bytes {memory}");
    let containers: Vec<_> = usage
        .iter()
        .flat_map(|usage| {
            usage.containers.iter().map(|(name, started, stats)| (labels(&usage.pod, Some(name)), *started, stats))
        })
        .collect();
    head(
        &mut page,
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the container in core-seconds",
        "counter",
    );
    for (labels, _, stats) in &containers {
        let _ =
            writeln!(page, "container_cpu_usage_seconds_total{labels} {}", seconds(stats.cpu_usage_core_nanoseconds));
    }
    head(&mut page, "container_memory_working_set_bytes", "Current working set of the container in bytes", "gauge");
    for (labels, _, stats) in &containers {
        let _ = writeln!(page, "container_memory_working_set_bytes{labels} {}", stats.memory_working_set_bytes);
    }
    head(&mut page, "container_start_time_seconds", "Start time of the container since unix epoch in seconds", "gauge");
    for (labels, started, _) in &containers {
        let _ = writeln!(page, "container_start_time_seconds{labels} {}", seconds((*started).max(0) as u64));
    }
    let pods: Vec<_> =
        usage.iter().filter_map(|usage| Some((labels(&usage.pod, None), usage.sandbox.as_ref()?))).collect();
    head(
        &mut page,
        "pod_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the pod in core-seconds",
        "counter",
    );
    for (labels, stats) in &pods {
        let _ = writeln!(page, "pod_cpu_usage_seconds_total{labels} {}", seconds(stats.cpu_usage_core_nanoseconds));
    }
    head(&mut page, "pod_memory_working_set_bytes", "Current working set of the pod in bytes", "gauge");
    for (labels, stats) in &pods {
        let _ = writeln!(page, "pod_memory_working_set_bytes{labels} {}", stats.memory_working_set_bytes);
    }
    head(
        &mut page,
        "resource_scrape_error",
        "1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
    );
    page.push_str("resource_scrape_error 0\n");
    text(StatusCode::OK, page)
}

pub(super) async fn cadvisor(k: &Kubelet) -> Response<Body> {
    let usage = usage(k).await;
    let mut page = String::new();
    type Read = fn(&ContainerStats) -> f64;
    let families: [(&str, &str, &str, Read); 5] = [
        ("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", "counter", |stats| {
            seconds(stats.cpu_usage_core_nanoseconds)
        }),
        ("container_memory_usage_bytes", "Current memory usage in bytes.", "gauge", |stats| {
            stats.memory_usage_bytes as f64
        }),
        ("container_memory_working_set_bytes", "Current working set in bytes.", "gauge", |stats| {
            stats.memory_working_set_bytes as f64
        }),
        ("container_memory_rss", "Size of RSS in bytes.", "gauge", |stats| stats.memory_rss_bytes as f64),
        ("container_processes", "Number of processes running inside the container.", "gauge", |stats| {
            stats.process_count as f64
        }),
    ];
    for (name, help, kind, read) in families {
        head(&mut page, name, help, kind);
        for usage in &usage {
            for (container, _, stats) in &usage.containers {
                let _ = writeln!(page, "{name}{} {}", labels(&usage.pod, Some(container)), read(stats));
            }
        }
    }
    text(StatusCode::OK, page)
}

fn labels(pod: &Pod, container: Option<&str>) -> String {
    let container = container.map(|name| format!("container={name:?},")).unwrap_or_default();
    format!("{{{container}namespace={:?},pod={:?}}}", pod.namespace(), pod.name())
}
