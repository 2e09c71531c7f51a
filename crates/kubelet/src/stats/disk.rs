//! What pods take of the node's disk: writable layers, logs and volumes. It is counted file by file, and so remembered
//! for who needs it less exactly. Volumes that are elsewhere are looked at apart, and only to be shown: nobody else waits for a
//! server that does not answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_runtime::cri::{FilesystemUsage, FsInfo};
use coracle_runtime::tree;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use super::counts::{Counts, Wish};
use super::volumes::{Place, VolumeUsage, usage};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;

/// How old figures may be that are only shown, and how long who asks for them is kept waiting.
pub(crate) const SHOWN: Wish = Wish { at_most: Duration::from_secs(60), patience: Duration::from_secs(2) };

/// What a container takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerDisk {
    /// Its writable layer.
    pub(crate) rootfs: FilesystemUsage,
    /// Its log files.
    pub(crate) logs: FilesystemUsage,
}

impl ContainerDisk {
    /// Bytes of both.
    pub(crate) fn bytes(&self) -> u64 {
        self.rootfs.used_bytes.saturating_add(self.logs.used_bytes)
    }

    fn inodes(&self) -> u64 {
        self.rootfs.inodes_used.saturating_add(self.logs.inodes_used)
    }
}

/// What a pod takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodDisk {
    /// Of containers, by name.
    pub(crate) containers: BTreeMap<String, ContainerDisk>,
    /// Of volumes on the node's own disk, and of others where they are shown.
    pub(crate) volumes: Vec<VolumeUsage>,
    /// When that was.
    pub(crate) at: Timestamp,
}

impl PodDisk {
    /// Bytes of the node's own disk: volumes count that end with the pod.
    pub(crate) fn bytes(&self) -> u64 {
        let volumes = self.ephemeral().map(|volume| volume.usage.used);
        self.containers.values().map(ContainerDisk::bytes).chain(volumes).fold(0, u64::saturating_add)
    }

    /// Inodes of the node's own disk.
    pub(crate) fn inodes(&self) -> u64 {
        let volumes = self.ephemeral().map(|volume| volume.usage.inodes_used);
        self.containers.values().map(ContainerDisk::inodes).chain(volumes).fold(0, u64::saturating_add)
    }

    /// Bytes and inodes of the directories that were made for its claims.
    pub(crate) fn claimed(&self) -> (u64, u64) {
        let claimed = self.volumes.iter().filter(|volume| matches!(volume.place, Place::Claimed(_)));
        claimed.fold((0u64, 0u64), |(bytes, inodes), volume| {
            (bytes.saturating_add(volume.usage.used), inodes.saturating_add(volume.usage.inodes_used))
        })
    }

    /// Volumes on the node's disk that end with the pod.
    fn ephemeral(&self) -> impl Iterator<Item = &VolumeUsage> {
        self.volumes.iter().filter(|volume| volume.place == Place::Ephemeral)
    }
}

/// What was counted of pods, by UID, and of the image store.
#[derive(Default)]
pub(crate) struct Disks {
    pods: Arc<Counts<PodDisk>>,
    elsewhere: Arc<Counts<Vec<VolumeUsage>>>,
    images: Mutex<Option<(Instant, FsInfo)>>,
}

/// What a pod takes of the node's own disk; `None` while nobody knows.
pub(crate) async fn of_pod(k: &Arc<Kubelet>, pod: &Arc<Pod>, wish: Wish) -> Option<Arc<PodDisk>> {
    let (kubelet, counted) = (k.clone(), pod.clone());
    let disk = k.disks.pods.of(pod.uid(), wish, async move { count(&kubelet, &counted).await }).await;
    k.disks.pods.retain(|uid| k.pods.has(uid));
    disk
}

/// What each pod takes of the node's own disk, by UID; those are left out of which nobody knows.
pub(crate) async fn of_pods(k: &Arc<Kubelet>, wish: Wish) -> BTreeMap<String, Arc<PodDisk>> {
    let pods = k.pods.list();
    let all = pods.iter().map(async |pod| Some((pod.uid().to_owned(), of_pod(k, pod, wish).await?)));
    futures::future::join_all(all).await.into_iter().flatten().collect()
}

/// What each pod takes, to be shown: with its volumes that are elsewhere.
pub(crate) async fn shown(k: &Arc<Kubelet>) -> BTreeMap<String, Arc<PodDisk>> {
    let pods = k.pods.list();
    let all = pods.iter().map(async |pod| {
        let (disk, volumes) = tokio::join!(of_pod(k, pod, SHOWN), elsewhere(k, pod.uid()));
        let mut disk = disk?;
        if let Some(volumes) = volumes.filter(|volumes| !volumes.is_empty()) {
            Arc::make_mut(&mut disk).volumes.extend(volumes.iter().cloned());
        }
        Some((pod.uid().to_owned(), disk))
    });
    futures::future::join_all(all).await.into_iter().flatten().collect()
}

async fn elsewhere(k: &Kubelet, uid: &str) -> Option<Arc<Vec<VolumeUsage>>> {
    let (state, own) = (k.volumes.state.clone(), uid.to_owned());
    let look = async move { tokio::task::spawn_blocking(move || usage(&state, &own, false)).await.ok() };
    let found = k.disks.elsewhere.of(uid, SHOWN, look).await;
    k.disks.elsewhere.retain(|uid| k.pods.has(uid));
    found
}

async fn count(k: &Kubelet, pod: &Pod) -> Option<PodDisk> {
    let mut disk = PodDisk { at: Timestamp::now(), ..Default::default() };
    let observed = k.pods.observed(pod.uid()).unwrap_or_default();
    for status in observed.containers.values().filter_map(|list| list.first()) {
        let entry = disk.containers.entry(status.metadata.name.clone()).or_default();
        if let Ok(rootfs) = k.runtime.writable_layer(&status.id).await {
            entry.rootfs = rootfs;
        }
    }
    let names: Vec<String> = disk.containers.keys().cloned().collect();
    let logs = k.log_dir(pod.namespace(), pod.name(), pod.uid());
    let (state, uid) = (k.volumes.state.clone(), pod.uid().to_owned());
    let counted = tokio::task::spawn_blocking(move || {
        let logs: Vec<_> = names.into_iter().map(|name| (tree::taken(&logs.join(&name)), name)).collect();
        (logs, usage(&state, &uid, true))
    });
    let (logs, volumes) = counted.await.ok()?;
    for (taken, name) in logs {
        let entry = disk.containers.entry(name).or_default();
        entry.logs = FilesystemUsage { used_bytes: taken.bytes, inodes_used: taken.inodes };
    }
    disk.volumes = volumes;
    Some(disk)
}

/// What the image store takes, counted not long ago.
pub(crate) async fn of_images(k: &Kubelet) -> FsInfo {
    let known = k.disks.images.lock().clone().filter(|(at, _)| at.elapsed() < SHOWN.at_most);
    if let Some((_, known)) = known {
        return known;
    }
    let counted = k.images.service().image_fs_info().await.unwrap_or_default();
    *k.disks.images.lock() = Some((Instant::now(), counted.clone()));
    counted
}
