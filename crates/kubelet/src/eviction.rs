//! Pods that use more of the node's disk than they may are evicted, as upstream's local storage eviction has it:
//! by the `sizeLimit` of an emptyDir, and by limits of `ephemeral-storage` of containers and pod.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_runtime::tree;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::quantity::value;
use crate::resources::limit;
use crate::worker::Message;

/// How often usage is looked at.
const PERIOD: Duration = Duration::from_secs(10);
const STORAGE: &str = "ephemeral-storage";

/// What a pod uses of the disk, in bytes.
#[derive(Default)]
struct Usage {
    /// Of each emptyDir on disk.
    volumes: HashMap<String, u64>,
    /// Writable layer and logs of each container.
    containers: HashMap<String, u64>,
}

/// Evicts pods beyond their limits, for ever.
pub(crate) async fn run(k: Arc<Kubelet>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        for pod in k.pods.list() {
            let ends = pod.is_deleted() || matches!(pod.phase(), "Succeeded" | "Failed");
            if ends || !is_limited(&pod) {
                continue;
            }
            let usage = measure(&k, &pod).await;
            if let Some(message) = excess(&pod, &usage) {
                k.pods.send(pod.uid(), Message::Evict(message));
            }
        }
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec().containers.iter().chain(pod.init_containers())
}

/// Volumes on disk that are emptied with the pod: name and limit.
fn empty_dirs(pod: &Pod) -> impl Iterator<Item = (&str, Option<&Quantity>)> {
    pod.spec().volumes.iter().flatten().filter_map(|volume| {
        let source = volume.empty_dir.as_ref().filter(|source| source.medium.as_deref() != Some("Memory"))?;
        Some((volume.name.as_str(), source.size_limit.as_ref()))
    })
}

fn is_limited(pod: &Pod) -> bool {
    containers(pod).any(|container| limit(container, STORAGE).is_some())
        || empty_dirs(pod).any(|(_, limit)| limit.is_some())
}

async fn measure(k: &Arc<Kubelet>, pod: &Arc<Pod>) -> Usage {
    let mut usage = Usage::default();
    let logs = k.log_dir(pod.namespace(), pod.name(), pod.uid());
    let mut dirs: Vec<(bool, String, PathBuf)> =
        empty_dirs(pod).map(|(name, _)| (true, name.to_owned(), k.volumes.empty_dir(pod.uid(), name))).collect();
    dirs.extend(containers(pod).map(|container| (false, container.name.clone(), logs.join(&container.name))));
    let observed = k.pods.observed(pod.uid()).unwrap_or_default();
    for status in observed.running() {
        if let Ok(stats) = k.runtime.container_stats(&status.id).await {
            usage.containers.insert(status.metadata.name.clone(), stats.writable_layer_bytes);
        }
    }
    let measured = tokio::task::spawn_blocking(move || {
        dirs.into_iter().map(|(is_volume, name, dir)| (is_volume, name, tree::usage(&dir))).collect::<Vec<_>>()
    });
    for (is_volume, name, bytes) in measured.await.unwrap_or_default() {
        let place = if is_volume { &mut usage.volumes } else { &mut usage.containers };
        let sum = place.entry(name).or_default();
        *sum = sum.saturating_add(bytes);
    }
    usage
}

/// The message of the pod's failure, when it uses more than it may.
fn excess(pod: &Pod, usage: &Usage) -> Option<String> {
    let exceeds = |used: Option<&u64>, limit: &Quantity| used.is_some_and(|used| *used > value(limit).max(0) as u64);
    for (name, limit) in empty_dirs(pod) {
        if let Some(limit) = limit.filter(|limit| exceeds(usage.volumes.get(name), limit)) {
            return Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", limit.0));
        }
    }
    let limits: Vec<&Quantity> =
        pod.spec().containers.iter().filter_map(|container| limit(container, STORAGE)).collect();
    let total = limits.iter().fold(0u64, |sum, limit| sum.saturating_add(value(limit).max(0) as u64));
    let used =
        usage.volumes.values().chain(usage.containers.values()).fold(0u64, |sum, more| sum.saturating_add(*more));
    if !limits.is_empty() && used > total {
        let total = if let [limit] = limits.as_slice() { limit.0.clone() } else { total.to_string() };
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {total}. "));
    }
    containers(pod).find_map(|container| {
        let limit = limit(container, STORAGE).filter(|limit| exceeds(usage.containers.get(&container.name), limit))?;
        Some(format!("Container {} exceeded its local ephemeral storage limit {:?}. ", container.name, limit.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_that_uses_more_than_it_may_is_told_what() {
        let limited = |limit: &str| json!({"limits": {"ephemeral-storage": limit}});
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "a", "resources": limited("1Ki")}, {"name": "b", "resources": limited("2Ki")}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Ki"}}, {"name": "w", "emptyDir": {}},
                {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1"}}]}}))
        .unwrap();
        let told = |volumes: &[(&str, u64)], containers: &[(&str, u64)]| {
            let map = |list: &[(&str, u64)]| list.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
            excess(&pod, &Usage { volumes: map(volumes), containers: map(containers) })
        };
        assert!(is_limited(&pod));
        assert_eq!(told(&[("v", 1024), ("w", 1024)], &[("a", 1024)]), None);
        let message = told(&[("v", 1025)], &[]).unwrap();
        assert_eq!(message, "Usage of EmptyDir volume \"v\" exceeds the limit \"1Ki\". ");
        let message = told(&[("w", 3000)], &[("a", 100)]).unwrap();
        assert_eq!(message, "Pod ephemeral local storage usage exceeds the total limit of containers 3072. ");
        let message = told(&[], &[("a", 1025)]).unwrap();
        assert_eq!(message, "Container a exceeded its local ephemeral storage limit \"1Ki\". ");
    }
}
