//! PodDisruptionBudgets: their status says how many of their pods may be evicted now. Evictions take from it
//! (`apiserver::rest::eviction`), and so does preemption.
//! <https://kubernetes.io/docs/concepts/workloads/pods/disruptions/>

mod scale;
mod stale;
mod status;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, PostParams};
use kube::core::{Selector, SelectorExt};
use kube::{Client, ResourceExt};

use self::scale::Replicas;
use self::status::{Expected, disrupted, failed, status};
use crate::common::*;
use crate::run::{Cache, Controller};

struct DisruptionController {
    client: Client,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    replicas: Replicas,
    recorder: EventRecorder,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(DisruptionController {
        client: context.client.clone(),
        budgets: context.informers.all(),
        pods: context.pods(),
        replicas: Replicas::new(&context),
        recorder: context.recorder("controllermanager"),
        queue: WorkQueue::named("disruption"),
    });
    let queue = controller.queue.clone();
    controller.budgets.subscribe(move |event| {
        let (Event::Added(budget) | Event::Updated { new: budget, .. } | Event::Deleted(budget)) = event;
        queue.add(ObjectKey::of(&**budget));
    });
    let c = controller.clone();
    controller.pods.subscribe(move |event| match event {
        Event::Added(pod) => c.pod_changed(pod, true),
        Event::Deleted(pod) => c.pod_changed(pod, false),
        Event::Updated { old, new } => {
            let relabelled = old.metadata.labels != new.metadata.labels;
            if relabelled {
                c.pod_changed(old, false);
            }
            c.pod_changed(new, relabelled);
        }
    });
    let stale = stale::run(context.client.clone(), context.pods());
    tokio::try_join!(crate::run::run(controller), stale).map(drop)
}

impl Controller for DisruptionController {
    type Key = ObjectKey;
    const WORKERS: usize = 2;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        let own: [&dyn Cache; 2] = [&self.budgets, &self.pods];
        own.into_iter().chain(self.replicas.caches()).collect()
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(budget) = self.budgets.store().get_key(&key) else { return Ok(None) };
        let pods = self.pods_of(&budget);
        if pods.is_empty() {
            self.recorder.event(&*budget, EventType::Normal, "NoPods", "No matching pods found");
        }
        let expected = match self.expected(&budget, &pods).await {
            Ok(expected) => expected,
            Err(why) => {
                let text = format!("Failed to calculate the number of expected pods: {why}");
                self.recorder.event(&*budget, EventType::Warning, "CalculateExpectedPodCountFailed", text);
                // No change may come when the reason goes away.
                self.write(&budget, failed(&budget, &why)).await?;
                anyhow::bail!("{why}");
            }
        };
        let disrupted = disrupted(&budget, &pods, Timestamp::now());
        for pod in &disrupted.not_deleted {
            let text = format!("Pod was expected by PDB {key} to be deleted but it wasn't");
            self.recorder.event(&**pod, EventType::Warning, "NotDeleted", text);
        }
        self.write(&budget, status(&budget, &pods, expected, &disrupted.pods)).await?;
        Ok(disrupted.recheck)
    }
}

impl DisruptionController {
    /// Queues the budgets that cover a pod; there should be one.
    fn pod_changed(&self, pod: &Pod, tells: bool) {
        let all = self.budgets.store().list_namespace(namespace_of(pod));
        let covering: Vec<_> =
            all.iter().filter(|budget| selector(budget).is_some_and(|s| s.matches(pod.labels()))).collect();
        if let [first, _, ..] = covering.as_slice()
            && tells
        {
            let text = format!(
                "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                namespace_of(pod),
                pod.name_any(),
                first.name_any()
            );
            self.recorder.event(pod, EventType::Warning, "MultiplePodDisruptionBudgets", text);
        }
        covering.into_iter().for_each(|budget| self.queue.add(ObjectKey::of(&**budget)));
    }

    fn pods_of(&self, budget: &PodDisruptionBudget) -> Vec<Arc<Pod>> {
        let Some(selector) = selector(budget) else { return Vec::new() };
        let mut pods = self.pods.store().list_namespace(namespace_of(budget));
        pods.retain(|pod| selector.matches(pod.labels()));
        pods
    }

    /// How many pods there should be: as many as there are, when a number of them must be available, else as many as their
    /// controllers want.
    async fn expected(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<Expected, String> {
        let spec = budget.spec.clone().unwrap_or_default();
        let share = |amount: &IntOrString, pods: i32| {
            scaled(amount, pods, true).ok_or_else(|| format!("invalid value for IntOrString: {amount:?}"))
        };
        if let Some(unavailable) = &spec.max_unavailable {
            let wanted = self.wanted(budget, pods).await?;
            let healthy = wanted.saturating_sub(share(unavailable, wanted)?).max(0);
            return Ok(Expected { pods: wanted, healthy });
        }
        match &spec.min_available {
            Some(percentage @ IntOrString::String(_)) => {
                let wanted = self.wanted(budget, pods).await?;
                Ok(Expected { pods: wanted, healthy: share(percentage, wanted)? })
            }
            Some(IntOrString::Int(healthy)) => {
                Ok(Expected { pods: i32::try_from(pods.len()).unwrap_or(i32::MAX), healthy: *healthy })
            }
            None => Ok(Expected { pods: 0, healthy: 0 }),
        }
    }

    /// How many pods the controllers of these pods want together.
    async fn wanted(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<i32, String> {
        let (mut replicas, mut seen, mut unmanaged) = (HashMap::new(), HashSet::new(), false);
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                unmanaged = true;
                continue;
            };
            if !seen.insert(owner.uid.clone()) {
                continue;
            }
            match self.replicas.of(namespace_of(budget), owner).await? {
                Some((uid, wanted)) => {
                    replicas.insert(uid, wanted);
                }
                None => return Err(format!("found no controllers for pod {:?}", pod.name_any())),
            }
        }
        if unmanaged {
            let shown = budget.spec.as_ref().and_then(|spec| serde_json::to_string(&spec.selector).ok());
            let text = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status \
                 of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods \
                 please set \".spec.minAvailable\" field of the PDB to an integer value.",
                shown.unwrap_or_default()
            );
            self.recorder.event(budget, EventType::Warning, "UnmanagedPods", text);
        }
        Ok(replicas.into_values().fold(0, i32::saturating_add))
    }

    /// Writes a status that differs, unless an eviction was faster: then all is computed anew.
    async fn write(&self, budget: &PodDisruptionBudget, status: PodDisruptionBudgetStatus) -> kube::Result<()> {
        let mut before = budget.status.clone().unwrap_or_default();
        before.disrupted_pods = before.disrupted_pods.filter(|pods| !pods.is_empty());
        if status == before {
            return Ok(());
        }
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), namespace_of(budget));
        let new = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        match api.replace_status(&budget.name_any(), &PostParams::default(), &new).await {
            // What changed it comes through the informer.
            Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// A budget without a selector covers nothing, one with an empty selector everything.
fn selector(budget: &PodDisruptionBudget) -> Option<Selector> {
    selector_of(budget.spec.as_ref()?.selector.as_ref()?)
}
