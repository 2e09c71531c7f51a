//! HorizontalPodAutoscalers: replicas of what they name follow metrics.
//! <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>

mod behavior;
mod metrics;
mod recommendation;
mod replicas;
mod status;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::selector::LabelSelector;
use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found};
use coracle_metrics::Counter;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;

use self::behavior::{Bounds, Past};
use self::metrics::Metrics;
use self::recommendation::{Failure, Recommender, Scaled, selector, tolerance};
use self::status::set;
use crate::common::*;
use crate::metrics::METRICS;
use crate::run::{Cache, Controller};
use crate::scale::{self, Scales, Target};

/// How often metrics are asked for, as upstream's `--horizontal-pod-autoscaler-sync-period`.
const PERIOD: Duration = Duration::from_secs(15);
/// How often a number of replicas is written to a target that others change.
const WRITES: u32 = 3;

/// What is remembered of one autoscaler.
#[derive(Default)]
struct Known {
    past: Past,
    /// What its pods have in common, as the scale of its target said last.
    selector: Option<LabelSelector>,
}

struct HorizontalController {
    client: Client,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    scales: Scales,
    metrics: Metrics,
    known: Mutex<HashMap<ObjectKey, Known>>,
    recorder: EventRecorder,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(HorizontalController {
        client: context.client.clone(),
        autoscalers: context.informers.all(),
        pods: context.pods(),
        scales: Scales::of_any_version(context.client.clone()),
        metrics: Metrics::new(context.client.clone()),
        known: Mutex::default(),
        recorder: context.recorder("horizontal-pod-autoscaler"),
        queue: WorkQueue::named("horizontalpodautoscaler"),
    });
    let queue = controller.queue.clone();
    controller.autoscalers.subscribe(move |event| match event {
        // A status is written by this controller: it does not bring the next look forward.
        Event::Updated { old, new } if old.spec == new.spec => {}
        Event::Added(object) | Event::Updated { new: object, .. } | Event::Deleted(object) => {
            queue.add(ObjectKey::of(&**object));
        }
    });
    crate::run::run(controller).await
}

impl Controller for HorizontalController {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.autoscalers, &self.pods]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let object = self.autoscalers.store().get_key(&key).filter(|object| !is_deleting(&**object));
        let Some(object) = object else {
            self.known.lock().remove(&key);
            return Ok(None);
        };
        let Some(spec) = &object.spec else { return Ok(None) };
        let before = object.status.clone().unwrap_or_default();
        let mut status = before.clone();
        let began = Instant::now();
        let done = self.follow(&key, &object, spec, &mut status).await;
        count(&status, done.as_ref().err(), began);
        if let Err(failure) = done {
            self.recorder.event(&*object, EventType::Warning, failure.reason, failure.message);
        }
        if status != before {
            self.write(&key, &object, status).await?;
        }
        Ok(Some(PERIOD))
    }
}

