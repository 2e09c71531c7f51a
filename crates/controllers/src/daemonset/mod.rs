//! DaemonSets: a pod of one template on every node that it is for.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/>
//!
//! A pod is made for one node, which its affinity names, and put there by the scheduler like any other.

mod failures;
mod plan;
mod pods;
mod rolling;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, PostParams};
use kube::core::{Selector, SelectorExt};
use kube::{Client, ResourceExt};

use crate::adoption::claim;
use crate::common::*;
use crate::dependents::{Dependents, Owner};
use crate::expectations::Expectations;
use crate::history::{HASH_LABEL, Histories, hash_of};
use crate::pod_control::{create_pod, delete_pod, slow_start};
use crate::run::{Cache, Controller};
use failures::Failures;
use plan::{Plan, State};
use pods::{Template, Verdict};

/// No more pods are made, or deleted, in one pass.
const BURST: usize = 250;

struct DaemonSetController {
    client: Client,
    sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    histories: Histories,
    recorder: EventRecorder,
    expectations: Arc<Expectations>,
    failures: Failures,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(DaemonSetController {
        client: context.client.clone(),
        sets: context.informers.all(),
        pods: context.pods(),
        nodes: context.nodes(),
        histories: Histories::new(context.client.clone(), context.controller_revisions()),
        recorder: context.recorder("daemonset-controller"),
        expectations: Arc::default(),
        failures: Failures::default(),
        queue: WorkQueue::named("daemonset"),
    });
    Dependents::of(&controller.sets, &controller.queue, &controller.expectations).follow(&controller.pods);
    // What is expected is pods; nobody waits for a revision.
    let revisions = controller.histories.informer();
    Dependents::of(&controller.sets, &controller.queue, &Arc::default()).follow(revisions);
    let (sets, queue) = (controller.sets.store(), controller.queue.clone());
    controller.nodes.subscribe(move |event| {
        let (old, new) = match event {
            Event::Added(node) => (None, Some(&**node)),
            Event::Updated { old, new } if is_same_place(old, new) => return,
            Event::Updated { old, new } => (Some(&**old), Some(&**new)),
            Event::Deleted(node) => (Some(&**node), None),
        };
        for set in sets.list() {
            let template = Template::of(&set);
            let verdict = |node: Option<&Node>| node.map_or(Verdict::Leave, |node| template.verdict(node));
            if verdict(old) != verdict(new) {
                queue.add(ObjectKey::of(&*set));
            }
        }
    });
    crate::run::run(controller).await
}

/// Whether nothing changed that pods choose nodes by.
fn is_same_place(old: &Node, new: &Node) -> bool {
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
    old.metadata.labels == new.metadata.labels && taints(old) == taints(new)
}

fn min_ready_seconds(ds: &DaemonSet) -> i32 {
    ds.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

/// How pods are replaced; `None` when they are not, until somebody deletes them.
fn rolling(ds: &DaemonSet) -> Option<&RollingUpdateDaemonSet> {
    let strategy = ds.spec.as_ref()?.update_strategy.as_ref()?;
    strategy.rolling_update.as_ref().filter(|_| strategy.type_.as_deref() == Some("RollingUpdate"))
}

/// Whether a node may have two pods while they are replaced.
fn allows_surge(ds: &DaemonSet) -> bool {
    let surge = rolling(ds).and_then(|rolling| rolling.max_surge.as_ref());
    surge.and_then(|surge| scaled(surge, 1, true)).is_some_and(|surge| surge > 0)
}

impl Controller for DaemonSetController {
    type Key = ObjectKey;
    const WORKERS: usize = 2;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.sets, &self.pods, &self.nodes, self.histories.informer()]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(ds) = self.sets.store().get_key(&key) else {
            self.expectations.forget(&key);
            return Ok(None);
        };
        match self.sync(&key, &ds).await {
            // What was in the way comes through the informer; should it have come before, a quick try succeeds.
            Err(error) if is_outdated(&error, &["daemonsets", "controllerrevisions"]) => {
                Ok(Some(Duration::from_millis(50)))
            }
            Err(error) if is_namespace_terminating(&error) => Ok(None),
            done => Ok(done?),
        }
    }
}

