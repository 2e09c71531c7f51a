//! Pods' volumes: made before containers start, kept up to date, and removed with the pod.
//!
//! What a volume is to be is found out by asking the API ([`VolumeManager::resolve`]); then all of a pod are made on a
//! thread that may block, by what each type does ([`kind::Volume`]). What was made is noted ([`state`]), so that it is
//! found and taken down by whoever comes later.

mod atomic;
mod claim;
mod config_map;
mod downward;
mod empty_dir;
mod files;
mod format;
mod host_path;
pub(crate) mod kind;
mod local;
mod memory;
mod mount;
mod nfs;
mod ownership;
mod payload;
mod projected;
pub(crate) mod quota;
mod secret;
mod setup;
mod source;
pub(crate) mod state;
pub(crate) mod subpath;
#[cfg(test)]
mod tests;
pub(crate) mod token;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Node, Pod, Secret, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use tokio::time::Instant;

use crate::objects::Objects;
use crate::pod::{PodExt, ephemeral_as_container};
use crate::quantity::value;
use crate::resources::pod_resources;
use empty_dir::EmptyDir;
use files::Files;
use host_path::HostPath;
use kind::Kind;
use nfs::Nfs;
use ownership::FsGroup;
use setup::{Wanted, set_up, set_up_failed, tear_down};
use state::{Record, State};
use token::Tokens;

/// How soon a claim is looked at again that a pod waits for.
const CLAIM_RETRY: Duration = Duration::from_secs(1);

/// Everything that makes volumes.
pub(crate) struct VolumeManager {
    pub(crate) client: Client,
    pub(crate) root_dir: PathBuf,
    pub(crate) state: Arc<State>,
    pub(crate) config_maps: Objects<ConfigMap>,
    pub(crate) secrets: Objects<Secret>,
    pub(crate) tokens: Tokens,
    pub(crate) host_ips: Vec<IpAddr>,
    pub(crate) allocatable: BTreeMap<String, Quantity>,
}

/// What volumes depend on beyond the pod itself.
pub(crate) struct Facts<'a> {
    pub(crate) pod_ips: &'a [IpAddr],
    pub(crate) node: Option<Arc<Node>>,
}

/// Volumes ready for use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounted {
    /// The directory, file or device of each volume by name.
    pub(crate) paths: HashMap<String, PathBuf>,
    /// Volumes that containers never write to: the kubelet does, and must not find links of theirs, or their claim says so.
    pub(crate) read_only: HashSet<String>,
    /// When a token must be renewed.
    pub(crate) refresh: Option<Instant>,
}

/// Why a pod's volumes are not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotReady {
    /// The message of the `FailedMount` event.
    pub(crate) message: String,
    /// When to try again, if it is something that others are about to do.
    pub(crate) retry: Option<Duration>,
}

impl From<String> for NotReady {
    fn from(message: String) -> NotReady {
        NotReady { message, retry: None }
    }
}

