//! What the metrics of an autoscaler ask for: each says how many replicas it wants, and the largest number counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use coracle_api::selector::LabelSelector;
use coracle_metrics::Counter;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec, MetricStatus, MetricTarget};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt;

use super::metrics::{Metrics, milli, shown};
use super::replicas::{Average, Groups, PodMetrics, Tolerance, Utilization, counted, of_one, of_pods, of_share};
use super::status::Current;
use crate::metrics::METRICS;
use crate::scale::{Scales, Target};

/// How far usage may be from its target where the object does not say.
const TOLERANCE: f64 = 0.1;

/// What is scaled, as its scale says.
pub(super) struct Scaled<'a> {
    pub namespace: &'a str,
    /// Its selector, which fits these pods.
    pub selector: &'a str,
    pub pods: Vec<Arc<Pod>>,
    /// Replicas that are wanted, and that there are.
    pub wanted: i32,
    pub there: i32,
}

/// What one metric asks for.
pub(super) struct Proposal {
    pub replicas: i32,
    pub metric: String,
    pub current: Current,
}

/// Why a metric says nothing: a reason and a message.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub reason: &'static str,
    pub message: String,
}

/// What comes of all metrics.
pub(super) struct Recommendation {
    /// The largest number of replicas and the metric that asks for it; nothing where too little is known.
    pub proposal: Option<(i32, String)>,
    pub statuses: Vec<MetricStatus>,
    /// Why metrics say nothing, as far as they do.
    pub failures: Vec<Failure>,
}

/// Asks metrics.
pub(super) struct Recommender<'a> {
    pub metrics: &'a Metrics,
    pub scales: &'a Scales,
    pub scaled: Scaled<'a>,
    pub tolerance: Tolerance,
}

/// How far usage may be from its target, by the object's rules.
pub(super) fn tolerance(behavior: Option<&HorizontalPodAutoscalerBehavior>) -> Tolerance {
    let of = |quantity: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        quantity.and_then(|quantity| milli(&quantity.0)).map_or(TOLERANCE, |milli| milli as f64 / 1000.0)
    };
    Tolerance {
        up: of(behavior.and_then(|behavior| behavior.scale_up.as_ref()?.tolerance.as_ref())),
        down: of(behavior.and_then(|behavior| behavior.scale_down.as_ref()?.tolerance.as_ref())),
    }
}

