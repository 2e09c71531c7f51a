//! The life of a container.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::spec::{VOLUMES, devices, image_volume_dir, image_volumes, signal_number};
use super::{Container, ContainerRecord, Runtime, blocking, internal, new_id, save};
use crate::cgroup::Usage;
use crate::cri::{
    ContainerConfig, ContainerEventType, ContainerState, ContainerStats, ContainerStatus, CriError, FilesystemUsage,
    LinuxContainerResources, Result, SandboxState,
};
use crate::shim::now;
use crate::shim::proto::{ExitRecord, Reply, Request};

/// What an exit code is when the program could not be executed.
const START_ERROR: i32 = 128;
/// How long the kernel gets to end a killed container.
const KILL_WAIT: Duration = Duration::from_secs(60);

impl Runtime {
    pub(super) async fn create(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        if sandbox.record.lock().status.state != SandboxState::Ready {
            return Err(CriError::Internal(format!("sandbox {sandbox_id:?} is not ready")));
        }
        let (runtime, sandbox_id) = (self.strong()?, sandbox_id.to_string());
        blocking(move || {
            let image = runtime
                .images
                .find(&config.image)
                .ok_or_else(|| CriError::NotFound(format!("failed to resolve image {:?}: not found", config.image)))?;
            let id = new_id();
            let dir = runtime.config.containers_dir().join(&id);
            let parent = sandbox.record.lock().config.cgroup_parent.clone();
            let cgroup = format!("{parent}/{id}");
            let devices = devices(&config)?;
            let spec = runtime.container_spec(&id, &sandbox, &config, &image, &cgroup, &devices)?;
            let volumes = image_volumes(&config, &image)?.len();
            let stop_signal =
                if config.stop_signal.is_empty() { &image.config.stop_signal } else { &config.stop_signal };
            let stop_signal = if stop_signal.is_empty() {
                libc::SIGTERM
            } else {
                signal_number(stop_signal)
                    .ok_or_else(|| CriError::InvalidArgument(format!("failed to parse stop signal {stop_signal:?}")))?
            };
            let status = ContainerStatus {
                id: id.clone(),
                pod_sandbox_id: sandbox_id.clone(),
                metadata: config.metadata.clone(),
                state: ContainerState::Created,
                created_at: now(),
                started_at: 0,
                finished_at: 0,
                exit_code: 0,
                reason: String::new(),
                message: String::new(),
                image: config.image.clone(),
                image_ref: image.image_ref(),
                labels: config.labels.clone(),
                annotations: config.annotations.clone(),
                log_path: spec.log_path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
                pid: 0,
                user: None,
            };
            let layers = image.layers.iter().map(crate::image::Layer::directory).collect();
            let record = ContainerRecord { status, config, cgroup: cgroup.clone(), layers, stop_signal };
            let made = (|| {
                let at = || internal(format!("failed to create container {id:?}"));
                std::fs::create_dir(&dir).map_err(at())?;
                for name in ["upper", "work", "rootfs"] {
                    std::fs::create_dir(dir.join(name)).map_err(at())?;
                }
                for number in 0..volumes {
                    std::fs::create_dir_all(image_volume_dir(&dir, number)).map_err(at())?;
                }
                // The overlay's root has the mode of its upper directory.
                std::fs::set_permissions(dir.join("upper"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
                    .map_err(at())?;
                runtime.cgroups.create(&cgroup).map_err(at())?;
                runtime.cgroups.limit(&cgroup, &record.config.resources).map_err(at())?;
                if !record.config.security.privileged {
                    runtime.cgroups.restrict_devices(&cgroup, &devices).map_err(at())?;
                }
                save(&dir, "spec.json", &spec)?;
                save(&dir, "container.json", &record)
            })();
            if let Err(error) = made {
                let _ = runtime.cgroups.remove(&cgroup);
                let _ = crate::tree::remove(&dir);
                return Err(error);
            }
            let container = Container {
                record: parking_lot::Mutex::new(record),
                dir,
                ended: watch::Sender::new(false),
                changing: tokio::sync::Mutex::new(()),
            };
            runtime.containers.lock().insert(id.clone(), Arc::new(container));
            runtime.emit(&id, &sandbox_id, ContainerEventType::Created);
            Ok(id)
        })
        .await
    }

    pub(super) async fn start(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let _changing = container.changing.lock().await;
        let state = container.record.lock().status.state;
        if state != ContainerState::Created {
            return Err(CriError::Internal(format!("container {id:?} is in state {state:?}; it can be started once")));
        }
        let shim = self.shim_of(&container)?;
        let sandbox = container.record.lock().status.pod_sandbox_id.clone();
        match shim.call(Request::Start(id.to_string()), &[]).await {
            Ok((Reply::Started { pid, at, user }, _)) => {
                {
                    let mut record = container.record.lock();
                    record.status.started_at = at;
                    record.status.user = user;
                    // Its end may have been told already.
                    if record.status.state == ContainerState::Created {
                        record.status.state = ContainerState::Running;
                        record.status.pid = pid;
                    }
                }
                self.emit(id, &sandbox, ContainerEventType::Started);
                // After a power loss nobody else could tell when it started. A failure costs no more than that.
                let at = container.clone();
                let _ = blocking(move || {
                    let record = at.record.lock().clone();
                    save(&at.dir, "container.json", &record)
                })
                .await;
                Ok(())
            }
            Ok(_) => Err(CriError::Internal("the shim gave an unexpected answer".into())),
            Err(error) => {
                // One that was not heard of in time must not run later. The shim does not know any other.
                let kill = Request::Signal { container: id.to_string(), signal: libc::SIGKILL };
                let _ = shim.call(kill, &[]).await;
                let message = format!(
                    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: {error}: unknown"
                );
                let exit = ExitRecord {
                    exit_code: START_ERROR,
                    started_at: 0,
                    finished_at: now(),
                    oom_killed: false,
                    reason: "StartError".into(),
                    message: message.clone(),
                };
                let (at, copy) = (container.clone(), exit.clone());
                blocking(move || save(&at.dir, "exit.json", &copy)).await?;
                self.conclude(&container, exit);
                Err(CriError::Internal(message))
            }
        }
    }

    async fn signal(&self, container: &Container, id: &str, signal: i32) -> Result<()> {
        let request = Request::Signal { container: id.to_string(), signal };
        match self.shim_of(container)?.call(request, &[]).await {
            Ok(_) => Ok(()),
            Err(_) if *container.ended.borrow() => Ok(()),
            Err(error) => Err(CriError::Internal(format!("failed to kill container {id:?}: {error}"))),
        }
    }

    pub(super) async fn stop(&self, id: &str, timeout: Duration) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        let (state, stop_signal) = {
            let record = container.record.lock();
            (record.status.state, record.stop_signal)
        };
        if state != ContainerState::Running {
            return Ok(());
        }
        let mut ended = container.ended.subscribe();
        if !timeout.is_zero() {
            self.signal(&container, id, stop_signal).await?;
            if tokio::time::timeout(timeout, ended.wait_for(|ended| *ended)).await.is_ok() {
                return Ok(());
            }
        }
        self.signal(&container, id, libc::SIGKILL).await?;
        match tokio::time::timeout(KILL_WAIT, ended.wait_for(|ended| *ended)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(CriError::DeadlineExceeded(format!(
                "an error occurs during waiting for container {id:?} to be killed: it did not end within {KILL_WAIT:?}"
            ))),
        }
    }

    pub(super) async fn remove(&self, id: &str) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        self.stop(id, Duration::ZERO).await?;
        let _changing = container.changing.lock().await;
        let sandbox = container.record.lock().status.pod_sandbox_id.clone();
        if let Ok(shim) = self.shim_of(&container) {
            let _ = shim.call(Request::Forget(id.to_string()), &[]).await;
        }
        let (runtime, at) = (self.strong()?, container.clone());
        blocking(move || {
            let cgroup = at.record.lock().cgroup.clone();
            runtime.cgroups.kill(&cgroup);
            if let Err(error) = runtime.cgroups.remove(&cgroup) {
                tracing::warn!(%cgroup, %error, "a cgroup cannot be removed");
            }
            crate::tree::remove(&at.dir).map_err(internal("failed to remove the container's directory"))
        })
        .await?;
        if self.containers.lock().remove(id).is_some() {
            self.emit(id, &sandbox, ContainerEventType::Deleted);
        }
        Ok(())
    }