impl VolumeManager {
    /// The directory of a pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.state.pod_dir(uid)
    }

    /// Makes or updates all volumes of a pod that its containers use.
    ///
    /// # Errors
    /// With the message for the first volume that failed.
    pub(crate) async fn mount(&self, pod: &Pod, facts: Facts<'_>) -> Result<Mounted, NotReady> {
        // Whoever gives up waiting has made nothing; what is being made when it does goes on, and keeps others waiting.
        let turn = self.state.turn(pod.uid()).await;
        let mut mounted = Mounted::default();
        let mut wanted = BTreeMap::new();
        for volume in pod.spec().volumes.iter().flatten().filter(|volume| uses(pod, &volume.name) != (false, false)) {
            let one = self.resolve(pod, volume, &facts, &mut mounted.refresh).await?;
            if source::is_written_by_kubelet(volume) || one.record.read_only {
                mounted.read_only.insert(volume.name.clone());
            }
            wanted.insert(volume.name.clone(), one);
        }
        let (state, uid, group) = (self.state.clone(), pod.uid().to_owned(), fs_group(pod));
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            set_up(&state, &uid, wanted, group)
        });
        mounted.paths = made.await.map_err(|error| error.to_string())??;
        Ok(mounted)
    }

    /// Finds out what a volume is to be.
    async fn resolve(
        &self,
        pod: &Pod,
        volume: &Volume,
        facts: &Facts<'_>,
        refresh: &mut Option<Instant>,
    ) -> Result<Wanted, NotReady> {
        let Some(claimed) = claim::wanted(pod, volume) else {
            let found = self.content(pod, volume, facts, refresh).await;
            return found.map_err(|error| set_up_failed(&volume.name, &error).into());
        };
        // One that is there stays what it was: its claim may be on its way out already.
        if let Some(mut record) = self.state.get(pod.uid(), &volume.name).filter(|record| record.ready) {
            if let Kind::Local(local) = &mut record.kind {
                local.find(&self.root_dir);
            }
            return Ok(Wanted { record, payload: None });
        }
        let found = claim::resolve(&self.client, pod, volume, &claimed, facts.node.as_deref(), &self.root_dir).await;
        found.map(|record| Wanted { record, payload: None }).map_err(|error| NotReady {
            message: format!(
                "Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], \
                 failed to process volumes=[{name}]: {error}",
                name = volume.name
            ),
            retry: Some(CLAIM_RETRY),
        })
    }

    async fn content(
        &self,
        pod: &Pod,
        volume: &Volume,
        facts: &Facts<'_>,
        refresh: &mut Option<Instant>,
    ) -> Result<Wanted, String> {
        let plain = |kind| Wanted { record: Record::new(kind, &volume.name), payload: None };
        let files = |kind, payload| {
            let record = Record::new(Kind::Files(kind), &volume.name);
            Ok(Wanted { record, payload: Some(payload) })
        };
        if let Some(source) = &volume.host_path {
            return Ok(plain(Kind::HostPath(HostPath::from(source))));
        }
        if let Some(source) = &volume.nfs {
            return Ok(plain(Kind::Nfs(Nfs::new(source, Vec::new()))));
        }
        if let Some(source) = &volume.config_map {
            return files(Files::ConfigMap, config_map::payload(self, pod, source).await?);
        }
        if let Some(source) = &volume.secret {
            return files(Files::Secret, secret::payload(self, pod, source).await?);
        }
        if let Some(source) = &volume.downward_api {
            let (mode, items) = (payload::mode(source.default_mode), source.items.as_deref().unwrap_or_default());
            return files(Files::DownwardApi, downward::payload(self, pod, items, mode, facts)?);
        }
        if let Some(source) = &volume.projected {
            return files(Files::Projected, projected::payload(self, pod, source, facts, refresh).await?);
        }
        match source::of(volume).as_str() {
            "emptyDir" => {
                // In memory it takes no more than the pod or the node has.
                let node = self.allocatable.get("memory").map_or(0, value);
                let limits = [pod_resources(pod).memory_limit_in_bytes, node];
                let most = limits.into_iter().filter(|limit| *limit > 0).min();
                let source = volume.empty_dir.clone().unwrap_or_default();
                Ok(plain(Kind::EmptyDir(EmptyDir::new(&source, most)?)))
            }
            other => Err(format!("volume type {other} is not supported by this node")),
        }
    }

    /// Takes down everything of a pod and removes its directory, and nothing that is only mounted there.
    ///
    /// # Errors
    /// When something is left.
    pub(crate) async fn remove(&self, uid: &str) -> std::io::Result<()> {
        let turn = self.state.turn(uid).await;
        let (state, uid) = (self.state.clone(), uid.to_owned());
        let removed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            tear_down(&state, &uid)
        });
        removed.await.map_err(std::io::Error::other)?
    }

    /// Ends the watches and tokens of a pod.
    pub(crate) fn release(&self, uid: &str) {
        self.config_maps.release(uid);
        self.secrets.release(uid);
        self.tokens.forget(uid);
    }
}

/// Whether containers mount a volume, and whether they are given it as a device. What none of them uses is not made.
fn uses(pod: &Pod, volume: &str) -> (bool, bool) {
    let spec = pod.spec();
    let is_used = |container: &Container| {
        let (mounts, devices) = (&container.volume_mounts, &container.volume_devices);
        (
            mounts.iter().flatten().any(|mount| mount.name == volume),
            devices.iter().flatten().any(|device| device.name == volume),
        )
    };
    let plain = pod.init_containers().iter().chain(&spec.containers).map(is_used);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|one| is_used(&ephemeral_as_container(one)));
    plain.chain(ephemeral).fold((false, false), |all, one| (all.0 || one.0, all.1 || one.1))
}

fn fs_group(pod: &Pod) -> Option<FsGroup> {
    let context = pod.spec().security_context.as_ref()?;
    let group = u32::try_from(context.fs_group?).ok()?;
    Some(FsGroup { group, on_root_mismatch: context.fs_group_change_policy.as_deref() == Some("OnRootMismatch") })
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
