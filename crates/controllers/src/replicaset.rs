//! ReplicaSets and ReplicationControllers: keep as many pods of a template as were asked for.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{EventRecorder, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use kube::api::{Api, PostParams};
use kube::core::{Selector, SelectorExt};
use kube::{Client, ResourceExt};
use serde::Serialize;

use crate::adoption::claim;
use crate::common::*;
use crate::dependents::{Dependents, Owner};
use crate::expectations::Expectations;
use crate::pod_control::{create_pod, delete_pod, pod_from_template, slow_start};
use crate::run::{Cache, Controller};

/// No more pods are made or deleted in one pass.
const BURST: usize = 500;
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A kind that keeps replicas of a pod template.
pub(crate) trait Replicated: Owner + Serialize {
    /// What the metrics call the queue.
    const QUEUE: &'static str;

    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn template(&self) -> PodTemplateSpec;
    fn status(&self) -> ReplicaSetStatus;
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
    fn has_terminating_replicas() -> bool;
}

impl Replicated for ReplicaSet {
    const QUEUE: &'static str = "replicaset";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }
    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }
    fn status(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }
    fn with_status(&self, status: ReplicaSetStatus) -> ReplicaSet {
        ReplicaSet { status: Some(status), ..self.clone() }
    }
    fn has_terminating_replicas() -> bool {
        true
    }
}

impl Replicated for ReplicationController {
    const QUEUE: &'static str = "replicationmanager";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }
    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }
    fn status(&self) -> ReplicaSetStatus {
        let Some(status) = self.status.clone() else { return ReplicaSetStatus::default() };
        let condition = |c: ReplicationControllerCondition| ReplicaSetCondition {
            last_transition_time: c.last_transition_time,
            message: c.message,
            reason: c.reason,
            status: c.status,
            type_: c.type_,
        };
        ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            terminating_replicas: None,
        }
    }
    fn with_status(&self, status: ReplicaSetStatus) -> ReplicationController {
        let condition = |c: ReplicaSetCondition| ReplicationControllerCondition {
            last_transition_time: c.last_transition_time,
            message: c.message,
            reason: c.reason,
            status: c.status,
            type_: c.type_,
        };
        let status = ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        };
        ReplicationController { status: Some(status), ..self.clone() }
    }
    fn has_terminating_replicas() -> bool {
        false
    }
}

struct ReplicaController<R: Replicated> {
    client: Client,
    owners: Informer<R>,
    pods: Informer<Pod>,
    recorder: EventRecorder,
    expectations: Arc<Expectations>,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller of one kind until its queue is closed.
pub(crate) async fn run<R: Replicated>(context: Context, owners: Informer<R>, component: &str) -> anyhow::Result<()> {
    let controller = ReplicaController {
        client: context.client.clone(),
        pods: context.pods(),
        recorder: context.recorder(component),
        expectations: Arc::default(),
        queue: WorkQueue::named(R::QUEUE),
        owners,
    };
    Dependents::of(&controller.owners, &controller.queue, &controller.expectations).follow(&controller.pods);
    crate::run::run(Arc::new(controller)).await
}

impl<R: Replicated> Controller for ReplicaController<R> {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.owners, &self.pods]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(owner) = self.owners.store().get_key(&key) else {
            self.expectations.forget(&key);
            return Ok(None);
        };
        let Some(selector) = owner.selector() else { return Ok(None) };
        let pending = self.expectations.pending(&key, uid(&*owner));
        let mine = self.claim_pods(&owner, &selector).await?;
        let active: Vec<Arc<Pod>> = mine.iter().filter(|pod| is_active(pod)).cloned().collect();
        let terminating = mine.iter().filter(|pod| is_deleting(&***pod) && !is_terminal(pod)).count();
        let failure =
            if pending.is_none() && !is_deleting(&*owner) { self.adjust(&key, &owner, &active).await } else { None };
        let now = Timestamp::now();
        let status = desired_status(&*owner, &active, terminating, failure.as_ref(), now);
        if status != owner.status() {
            match self.write_status(&owner, &status).await {
                // The change that conflicts comes through the informer and is worked on then.
                Err(error) if is_conflict(&error) || is_not_found(&error) => {}
                other => other?,
            }
        }
        if let Some((_, error)) = failure {
            return if is_namespace_terminating(&error) { Ok(None) } else { Err(error.into()) };
        }
        Ok([pending, until_available(&active, owner.min_ready_seconds(), now)].into_iter().flatten().min())
    }
}

