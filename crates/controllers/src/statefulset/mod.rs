//! StatefulSets: pods that keep their names and their claims.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/>
//!
//! A pod's name follows from its ordinal, so nothing that is made twice by a stale cache can be there twice.

mod control;
mod identity;
mod plan;
mod retention;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventType, Informer, ObjectKey, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::core::SelectorExt;
use kube::{Client, ResourceExt};

use crate::adoption::claim;
use crate::common::*;
use crate::dependents::{Dependents, Owner};
use crate::history::{Histories, History, template_of};
use crate::run::{Cache, Controller};
use control::Control;
use identity::{may_claim, new_pod, ordinal_of, revision_of, spec_of};
use plan::State;

struct StatefulSetController {
    client: Client,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    histories: Histories,
    control: Control,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(StatefulSetController {
        client: context.client.clone(),
        sets: context.informers.all(),
        pods: context.pods(),
        histories: Histories::new(context.client.clone(), context.controller_revisions()),
        control: Control {
            client: context.client.clone(),
            claims: context.informers.all(),
            recorder: context.recorder("statefulset-controller"),
        },
        queue: WorkQueue::named("statefulset"),
    });
    Dependents::of(&controller.sets, &controller.queue, &Arc::default())
        .follow(&controller.pods)
        .follow(controller.histories.informer());
    let (sets, queue) = (controller.sets.store(), controller.queue.clone());
    // A pod waits until the claim of its predecessor is gone, and a claim that somebody deletes is made anew.
    controller.control.claims.subscribe(move |event| {
        let Event::Deleted(claim) = event else { return };
        let sets = sets.list_namespace(namespace_of(&**claim));
        let concerned = sets.iter().filter(|set| may_claim(set, &claim.name_any()));
        concerned.for_each(|set| queue.add(ObjectKey::of(&**set)));
    });
    crate::run::run(controller).await
}

impl Controller for StatefulSetController {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.sets, &self.pods, &self.control.claims, self.histories.informer()]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(set) = self.sets.store().get_key(&key) else { return Ok(None) };
        match self.sync(&set).await {
            Err(error) => match error.downcast_ref::<kube::Error>() {
                Some(found) if is_namespace_terminating(found) => Ok(None),
                Some(found)
                    if is_outdated(found, &["statefulsets", "controllerrevisions", "persistentvolumeclaims"]) =>
                {
                    Ok(Some(Duration::from_millis(50)))
                }
                // The cache lags behind what was written last, and will have caught up.
                Some(found) if is_already_there(found) && concerns(found, &["pods"]) && !self.is_in_the_way(&set) => {
                    Ok(Some(Duration::from_millis(20)))
                }
                _ => Err(error),
            },
            done => done,
        }
    }
}

impl StatefulSetController {
    async fn sync(&self, set: &StatefulSet) -> anyhow::Result<Option<Duration>> {
        let Some(selector) = set.selector() else {
            let text = "This StatefulSet is selecting all pods. A non-empty selector is required.";
            self.control.recorder.event(set, EventType::Warning, "SelectingAll", text);
            return Ok(None);
        };
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let history = self.histories.of(set, &selector, &spec_of(set).template, collisions).await?;
        let matches = |pod: &Pod| selector.matches(pod.labels()) && ordinal_of(set, pod).is_some();
        let pods = claim(&self.client, set, &self.pods.store(), matches, |_| true).await?;
        let update_revision = history.update.name_any();
        let state = State {
            set,
            pods: &pods,
            claims: &self.control.claims.store(),
            update_revision: &update_revision,
            now: Timestamp::now(),
        };
        let current_revision = current_revision(set, &history);
        let done = match is_deleting(set) {
            true => Ok(()),
            false => self.act(&state, &history, &current_revision).await,
        };
        let status = status::desired_status(&state, &current_revision, history.collisions);
        let written = self.write_status(set, status).await;
        done?;
        written?;
        let of_pods = pods.iter().map(|pod| revision_of(pod).to_owned());
        let live: BTreeSet<String> = of_pods.chain([current_revision]).collect();
        self.histories.truncate(&history, spec_of(set).revision_history_limit, &live).await?;
        Ok(until_available(&pods, spec_of(set).min_ready_seconds.unwrap_or(0), state.now))
    }

    async fn act(&self, state: &State<'_>, history: &History, current_revision: &str) -> anyhow::Result<()> {
        let set = state.set;
        // Below the partition pods are still of the revision before.
        let before = history.find(current_revision).and_then(|revision| template_of(revision));
        let pod = |ordinal| match &before {
            Some(template) if plan::partition(set).is_some_and(|first| ordinal < first) => {
                new_pod(set, template, current_revision, ordinal)
            }
            _ => new_pod(set, &spec_of(set).template, state.update_revision, ordinal),
        };
        self.control.carry_out(set, &plan::plan(state), pod).await
    }

    /// Whether a pod that is not the set's has a name that the set gives.
    fn is_in_the_way(&self, set: &StatefulSet) -> bool {
        let named = |pod: &Arc<Pod>| {
            ordinal_of(set, pod).is_some_and(|ordinal| identity::ordinals(set).contains(&ordinal))
                && controller_of(&pod.metadata).is_none_or(|owner| owner.uid != uid(set))
        };
        self.pods.store().list_namespace(namespace_of(set)).iter().any(named)
    }

    async fn write_status(&self, set: &StatefulSet, status: StatefulSetStatus) -> kube::Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), namespace_of(set));
        let new = StatefulSet { status: Some(status), ..set.clone() };
        api.replace_status(&set.name_any(), &PostParams::default(), &new).await.map(drop)
    }
}

/// The name of the revision that the last complete update came to, if it is still there.
fn current_revision(set: &StatefulSet, history: &History) -> String {
    let named = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    named.and_then(|name| history.find(name)).unwrap_or(&history.update).name_any()
}
