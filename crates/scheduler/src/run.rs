//! The scheduler at work: informers in, bindings, events and conditions out.

use std::sync::Arc;

use coracle_client::{Event, EventRecorder, EventType, Informer, Informers, LeaderElection, is_conflict, is_not_found};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Namespace, Node, ObjectReference, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::core::{Core, Decision};
use crate::pod::PodInfo;
use crate::preemption::Budget;

/// Requests that may be under way at once; beyond it scheduling waits.
const IN_FLIGHT: usize = 256;

/// How the scheduler runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether several processes compete for the lease `kube-system/kube-scheduler`.
    pub leader_elect: bool,
    /// The name of this process in the lease.
    pub identity: String,
    /// The `spec.schedulerName` of the pods to schedule; usually `default-scheduler`.
    pub profile_name: String,
}

#[derive(Clone)]
struct Scheduler {
    client: Client,
    profile: String,
    inbox: Arc<Inbox>,
    budgets: Informer<PodDisruptionBudget>,
    recorder: EventRecorder,
}

/// One change of what the scheduler knows.
type Change = Box<dyn FnOnce(&mut Core) + Send>;

/// What the scheduler is told while it decides. Who tells it never waits for a decision; all of it is taken in before the
/// next one.
#[derive(Default)]
struct Inbox {
    changes: Mutex<Vec<Change>>,
    arrived: Notify,
}

impl Inbox {
    fn tell(&self, change: impl FnOnce(&mut Core) + Send + 'static) {
        self.changes.lock().push(Box::new(change));
        self.arrived.notify_one();
    }

    fn take_in(&self, core: &mut Core) {
        let changes = std::mem::take(&mut *self.changes.lock());
        changes.into_iter().for_each(|change| change(core));
    }
}

/// Schedules pods. Returns only when the leader lease was lost.
pub async fn run(client: Client, config: Config) -> anyhow::Result<()> {
    if !config.leader_elect {
        schedule(client, config.profile_name).await;
        return Ok(());
    }
    let election = LeaderElection::new(client.clone(), "kube-system", "kube-scheduler", &config.identity);
    election.run(move || schedule(client, config.profile_name)).await?;
    Ok(())
}

async fn schedule(client: Client, profile: String) {
    let informers = Informers::new(client.clone());
    let seed = Timestamp::now().as_nanosecond() as u64;
    let core = Core::new(&profile, seed);
    let scheduler = Scheduler {
        inbox: Arc::default(),
        budgets: informers.all(),
        recorder: EventRecorder::new(client.clone(), &profile, ""),
        client,
        profile,
    };
    let (pods, nodes) = (informers.all::<Pod>(), informers.all::<Node>());
    let (namespaces, services) = (informers.all::<Namespace>(), informers.all::<Service>());
    scheduler.subscribe(&namespaces, |core, event| match event {
        Event::Added(namespace) => core.set_namespace(&namespace.name_any(), Some(namespace.labels().clone())),
        Event::Updated { old, new } if old.labels() != new.labels() => {
            core.set_namespace(&new.name_any(), Some(new.labels().clone()));
        }
        Event::Updated { .. } => {}
        Event::Deleted(namespace) => core.set_namespace(&namespace.name_any(), None),
    });
    scheduler.subscribe(&services, |core, event| match event {
        Event::Added(service) | Event::Updated { new: service, .. } => core.set_service(service, true),
        Event::Deleted(service) => core.set_service(service, false),
    });
    scheduler.subscribe(&nodes, |core, event| match event {
        Event::Added(node) => core.node_changed(None, node),
        Event::Updated { old, new } => core.node_changed(Some(old), new),
        Event::Deleted(node) => core.node_gone(&node.name_any()),
    });
    scheduler.subscribe(&pods, |core, event| match event {
        Event::Added(pod) => core.pod_changed(None, pod),
        Event::Updated { old, new } if old.metadata.uid != new.metadata.uid => {
            core.pod_gone(old.metadata.uid.as_deref().unwrap_or_default());
            core.pod_changed(None, new);
        }
        Event::Updated { old, new } => core.pod_changed(Some(old), new),
        Event::Deleted(pod) => core.pod_gone(pod.metadata.uid.as_deref().unwrap_or_default()),
    });
    namespaces.synced().await;
    services.synced().await;
    nodes.synced().await;
    pods.synced().await;
    scheduler.budgets.synced().await;
    if let Err(error) = on_own_thread(async move { scheduler.work(core).await }).await {
        tracing::error!(%error, "the scheduler's thread did not start or died");
    }
}

/// Runs a future that computes much on a thread of its own, so that nobody else waits for it, until this one is dropped.
async fn on_own_thread(work: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let (runtime, ended) = (Handle::current(), CancellationToken::new());
    let _ends_it = ended.clone().drop_guard();
    let (done, wait) = oneshot::channel();
    let run = move || {
        runtime.block_on(ended.run_until_cancelled_owned(work));
        let _ = done.send(());
    };
    std::thread::Builder::new().name("scheduler".into()).spawn(run)?;
    wait.await.map_err(std::io::Error::other)
}

