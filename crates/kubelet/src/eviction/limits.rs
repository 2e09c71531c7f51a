//! Pods that use more of the node's disk than they may are evicted, as upstream's local storage eviction has it:
//! by the `sizeLimit` of an emptyDir, and by limits of `ephemeral-storage` of containers and pod. So are those that fill a
//! directory beyond the claim that it was made for, which only some file systems can keep them from ([`claims`](super::claims)).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::quantity::Quantity as Amount;
use coracle_matching::pods::{is_terminal, limits};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::claims::Claims;
use super::{IMMEDIATE, is_critical};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::quantity::value;
use crate::resources::limit;
use crate::stats::counts::Wish;
use crate::stats::disk::{self, PodDisk};
use crate::stats::volumes::has_claimed;
use crate::worker::Message;

/// How often pods are looked at: their files are counted.
const PERIOD: Duration = Duration::from_secs(10);
/// Figures are those of this look, unless counting took longer: then they are for the next one.
const LIMITED: Wish = Wish { at_most: Duration::from_secs(9), patience: PERIOD };
/// What is claimed may be large, and is counted less often.
const CLAIMED: Wish = Wish { patience: PERIOD, ..disk::SHOWN };
const STORAGE: &str = "ephemeral-storage";

/// What is exceeded, as metrics name it, and the message of the pod's failure.
pub(super) type Excess = (&'static str, String);

/// Evicts pods beyond their limits, for ever. Counting may take long, so nobody waits for it.
pub(super) async fn run(k: &Arc<Kubelet>) {
    let (mut told, mut claims) = (HashSet::new(), Claims::default());
    loop {
        enforce(k, &mut told, &mut claims).await;
        tokio::time::sleep(PERIOD).await;
    }
}

/// Evicts pods beyond their limits that were not `told` yet.
async fn enforce(k: &Arc<Kubelet>, told: &mut HashSet<String>, claims: &mut Claims) {
    told.retain(|uid| k.pods.has(uid));
    let pods = k.pods.list();
    let wishes = pods.iter().filter(|pod| !told.contains(pod.uid())).filter_map(|pod| Some((pod, wish(k, pod)?)));
    let counts = wishes.map(async |(pod, wish)| Some((pod, disk::of_pod(k, pod, wish).await?)));
    for (pod, disk) in futures::future::join_all(counts).await.into_iter().flatten() {
        let excess = match excess(pod, &disk) {
            None => claims.excess(k, &disk).await,
            found => found,
        };
        if let Some((signal, message)) = excess {
            k.metrics.evicted(signal);
            k.pods.send(pod.uid(), Message::Evict { message, grace: IMMEDIATE, by_node: false });
            told.insert(pod.uid().to_owned());
        }
    }
}

/// How a pod is looked at, if it is.
fn wish(k: &Kubelet, pod: &Pod) -> Option<Wish> {
    let ends = pod.is_deleted() || is_terminal(pod);
    match () {
        () if ends || is_critical(pod) => None,
        () if is_limited(pod) => Some(LIMITED),
        () if has_claimed(&k.volumes.state, pod.uid()) => Some(CLAIMED),
        () => None,
    }
}

/// Volumes on disk that are emptied with the pod and have a limit: name and limit.
fn empty_dirs(pod: &Pod) -> impl Iterator<Item = (&str, &Quantity)> {
    pod.spec().volumes.iter().flatten().filter_map(|volume| {
        let source = volume.empty_dir.as_ref().filter(|source| source.medium.as_deref() != Some("Memory"))?;
        Some((volume.name.as_str(), source.size_limit.as_ref().filter(|limit| value(limit) > 0)?))
    })
}

/// Bytes that all of a pod may have on disk.
fn total_limit(pod: &Pod) -> Option<u64> {
    u64::try_from(limits(pod).ephemeral_storage).ok().filter(|total| *total > 0)
}

fn is_limited(pod: &Pod) -> bool {
    total_limit(pod).is_some() || empty_dirs(pod).next().is_some()
}

/// What is exceeded of a pod's own limits. One that is not positive is none.
fn excess(pod: &Pod, disk: &PodDisk) -> Option<Excess> {
    let exceeds =
        |used: u64, limit: &Quantity| u64::try_from(value(limit)).is_ok_and(|limit| limit > 0 && used > limit);
    let of_volume = |name: &str| disk.volumes.iter().find(|volume| volume.name == name).map(|volume| volume.usage.used);
    let mut volumes = empty_dirs(pod);
    if let Some((name, limit)) = volumes.find(|(name, limit)| of_volume(name).is_some_and(|used| exceeds(used, limit)))
    {
        let message = format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", limit.0);
        return Some(("emptydirfs.limit", message));
    }
    if let Some(total) = total_limit(pod).filter(|total| disk.bytes() > *total) {
        let total = total_text(pod, total);
        let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {total}. ");
        return Some(("ephemeralpodfs.limit", message));
    }
    pod.spec().containers.iter().find_map(|container| {
        let used = disk.containers.get(&container.name)?.bytes();
        let limit = limit(container, STORAGE).filter(|limit| exceeds(used, limit))?;
        let (name, limit) = (&container.name, &limit.0);
        let message = format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. ");
        Some(("ephemeralcontainerfs.limit", message))
    })
}

/// A total as its one limit was written, if it is one.
fn total_text(pod: &Pod, total: u64) -> String {
    let all = pod.spec().containers.iter().chain(pod.init_containers());
    let limits: Vec<&Quantity> = all.filter_map(|container| limit(container, STORAGE)).collect();
    match limits.as_slice() {
        [limit] if value(limit) as u64 == total => limit.0.clone(),
        _ => Amount::from_bytes(i64::try_from(total).unwrap_or(i64::MAX)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::disk::ContainerDisk;
    use crate::stats::volumes::{Place, VolumeUsage};
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
                place: Place::Ephemeral,
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

    #[test]
    fn a_limit_of_nothing_is_none_and_sidecars_and_init_containers_count_for_the_pod() {
        let pod = |limits: [&str; 4]| -> Pod {
            let container = |name: &str, limit: &str, policy: Option<&str>| json!({"name": name, "restartPolicy": policy, "resources": {"limits": {"ephemeral-storage": limit}}});
            serde_json::from_value(json!({"spec": {
                "initContainers": [container("s", limits[0], Some("Always")), container("i", limits[1], None)],
                "containers": [container("a", limits[2], None)],
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": limits[3]}}]}}))
            .unwrap()
        };
        let unlimited = pod(["0", "0", "0", "0"]);
        assert!(!is_limited(&unlimited));
        let used = |name: &str, used: u64| {
            let rootfs = FilesystemUsage { used_bytes: used, inodes_used: 1 };
            let containers = [(name.to_owned(), ContainerDisk { rootfs, ..Default::default() })].into();
            PodDisk { containers, ..Default::default() }
        };
        assert_eq!(excess(&unlimited, &used("a", 1 << 30)), None);
        assert_eq!(total_limit(&pod(["1Ki", "0", "1Ki", "0"])), Some(2048));
        assert_eq!(total_limit(&pod(["1Ki", "4Ki", "1Ki", "0"])), Some(5120));
        // Only containers are looked at one by one.
        assert_eq!(excess(&pod(["1Ki", "0", "1Ki", "0"]), &used("s", 2000)), None);
        assert!(excess(&pod(["1Ki", "0", "1Ki", "0"]), &used("a", 2000)).is_some());
    }
}
