//! The life of a sandbox.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::spares::Started;
use super::{Runtime, Sandbox, SandboxRecord, blocking, internal, new_id, save};
use crate::cri::{
    ContainerEventType, CriError, LinuxContainerResources, PodSandbox, PodSandboxConfig, Result, SandboxState,
};
use crate::shim::now;
use crate::shim::proto::{Request, SandboxSpec};

/// Most processes and threads of a pod that asks for no limit (the kubelet's `podPidsLimit`): one pod must not fill the
/// node's process table.
const POD_PIDS_LIMIT: i64 = 4096;

fn check_cgroup(parent: &str) -> Result<()> {
    let parts = parent.trim_matches('/').split('/');
    if parent.is_empty() || parts.clone().any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(CriError::InvalidArgument(format!("cgroup parent {parent:?} is not a relative path")));
    }
    Ok(())
}

impl Runtime {
    pub(super) async fn run_sandbox(&self, mut config: PodSandboxConfig) -> Result<String> {
        check_cgroup(&config.cgroup_parent)?;
        config.cgroup_parent = config.cgroup_parent.trim_matches('/').to_string();
        let namespaces = config.namespaces;
        let started = match namespaces.host_network || namespaces.host_ipc {
            true => None,
            false => self.spares.take(),
        };
        let id = started.as_ref().map_or_else(new_id, |started| started.id.clone());
        let dir = self.config.sandboxes_dir().join(&id);
        let status = PodSandbox {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: SandboxState::NotReady,
            created_at: now(),
            ips: Vec::new(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            namespaces: config.namespaces,
        };
        let sandbox = Arc::new(Sandbox {
            record: parking_lot::Mutex::new(SandboxRecord { status, config }),
            dir,
            shim: parking_lot::Mutex::new(None),
            changing: tokio::sync::Mutex::new(()),
        });
        self.sandboxes.lock().insert(id.clone(), sandbox.clone());
        match self.make_sandbox(&id, &sandbox, started).await {
            Ok(()) => Ok(id),
            Err(error) => {
                // Nobody knows the ID, so what was made goes now.
                let _ = self.stop_sandbox(&id).await;
                let _ = self.remove_sandbox(&id).await;
                Err(error)
            }
        }
    }

    async fn make_sandbox(&self, id: &str, sandbox: &Arc<Sandbox>, started: Option<Started>) -> Result<()> {
        let (runtime, at) = (self.strong()?, sandbox.clone());
        let laid_out = blocking(move || runtime.lay_out(&at));
        let namespaces = sandbox.record.lock().config.namespaces;
        let (started, laid_out) = match started {
            Some(started) => (Ok(started), laid_out.await),
            // The shim sets itself up while the rest is made.
            None => tokio::join!(self.start_shim(id, namespaces.host_network, namespaces.host_ipc), laid_out),
        };
        let shim = started?.shim;
        *sandbox.shim.lock() = Some(shim.clone());
        laid_out?;
        let config = sandbox.record.lock().config.clone();
        let spec = SandboxSpec {
            id: id.to_string(),
            dir: sandbox.dir.clone(),
            containers_dir: self.config.containers_dir(),
            hostname: config.hostname.clone(),
            host_network: namespaces.host_network,
            host_pid: namespaces.host_pid,
            host_ipc: namespaces.host_ipc,
            shared_pid: namespaces.shared_pid,
            sysctls: config.sysctls.clone(),
        };
        let failed = |error| CriError::Internal(format!("failed to create pod sandbox: {error}"));
        let (_, mut fds) = shim.call(Request::Init(Box::new(spec)), &[]).await.map_err(failed)?;
        let mut ips = Vec::new();
        if !namespaces.host_network {
            let netns = fds.pop().ok_or_else(|| failed("the shim gave no network namespace".into()))?;
            let attached = self.network.attach(id, &config, netns.as_fd()).await;
            ips = attached.map_err(|error| {
                CriError::Internal(format!("failed to setup network for sandbox {id:?}: {error:#}"))
            })?;
        }
        {
            let mut record = sandbox.record.lock();
            record.status.state = SandboxState::Ready;
            record.status.ips = ips;
        }
        let at = sandbox.clone();
        blocking(move || save(&at.dir, "sandbox.json", &*at.record.lock())).await?;
        if shim.is_closed() {
            return Err(failed("the shim ended unexpectedly".into()));
        }
        self.emit(id, id, ContainerEventType::Started);
        Ok(())
    }

    /// Files and cgroup of a new sandbox.
    fn lay_out(&self, sandbox: &Sandbox) -> Result<()> {
        let at = |what: &'static str| internal(format!("failed to create pod sandbox: {what}"));
        // Whoever starts its shim needs it too.
        std::fs::create_dir_all(&sandbox.dir).map_err(at("making its directory"))?;
        let record = sandbox.record.lock().clone();
        save(&sandbox.dir, "sandbox.json", &record)?;
        let resolv = match &record.config.dns_config {
            Some(dns) => {
                let mut text = String::new();
                if !dns.searches.is_empty() {
                    text += &format!("search {}\n", dns.searches.join(" "));
                }
                for server in &dns.servers {
                    text += &format!("nameserver {server}\n");
                }
                if !dns.options.is_empty() {
                    text += &format!("options {}\n", dns.options.join(" "));
                }
                text
            }
            None => std::fs::read_to_string(&self.config.resolv_conf).unwrap_or_default(),
        };
        write_for_all(&sandbox.dir.join("resolv.conf"), &resolv).map_err(at("writing resolv.conf"))?;
        let hostname = if record.config.namespaces.host_network {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        } else {
            record.config.hostname.clone()
        };
        write_for_all(&sandbox.dir.join("hostname"), &format!("{hostname}\n")).map_err(at("writing hostname"))?;
        let parent = &record.config.cgroup_parent;
        self.cgroups.create(parent).map_err(at("making its cgroup"))?;
        let mut resources = record.config.resources.clone();
        if resources.pids_limit == 0 {
            resources.pids_limit = POD_PIDS_LIMIT;
        }
        self.cgroups.limit(parent, &resources).map_err(at("limiting its cgroup"))
    }

    pub(super) async fn update_sandbox(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        let sandbox = self.sandbox(id)?;
        let _changing = sandbox.changing.lock().await;
        let (runtime, at) = (self.strong()?, sandbox.clone());
        blocking(move || {
            let parent = at.record.lock().config.cgroup_parent.clone();
            runtime.cgroups.limit(&parent, &resources).map_err(internal("failed to update the sandbox's resources"))?;
            let record = {
                let mut record = at.record.lock();
                record.config.resources.update(&resources);
                record.clone()
            };
            save(&at.dir, "sandbox.json", &record)
        })
        .await
    }

    pub(super) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let _changing = sandbox.changing.lock().await;
        let was_ready = {
            let mut record = sandbox.record.lock();
            std::mem::replace(&mut record.status.state, SandboxState::NotReady) == SandboxState::Ready
        };
        let shim = sandbox.shim.lock().clone();
        if let Some(shim) = shim {
            // The answer comes after every container's exit was recorded and told.
            if let Err(error) = shim.call(Request::Shutdown, &[]).await {
                tracing::debug!(sandbox = %id, %error, "shim at shutdown");
            }
            sandbox.shim.lock().take();
        }
        self.network
            .detach(id)
            .await
            .map_err(|error| CriError::Internal(format!("failed to destroy network for sandbox {id:?}: {error:#}")))?;
        let (runtime, at, name) = (self.strong()?, sandbox.clone(), id.to_string());
        blocking(move || {
            for container in runtime.containers_of(&name) {
                let cgroup = container.record.lock().cgroup.clone();
                runtime.cgroups.kill(&cgroup);
                if let Some(exit) = super::read_exit(&container.dir) {
                    runtime.conclude(&container, exit);
                }
                if let Err(error) = runtime.cgroups.remove(&cgroup) {
                    tracing::warn!(%cgroup, %error, "a cgroup cannot be removed yet");
                }
            }
            let _ = std::fs::remove_file(at.dir.join("shim.sock"));
            let record = at.record.lock().clone();
            if at.dir.is_dir() { save(&at.dir, "sandbox.json", &record) } else { Ok(()) }
        })
        .await?;
        if was_ready {
            self.emit(id, id, ContainerEventType::Stopped);
        }
        Ok(())
    }

    pub(super) async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        self.stop_sandbox(id).await?;
        for container in self.containers_of(id) {
            let container = container.record.lock().status.id.clone();
            self.remove(&container).await?;
        }
        let _changing = sandbox.changing.lock().await;
        let (runtime, at) = (self.strong()?, sandbox.clone());
        blocking(move || {
            let parent = at.record.lock().config.cgroup_parent.clone();
            let shared = runtime
                .sandboxes
                .lock()
                .values()
                .any(|other| !Arc::ptr_eq(other, &at) && other.record.lock().config.cgroup_parent == parent);
            if !shared && let Err(error) = runtime.cgroups.remove(&parent) {
                tracing::warn!(%parent, %error, "a cgroup cannot be removed");
            }
            crate::tree::remove(&at.dir).map_err(internal("failed to remove the sandbox's directory"))
        })
        .await?;
        self.emit(id, id, ContainerEventType::Deleted);
        self.sandboxes.lock().remove(id);
        Ok(())
    }
}

/// Writes a file that every user of a container may read, whatever the mask of this process is.
fn write_for_all(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
}
