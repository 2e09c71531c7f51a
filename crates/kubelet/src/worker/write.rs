//! Writing the pod's status: one write at a time, of the newest.

use super::*;

/// The end of a container that is replaced is told with what takes its place, or once as much time is over as upstream's kubelet
/// takes to look.
const REPLACEMENT_DELAY: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) fn status(&self) -> PodStatus {
        let ends = self.finished || self.pod.is_deleted() || self.gone;
        let terminal = ends
            && self.stage >= Stage::Stopping
            && self.observed.running().next().is_none()
            && self.starting.is_none();
        pod_status(&Input {
            pod: &self.pod,
            old: &self.last,
            allocation: &self.resize.allocation,
            resizes: &self.resize.told,
            observed: &self.observed,
            waiting: &self.waiting,
            probes: &self.probe_states(),
            host_ips: self.k.config.node_ips(),
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

    /// How long ago the last container ended whose place another is about to take.
    fn replaced_since(&self) -> Option<Duration> {
        if self.finished || self.pod.is_deleted() {
            return None;
        }
        // What was made and does not run yet is none of which to tell.
        let has_run = |status: &&ContainerStatus| status.state != ContainerState::Created;
        let latest = self.observed.containers.values().filter_map(|list| list.iter().find(has_run));
        let ended = latest.filter(|status| {
            let is_replaced = status.state == ContainerState::Exited && self.observed.replaced.contains(&status.id);
            is_replaced && !self.not_before.contains_key(&status.metadata.name)
        });
        let ended = ended.map(|status| i128::from(status.finished_at)).max()?;
        let since = Timestamp::now().as_nanosecond().saturating_sub(ended);
        Some(Duration::from_nanos(u64::try_from(since).unwrap_or(0)))
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
        if let Some(hold) = self.replaced_since().map(|since| REPLACEMENT_DELAY.saturating_sub(since))
            && !hold.is_zero()
        {
            return Some(from_now(hold));
        }
        let (status, patch) = self.pending_patch()?;
        self.write.busy = true;
        let api: Api<Pod> = Api::namespaced(self.k.client.clone(), self.pod.namespace());
        let name = self.pod.name().to_owned();
        self.spawn(Concern::Write, async move {
            let result = patch_status_strategic(&api, &name, &patch).await.map(|pod| version(&pod));
            Done::Written(Box::new(status), result)
        });
        None
    }
}
