//! An in-memory runtime for unit tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_runtime::cri::*;
use parking_lot::Mutex;
use rustix::mount::{MountPropagationFlags, mount_change};
use tokio::sync::broadcast;

/// Runs something as root in a mount namespace of its own, in which mounts are shared as on most hosts.
pub(crate) fn with_own_mounts(work: impl FnOnce() + Send + 'static) {
    if !coracle_testing::is_root() {
        return;
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: only this thread leaves, and it ends with the test.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        for kind in [MountPropagationFlags::PRIVATE, MountPropagationFlags::SHARED] {
            mount_change("/", kind | MountPropagationFlags::REC).unwrap();
        }
        work();
    });
    thread.join().unwrap();
}

/// A ready sandbox of a pod.
pub(crate) fn sandbox(uid: &str) -> PodSandbox {
    PodSandbox {
        id: format!("s-{uid}"),
        metadata: PodSandboxMetadata { uid: uid.into(), ..Default::default() },
        state: SandboxState::Ready,
        created_at: 1,
        ips: vec!["127.0.0.1".parse().unwrap()],
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        namespaces: NamespaceOptions::default(),
    }
}

/// A container of the pod's sandbox.
pub(crate) fn container_status(
    uid: &str,
    name: &str,
    attempt: u32,
    state: ContainerState,
    exit_code: i32,
) -> ContainerStatus {
    ContainerStatus {
        id: format!("{uid}-{name}-{attempt}"),
        pod_sandbox_id: format!("s-{uid}"),
        metadata: ContainerMetadata { name: name.into(), attempt },
        state,
        created_at: 1,
        started_at: jiff::Timestamp::now().as_nanosecond() as i64,
        finished_at: if state == ContainerState::Exited { jiff::Timestamp::now().as_nanosecond() as i64 } else { 0 },
        exit_code,
        reason: String::new(),
        message: String::new(),
        image: "i".into(),
        image_ref: "sha256:i".into(),
        labels: BTreeMap::from([("io.kubernetes.pod.uid".to_owned(), uid.to_owned())]),
        annotations: BTreeMap::new(),
        log_path: String::new(),
        pid: 1,
        user: None,
    }
}

/// What the fake remembers.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) sandboxes: Vec<PodSandbox>,
    pub(crate) containers: Vec<ContainerStatus>,
    pub(crate) configs: Vec<ContainerConfig>,
    pub(crate) removed: usize,
    /// Commands run in containers: hooks.
    pub(crate) execs: usize,
    /// Stops that were asked for.
    pub(crate) stops: usize,
    /// Containers live on after they were stopped, until the test lets them end.
    pub(crate) ends_late: bool,
    /// The next stop fails, or panics.
    pub(crate) stop_fails: bool,
    pub(crate) stop_panics: bool,
    /// Updates of limits, by the ID of what was updated.
    pub(crate) updates: Vec<(String, LinuxContainerResources)>,
    /// Bytes of memory that everything uses.
    pub(crate) memory_used: u64,
    /// Starts of containers of this name do not return.
    pub(crate) hangs: Option<String>,
}

/// Containers that run until they are told to end.
pub(crate) struct FakeRuntime {
    pub(crate) state: Mutex<State>,
    events: broadcast::Sender<ContainerEvent>,
}

impl FakeRuntime {
    pub(crate) fn new() -> Arc<FakeRuntime> {
        Arc::new(FakeRuntime { state: Mutex::default(), events: broadcast::channel(64).0 })
    }

    fn emit(&self, container_id: &str, sandbox_id: &str, event: ContainerEventType) {
        let pod_uid = sandbox_id.strip_prefix("s-").unwrap_or_default().to_owned();
        let _ = self.events.send(ContainerEvent {
            container_id: container_id.into(),
            sandbox_id: sandbox_id.into(),
            pod_uid,
            event,
        });
    }

    /// Lets a container end.
    pub(crate) fn exit(&self, id: &str, code: i32) {
        let mut state = self.state.lock();
        let Some(container) = state.containers.iter_mut().find(|container| container.id == id) else { return };
        if container.state == ContainerState::Exited {
            return;
        }
        container.state = ContainerState::Exited;
        container.exit_code = code;
        container.finished_at = jiff::Timestamp::now().as_nanosecond() as i64;
        let sandbox = container.pod_sandbox_id.clone();
        drop(state);
        self.emit(id, &sandbox, ContainerEventType::Stopped);
    }
}

fn missing<T>(id: &str) -> Result<T> {
    Err(CriError::NotFound(format!("{id} not found")))
}

