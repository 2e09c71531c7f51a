//! `/metrics/resource`: CPU and memory of node, pods and containers, which autoscaling reads.

use coracle_metrics::{Page, seconds};
use coracle_runtime::cri::ContainerStats;
use http::{Response, StatusCode};
use jiff::Timestamp;

use super::super::{Body, text};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::stats::node::{Memory, cpu_nanoseconds};
use crate::stats::{self, PodUsage};

/// A name, its kind and help, and how its value is read.
type Family = (&'static str, &'static str, &'static str, fn(&ContainerStats) -> f64);

const OF_CONTAINERS: [Family; 3] = [
    (
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        |stats| seconds(stats.cpu.usage_core_nano_seconds),
    ),
    (
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
        |stats| stats.memory.working_set_bytes as f64,
    ),
    ("container_swap_usage_bytes", "gauge", "[ALPHA] Current amount of the container swap usage in bytes", |stats| {
        stats.memory.swap_bytes as f64
    }),
];

const OF_PODS: [Family; 3] = [
    (
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        |stats| seconds(stats.cpu.usage_core_nano_seconds),
    ),
    ("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes", |stats| {
        stats.memory.working_set_bytes as f64
    }),
    ("pod_swap_usage_bytes", "gauge", "[ALPHA] Current amount of the pod swap usage in bytes", |stats| {
        stats.memory.swap_bytes as f64
    }),
];

/// The page.
pub(in crate::server) async fn resource(k: &Kubelet) -> Response<Body> {
    let pods = stats::pods(k).await;
    let mut page = Page::default();
    node(&mut page);
    containers(&mut page, &pods);
    for (name, kind, help, read) in OF_PODS {
        page.family(name, kind, help);
        for usage in &pods {
            let Some(stats) = &usage.sandbox else { continue };
            let labels = [("namespace", usage.pod.namespace()), ("pod", usage.pod.name())];
            page.sample_at(name, &labels, read(stats), stats.timestamp / 1_000_000);
        }
    }
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    let failed = pods.iter().any(|usage| usage.sandbox_id.is_some() && usage.sandbox.is_none());
    page.single("resource_scrape_error", "gauge", help, u8::from(failed));
    text(StatusCode::OK, page.into_text())
}

fn node(page: &mut Page) {
    let now = Timestamp::now().as_millisecond();
    let memory = Memory::read();
    let swap = memory.swap_total.saturating_sub(memory.swap_free);
    let help = "[STABLE] Cumulative cpu time consumed by the node in core-seconds";
    page.family("node_cpu_usage_seconds_total", "counter", help);
    page.sample_at("node_cpu_usage_seconds_total", &[], seconds(cpu_nanoseconds()), now);
    page.family("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes");
    page.sample_at("node_memory_working_set_bytes", &[], memory.working_set(), now);
    page.family("node_swap_usage_bytes", "gauge", "[ALPHA] Current swap usage of the node in bytes");
    page.sample_at("node_swap_usage_bytes", &[], swap, now);
}

fn containers(page: &mut Page, pods: &[PodUsage]) {
    let all = || pods.iter().flat_map(|usage| usage.containers.iter().map(move |container| (&usage.pod, container)));
    for (name, kind, help, read) in OF_CONTAINERS {
        page.family(name, kind, help);
        for (pod, container) in all() {
            let own = container.status.metadata.name.as_str();
            let labels = [("container", own), ("namespace", pod.namespace()), ("pod", pod.name())];
            page.sample_at(name, &labels, read(&container.stats), container.stats.timestamp / 1_000_000);
        }
    }
    let help = "[STABLE] Start time of the container since unix epoch in seconds";
    page.family("container_start_time_seconds", "gauge", help);
    for (pod, container) in all() {
        let own = container.status.metadata.name.as_str();
        let labels = [("container", own), ("namespace", pod.namespace()), ("pod", pod.name())];
        let started = seconds(container.status.started_at.max(0) as u64);
        page.sample("container_start_time_seconds", &labels, started);
    }
}