impl<R: Replicated> ReplicaController<R> {
    async fn claim_pods(&self, owner: &R, selector: &Selector) -> kube::Result<Vec<Arc<Pod>>> {
        let matches = |pod: &Pod| selector.matches(pod.labels());
        claim(&self.client, owner, &self.pods.store(), matches, |pod| !is_terminal(pod)).await
    }

    /// Makes or deletes pods; returns the reason and error of what could not be done.
    async fn adjust(&self, key: &ObjectKey, owner: &R, active: &[Arc<Pod>]) -> Option<(&'static str, kube::Error)> {
        let wanted = usize::try_from(owner.replicas()).unwrap_or(0);
        if active.len() < wanted {
            let count = (wanted - active.len()).min(BURST);
            self.expectations.expect(key, uid(owner), count, []);
            let pod = pod_from_template(&owner.template(), owner);
            let pod = &pod;
            let (made, error) =
                slow_start(count, |_| async move { create_pod(&self.client, &self.recorder, owner, pod).await }).await;
            self.expectations.lower(key, count - made);
            return error.map(|error| ("FailedCreate", error));
        }
        if active.len() > wanted {
            let count = (active.len() - wanted).min(BURST);
            let related = match self.related(owner) {
                Ok(related) => related,
                Err(error) => return Some(("FailedDelete", error)),
            };
            let victims = to_delete(active, &related, count, Timestamp::now());
            self.expectations.expect(key, uid(owner), 0, victims.iter().map(|pod| uid(&**pod).to_owned()));
            let deletions = victims.iter().map(|pod| async move {
                let outcome = delete_pod(&self.client, &self.recorder, owner, pod).await;
                if !matches!(outcome, Ok(true)) {
                    self.expectations.deletion_observed(key, uid(&**pod));
                }
                outcome.err()
            });
            let failed = futures::future::join_all(deletions).await.into_iter().flatten().next();
            return failed.map(|error| ("FailedDelete", error));
        }
        None
    }

    /// Active pods of all owners that share this one's controller: a node with many of them gives one up first.
    fn related(&self, owner: &R) -> kube::Result<Vec<Arc<Pod>>> {
        let pods = self.pods.store();
        let siblings: Vec<String> = match controller_of(owner.meta()) {
            Some(parent) => self
                .owners
                .store()
                .list_namespace(namespace_of(owner))
                .iter()
                .filter(|other| controller_of(other.meta()).is_some_and(|other| other.uid == parent.uid))
                .map(|other| uid(&**other).to_owned())
                .collect(),
            None => vec![uid(owner).to_owned()],
        };
        let mut related = Vec::new();
        for uid in &siblings {
            related.extend(pods.by_index(BY_CONTROLLER, uid)?.into_iter().filter(|pod| is_active(pod)));
        }
        Ok(related)
    }

    async fn write_status(&self, owner: &R, status: &ReplicaSetStatus) -> kube::Result<()> {
        let api: Api<R> = Api::namespaced(self.client.clone(), namespace_of(owner));
        let new = owner.with_status(status.clone());
        api.replace_status(&owner.name_any(), &PostParams::default(), &new).await.map(|_| ())
    }
}

/// The status that the observed pods amount to. A zero count is left out, as the API does.
fn desired_status<R: Replicated>(
    owner: &R,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&(&'static str, kube::Error)>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let old = owner.status();
    let labels = owner.template().metadata.and_then(|meta| meta.labels).unwrap_or_default();
    let count = |matches: &dyn Fn(&Pod) -> bool| active.iter().filter(|pod| matches(pod)).count() as i32;
    let labeled = count(&|pod| labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value)));
    let ready = count(&is_ready);
    let available = count(&|pod| is_available(pod, owner.min_ready_seconds(), now));
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let existing = conditions.iter().any(|condition| condition.type_ == "ReplicaFailure");
    match failure {
        Some((reason, error)) if !existing => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some((*reason).into()),
            message: Some(message(error)),
            last_transition_time: Some(crate::common::now()),
        }),
        None => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
        Some(_) => {}
    }
    ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: shown(labeled, old.fully_labeled_replicas),
        ready_replicas: shown(ready, old.ready_replicas),
        available_replicas: shown(available, old.available_replicas),
        terminating_replicas: if R::has_terminating_replicas() { Some(terminating as i32) } else { None },
        observed_generation: owner.meta().generation.or(old.observed_generation),
        conditions: Some(conditions).filter(|all| !all.is_empty()),
    }
}

