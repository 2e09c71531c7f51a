//! Pods' volumes: made before containers start, kept up to date, and removed with the pod.

mod atomic;
mod config_map;
mod downward;
mod empty_dir;
mod host_path;
mod memory;
mod projected;
mod secret;
pub(crate) mod subpath;
pub(crate) mod token;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Pod, Secret, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rustix::mount::MountFlags;
use tokio::time::Instant;

use crate::objects::Objects;
use crate::pod::PodExt;
use crate::quantity::value;
use crate::resources::pod_resources;
use token::Tokens;

/// Files of a volume by relative path.
pub(crate) type Payload = BTreeMap<String, File>;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    /// Owner, when not root.
    pub(crate) uid: Option<u32>,
}

/// Everything that makes volumes.
pub(crate) struct VolumeManager {
    pub(crate) root_dir: PathBuf,
    pub(crate) config_maps: Objects<ConfigMap>,
    pub(crate) secrets: Objects<Secret>,
    pub(crate) tokens: Tokens,
    pub(crate) host_ip: IpAddr,
    pub(crate) allocatable: BTreeMap<String, Quantity>,
}

/// What the downward API may tell beyond the pod itself.
pub(crate) struct Facts<'a> {
    pub(crate) pod_ips: &'a [IpAddr],
}

/// Volumes ready for use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounted {
    /// The directory (or file) of each volume by name.
    pub(crate) paths: HashMap<String, PathBuf>,
    /// Volumes that containers never write to: the kubelet does, and must not find links of theirs.
    pub(crate) read_only: HashSet<String>,
    /// When a token must be renewed.
    pub(crate) refresh: Option<Instant>,
}

impl VolumeManager {
    /// The directory of a pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    fn volume_dir(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod_dir(uid).join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    }

    /// Where an emptyDir of a pod is.
    pub(crate) fn empty_dir(&self, uid: &str, name: &str) -> PathBuf {
        self.volume_dir(uid, "empty-dir", name)
    }

    /// Makes or updates all volumes of a pod that its containers use.
    ///
    /// # Errors
    /// With the name of the first volume that failed and the message of its `FailedMount` event.
    pub(crate) async fn mount(&self, pod: &Pod, facts: Facts<'_>) -> Result<Mounted, String> {
        let mut mounted = Mounted::default();
        make_private(&self.pod_dir(pod.uid()))
            .map_err(|error| format!("failed to make the pod's directory: {error}"))?;
        for volume in pod.spec().volumes.iter().flatten() {
            let path = self
                .mount_one(pod, volume, &facts, &mut mounted.refresh)
                .await
                .map_err(|error| format!("MountVolume.SetUp failed for volume {:?} : {error}", volume.name))?;
            if is_written_by_kubelet(volume) {
                mounted.read_only.insert(volume.name.clone());
            }
            mounted.paths.insert(volume.name.clone(), path);
        }
        Ok(mounted)
    }

