//! Resizing a pod that runs: it is given room, that is written down, and then its containers get it.

use super::*;
use crate::pods::Trigger;
use crate::quantity::milli_value;
use crate::resize::allocation::Allocation;
use crate::resize::plan::{Plan, Update, plan};
use crate::resize::{PENDING, Pending, Progress, Refusal, Resizes, actuate::actuate, event_message, resizable};
use crate::resources::{limit, request};

/// What is known of a pod's resizes.
#[derive(Default)]
pub(super) struct Resize {
    pub(super) allocation: Allocation,
    pub(super) told: Resizes,
    pub(super) step: Step,
    /// What the pod asks for is to be decided on: it asks for something else, or there may be room now.
    pub(super) due: bool,
    /// What is allocated now was tried to be carried out.
    tried: bool,
}

impl Worker {
    /// Goes on from what an earlier daemon allocated.
    pub(super) async fn restore_allocation(&mut self) {
        let pod = self.wanted.clone();
        self.resize.allocation = Allocation::of(&pod);
        if self.observed.sandbox.is_some() {
            let (dir, observed) = (self.k.volumes.pod_dir(pod.uid()), self.observed.clone());
            let restored = tokio::task::spawn_blocking(move || Allocation::restore(&pod, &dir, &observed)).await;
            match restored {
                Ok(allocation) => self.resize.allocation = allocation,
                Err(error) => tracing::error!(pod = %self.wanted.describe(), %error, "an allocation was not restored"),
            }
            self.resize.told = Resizes::of(&self.last);
        }
        self.resize.due = self.resize.allocation.differs(&self.wanted) || self.resize.told.pending.is_some();
        self.take_allocation();
        self.look_for_stragglers();
        // An earlier daemon was done, but could not tell any more.
        if self.resize.allocation.is_settled() {
            self.complete(self.resize.told.progress.as_ref().and_then(|progress| progress.generation));
        }
    }

    /// The pod asks for what it did not before.
    pub(super) fn want(&mut self, pod: Arc<Pod>) {
        let changes = changes(&self.wanted, &pod);
        self.resize.due |= !changes.is_empty();
        for (operation, requirement, resource) in changes {
            self.k.metrics.resize_requested(operation, requirement, resource);
        }
        self.forgive(&pod);
        self.wanted = pod;
        self.take_allocation();
    }

    fn take_allocation(&mut self) {
        self.pod = self.resize.allocation.apply(&self.wanted);
        let allocated = (!Arc::ptr_eq(&self.pod, &self.wanted)).then(|| self.pod.clone());
        self.k.pods.set_allocated(self.wanted.uid(), allocated);
    }

    fn plan(&self) -> Plan {
        let ends = |id: &str| self.killing.contains_key(id);
        plan(&self.pod, &self.resize.allocation, &self.observed, ends, self.k.memory)
    }

    /// A container that was being started when the pod was resized has what was allocated before.
    pub(super) fn look_for_stragglers(&mut self) {
        if self.resize.allocation.is_settled() && !self.plan().is_done() {
            self.resize.allocation.unsettle();
            self.resize.told.progress.get_or_insert(Progress { generation: self.pod.metadata.generation, error: None });
        }
    }

    /// Whether containers are to wait with their start until their pod has what it is allocated.
    pub(super) fn start_waits_for_resize(&self) -> bool {
        let settled = self.resize.allocation.is_settled();
        !settled && (self.resize.step.busy || !(self.resize.tried || self.is_replacing()))
    }

    /// Containers still end to be started with other resources.
    fn is_replacing(&self) -> bool {
        self.observed.replaced.iter().any(|id| self.killing.contains_key(id))
    }

    pub(super) fn step_resize(&mut self) {
        if !self.resize.step.is_free() {
            return;
        }
        if std::mem::take(&mut self.resize.due) && self.decide() {
            return;
        }
        if self.resize.allocation.is_settled() || !self.observed.sandbox_ready() {
            return;
        }
        let plan = self.plan();
        for (name, id) in &plan.restarts {
            self.replace(name, id, format!("Container {name} resize requires restart"));
        }
        // What they give back is there once they have ended.
        if let Some(sandbox) = self.observed.sandbox.as_ref().filter(|_| !self.is_replacing()) {
            let (id, runtime) = (sandbox.id.clone(), self.k.runtime.clone());
            self.resize.step.busy = true;
            self.spawn(Concern::Resize, async move {
                let (done, result) = actuate(&*runtime, &id, plan).await;
                Done::Actuated(done, result)
            });
        }
    }

    /// Decides on what the pod asks for; whether it is being given that.
    fn decide(&mut self) -> bool {
        let k = self.k.clone();
        let node = k.nodes.store().get("", &k.config.node_name);
        let told = self.last.conditions.iter().flatten().find(|condition| condition.type_ == PENDING);
        let since =
            told.and_then(|condition| condition.last_transition_time.as_ref()).map_or_else(Timestamp::now, |at| at.0);
        match k.pods.resize(&self.pod, &self.wanted, (node.as_deref(), &k.allocatable), since) {
            // Not before all pods of the node are known; then it is told.
            None => false,
            Some(Ok(())) if !self.resize.allocation.differs(&self.wanted) => {
                self.resize.told.pending = None;
                false
            }
            Some(Ok(())) => {
                let allocation = self.resize.allocation.grant(&self.wanted, &self.observed);
                self.save(allocation, self.wanted.metadata.generation);
                true
            }
            Some(Err(refusal)) => {
                self.pend(refusal);
                false
            }
        }
    }

