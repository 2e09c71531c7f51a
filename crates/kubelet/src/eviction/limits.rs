//! Pods that use more of the node's disk than they may are evicted, as upstream's local storage eviction has it:
//! by the `sizeLimit` of an emptyDir, and by limits of `ephemeral-storage` of containers and pod.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use coracle_api::quantity::Quantity as Amount;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::IMMEDIATE;
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::quantity::value;
use crate::resources::limit;
use crate::stats::disk::{self, PodDisk};
use crate::worker::Message;

/// How often pods are looked at: their files are counted.
const PERIOD: Duration = Duration::from_secs(9);
const STORAGE: &str = "ephemeral-storage";

/// Who was evicted already, and when pods were looked at last.
#[derive(Default)]
pub(super) struct Limits {
    told: HashSet<String>,
    looked: Option<Instant>,
}

impl Limits {
    /// Evicts pods beyond their limits, if that was not looked at just now; whether there were any.
    pub(super) async fn enforce(&mut self, k: &Kubelet) -> bool {
        if self.looked.is_some_and(|at| at.elapsed() < PERIOD) {
            return false;
        }
        self.told.retain(|uid| k.pods.has(uid));
        let mut any = false;
        for pod in k.pods.list() {
            let ends = pod.is_deleted() || matches!(pod.phase(), "Succeeded" | "Failed");
            if ends || self.told.contains(pod.uid()) || !is_limited(&pod) {
                continue;
            }
            let disk = disk::of_pod(k, &pod, Duration::ZERO).await;
            if let Some((signal, message)) = excess(&pod, &disk) {
                k.metrics.evicted(signal);
                k.pods.send(pod.uid(), Message::Evict { message, grace: IMMEDIATE, by_node: false });
                self.told.insert(pod.uid().to_owned());
                any = true;
            }
        }
        self.looked = Some(Instant::now());
        any
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

/// What is exceeded, as metrics name it, and the message of the pod's failure, when it uses more than it may.
fn excess(pod: &Pod, disk: &PodDisk) -> Option<(&'static str, String)> {
    let exceeds = |used: u64, limit: &Quantity| used > value(limit).max(0) as u64;
    let of_volume = |name: &str| disk.volumes.iter().find(|volume| volume.name == name).map(|volume| volume.usage.used);
    for (name, limit) in empty_dirs(pod) {
        if let Some(limit) = limit.filter(|limit| of_volume(name).is_some_and(|used| exceeds(used, limit))) {
            let message = format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", limit.0);
            return Some(("emptydirfs.limit", message));
        }
    }
    let limits: Vec<&Quantity> =
        pod.spec().containers.iter().filter_map(|container| limit(container, STORAGE)).collect();
    let total = limits.iter().fold(0i64, |sum, limit| sum.saturating_add(value(limit).max(0)));
    if !limits.is_empty() && disk.bytes() > total as u64 {
        let total =
            if let [limit] = limits.as_slice() { limit.0.clone() } else { Amount::from_bytes(total).to_string() };
        let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {total}. ");
        return Some(("ephemeralpodfs.limit", message));
    }
    containers(pod).find_map(|container| {
        let used = disk.containers.get(&container.name)?.bytes();
        let limit = limit(container, STORAGE).filter(|limit| exceeds(used, limit))?;
        let (name, limit) = (&container.name, &limit.0);
        let message = format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. ");
        Some(("ephemeralcontainerfs.limit", message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::disk::ContainerDisk;
    use crate::volumes::VolumeUsage;
    use crate::volumes::kind::Usage;
    use coracle_runtime::cri::FilesystemUsage;
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
            let volume = |(name, used): &(&str, u64)| VolumeUsage {
                name: (*name).to_owned(),
                claim: None,
                is_ephemeral: true,
                usage: Usage { used: *used, ..Default::default() },
            };
            let container = |(name, used): &(&str, u64)| {
                let rootfs = FilesystemUsage { used_bytes: *used, inodes_used: 1 };
                ((*name).to_owned(), ContainerDisk { rootfs, ..Default::default() })
            };
            let containers = containers.iter().map(container).collect();
            let volumes = volumes.iter().map(volume).collect();
            excess(&pod, &PodDisk { containers, volumes, ..Default::default() }).map(|(_, message)| message)
        };
        assert!(is_limited(&pod));
        assert_eq!(told(&[("v", 1024), ("w", 1024)], &[("a", 1024)]), None);
        let message = told(&[("v", 1025)], &[]).unwrap();
        assert_eq!(message, "Usage of EmptyDir volume \"v\" exceeds the limit \"1Ki\". ");
        let message = told(&[("w", 3000)], &[("a", 100)]).unwrap();
        assert_eq!(message, "Pod ephemeral local storage usage exceeds the total limit of containers 3Ki. ");
        let message = told(&[], &[("a", 1025)]).unwrap();
        assert_eq!(message, "Container a exceeded its local ephemeral storage limit \"1Ki\". ");
    }
}
