//! What a new daemon finds: shims that live are taken over, what others left behind is cleaned up.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::client::{Listener, ShimClient, dial};
use super::{Container, ContainerRecord, Runtime, Sandbox, SandboxRecord, apply_exit, blocking, read_exit, save};
use crate::cri::{ContainerState, Result, SandboxState};
use crate::shim::now;
use crate::shim::proto::{ExitRecord, Reply, Request};

impl Runtime {
    /// Loads all records, reconnects, cleans up, and tells the network who lives.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<()> {
        let runtime = self.clone();
        blocking(move || {
            runtime.load();
            Ok(())
        })
        .await?;
        let sandboxes: Vec<_> = self.sandboxes.lock().values().cloned().collect();
        for sandbox in &sandboxes {
            if !self.reconnect(sandbox).await {
                let (runtime, at) = (self.clone(), sandbox.clone());
                blocking(move || {
                    runtime.lost(&at, 255, "Unknown", "the container's shim was gone when the daemon started");
                    Ok(())
                })
                .await?;
            }
        }
        let live: Vec<String> = self.sandboxes.lock().keys().cloned().collect();
        if let Err(error) = self.network.retain(&live).await {
            tracing::warn!("giving back what dead sandboxes held of the network: {error:#}");
        }
        let runtime = self.clone();
        blocking(move || {
            runtime.sweep_cgroups("", 0);
            Ok(())
        })
        .await
    }

    /// Reads records; directories without a readable one are half-made and go.
    fn load(&self) {
        let discard = |dir: &std::path::Path| {
            tracing::debug!(dir = %dir.display(), "removing what a half-made sandbox or container left");
            if let Err(error) = crate::tree::remove(dir) {
                tracing::warn!(dir = %dir.display(), %error, "cannot be removed");
            }
        };
        for entry in fs::read_dir(self.config.sandboxes_dir()).into_iter().flatten().flatten() {
            let dir = entry.path();
            let record = fs::read(dir.join("sandbox.json")).ok();
            let record = record.and_then(|bytes| serde_json::from_slice::<SandboxRecord>(&bytes).ok());
            match record {
                // Not ready and with a socket: the daemon died while making it, and nobody knows its ID.
                Some(record) => {
                    let sandbox = Sandbox {
                        record: parking_lot::Mutex::new(record.clone()),
                        dir,
                        shim: parking_lot::Mutex::new(None),
                        changing: tokio::sync::Mutex::new(()),
                    };
                    self.sandboxes.lock().insert(record.status.id, Arc::new(sandbox));
                }
                None => discard(&dir),
            }
        }
        for entry in fs::read_dir(self.config.containers_dir()).into_iter().flatten().flatten() {
            let dir = entry.path();
            let record = fs::read(dir.join("container.json")).ok();
            let record = record.and_then(|bytes| serde_json::from_slice::<ContainerRecord>(&bytes).ok());
            let known = |record: &ContainerRecord| self.sandboxes.lock().contains_key(&record.status.pod_sandbox_id);
            match record.filter(known) {
                Some(mut record) => {
                    let exit = read_exit(&dir);
                    if let Some(exit) = &exit {
                        apply_exit(&mut record.status, exit);
                    }
                    let id = record.status.id.clone();
                    let container = Container {
                        record: parking_lot::Mutex::new(record),
                        dir,
                        ended: watch::Sender::new(exit.is_some()),
                        changing: tokio::sync::Mutex::new(()),
                    };
                    self.containers.lock().insert(id, Arc::new(container));
                }
                None => discard(&dir),
            }
        }
    }

    /// Takes over the shim of a sandbox. False when there is none.
    pub(super) async fn reconnect(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> bool {
        let Ok(socket) = dial(&sandbox.dir) else { return false };
        let id = sandbox.record.lock().status.id.clone();
        let listener: Weak<dyn Listener> = Arc::downgrade(self) as Weak<dyn Listener>;
        let Ok(shim) = ShimClient::new(socket, id.clone(), listener) else { return false };
        let Ok((Reply::State { containers, .. }, _)) = shim.call(Request::State, &[]).await else { return false };
        if sandbox.record.lock().status.state != SandboxState::Ready {
            // It was being made or being stopped when its daemon died.
            let _ = shim.call(Request::Shutdown, &[]).await;
            return false;
        }
        let reported: BTreeSet<_> = containers.iter().map(|report| report.id.clone()).collect();
        self.end_starts(&id, &shim, &reported).await;
        *sandbox.shim.lock() = Some(Arc::new(shim));
        for report in &containers {
            let Ok(container) = self.container(&report.id) else { continue };
            if let Some(exit) = &report.exit {
                self.conclude(&container, exit.clone());
                continue;
            }
            let mut record = container.record.lock();
            record.status.state = ContainerState::Running;
            record.status.started_at = report.started_at;
            record.status.pid = report.pid;
            // A daemon that died when it had just started the container did not write down who that is.
            if report.user.is_some() {
                record.status.user.clone_from(&report.user);
            }
        }
        // One that ran for the daemon and is not known to its shim any more has an end on disk, or none at all.
        for container in self.containers_of(&id) {
            let (name, state) = {
                let record = container.record.lock();
                (record.status.id.clone(), record.status.state)
            };
            if state == ContainerState::Running && !reported.contains(&name) {
                let exit = read_exit(&container.dir).unwrap_or_else(|| ExitRecord {
                    exit_code: 255,
                    finished_at: now(),
                    reason: "Unknown".into(),
                    ..ExitRecord::default()
                });
                let _ = save(&container.dir, "exit.json", &exit);
                self.conclude(&container, exit);
            }
        }
        true
    }

    /// Ends what was being started for a daemon that is gone: another container is made in place of one that never ran, and
    /// both would run. The shim knows none of those that nobody began to start.
    async fn end_starts(&self, sandbox: &str, shim: &ShimClient, running: &BTreeSet<String>) {
        for container in self.containers_of(sandbox) {
            let (id, state) = {
                let record = container.record.lock();
                (record.status.id.clone(), record.status.state)
            };
            if state == ContainerState::Created && !running.contains(&id) {
                let kill = Request::Signal { container: id, signal: libc::SIGKILL };
                let _ = shim.call(kill, &[]).await;
            }
        }
    }

    /// Removes groups that belong to no sandbox and no container.
    fn sweep_cgroups(&self, group: &str, depth: usize) {
        const DEEPEST: usize = 8;
        let mut wanted: BTreeSet<String> =
            self.sandboxes.lock().values().map(|found| found.record.lock().config.cgroup_parent.clone()).collect();
        wanted.extend(self.containers.lock().values().map(|found| found.record.lock().cgroup.clone()));
        for name in self.cgroups.children(group) {
            let path = if group.is_empty() { name.clone() } else { format!("{group}/{name}") };
            if path == "shims" || wanted.contains(&path) && depth >= DEEPEST {
                continue;
            }
            if wanted.iter().any(|kept| *kept == path || kept.starts_with(&format!("{path}/"))) {
                self.sweep_cgroups(&path, depth + 1);
            } else if is_pod_or_container(&name) {
                self.cgroups.kill(&path);
                if let Err(error) = self.cgroups.remove(&path) {
                    tracing::warn!(cgroup = %path, %error, "a leftover cgroup cannot be removed");
                }
            } else if depth < DEEPEST {
                self.sweep_cgroups(&path, depth + 1);
            }
        }
    }
}

/// Groups that the caller keeps for classes of pods (`kubepods/burstable`) are not ours to remove.
fn is_pod_or_container(name: &str) -> bool {
    name.starts_with("pod") || name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