/// The `count` pods that are missed least.
fn to_delete(active: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut ranked: Vec<(Arc<Pod>, usize)> = active
        .iter()
        .map(|pod| {
            let node = node_name(pod);
            let rank =
                if node.is_empty() { 0 } else { related.iter().filter(|other| node_name(other) == node).count() };
            (pod.clone(), rank)
        })
        .collect();
    ranked.sort_by(|a, b| deletion_order((&a.0, a.1), (&b.0, b.1), now));
    ranked.into_iter().take(count).map(|(pod, _)| pod).collect()
}

/// Which pod is deleted first: unassigned, pending, not ready, cheap (by annotation), on a crowded node, ready for
/// a shorter time, restarted more often, younger. Times are compared by orders of magnitude, so that among pods
/// of about the same age it is by chance (here: by UID) which one goes.
pub(crate) fn deletion_order(a: (&Pod, usize), b: (&Pod, usize), now: Timestamp) -> Ordering {
    let ((a, rank_a), (b, rank_b)) = (a, b);
    let phase_rank = |pod: &Pod| match phase(pod) {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let magnitude = |time: Option<Timestamp>| match time {
        // A time that is not known counts as the newest.
        None => 0,
        Some(time) => (seconds_between(time, now).max(0) as u64 + 1).ilog2() + 1,
    };
    let cost = |pod: &Pod| pod.annotations().get(DELETION_COST).and_then(|v| v.parse::<i32>().ok()).unwrap_or(0);
    let restarts = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0)
    };
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (!node_name(a).is_empty())
        .cmp(&!node_name(b).is_empty())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| magnitude(ready_since(a)).cmp(&magnitude(ready_since(b))))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| magnitude(created(a)).cmp(&magnitude(created(b))))
        .then_with(|| uid(a).cmp(uid(b)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, ready: bool, cost: &str) -> Arc<Pod> {
        let value = json!({
            "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"},
                "annotations": {DELETION_COST: cost}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": if node.is_empty() {"Pending"} else {"Running"},
                "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"},
                    "lastTransitionTime": "2026-01-01T00:00:01Z"}]},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn set(min_ready: i32) -> ReplicaSet {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "generation": 3},
            "spec": {"replicas": 2, "minReadySeconds": min_ready, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}}}}))
        .unwrap()
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<String> {
        pods.iter().map(|pod| pod.name_any()).collect()
    }

    #[test]
    fn unassigned_then_unready_then_cheap_pods_go_first() {
        let pods =
            [pod("d", "a", true, "5"), pod("c", "a", true, "1"), pod("b", "a", false, "9"), pod("a", "", false, "9")];
        let order = to_delete(&pods, &pods, 4, Timestamp::now());
        assert_eq!(names(&order), ["a", "b", "c", "d"]);
    }

    #[test]
    fn the_crowded_node_gives_up_a_pod() {
        let pods = [pod("a", "x", true, "0"), pod("b", "y", true, "0"), pod("c", "y", true, "0")];
        assert_eq!(names(&to_delete(&pods, &pods, 1, Timestamp::now())), ["b"]);
    }

    #[test]
    fn status_counts_ready_and_available_pods() {
        let pods = [pod("a", "x", true, "0"), pod("b", "y", false, "0")];
        let now = "2026-01-01T00:00:05Z".parse().unwrap();
        let status = desired_status(&set(0), &pods, 1, None, now);
        assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (2, Some(1), Some(1)));
        assert_eq!((status.terminating_replicas, status.observed_generation), (Some(1), Some(3)));
        let status = desired_status(&set(10), &pods, 0, None, now);
        assert_eq!(status.available_replicas, None);
    }

    #[tokio::test]
    async fn slow_start_stops_after_the_first_failing_batch() {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let (made, error) = slow_start(20, |index| {
            calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async move { if index < 5 { Ok(()) } else { Err(kube::Error::LinesCodecMaxLineLengthExceeded) } }
        })
        .await;
        assert_eq!((made, error.is_some(), calls.into_inner()), (5, true, 7));
    }
}