impl HorizontalController {
    /// Brings the target to what the metrics ask for, and says so in the status.
    ///
    /// # Errors
    /// What an event is to tell.
    async fn follow(
        &self,
        key: &ObjectKey,
        object: &HorizontalPodAutoscaler,
        spec: &HorizontalPodAutoscalerSpec,
        status: &mut HorizontalPodAutoscalerStatus,
    ) -> Result<(), Failure> {
        let reference = &spec.scale_target_ref;
        let target = Target {
            namespace: &key.namespace,
            api_version: reference.api_version.as_deref().unwrap_or("v1"),
            kind: &reference.kind,
            name: &reference.name,
        };
        let mut scale = self.scales.get(target).await.map_err(|error| {
            let text = format!("the HPA controller was unable to get the target's current scale: {error}");
            set(status, "AbleToScale", false, "FailedGetScale", text);
            Failure { reason: "FailedGetScale", message: error.to_string() }
        })?;
        let text = "the HPA controller was able to get the target's current scale";
        set(status, "AbleToScale", true, "SucceededGetScale", text);
        let current = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        status.current_replicas = Some(current);
        // Of metrics that are asked.
        status.current_metrics = None;
        let bounds = Bounds { min: spec.min_replicas.unwrap_or(1), max: spec.max_replicas };
        self.known.lock().entry(key.clone()).or_default().past.begin(current, Instant::now());
        let (desired, reason) = if current == 0 && bounds.min != 0 {
            let text = "scaling is disabled since the replica count of the target is zero";
            set(status, "ScalingActive", false, "ScalingDisabled", text);
            status.desired_replicas = 0;
            return Ok(());
        } else if current > bounds.max {
            (bounds.max, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < bounds.min {
            (bounds.min, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            self.recommended(key, object, spec, &scale, bounds, status).await?
        };
        if desired != current {
            if let Err(error) = self.scale(target, &mut scale, desired).await {
                let text = format!("the HPA controller was unable to update the target scale: {error}");
                set(status, "AbleToScale", false, "FailedUpdateScale", text);
                let message = format!("New size: {desired}; reason: {reason}; error: {error}");
                return Err(Failure { reason: "FailedRescale", message });
            }
            let text = format!("the HPA controller was able to update the target scale to {desired}");
            set(status, "AbleToScale", true, "SucceededRescale", text);
            let text = format!("New size: {desired}; reason: {reason}");
            self.recorder.event(object, EventType::Normal, "SuccessfulRescale", text);
            if let Some(known) = self.known.lock().get_mut(key) {
                known.past.changed(current, desired, Instant::now());
            }
            status.last_scale_time = Some(now());
        }
        status.desired_replicas = desired;
        Ok(())
    }

    /// Writes how many replicas there should be, once more if the target changed otherwise meanwhile.
    async fn scale(&self, target: Target<'_>, scale: &mut Scale, desired: i32) -> Result<(), scale::Error> {
        let before = scale.spec.as_ref().and_then(|spec| spec.replicas);
        let mut tries = 0u32;
        loop {
            scale.spec.get_or_insert_default().replicas = Some(desired);
            let Err(error) = self.scales.put(target, scale).await else { return Ok(()) };
            tries = tries.saturating_add(1);
            let newer = self.scales.get(target).await?;
            let is_changed = newer.metadata.resource_version != scale.metadata.resource_version;
            if tries == WRITES || !is_changed || newer.spec.as_ref().and_then(|spec| spec.replicas) != before {
                return Err(error);
            }
            *scale = newer;
        }
    }

    /// What the metrics ask for within the bounds, and why.
    async fn recommended(
        &self,
        key: &ObjectKey,
        object: &HorizontalPodAutoscaler,
        spec: &HorizontalPodAutoscalerSpec,
        scale: &Scale,
        bounds: Bounds,
        status: &mut HorizontalPodAutoscalerStatus,
    ) -> Result<(i32, String), Failure> {
        let current = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let text = scale.status.as_ref().and_then(|status| status.selector.as_deref()).unwrap_or_default();
        let pods = self.pods_of(key, text).inspect_err(|failure| {
            set(status, "ScalingActive", false, failure.reason, failure.message.clone());
        })?;
        let scaled = Scaled { namespace: &key.namespace, selector: text, pods, wanted: current, there: there(scale) };
        let tolerance = tolerance(spec.behavior.as_ref());
        let recommender = Recommender { metrics: &self.metrics, scales: &self.scales, scaled, tolerance };
        let specs = spec.metrics.as_deref().unwrap_or_default();
        let found = recommender.recommend(specs).await;
        status.current_metrics = Some(found.statuses);
        for failure in &found.failures {
            self.recorder.event(object, EventType::Warning, failure.reason, failure.message.clone());
        }
        let Some((proposed, metric)) = found.proposal else {
            let reason = "FailedComputeMetricsReplicas";
            let Some(first) = found.failures.first() else {
                return Err(Failure { reason, message: "there are no metrics".into() });
            };
            let text = format!("the HPA was unable to compute the replica count: {}", first.message);
            set(status, "ScalingActive", false, first.reason, text);
            let (failed, all) = (found.failures.len(), specs.len());
            let message = format!("invalid metrics ({failed} invalid out of {all}), first error is: {}", first.message);
            return Err(Failure { reason, message });
        };
        let text = format!("the HPA was able to successfully calculate a replica count from {metric}");
        set(status, "ScalingActive", true, "ValidMetricFound", text);
        let mut reason = String::new();
        if proposed > current {
            reason = format!("{metric} above target");
        } else if proposed < current {
            reason = "All metrics below target".into();
        }
        let outcome = {
            let mut known = self.known.lock();
            let past = &mut known.entry(key.clone()).or_default().past;
            past.follow(spec.behavior.as_ref(), bounds, current, proposed, Instant::now())
        };
        let (steadied, (limited, said)) = (outcome.steadied, outcome.limited);
        set(status, "AbleToScale", true, steadied.0, steadied.1);
        set(status, "ScalingLimited", limited, said.0, said.1);
        Ok((outcome.replicas, reason))
    }

    /// The pods that a target's selector fits, which no other autoscaler may want as well.
    fn pods_of(&self, key: &ObjectKey, text: &str) -> Result<Vec<Arc<Pod>>, Failure> {
        let invalid = |message: String| Failure { reason: "InvalidSelector", message };
        if text.is_empty() {
            return Err(invalid("the HPA target's scale is missing a selector".into()));
        }
        let wanted = selector(text).map_err(|error| {
            invalid(format!("couldn't convert selector into a corresponding internal selector object: {error}"))
        })?;
        let fits = |selector: &LabelSelector, pod: &Pod| {
            selector.matches_with(|key| pod.labels().get(key).map(String::as_str))
        };
        let all = self.pods.store().list_namespace(&key.namespace);
        let pods: Vec<Arc<Pod>> = all.into_iter().filter(|pod| fits(&wanted, pod)).collect();
        let mut known = self.known.lock();
        let shared = |(other, known): (&ObjectKey, &Known)| {
            let selector = known.selector.as_ref()?;
            let is_shared =
                other != key && other.namespace == key.namespace && pods.iter().any(|pod| fits(selector, pod));
            is_shared.then(|| format!("{}/{}", other.namespace, other.name))
        };
        let mut others: Vec<String> = known.iter().filter_map(shared).collect();
        known.entry(key.clone()).or_default().selector = Some(wanted);
        if others.is_empty() {
            return Ok(pods);
        }
        others.push(format!("{}/{}", key.namespace, key.name));
        others.sort();
        let message = format!("pods by selector {text} are controlled by multiple HPAs: [{}]", others.join(" "));
        Err(Failure { reason: "AmbiguousSelector", message })
    }

    async fn write(
        &self,
        key: &ObjectKey,
        object: &HorizontalPodAutoscaler,
        status: HorizontalPodAutoscalerStatus,
    ) -> kube::Result<()> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &key.namespace);
        let mut new = object.clone();
        new.status = Some(status);
        match api.replace_status(&key.name, &PostParams::default(), &new).await {
            // The next look writes it, if it still holds.
            Err(error) if is_conflict(&error) || is_not_found(&error) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// Tells the metrics of a look at an autoscaler.
fn count(status: &HorizontalPodAutoscalerStatus, failure: Option<&Failure>, began: Instant) {
    let current = status.current_replicas.unwrap_or(0);
    let action = match failure {
        None if status.desired_replicas > current => "scale_up",
        None if status.desired_replicas < current => "scale_down",
        _ => "none",
    };
    let error = match failure.map(|failure| failure.reason) {
        None => "none",
        Some("InvalidSelector" | "AmbiguousSelector") => "spec",
        Some(_) => "internal",
    };
    METRICS.autoscaler_looks.with([action, error], Counter::inc);
    METRICS.autoscaler_durations.with([action, error], |duration| duration.observe(began.elapsed().as_secs_f64()));
}

/// How many replicas a target has.
fn there(scale: &Scale) -> i32 {
    scale.status.as_ref().map_or(0, |status| status.replicas)
}