    pub(super) async fn update(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        let container = self.container(id)?;
        let runtime = self.strong()?;
        blocking(move || {
            let cgroup = container.record.lock().cgroup.clone();
            runtime.cgroups.limit(&cgroup, &resources).map_err(internal("failed to update resources"))?;
            let record = {
                let mut record = container.record.lock();
                record.config.resources.update(&resources);
                record.clone()
            };
            save(&container.dir, "container.json", &record)
        })
        .await
    }

    pub(super) async fn stats(&self, id: &str) -> Result<ContainerStats> {
        let container = self.container(id)?;
        let (runtime, id) = (self.strong()?, id.to_string());
        blocking(move || {
            let cgroup = container.record.lock().cgroup.clone();
            let usage = runtime.cgroups.usage(&cgroup).map_err(internal("failed to get container stats"))?;
            Ok(to_stats(id, usage))
        })
        .await
    }

    pub(super) async fn writable_layer_of(&self, id: &str) -> Result<FilesystemUsage> {
        let dir = self.container(id)?.dir.clone();
        blocking(move || {
            let [layer, volumes] = ["upper", VOLUMES].map(|part| crate::tree::taken(&dir.join(part)));
            Ok(FilesystemUsage {
                used_bytes: layer.bytes.saturating_add(volumes.bytes),
                inodes_used: layer.inodes.saturating_add(volumes.inodes),
            })
        })
        .await
    }

    pub(super) async fn sandbox_stats(&self, id: &str) -> Result<ContainerStats> {
        let cgroup = self.sandbox(id)?.record.lock().config.cgroup_parent.clone();
        self.group_stats(id, cgroup).await
    }

    /// Figures of a group below the runtime's own.
    pub(super) async fn group_stats(&self, id: &str, cgroup: String) -> Result<ContainerStats> {
        let (runtime, id) = (self.strong()?, id.to_string());
        blocking(move || {
            let usage = runtime.cgroups.usage(&cgroup).map_err(internal("failed to get sandbox stats"))?;
            Ok(to_stats(id, usage))
        })
        .await
    }
}

fn to_stats(id: String, usage: Usage) -> ContainerStats {
    let Usage { cpu, memory, io, pids } = usage;
    ContainerStats { id, timestamp: now(), cpu, memory, io, process_count: pids }
}