impl Scheduler {
    fn subscribe<K>(&self, informer: &Informer<K>, handle: impl Fn(&mut Core, &Event<K>) + Send + Sync + 'static)
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let (inbox, handle) = (self.inbox.clone(), Arc::new(handle));
        informer.subscribe(move |event| {
            let (handle, event) = (handle.clone(), event.clone());
            inbox.tell(move |core| handle(core, &event));
        });
    }

    async fn work(&self, mut core: Core) {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
            self.inbox.take_in(&mut core);
            let budgets = || self.budgets.store().list().iter().filter_map(|b| Budget::new(b)).collect();
            let Some(decision) = core.next(budgets) else {
                drop(permit);
                match core.queue.next_due() {
                    Some(due) => tokio::select! {
                        () = self.inbox.arrived.notified() => {}
                        () = tokio::time::sleep_until(due) => {}
                    },
                    None => self.inbox.arrived.notified().await,
                }
                continue;
            };
            let scheduler = self.clone();
            tokio::spawn(async move {
                match decision {
                    Decision::Bind { pod, node } => scheduler.bind(&pod, node).await,
                    Decision::Unfit { pod, message, preemption } => scheduler.refuse(&pod, message, preemption).await,
                }
                drop(permit);
            });
        }
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn bind(&self, pod: &Arc<PodInfo>, node: String) {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.name.clone()),
                namespace: Some(pod.namespace.clone()),
                uid: Some(pod.uid.clone()),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.clone()),
                ..ObjectReference::default()
            },
        };
        let outcome: kube::Result<Value> =
            self.pods(&pod.namespace).create_subresource("binding", &pod.name, &PostParams::default(), &binding).await;
        match outcome {
            Ok(_) => {
                let uid = pod.uid.clone();
                self.inbox.tell(move |core| core.bound(&uid));
                let text = format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name);
                self.recorder.event(&*pod.pod, EventType::Normal, "Scheduled", text);
            }
            Err(error) => {
                let uid = pod.uid.clone();
                self.inbox.tell(move |core| core.not_bound(&uid));
                if !is_not_found(&error) {
                    tracing::warn!(pod = %pod.name, namespace = %pod.namespace, %error, "could not bind a pod");
                    let text = format!("binding rejected: {error}");
                    self.recorder.event(&*pod.pod, EventType::Warning, "FailedScheduling", text.clone());
                    self.set_condition(pod, "SchedulerError", &text, None).await;
                }
            }
        }
    }

    async fn refuse(&self, pod: &Arc<PodInfo>, message: String, preemption: Option<(String, Vec<Arc<PodInfo>>)>) {
        self.recorder.event(&*pod.pod, EventType::Warning, "FailedScheduling", message.clone());
        let node = preemption.as_ref().map(|(node, _)| node.as_str());
        self.set_condition(pod, "Unschedulable", &message, node).await;
        if let Some((node, victims)) = preemption {
            let evictions = victims.iter().map(|victim| self.evict(pod, victim, &node));
            futures::future::join_all(evictions).await;
        }
    }

    /// Says in the pod's status that it is not scheduled, unless it says so already.
    async fn set_condition(&self, pod: &PodInfo, reason: &str, message: &str, nominated: Option<&str>) {
        let conditions = pod.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let old = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "PodScheduled"));
        let same = old.is_some_and(|old| {
            old.status == "False" && old.reason.as_deref() == Some(reason) && old.message.as_deref() == Some(message)
        });
        if same && nominated.is_none_or(|node| pod.nominated() == Some(node)) {
            return;
        }
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let since = old
            .filter(|old| old.status == "False")
            .and_then(|old| old.last_transition_time.as_ref())
            .map_or(now, |time| time.0);
        let mut status = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": reason,
            "message": message, "lastTransitionTime": since.to_string(), "lastProbeTime": null,
            "observedGeneration": pod.pod.metadata.generation}]});
        if let Some(node) = nominated {
            status["nominatedNodeName"] = node.into();
        }
        let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
        self.patch_status(pod, patch).await;
    }

    async fn patch_status(&self, pod: &PodInfo, patch: Value) {
        let patched =
            self.pods(&pod.namespace).patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if let Err(error) = patched
            && !is_not_found(&error)
            && !is_conflict(&error)
        {
            tracing::warn!(pod = %pod.name, namespace = %pod.namespace, %error, "could not write a pod's status");
        }
    }

    async fn evict(&self, pod: &PodInfo, victim: &PodInfo, node: &str) {
        if !victim.is_terminating() {
            let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
            let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "message": format!("{}: preempting to accommodate a higher priority pod", self.profile),
                "lastTransitionTime": now.to_string()});
            let patch = json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}});
            self.patch_status(victim, patch).await;
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(victim.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.pods(&victim.namespace).delete(&victim.name, &params).await {
            Ok(_) => {
                let text = format!("Preempted by pod {} on node {node}", pod.uid);
                self.recorder.event(&*victim.pod, EventType::Normal, "Preempted", text);
            }
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                tracing::warn!(pod = %victim.name, namespace = %victim.namespace, %error, "could not preempt a pod");
            }
        }
    }
}