#[async_trait]
impl RuntimeService for FakeRuntime {
    fn version(&self) -> (String, String) {
        ("fake".into(), "1".into())
    }
    async fn run_pod_sandbox(&self, config: PodSandboxConfig) -> Result<String> {
        let mut made = sandbox(&config.metadata.uid);
        made.metadata = config.metadata;
        made.annotations = config.annotations;
        let mut state = self.state.lock();
        state.sandboxes.retain(|known| known.id != made.id);
        state.sandboxes.push(made.clone());
        Ok(made.id)
    }
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let ids: Vec<String> = {
            let mut state = self.state.lock();
            state
                .sandboxes
                .iter_mut()
                .filter(|known| known.id == id)
                .for_each(|known| known.state = SandboxState::NotReady);
            state
                .containers
                .iter()
                .filter(|container| container.pod_sandbox_id == id)
                .map(|container| container.id.clone())
                .collect()
        };
        ids.iter().for_each(|id| self.exit(id, 137));
        Ok(())
    }
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.state.lock();
        state.sandboxes.retain(|known| known.id != id);
        state.containers.retain(|known| known.pod_sandbox_id != id);
        state.removed += 1;
        Ok(())
    }
    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandbox> {
        self.state.lock().sandboxes.iter().find(|known| known.id == id).cloned().map_or_else(|| missing(id), Ok)
    }
    async fn list_pod_sandbox(&self) -> Result<Vec<PodSandbox>> {
        Ok(self.state.lock().sandboxes.clone())
    }
    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        let uid = sandbox_id.strip_prefix("s-").unwrap_or_default();
        let mut status =
            container_status(uid, &config.metadata.name, config.metadata.attempt, ContainerState::Created, 0);
        status.annotations = config.annotations.clone();
        let id = status.id.clone();
        {
            let mut state = self.state.lock();
            state.containers.push(status);
            state.configs.push(config);
        }
        self.emit(&id, sandbox_id, ContainerEventType::Created);
        Ok(id)
    }
    async fn start_container(&self, id: &str) -> Result<()> {
        let hangs = self.state.lock().hangs.clone();
        if hangs.is_some_and(|name| id.contains(&format!("-{name}-"))) {
            std::future::pending::<()>().await;
        }
        let sandbox = {
            let mut state = self.state.lock();
            let Some(container) = state.containers.iter_mut().find(|container| container.id == id) else {
                return missing(id);
            };
            container.state = ContainerState::Running;
            container.pod_sandbox_id.clone()
        };
        self.emit(id, &sandbox, ContainerEventType::Started);
        Ok(())
    }
    async fn stop_container(&self, id: &str, _timeout: Duration) -> Result<()> {
        let (late, fails, panics) = {
            let mut state = self.state.lock();
            state.stops += 1;
            (state.ends_late, std::mem::take(&mut state.stop_fails), std::mem::take(&mut state.stop_panics))
        };
        assert!(!panics, "as the test asked for");
        if fails {
            return Err(CriError::Internal("as the test asked for".into()));
        }
        if !late {
            self.exit(id, 143);
        }
        Ok(())
    }
    async fn remove_container(&self, id: &str) -> Result<()> {
        self.state.lock().containers.retain(|known| known.id != id);
        Ok(())
    }
    async fn list_containers(&self) -> Result<Vec<ContainerStatus>> {
        Ok(self.state.lock().containers.clone())
    }
    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        self.state.lock().containers.iter().find(|known| known.id == id).cloned().map_or_else(|| missing(id), Ok)
    }
    async fn update_pod_sandbox_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        self.update_container_resources(id, resources).await
    }
    async fn update_container_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        self.state.lock().updates.push((id.to_owned(), resources));
        Ok(())
    }
    async fn exec_sync(&self, _: &str, _: Vec<String>, _: Option<Duration>) -> Result<ExecSyncResponse> {
        self.state.lock().execs += 1;
        Ok(ExecSyncResponse::default())
    }
    async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        let memory = MemoryUsage { usage_bytes: self.state.lock().memory_used, ..Default::default() };
        Ok(ContainerStats { id: id.into(), memory, ..Default::default() })
    }
    async fn pod_sandbox_stats(&self, id: &str) -> Result<ContainerStats> {
        self.container_stats(id).await
    }
    async fn writable_layer(&self, _: &str) -> Result<FilesystemUsage> {
        Ok(FilesystemUsage { used_bytes: 10, inodes_used: 1 })
    }
    async fn pod_sandbox_network(&self, _: &str) -> Result<Vec<NetworkInterfaceUsage>> {
        Ok(vec![NetworkInterfaceUsage { name: "eth0".into(), rx_bytes: 1, ..Default::default() }])
    }
    async fn pods_stats(&self) -> Result<ContainerStats> {
        Ok(ContainerStats { id: "kubepods".into(), ..Default::default() })
    }
    async fn reopen_container_log(&self, _: &str) -> Result<()> {
        Ok(())
    }
    fn container_events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.events.subscribe()
    }
    async fn exec(&self, _: &str, command: Vec<String>, _: bool, streams: Streams) -> Result<i32> {
        if let (Some(mut stdin), Some(mut stdout)) = (streams.stdin, streams.stdout) {
            let _ = tokio::io::copy(&mut stdin, &mut stdout).await;
        }
        match command.first().map(String::as_str) {
            Some("nope") => Err(CriError::Internal("no such command".to_owned())),
            code => Ok(code.and_then(|code| code.parse().ok()).unwrap_or(0)),
        }
    }
    async fn attach(&self, _: &str, _: Streams) -> Result<()> {
        Ok(())
    }
    async fn port_forward(&self, _: &str, port: u16) -> Result<tokio::net::TcpStream> {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| CriError::Internal(error.to_string()))
    }
}

/// An image store in which everything is present but `missing`.
pub(crate) struct FakeImages;

#[async_trait]
impl ImageService for FakeImages {
    async fn list_images(&self) -> Result<Vec<Image>> {
        Ok(Vec::new())
    }
    async fn image_status(&self, image: &str) -> Result<Option<Image>> {
        Ok((image != "missing:1").then(|| Image { id: "sha256:i".into(), ..Default::default() }))
    }
    async fn pull_image(&self, _: &str, _: Option<AuthConfig>) -> Result<String> {
        Err(CriError::Pull { message: "no such image".into(), not_found: true })
    }
    async fn remove_image(&self, _: &str) -> Result<()> {
        Ok(())
    }
    async fn image_fs_info(&self) -> Result<FsInfo> {
        Ok(FsInfo::default())
    }
}
