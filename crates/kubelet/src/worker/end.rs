//! The end of a pod: containers, sandbox, volumes and the API object go, in this order.

use super::*;

impl Worker {
    pub(super) fn step_end(&mut self) {
        if self.stage == Stage::Live {
            self.stage = Stage::Stopping;
            self.cancel.cancel();
            for probed in self.probes.values_mut() {
                // Readiness goes on being probed while the containers end.
                probed.tasks.iter().filter(|(kind, _)| *kind != Kind::Readiness).for_each(|(_, task)| task.abort());
            }
        }
        if self.stage == Stage::Stopping {
            self.step_stop();
        }
        let leaves = self.pod.is_deleted() || self.gone;
        if !self.ending.is_free() {
            return;
        }
        if self.stage == Stage::TornDown && leaves && self.is_told() {
            // What the runtime forgets from here on must not change the status: a finalizer may keep the object.
            self.ended_before = true;
            self.spawn_clean_up();
        } else if self.stage == Stage::Clean && self.pod.is_deleted() && !self.gone && self.is_told() {
            self.spawn_delete();
        }
    }

    /// Whether the API knows the newest status. One that it refuses must not keep the object for ever.
    fn is_told(&self) -> bool {
        self.gone || (!self.write.busy && (self.write.retry.failures >= 3 || self.pending_patch().is_none()))
    }

    pub(super) fn step_stop(&mut self) {
        let jobs = [&self.sandbox, &self.mounting, &self.ending, &self.resize.step];
        let busy = self.starting.is_some() || jobs.iter().any(|step| step.busy);
        let mut grace = self.grace();
        if self.gone {
            grace = grace
                .min(Duration::from_secs(self.pod.metadata.deletion_grace_period_seconds.unwrap_or(30).max(1) as u64));
        }
        // A container may already be ending for a reason of its own, with its own and longer grace.
        let shorter = self.stopping_with.is_none_or(|known| grace < known);
        self.stopping_with = Some(self.stopping_with.map_or(grace, |known| known.min(grace)));
        let running: Vec<(String, String)> =
            self.observed.running().map(|status| (status.metadata.name.clone(), status.id.clone())).collect();
        let sidecar = |name: &str| {
            self.pod.init_containers().iter().position(|container| container.name == name && is_sidecar(container))
        };
        let regular: Vec<_> = running.iter().filter(|(name, _)| sidecar(name).is_none()).cloned().collect();
        // Sidecars outlive the others and end in the reverse order of their start.
        let next: Vec<_> = if regular.is_empty() {
            running.iter().max_by_key(|(name, _)| sidecar(name)).cloned().into_iter().collect()
        } else {
            regular
        };
        if self.ending.retry.is_due() {
            for (name, id) in next {
                match self.killing.get(&id) {
                    // The longer wait goes on, but this one ends it.
                    Some(killing) if shorter && killing.jobs > 0 => self.spawn_stop(&id, grace),
                    _ => self.kill(&name, &id, grace, format!("Stopping container {name}")),
                }
            }
        }
        if running.is_empty() && !busy && self.killing.is_empty() && self.ending.retry.is_due() {
            self.spawn_tear_down();
        }
    }

    pub(super) fn spawn_tear_down(&mut self) {
        self.ending.busy = true;
        self.probes.clear();
        let (k, uid) = (self.k.clone(), self.pod.uid().to_owned());
        let leaves = self.pod.is_deleted() || self.gone;
        k.pods.leave(&uid);
        self.spawn(Concern::Stage, async move {
            let result = async {
                let (sandboxes, _) = k.runtime.list_pod(&uid).await.map_err(|error| error.to_string())?;
                for sandbox in sandboxes {
                    if sandbox.state == SandboxState::Ready {
                        k.runtime.stop_pod_sandbox(&sandbox.id).await.map_err(|error| error.to_string())?;
                    }
                }
                if !leaves {
                    // Logs and dead containers stay until the pod's object goes; volumes do not.
                    k.volumes.release(&uid);
                    remove_volumes(&k, &uid).await?;
                }
                Ok(())
            };
            Done::TornDown(result.await)
        });
    }

    pub(super) fn spawn_clean_up(&mut self) {
        self.ending.busy = true;
        let (k, pod) = (self.k.clone(), self.pod.clone());
        self.spawn(Concern::Stage, async move {
            Done::CleanedUp(clean_up(&k, pod.namespace(), pod.name(), pod.uid()).await)
        });
    }

    pub(super) fn spawn_delete(&mut self) {
        self.ending.busy = true;
        let api: Api<Pod> = Api::namespaced(self.k.client.clone(), self.pod.namespace());
        let (name, uid) = (self.pod.name().to_owned(), self.pod.uid().to_owned());
        self.spawn(Concern::Stage, async move {
            let preconditions = Preconditions { uid: Some(uid), resource_version: None };
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(preconditions),
                ..Default::default()
            };
            Done::Deleted(api.delete(&name, &params).await.map(drop))
        });
    }
}

async fn remove_volumes(k: &Kubelet, uid: &str) -> Result<(), String> {
    k.volumes.remove(uid).await.map_err(|error| format!("failed to remove the pod's volumes: {error}"))
}

/// Removes everything of a pod from the node: sandboxes with their containers, volumes, logs.
pub(crate) async fn clean_up(k: &Kubelet, namespace: &str, name: &str, uid: &str) -> Result<(), String> {
    let (sandboxes, _) = k.runtime.list_pod(uid).await.map_err(|error| error.to_string())?;
    for sandbox in sandboxes {
        k.runtime.stop_pod_sandbox(&sandbox.id).await.map_err(|error| error.to_string())?;
        k.runtime.remove_pod_sandbox(&sandbox.id).await.map_err(|error| error.to_string())?;
    }
    k.volumes.release(uid);
    k.images.forget(uid);
    remove_volumes(k, uid).await?;
    let logs = k.log_dir(namespace, name, uid);
    let removed = tokio::task::spawn_blocking(move || coracle_runtime::tree::remove(&logs)).await;
    removed.map_err(|error| error.to_string())?.map_err(|error| format!("failed to remove the pod's logs: {error}"))
}
