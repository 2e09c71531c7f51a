//! What pods take of the node's disk: writable layers, logs and volumes. It is counted file by file, and so remembered
//! for who needs it less exactly.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_runtime::cri::{FilesystemUsage, FsInfo};
use coracle_runtime::tree;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::volumes::VolumeUsage;

/// How old figures may be that are only shown.
pub(crate) const SHOWN: Duration = Duration::from_secs(60);

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
    /// Of volumes.
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

    /// Volumes on the node's disk that end with the pod.
    pub(crate) fn ephemeral(&self) -> impl Iterator<Item = &VolumeUsage> {
        self.volumes.iter().filter(|volume| volume.is_ephemeral)
    }
}

/// What was counted of pods, by UID, and of the image store.
#[derive(Default)]
pub(crate) struct Disks {
    pods: Mutex<HashMap<String, (Instant, Arc<PodDisk>)>>,
    images: Mutex<Option<(Instant, FsInfo)>>,
}

/// What a pod takes, counted at most so long ago.
pub(crate) async fn of_pod(k: &Kubelet, pod: &Pod, at_most: Duration) -> Arc<PodDisk> {
    let uid = pod.uid();
    let known = k.disks.pods.lock().get(uid).filter(|(at, _)| at.elapsed() < at_most).map(|(_, disk)| disk.clone());
    if let Some(known) = known {
        return known;
    }
    let counted = Arc::new(count(k, pod).await);
    let mut pods = k.disks.pods.lock();
    pods.insert(uid.to_owned(), (Instant::now(), counted.clone()));
    pods.retain(|uid, _| k.pods.has(uid));
    counted
}

async fn count(k: &Kubelet, pod: &Pod) -> PodDisk {
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
        (logs, crate::volumes::usage(&state, &uid))
    });
    let Ok((logs, volumes)) = counted.await else { return disk };
    for (taken, name) in logs {
        let entry = disk.containers.entry(name).or_default();
        entry.logs = FilesystemUsage { used_bytes: taken.bytes, inodes_used: taken.inodes };
    }
    disk.volumes = volumes;
    disk
}

/// What the image store takes, counted not long ago.
pub(crate) async fn of_images(k: &Kubelet) -> FsInfo {
    let known = k.disks.images.lock().clone().filter(|(at, _)| at.elapsed() < SHOWN);
    if let Some((_, known)) = known {
        return known;
    }
    let counted = k.images.service().image_fs_info().await.unwrap_or_default();
    *k.disks.images.lock() = Some((Instant::now(), counted.clone()));
    counted
}
