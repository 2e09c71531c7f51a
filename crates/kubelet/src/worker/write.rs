//! Writing the pod's status: one write at a time, of the newest.

use super::*;

impl Worker {
    pub(super) fn status(&self) -> PodStatus {
        let mut pod = (*self.pod).clone();
        pod.status = Some(self.last.clone());
        let ends = self.finished || self.pod.is_deleted() || self.gone;
        let terminal = ends
            && self.stage >= Stage::Stopping
            && self.observed.running().next().is_none()
            && self.starting.is_none();
        pod_status(&Input {
            pod: &pod,
            allocation: &self.resize.allocation,
            resizes: &self.resize.told,
            observed: &self.observed,
            waiting: &self.waiting,
            probes: &self.probe_states(),
            host_ip: self.k.config.node_ip,
            start_time: self.start_time,
            terminal,
            failure: self.failure.as_ref(),
            disrupted: self.disrupted,
            now: Timestamp::now(),
        })
    }

    pub(super) fn pending_patch(&self) -> Option<(PodStatus, serde_json::Value)> {
        if self.ended_before {
            return None;
        }
        let status = self.status();
        let patch = status_patch(&self.pod, &self.last, &status)?;
        Some((status, patch))
    }

    /// Writes the status if it changed; answers with when to try again.
    pub(super) fn step_write(&mut self) -> Option<Instant> {
        if self.write.busy || self.gone || self.stage == Stage::Deleted {
            return None;
        }
        if !self.write.retry.is_due() {
            return self.write.retry.at;
        }
        let starting = self.starting.is_some() || self.sandbox.busy || (self.mounting.busy && self.volumes.is_none());
        let hold = later(self.born, FIRST_WRITE_DELAY);
        if !self.wrote && starting && Instant::now() < hold {
            return Some(hold);
        }
        let (status, patch) = self.pending_patch()?;
        self.write.busy = true;
        let api: Api<Pod> = Api::namespaced(self.k.client.clone(), self.pod.namespace());
        let name = self.pod.name().to_owned();
        self.spawn(Concern::Write, async move {
            let result = patch_status_strategic(&api, &name, &patch).await.map(drop);
            Done::Written(Box::new(status), result)
        });
        None
    }
}
