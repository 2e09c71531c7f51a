//! The runtime service: sandboxes and containers, their records on disk, and the shims that hold them.

mod client;
mod container;
mod network_usage;
mod program;
mod recover;
mod sandbox;
mod service;
mod spares;
mod spec;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use coracle_files::{Durability, replace};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use self::client::{Listener, ShimClient};
use crate::cgroup::Cgroups;
use crate::cri::{
    ContainerConfig, ContainerEvent, ContainerEventType, ContainerState, ContainerStatus, CriError, PodSandbox,
    PodSandboxConfig, Result, SandboxNetwork, SandboxState,
};
use crate::image::{ImageStore, LocalRegistry};
use crate::shim::now;
use crate::shim::proto::ExitRecord;

/// Events kept for a subscriber that is behind; one that is further behind lists everything anew.
const EVENT_BUFFER: usize = 4096;

/// Where the runtime keeps things.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Images and layers; persistent.
    pub root: PathBuf,
    /// Sandboxes, containers and their writable layers; persistent.
    pub state: PathBuf,
    /// The one cgroup that all others are below, such as `coracle/NAME`.
    pub cgroup_root: String,
    /// The program that becomes a shim when called as `EXE shim ID`; usually `/proc/self/exe`.
    pub shim_exe: PathBuf,
    /// Registries (`host:port`) spoken to without TLS; loopback addresses are anyway.
    pub insecure_registries: Vec<String>,
    /// A registry that needs no network.
    pub local_registry: Option<LocalRegistry>,
    /// The node's resolv.conf, for pods that have none of their own.
    pub resolv_conf: PathBuf,
}

/// A sandbox on disk: `sandbox.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SandboxRecord {
    status: PodSandbox,
    config: PodSandboxConfig,
}

/// A container on disk: `container.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ContainerRecord {
    status: ContainerStatus,
    config: ContainerConfig,
    /// The container's cgroup below the runtime's root.
    cgroup: String,
    /// Directories of the layers it holds.
    layers: Vec<String>,
    stop_signal: i32,
}

struct Sandbox {
    record: Mutex<SandboxRecord>,
    dir: PathBuf,
    shim: Mutex<Option<Arc<ShimClient>>>,
    /// Serialises stop and remove.
    changing: tokio::sync::Mutex<()>,
}

struct Container {
    record: Mutex<ContainerRecord>,
    dir: PathBuf,
    /// True once it ended.
    ended: watch::Sender<bool>,
    changing: tokio::sync::Mutex<()>,
}

/// The built-in container runtime.
pub struct Runtime {
    config: RuntimeConfig,
    network: Arc<dyn SandboxNetwork>,
    cgroups: Box<dyn Cgroups>,
    images: Arc<ImageStore>,
    sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    events: broadcast::Sender<ContainerEvent>,
    pulls: crate::image::Puller,
    /// What shims are started from.
    program: program::Program,
    spares: spares::Spares,
    /// Compiled default seccomp profiles, by the capabilities they are for.
    default_profiles: Mutex<BTreeMap<u64, PathBuf>>,
    me: Weak<Runtime>,
}

fn internal(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> CriError {
    let what = what.to_string();
    move |error| CriError::Internal(format!("{what}: {error}"))
}

/// Runs something that blocks on the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(CriError::Internal(format!("a task ended unexpectedly: {error}"))),
    }
}

/// A new ID in the form that CRI tools expect: 64 hexadecimal digits.
fn new_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// Replaces a record. No fsync: after a power loss all shims are gone, and every record is stale anyway.
fn save(dir: &Path, name: &str, record: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|error| CriError::Internal(error.to_string()))?;
    let file = dir.join(name);
    replace(&file, &bytes, 0o600, Durability::Process).map_err(internal(format_args!("writing {}", file.display())))
}

