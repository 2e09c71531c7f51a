//! What the scheduler writes: bindings, conditions, nominated nodes, events, and the end of victims.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_client::{EventRecorder, EventType, is_conflict, is_not_found};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, PartialObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::core::{Nomination, Preemption};
use crate::extender::Extenders;
use crate::framework::PreBind;
use crate::metrics::{Attempt, METRICS};
use crate::pod::PodInfo;
use crate::run::Inbox;

/// Writes what was decided. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    /// By the name of the scheduler that a pod asks for.
    recorders: Arc<HashMap<String, EventRecorder>>,
    extenders: Arc<Extenders>,
    inbox: Arc<Inbox>,
}

impl Writer {
    /// A writer for the profiles of these names, which tells the inbox how bindings ended. Needs a tokio runtime.
    pub fn new<'a>(
        client: Client,
        profiles: impl Iterator<Item = &'a str>,
        extenders: Arc<Extenders>,
        inbox: Arc<Inbox>,
    ) -> Writer {
        let recorders = profiles.map(|name| (name.to_owned(), EventRecorder::new(client.clone(), name, "")));
        Writer { recorders: Arc::new(recorders.collect()), client, extenders, inbox }
    }

    /// Nobody reads what the server answers, so that no more is read of it than there must be.
    fn pods(&self, namespace: &str) -> Api<PartialObjectMeta<Pod>> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Tells of something that a scheduler did to a pod.
    fn event(&self, scheduler: &str, pod: &PodInfo, kind: EventType, reason: &str, text: String) {
        if let Some(recorder) = self.recorders.get(scheduler) {
            recorder.event(&*pod.pod, kind, reason, text);
        }
    }

    /// Does what has to be done before, and binds. The node is promised meanwhile, so that whoever adds nodes sees that the pod
    /// has one.
    pub async fn pre_bind(&self, pod: Arc<PodInfo>, node: String, before: Vec<PreBind>, attempt: Attempt) {
        if pod.nominated() != Some(node.as_str()) {
            self.nominate(&pod, Some(&node)).await;
        }
        let began = Instant::now();
        for step in before {
            if let Err(error) = step.await {
                METRICS.ran("PreBind", "Error", pod.scheduler_name(), began);
                METRICS.attempted(&attempt, "error", pod.scheduler_name());
                return self.not_bound(&pod, error).await;
            }
        }
        METRICS.ran("PreBind", "Success", pod.scheduler_name(), began);
        self.bind(&pod, node, attempt).await;
    }

    pub async fn bind(&self, pod: &Arc<PodInfo>, node: String, attempt: Attempt) {
        let began = Instant::now();
        let outcome = match self.extenders.bind(pod, &node).await {
            Some(outcome) => outcome.map_err(|error| Some(format!("{error:#}"))),
            None => self.post_binding(pod, &node).await,
        };
        let (status, result) = if outcome.is_ok() { ("Success", "scheduled") } else { ("Error", "error") };
        METRICS.ran("Bind", status, pod.scheduler_name(), began);
        METRICS.attempted(&attempt, result, pod.scheduler_name());
        let uid = pod.uid.clone();
        match outcome {
            Ok(()) => {
                self.inbox.tell(move |core| core.bound(&uid));
                let text = format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name);
                self.event(pod.scheduler_name(), pod, EventType::Normal, "Scheduled", text);
            }
            // Nobody waits for a pod that is gone.
            Err(None) => self.inbox.tell(move |core| core.not_bound(&uid)),
            Err(Some(error)) => self.not_bound(pod, format!("binding rejected: {error}")).await,
        }
    }

    /// Fails without a reason where there is no such pod.
    async fn post_binding(&self, pod: &PodInfo, node: &str) -> Result<(), Option<String>> {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.name.clone()),
                namespace: Some(pod.namespace.clone()),
                uid: Some(pod.uid.clone()),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let posted: kube::Result<Value> =
            self.pods(&pod.namespace).create_subresource("binding", &pod.name, &PostParams::default(), &binding).await;
        posted.map(drop).map_err(|error| (!is_not_found(&error)).then(|| error.to_string()))
    }

    async fn not_bound(&self, pod: &Arc<PodInfo>, why: String) {
        let uid = pod.uid.clone();
        self.inbox.tell(move |core| core.not_bound(&uid));
        self.fail(pod, why).await;
    }

    /// Says that something went wrong with a pod.
    pub async fn fail(&self, pod: &PodInfo, why: String) {
        tracing::warn!(pod = %pod.name, namespace = %pod.namespace, "could not schedule a pod: {why}");
        self.event(pod.scheduler_name(), pod, EventType::Warning, "FailedScheduling", why.clone());
        self.set_condition(pod, "SchedulerError", &why, &Nomination::Clear).await;
    }

    /// Says that no node takes a pod, and ends those who have to go for it.
    pub async fn refuse(&self, pod: &Arc<PodInfo>, message: String, nomination: Nomination) {
        self.event(pod.scheduler_name(), pod, EventType::Warning, "FailedScheduling", message.clone());
        self.set_condition(pod, "Unschedulable", &message, &nomination).await;
        if let Nomination::Preempt(Preemption { node, victims, displaced }) = nomination {
            let evictions = victims.iter().map(|victim| self.evict(pod, victim, &node));
            futures::future::join_all(evictions).await;
            futures::future::join_all(displaced.iter().map(|other| self.nominate(other, None))).await;
        }
    }

    /// Says in the pod's status that it is not scheduled, and which node is promised to it, unless it says so already.
    async fn set_condition(&self, pod: &PodInfo, reason: &str, message: &str, nomination: &Nomination) {
        let conditions = pod.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let old = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "PodScheduled"));
        let same = old.is_some_and(|old| {
            old.status == "False" && old.reason.as_deref() == Some(reason) && old.message.as_deref() == Some(message)
        });
        let nominated = match nomination {
            Nomination::Keep => None,
            Nomination::Clear => pod.nominated().map(|_| None),
            Nomination::Preempt(preemption) => {
                Some(Some(preemption.node.as_str())).filter(|node| *node != pod.nominated())
            }
        };
        if same && nominated.is_none() {
            return;
        }
        let now = now();
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
        self.patch_status(pod, status).await;
    }

    /// Says which node is promised to a pod, or that none is.
    async fn nominate(&self, pod: &PodInfo, node: Option<&str>) {
        self.patch_status(pod, json!({"nominatedNodeName": node})).await;
    }

    async fn patch_status(&self, pod: &PodInfo, status: Value) {
        let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
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
        // It goes anyway, and not for this pod.
        if victim.is_terminating() {
            return;
        }
        let message = format!("{}: preempting to accommodate a higher priority pod", pod.scheduler_name());
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": message, "lastTransitionTime": now().to_string(),
            "observedGeneration": victim.pod.metadata.generation});
        self.patch_status(victim, json!({"conditions": [condition]})).await;
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(victim.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.pods(&victim.namespace).delete(&victim.name, &params).await {
            Ok(_) => {
                let text = format!("Preempted by pod {} on node {node}", pod.uid);
                self.event(pod.scheduler_name(), victim, EventType::Normal, "Preempted", text);
            }
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                tracing::warn!(pod = %victim.name, namespace = %victim.namespace, %error, "could not preempt a pod");
            }
        }
    }
}

/// To the second, as conditions have it.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