    async fn mount_one(
        &self,
        pod: &Pod,
        volume: &Volume,
        facts: &Facts<'_>,
        refresh: &mut Option<Instant>,
    ) -> Result<PathBuf, String> {
        let uid = pod.uid();
        let fs_group = pod.spec().security_context.as_ref().and_then(|context| context.fs_group);
        if let Some(source) = &volume.host_path {
            return host_path::check(source);
        }
        if volume.empty_dir.is_some() || is_sourceless(volume) {
            let dir = self.empty_dir(uid, &volume.name);
            // In memory it takes no more than the pod or the node has.
            let limits = [pod_resources(pod).memory_limit_in_bytes, self.allocatable.get("memory").map_or(0, value)];
            let most = limits.into_iter().filter(|limit| *limit > 0).min();
            empty_dir::make(&dir, volume.empty_dir.as_ref().unwrap_or(&Default::default()), most, fs_group)?;
            return Ok(dir);
        }
        let (plugin, payload) = if let Some(source) = &volume.config_map {
            ("configmap", config_map::payload(self, pod, source).await?)
        } else if let Some(source) = &volume.secret {
            ("secret", secret::payload(self, pod, source).await?)
        } else if let Some(source) = &volume.downward_api {
            let mode = mode(source.default_mode);
            ("downward-api", downward::payload(self, pod, source.items.as_deref().unwrap_or_default(), mode, facts)?)
        } else if let Some(source) = &volume.projected {
            ("projected", projected::payload(self, pod, source, facts, refresh).await?)
        } else {
            return Err(format!("volume type {} is not supported by this node", type_of(volume)));
        };
        let dir = self.volume_dir(uid, plugin, &volume.name);
        // One that an earlier version wrote to the disk stays where its containers look.
        if plugin != "configmap" && !atomic::is_written(&dir) {
            memory::mount(&dir, MountFlags::NODEV | MountFlags::NOSUID, None)
                .map_err(|error| format!("failed to mount {}: {error}", dir.display()))?;
        }
        atomic::write(&dir, &payload, fs_group)
            .map_err(|error| format!("failed to write {}: {error}", dir.display()))?;
        Ok(dir)
    }

    /// Unmounts and removes everything of a pod, and nothing that is only mounted there.
    ///
    /// # Errors
    /// When a mount is left.
    pub(crate) fn remove(&self, uid: &str) -> std::io::Result<()> {
        coracle_runtime::tree::remove(&self.pod_dir(uid))
    }

    /// Ends the watches and tokens of a pod.
    pub(crate) fn release(&self, uid: &str) {
        self.config_maps.release(uid);
        self.secrets.release(uid);
        self.tokens.forget(uid);
    }

    /// UIDs of pods that have a directory.
    pub(crate) fn known_pods(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root_dir.join("pods")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

/// Makes a directory that only root and its group may enter, whatever is in it.
pub(crate) fn make_private(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o750))
}

/// Makes a directory with its parents for everybody to enter, whatever the mask of this process is.
fn make_open(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_open(parent)?;
    }
    match std::fs::create_dir(dir) {
        Ok(()) => std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_written_by_kubelet(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// A volume without a source is an emptyDir.
fn is_sourceless(volume: &Volume) -> bool {
    type_of(volume) == "emptyDir"
}

fn type_of(volume: &Volume) -> String {
    let json = serde_json::to_value(volume).unwrap_or_default();
    let keys = json.as_object().into_iter().flat_map(|map| map.keys());
    keys.filter(|key| *key != "name").map(String::as_str).next().unwrap_or("emptyDir").to_owned()
}

fn mode(default: Option<i32>) -> u32 {
    default.map_or(0o644, |mode| mode as u32 & 0o777)
}

/// Chooses keys of an object for files: all of them, or those of `items` under their paths.
fn select(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
    kind: &str,
) -> Result<Payload, String> {
    let file = |data: &[u8], mode| File { data: data.to_vec(), mode, uid: None };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.iter().map(|(key, value)| (key.clone(), file(value, default_mode))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                payload
                    .insert(item.path.clone(), file(value, item.mode.map_or(default_mode, |mode| mode as u32 & 0o777)));
            }
            None if optional => {}
            None => {
                return Err(match kind {
                    "configmap" => format!("configmap references non-existent config key: {}", item.key),
                    kind => format!("references non-existent {kind} key: {}", item.key),
                });
            }
        }
    }
    Ok(payload)
}

/// Gives a file or directory to the pod's group, as `fsGroup` asks.
fn own_by_group(path: &Path, group: i64, read_only: bool) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    std::os::unix::fs::lchown(path, None, Some(group as u32))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mut add = if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        add |= 0o2110;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(meta.mode() & 0o7777 | add))
}

/// A shared object or the message for its absence.
fn found<K>(object: Option<Arc<K>>, optional: bool, kind: &str, name: &str) -> Result<Option<Arc<K>>, String> {
    match object {
        None if !optional => Err(format!("{kind} {name:?} not found")),
        object => Ok(object),
    }
}