/// Bytes and inodes of a directory tree.
pub fn disk_usage(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let (mut bytes, mut inodes) = (0, 0);
    let mut dirs = vec![path.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            bytes += meta.blocks() * 512;
            inodes += 1;
            if meta.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    (bytes, inodes)
}

impl Runtime {
    /// Opens the stores, reconnects to the shims that live, and cleans up after those that do not. Needs a
    /// tokio runtime.
    pub async fn new(config: RuntimeConfig, network: Arc<dyn SandboxNetwork>) -> Result<Arc<Self>> {
        let at = config.clone();
        let (images, cgroups, program) = blocking(move || {
            for dir in [at.sandboxes_dir(), at.containers_dir(), at.state.join("seccomp")] {
                std::fs::create_dir_all(&dir).map_err(internal(format_args!("making {}", dir.display())))?;
            }
            crate::tree::spread(&at.sandboxes_dir());
            crate::tree::spread(&at.containers_dir());
            // Containers leave files here that other users of the node must not run, such as setuid ones.
            std::fs::set_permissions(&at.state, std::os::unix::fs::PermissionsExt::from_mode(0o700))
                .map_err(internal(format_args!("closing {}", at.state.display())))?;
            let images = ImageStore::open(&at.root).map_err(internal("opening the image store"))?;
            let cgroups = crate::cgroup::detect(&at.cgroup_root).map_err(internal("setting up cgroups"))?;
            cgroups.create("shims").map_err(internal("setting up cgroups"))?;
            let program = program::Program::seal(&at.shim_exe)
                .map_err(internal(format_args!("opening the shim {}", at.shim_exe.display())))?;
            Ok((images, cgroups, program))
        })
        .await?;
        let runtime = Arc::new_cyclic(|me| Self {
            pulls: crate::image::Puller::new(config.insecure_registries.clone(), config.local_registry.clone()),
            config,
            network,
            cgroups,
            images: Arc::new(images),
            sandboxes: Mutex::new(BTreeMap::new()),
            containers: Mutex::new(BTreeMap::new()),
            events: broadcast::channel(EVENT_BUFFER).0,
            program,
            spares: spares::Spares::new(),
            default_profiles: Mutex::new(BTreeMap::new()),
            me: me.clone(),
        });
        runtime.recover().await?;
        tokio::spawn(spares::keep(Arc::downgrade(&runtime), runtime.spares.changes()));
        Ok(runtime)
    }

    /// The image store, for import.
    pub fn images(&self) -> &Arc<ImageStore> {
        &self.images
    }

    /// Imports images from an archive (`docker save` or an OCI layout); answers with the references loaded.
    /// Blocks: call it from a blocking thread.
    pub fn import(&self, reader: impl io::Read, name: Option<&str>) -> Result<Vec<String>> {
        self.images.import(reader, name)
    }

    /// Reads an archive, and does something with every image of it; nothing of it stays. Blocks.
    ///
    /// # Errors
    /// It is none, or what is done fails.
    pub fn read_archive(
        &self,
        reader: impl io::Read,
        name: Option<&str>,
        take: &mut dyn FnMut(crate::Archived) -> Result<()>,
    ) -> Result<()> {
        self.images.read_archive(reader, name, take)
    }

    /// Packs an image, and does something with it; nothing of what was packed stays. Blocks.
    ///
    /// # Errors
    /// There is no such image, or what is done fails.
    pub fn export(&self, image: &str, take: &mut dyn FnMut(crate::Archived) -> Result<()>) -> Result<()> {
        self.images.export(image, take)
    }

    /// Takes over all images that the store in another directory on the same disk has, if there are none here. Blocks.
    ///
    /// # Errors
    /// They cannot be had there.
    pub fn adopt_all(&self, store: &std::path::Path) -> Result<()> {
        self.images.adopt_all(store)
    }

    /// Takes images over from the store in another directory on the same disk, whose files are shared. Blocks.
    ///
    /// # Errors
    /// They cannot be had there.
    pub fn adopt(&self, store: &std::path::Path, names: &[String]) -> Result<()> {
        self.images.adopt(store, names)
    }

    fn strong(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or_else(|| CriError::Internal("the runtime is ending".into()))
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        let found = self.sandboxes.lock().get(id).cloned();
        found.ok_or_else(|| CriError::NotFound(format!("an error occurred when try to find sandbox {id:?}: not found")))
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        let found = self.containers.lock().get(id).cloned();
        found.ok_or_else(|| {
            CriError::NotFound(format!("an error occurred when try to find container {id:?}: not found"))
        })
    }

    /// The shim that holds a container.
    fn shim_of(&self, container: &Container) -> Result<Arc<ShimClient>> {
        let sandbox = container.record.lock().status.pod_sandbox_id.clone();
        self.sandbox(&sandbox)?.shim()
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        let all = self.containers.lock();
        all.values().filter(|found| found.record.lock().status.pod_sandbox_id == sandbox).cloned().collect()
    }

    fn layers_in_use(&self) -> BTreeSet<String> {
        self.containers.lock().values().flat_map(|found| found.record.lock().layers.clone()).collect()
    }

    fn emit(&self, container: &str, sandbox: &str, event: ContainerEventType) {
        let pod_uid = self
            .sandboxes
            .lock()
            .get(sandbox)
            .map(|found| found.record.lock().config.metadata.uid.clone())
            .unwrap_or_default();
        // An error only says that nobody subscribed.
        let _ = self.events.send(ContainerEvent {
            container_id: container.to_string(),
            sandbox_id: sandbox.to_string(),
            pod_uid,
            event,
        });
    }

    /// Makes a container's end known.
    fn conclude(&self, container: &Container, exit: ExitRecord) {
        let (id, sandbox) = {
            let mut record = container.record.lock();
            if record.status.state == ContainerState::Exited {
                return;
            }
            apply_exit(&mut record.status, &exit);
            (record.status.id.clone(), record.status.pod_sandbox_id.clone())
        };
        container.ended.send_replace(true);
        self.emit(&id, &sandbox, ContainerEventType::Stopped);
    }

    /// What is left of a sandbox whose shim died: processes are killed, containers have ended.
    fn lost(&self, sandbox: &Sandbox, code: i32, reason: &str, message: &str) {
        let (id, parent) = {
            let mut record = sandbox.record.lock();
            record.status.state = SandboxState::NotReady;
            (record.status.id.clone(), record.config.cgroup_parent.clone())
        };
        sandbox.shim.lock().take();
        let _ = save(&sandbox.dir, "sandbox.json", &*sandbox.record.lock());
        for container in self.containers_of(&id) {
            let (cgroup, started_at, state) = {
                let record = container.record.lock();
                (record.cgroup.clone(), record.status.started_at, record.status.state)
            };
            self.cgroups.kill(&cgroup);
            // One that was made and not started can never be: its sandbox is gone.
            if state == ContainerState::Exited {
                continue;
            }
            let exit = read_exit(&container.dir).unwrap_or_else(|| ExitRecord {
                exit_code: code,
                started_at,
                finished_at: now(),
                oom_killed: false,
                reason: reason.into(),
                message: message.into(),
            });
            let _ = save(&container.dir, "exit.json", &exit);
            self.conclude(&container, exit);
        }
        tracing::debug!(sandbox = %id, %parent, "the sandbox's shim is gone");
        self.emit(&id, &id, ContainerEventType::Stopped);
    }
}

impl RuntimeConfig {
    fn sandboxes_dir(&self) -> PathBuf {
        self.state.join("sandboxes")
    }

    fn containers_dir(&self) -> PathBuf {
        self.state.join("containers")
    }
}

impl Sandbox {
    fn shim(&self) -> Result<Arc<ShimClient>> {
        let shim = self.shim.lock().clone();
        shim.ok_or_else(|| CriError::Internal(format!("sandbox {:?} is not ready", self.record.lock().status.id)))
    }
}

impl Listener for Runtime {
    fn exited(&self, _sandbox: &str, container: &str, exit: ExitRecord) {
        if let Ok(found) = self.container(container) {
            self.conclude(&found, exit);
        }
    }

    fn disconnected(&self, sandbox: &str) {
        let (Ok(sandbox), Ok(runtime)) = (self.sandbox(sandbox), self.strong()) else { return };
        if sandbox.record.lock().status.state != SandboxState::Ready {
            return;
        }
        tokio::spawn(async move {
            let message = "the pod's shim ended unexpectedly";
            if !runtime.reconnect(&sandbox).await {
                let done = runtime.clone();
                let _ = blocking(move || {
                    done.lost(&sandbox, 137, "Error", message);
                    Ok(())
                })
                .await;
            }
        });
    }
}

fn read_exit(dir: &Path) -> Option<ExitRecord> {
    serde_json::from_slice(&std::fs::read(dir.join("exit.json")).ok()?).ok()
}

fn apply_exit(status: &mut ContainerStatus, exit: &ExitRecord) {
    status.state = ContainerState::Exited;
    status.exit_code = exit.exit_code;
    if exit.started_at != 0 {
        status.started_at = exit.started_at;
    }
    status.finished_at = exit.finished_at;
    status.pid = 0;
    status.message = exit.message.clone();
    status.reason = match exit {
        ExitRecord { reason, .. } if !reason.is_empty() => reason.clone(),
        ExitRecord { oom_killed: true, .. } => "OOMKilled".into(),
        ExitRecord { exit_code: 0, .. } => "Completed".into(),
        _ => "Error".into(),
    };
}