impl Recommender<'_> {
    /// What all metrics ask for. Where one is not known, the others may ask for more replicas, and not for fewer.
    pub async fn recommend(&self, specs: &[MetricSpec]) -> Recommendation {
        let mut best: Option<(i32, String)> = None;
        let mut statuses = Vec::new();
        let mut failures = Vec::new();
        for spec in specs {
            let began = Instant::now();
            let asked = self.one(spec).await;
            self.count(spec, &asked, began);
            match asked {
                Ok(proposal) => {
                    statuses.push(proposal.current.of(spec));
                    if best.as_ref().is_none_or(|(replicas, _)| proposal.replicas > *replicas) {
                        best = Some((proposal.replicas, proposal.metric));
                    }
                }
                Err(failure) => failures.push(failure),
            }
        }
        if !failures.is_empty() {
            best = best.filter(|(replicas, _)| *replicas >= self.scaled.wanted);
        }
        Recommendation { proposal: best, statuses, failures }
    }

    /// Tells the metrics what one said.
    fn count(&self, spec: &MetricSpec, asked: &Result<Proposal, Failure>, began: Instant) {
        let (action, error) = match asked {
            Ok(proposal) if proposal.replicas > self.scaled.wanted => ("scale_up", "none"),
            Ok(proposal) if proposal.replicas < self.scaled.wanted => ("scale_down", "none"),
            Ok(_) => ("none", "none"),
            Err(_) => ("none", "internal"),
        };
        let known = ["Resource", "ContainerResource", "Pods", "Object", "External"];
        let kind = known.into_iter().find(|kind| *kind == spec.type_).unwrap_or_default();
        let labels = [action, error, kind];
        METRICS.metric_computations.with(labels, Counter::inc);
        METRICS.metric_durations.with(labels, |duration| duration.observe_since(began));
    }

    async fn one(&self, spec: &MetricSpec) -> Result<Proposal, Failure> {
        let failed = |reason: &'static str| move |message: String| Failure { reason, message };
        if let Some(source) = &spec.resource {
            let found = self.resource(&source.name, None, &source.target).await;
            return found.map_err(failed("FailedGetResourceMetric"));
        }
        if let Some(source) = &spec.container_resource {
            let found = self.resource(&source.name, Some(&source.container), &source.target).await;
            return found.map_err(failed("FailedGetContainerResourceMetric"));
        }
        if let Some(source) = &spec.pods {
            let (namespace, selector) = (self.scaled.namespace, self.scaled.selector);
            let (name, with) = (&source.metric.name, source.metric.selector.as_ref());
            let found = async {
                let metrics = self.metrics.of_pods(namespace, selector, name, with).await?;
                let (replicas, average) = self.by_average(&source.target, &metrics, false)?;
                let current = Current { average: Some(average), ..Current::default() };
                Ok(Proposal { replicas, metric: format!("pods metric {name}"), current })
            };
            let found = found.await.map_err(|error: String| format!("failed to get pods metric value: {error}"));
            return found.map_err(failed("FailedGetPodsMetric"));
        }
        if let Some(source) = &spec.object {
            let found = self.object(source).await;
            let found = found.map_err(|error| format!("failed to get object metric value: {error}"));
            return found.map_err(failed("FailedGetObjectMetric"));
        }
        if let Some(source) = &spec.external {
            let (name, with) = (&source.metric.name, source.metric.selector.as_ref());
            let found = async {
                let usage = self.metrics.external(self.scaled.namespace, name, with).await?;
                let (replicas, current) = self.by_value(&source.target, usage)?;
                Ok(Proposal { replicas, metric: format!("external metric {name}({})", shown(with)), current })
            };
            let found =
                found.await.map_err(|error: String| format!("failed to get {name} external metric value: {error}"));
            return found.map_err(failed("FailedGetExternalMetric"));
        }
        let message = format!("unknown metric source type \"{}\"", spec.type_);
        Err(Failure { reason: "InvalidMetricSourceType", message })
    }

    async fn resource(
        &self,
        resource: &str,
        container: Option<&str>,
        target: &MetricTarget,
    ) -> Result<Proposal, String> {
        let scaled = &self.scaled;
        let what = if container.is_some() { "container resource" } else { "resource" };
        let metrics = self.metrics.resource(scaled.namespace, scaled.selector, resource, container).await;
        let is_average = target.average_value.is_some();
        let kind = if is_average { "usage" } else { "utilization" };
        let failed = |error: String| match is_average {
            true => format!("failed to get {resource} {kind}: {error}"),
            false => format!("failed to get {resource} utilization: {error}"),
        };
        let metrics = metrics.map_err(failed)?;
        let is_cpu = resource == "cpu";
        if is_average {
            let (replicas, average) = self.by_average(target, &metrics, is_cpu).map_err(failed)?;
            let current = Current { average: Some(average), ..Current::default() };
            return Ok(Proposal { replicas, metric: format!("{resource} {what}"), current });
        }
        let Some(percent) = target.average_utilization else {
            return Err("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".into());
        };
        let (groups, counted) = self.groups(&metrics, is_cpu).map_err(failed)?;
        let requests = requests(&scaled.pods, resource, container).map_err(failed)?;
        let goal = Utilization { target: percent, requests: &requests };
        let used = goal.used(&counted).ok_or("no metrics returned matched known pods".to_owned()).map_err(failed)?;
        let replicas = of_pods(scaled.wanted, &goal, &counted, &groups, self.tolerance).map_err(failed)?;
        let current = Current { utilization: Some(used.0), average: Some(used.1), ..Current::default() };
        let metric = format!("{resource} {what} utilization (percentage of request)");
        Ok(Proposal { replicas, metric, current })
    }

    /// By the mean of the pods' values.
    fn by_average(&self, target: &MetricTarget, metrics: &PodMetrics, is_cpu: bool) -> Result<(i32, i64), String> {
        let average = amount(target.average_value.as_ref())?;
        let (groups, counted) = self.groups(metrics, is_cpu)?;
        let used = Average::used(&counted).ok_or("no metrics returned matched known pods")?;
        let replicas = of_pods(self.scaled.wanted, &Average(average), &counted, &groups, self.tolerance)?;
        Ok((replicas, used))
    }

    fn groups(&self, metrics: &PodMetrics, is_cpu: bool) -> Result<(Groups, PodMetrics), String> {
        if self.scaled.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".into());
        }
        let groups = Groups::of(&self.scaled.pods, metrics, is_cpu, Timestamp::now());
        let counted = counted(metrics, &groups)?;
        Ok((groups, counted))
    }

    async fn object(&self, source: &k8s_openapi::api::autoscaling::v2::ObjectMetricSource) -> Result<Proposal, String> {
        let (described, name) = (&source.described_object, &source.metric.name);
        let api_version = described.api_version.as_deref().filter(|version| !version.is_empty()).unwrap_or("v1");
        let namespace = self.scaled.namespace;
        let target = Target { namespace, api_version, kind: &described.kind, name: &described.name };
        let resource = self.scales.resource(target).await?;
        let with = source.metric.selector.as_ref();
        let usage = self.metrics.of_object(namespace, &resource, &described.name, name, with).await?;
        let (replicas, current) = self.by_value(&source.target, usage)?;
        Ok(Proposal { replicas, metric: format!("{} metric {name}", described.kind), current })
    }

    /// By one value: of all together, or shared by them.
    fn by_value(&self, target: &MetricTarget, usage: i64) -> Result<(i32, Current), String> {
        let scaled = &self.scaled;
        if target.average_value.is_some() {
            let wanted = amount(target.average_value.as_ref())?;
            let (replicas, share) = of_share(scaled.there, usage, wanted, self.tolerance);
            return Ok((replicas, Current { average: Some(share), ..Current::default() }));
        }
        let wanted = amount(target.value.as_ref())?;
        let ready =
            scaled.pods.iter().filter(|pod| crate::common::phase(pod) == "Running" && crate::common::is_ready(pod));
        let replicas = of_one(scaled.wanted, usage, wanted, ready.count(), self.tolerance);
        Ok((replicas, Current { value: Some(usage), ..Current::default() }))
    }
}