impl DaemonSetController {
    async fn sync(&self, key: &ObjectKey, ds: &DaemonSet) -> kube::Result<Option<Duration>> {
        let Some(selector) = ds.selector() else {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder.event(ds, EventType::Warning, "SelectingAll", text);
            return Ok(None);
        };
        // Its revisions may go before its pods do: nothing certain can be said of these any more.
        if is_deleting(ds) {
            return Ok(None);
        }
        // Before the pods are read: one that comes in between is then waited for, not missed.
        let pending = self.expectations.pending(key, uid(ds));
        let acts = pending.is_none();
        let collisions = ds.status.as_ref().and_then(|status| status.collision_count);
        let history = self.histories.of(ds, &selector, &pods::template(ds), collisions).await?;
        let mine = self.claim_pods(ds, &selector).await?;
        let (nodes, template) = (self.nodes.store().list(), Template::of(ds));
        let state = State {
            ds,
            template: &template,
            nodes: &nodes,
            pods: &pods::by_node(&mine),
            hash: hash_of(&history.update),
            hashes: &history.hashes,
            failures: &self.failures,
        };
        let plan = if acts { plan::plan(&state) } else { Plan::default() };
        let again = plan.again;
        let done = if acts { self.carry_out(key, &state, plan).await } else { Ok(()) };
        let status = status::desired_status(&state, history.collisions, acts, Timestamp::now());
        let written = self.write_status(ds, status).await;
        done?;
        written?;
        if acts {
            let live = mine.iter().filter_map(|pod| pod.labels().get(HASH_LABEL).cloned()).collect::<BTreeSet<_>>();
            let limit = ds.spec.as_ref().and_then(|spec| spec.revision_history_limit);
            self.histories.truncate(&history, limit, &live).await?;
        }
        Ok([again, pending, until_available(state.pods.values().flatten(), min_ready_seconds(ds), Timestamp::now())]
            .into_iter()
            .flatten()
            .min())
    }

    async fn claim_pods(&self, ds: &DaemonSet, selector: &Selector) -> kube::Result<Vec<Arc<Pod>>> {
        let matches = |pod: &Pod| selector.matches(pod.labels());
        claim(&self.client, ds, &self.pods.store(), matches, |_| true).await
    }

    async fn carry_out(&self, key: &ObjectKey, state: &State<'_>, mut plan: Plan) -> kube::Result<()> {
        for (kind, reason, text) in plan.events {
            self.recorder.event(state.ds, kind, reason, text);
        }
        plan.create.truncate(BURST);
        plan.delete.truncate(BURST);
        let (create, delete) = (&plan.create, &plan.delete);
        self.expectations.expect(key, uid(state.ds), create.len(), delete.iter().map(|pod| uid(&**pod).to_owned()));
        let (made, failed) = slow_start(create.len(), |at| async move {
            let pod = state.template.pod(state.ds, &create[at], state.hash);
            create_pod(&self.client, &self.recorder, state.ds, &pod).await
        })
        .await;
        self.expectations.lower(key, create.len().saturating_sub(made));
        let deletions = delete.iter().map(|pod| async move {
            let outcome = delete_pod(&self.client, &self.recorder, state.ds, pod).await;
            if !matches!(outcome, Ok(true)) {
                self.expectations.deletion_observed(key, uid(&**pod));
            }
            outcome.err()
        });
        let not_deleted = futures::future::join_all(deletions).await.into_iter().flatten().next();
        failed.or(not_deleted).map_or(Ok(()), Err)
    }

    async fn write_status(&self, ds: &DaemonSet, status: DaemonSetStatus) -> kube::Result<()> {
        if ds.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), namespace_of(ds));
        let new = DaemonSet { status: Some(status), ..ds.clone() };
        api.replace_status(&ds.name_any(), &PostParams::default(), &new).await.map(drop)
    }
}