    fn pend(&mut self, refusal: Refusal) {
        let generation = self.wanted.metadata.generation;
        let pending = Some(Pending { refusal, generation });
        if self.resize.told.pending != pending
            && let Some(Pending { refusal, .. }) = &pending
        {
            let (reason, message) = (refusal.reason(), refusal.message());
            let text = event_message(&format!("Pod resize {reason}"), &self.wanted, generation, message);
            self.k.recorder.event(&*self.wanted, EventType::Warning, &format!("Resize{reason}"), text);
            if matches!(refusal, Refusal::Infeasible(_)) {
                self.k.metrics.resize_infeasible();
            }
        }
        self.resize.told.pending = pending;
    }

    fn save(&mut self, allocation: Allocation, generation: Option<i64>) {
        self.resize.step.busy = true;
        let dir = self.k.volumes.pod_dir(self.wanted.uid());
        self.spawn(Concern::Resize, async move {
            let written = tokio::task::spawn_blocking(move || (allocation.save(&dir), allocation)).await;
            let result = match written {
                Ok((result, allocation)) => result.map(|()| allocation).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            Done::Allocated(generation, result.map(Box::new))
        });
    }

    /// An allocation was written down.
    pub(super) fn on_allocated(&mut self, generation: Option<i64>, result: Result<Box<Allocation>, String>) {
        self.resize.step.busy = false;
        let allocation = match result {
            Ok(allocation) => *allocation,
            Err(error) => {
                tracing::warn!(pod = %self.pod.describe(), error, "failed to write down what a pod is allocated");
                self.resize.step.retry.failed();
                self.resize.due = true;
                return;
            }
        };
        self.resize.step.retry.succeeded();
        let settled = allocation.is_settled();
        self.resize.allocation = allocation;
        self.take_allocation();
        if settled {
            self.complete(generation);
            return self.look_for_stragglers();
        }
        self.resize.tried = false;
        self.resize.told = Resizes { pending: None, progress: Some(Progress { generation, error: None }) };
        self.tell(EventType::Normal, "ResizeStarted", "Pod resize started", generation, "");
        // The downward API tells of it.
        self.volumes_stale = true;
        self.k.pods.retry_resizes(Trigger::Resized);
    }

    /// The containers have what they are allocated.
    fn complete(&mut self, generation: Option<i64>) {
        if self.resize.told.progress.take().is_some() {
            self.tell(EventType::Normal, "ResizeCompleted", "Pod resize completed", generation, "");
        }
    }

    fn tell(&self, kind: EventType, reason: &str, what: &str, generation: Option<i64>, error: &str) {
        self.k.recorder.event(&*self.pod, kind, reason, event_message(what, &self.pod, generation, error));
    }

    /// A plan was carried out, or as much of it as could be.
    pub(super) fn on_actuated(&mut self, done: Vec<Update>, result: Result<(), String>) {
        (self.resize.step.busy, self.resize.tried) = (false, true);
        for update in done {
            let Some(status) = self.observed.by_id(&update.id) else { continue };
            let wanted = self.pod.container(&update.name).and_then(|container| container.resources.clone());
            let mut has = self.resize.allocation.actual(status).unwrap_or_default();
            update.resource.copy(&wanted.unwrap_or_default(), &mut has);
            self.resize.allocation.put_actual(&update.id, has);
        }
        let generation =
            self.resize.told.progress.as_ref().map_or(self.pod.metadata.generation, |told| told.generation);
        match result {
            Ok(()) if self.plan().is_done() => self.save(self.resize.allocation.settle(), generation),
            Ok(()) => {}
            Err(error) => {
                let progress = Some(Progress { generation, error: Some(error.clone()) });
                if self.resize.told.progress != progress {
                    self.tell(EventType::Warning, "ResizeError", "Pod resize error", generation, &error);
                }
                self.resize.told.progress = progress;
                self.resize.step.retry.failed();
            }
        }
    }
}

/// What of its containers another version of a pod asks for: operation, `requests` or `limits`, and resource.
fn changes(old: &Pod, new: &Pod) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut changes = Vec::new();
    for container in resizable(new) {
        let before = old.container(&container.name);
        for resource in ["cpu", "memory"] {
            let requests = (before.and_then(|before| request(before, resource)), request(container, resource));
            let limits = (before.and_then(|before| limit(before, resource)), limit(container, resource));
            for (requirement, (was, is)) in [("requests", requests), ("limits", limits)] {
                let operation = match (was.map(milli_value), is.map(milli_value)) {
                    (was, is) if was == is => continue,
                    (None, _) => "add",
                    (_, None) => "remove",
                    (was, is) if was < is => "increase",
                    _ => "decrease",
                };
                changes.push((operation, requirement, resource));
            }
        }
    }
    changes
}