/// A target's amount in thousandths.
fn amount(quantity: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>) -> Result<i64, String> {
    let amount = quantity.and_then(|quantity| milli(&quantity.0)).filter(|amount| *amount > 0);
    amount.ok_or_else(|| "invalid metric source: its target has no amount".to_owned())
}

/// What each pod requests of a resource, in thousandths: all its containers, or one.
fn requests(pods: &[Arc<Pod>], resource: &str, container: Option<&str>) -> Result<BTreeMap<String, i64>, String> {
    pods.iter().map(|pod| Ok((pod.name_any(), request(pod, resource, container)?))).collect()
}

fn request(pod: &Pod, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let Some(spec) = &pod.spec else { return Ok(0) };
    let of_pod = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get(resource));
    if let (Some(quantity), None) = (of_pod, container) {
        return Ok(milli(&quantity.0).unwrap_or(0));
    }
    let mut sum = 0i64;
    for one in running(spec).filter(|one| container.is_none_or(|name| one.name == name)) {
        let requested = one.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get(resource));
        let requested = requested.and_then(|quantity| milli(&quantity.0)).ok_or_else(|| {
            format!("missing request for {resource} in container {} of Pod {}", one.name, pod.name_any())
        })?;
        sum = sum.saturating_add(requested);
    }
    Ok(sum)
}

/// The containers that run as long as the pod does.
fn running(spec: &PodSpec) -> impl Iterator<Item = &k8s_openapi::api::core::v1::Container> {
    let sidecars = spec.init_containers.iter().flatten();
    spec.containers.iter().chain(sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always")))
}

/// A selector as a scale shows it.
///
/// # Errors
/// It is none.
pub(super) fn selector(text: &str) -> Result<LabelSelector, String> {
    LabelSelector::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_pod_requests_is_what_runs_with_it() {
        let pod = |spec: Value| serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
        let container = |name: &str, cpu: Value| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        let two = json!({"containers": [container("a", json!("1")), container("b", json!("500m"))], "initContainers": [
            {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}}, {"name": "init"}]});
        assert_eq!(request(&pod(two.clone()), "cpu", None), Ok(1600));
        assert_eq!(request(&pod(two.clone()), "cpu", Some("b")), Ok(500));
        let missing = request(&pod(two.clone()), "memory", None);
        assert_eq!(missing, Err("missing request for memory in container a of Pod p".into()));
        let mut whole = two;
        whole["resources"] = json!({"requests": {"cpu": "2"}});
        assert_eq!(request(&pod(whole), "cpu", None), Ok(2000));
    }
}
