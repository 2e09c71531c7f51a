//! What the three APIs of metrics tell: of pods' resources, of objects, and of what is outside of the cluster.
//! <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#support-for-metrics-apis>

use std::time::Duration;

use coracle_api::quantity::Quantity;
use coracle_values::duration;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::replicas::{PodMetric, PodMetrics};
use crate::common::{message, selector_of};

const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";
/// Of a value that does not say how long it was measured for.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
struct PodUsage {
    metadata: Named,
    timestamp: Option<String>,
    window: Option<String>,
    #[serde(default)]
    containers: Vec<ContainerUsage>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct ContainerUsage {
    name: String,
    #[serde(default)]
    usage: std::collections::BTreeMap<String, String>,
}

/// A value of the custom or the external metrics API.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    described_object: Option<ObjectReference>,
    timestamp: Option<String>,
    window_seconds: Option<i64>,
    value: String,
}

/// Asks the APIs, each time anew.
pub(super) struct Metrics {
    client: Client,
}

impl Metrics {
    pub fn new(client: Client) -> Metrics {
        Metrics { client }
    }

    /// What the pods of a selector use of a resource, in thousandths: all their containers, or one.
    ///
    /// # Errors
    /// Nobody answers, or nothing is known.
    pub async fn resource(
        &self,
        namespace: &str,
        selector: &str,
        resource: &str,
        container: Option<&str>,
    ) -> Result<PodMetrics, String> {
        let path =
            format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={}", encoded(selector));
        let failed = |error| {
            format!(
                "unable to get metrics for resource {resource}: unable to fetch metrics from resource metrics API: {error}"
            )
        };
        let list: List<PodUsage> = self.get(&path).await.map_err(failed)?;
        if list.items.is_empty() {
            return Err(format!(
                "unable to get metrics for resource {resource}: no metrics returned from resource metrics API"
            ));
        }
        let mut metrics = PodMetrics::new();
        for pod in list.items {
            let mut wanted =
                pod.containers.iter().filter(|one| container.is_none_or(|name| one.name == name)).peekable();
            if let (None, Some(container)) = (wanted.peek(), container) {
                return Err(format!(
                    "container {container} not present in metrics for pod {namespace}/{}",
                    pod.metadata.name
                ));
            }
            // A pod of which one container is not known is not known.
            let values = wanted.map(|one| milli(one.usage.get(resource)?));
            let Some(value) = values.reduce(|a, b| Some(a?.saturating_add(b?))).flatten() else { continue };
            let window = pod.window.as_deref().and_then(duration::parse).unwrap_or(WINDOW);
            metrics.insert(pod.metadata.name, PodMetric { at: time(pod.timestamp.as_deref()), window, value });
        }
        Ok(metrics)
    }

    /// A metric of each of the pods of a selector.
    ///
    /// # Errors
    /// As above.
    pub async fn of_pods(
        &self,
        namespace: &str,
        selector: &str,
        metric: &str,
        with: Option<&LabelSelector>,
    ) -> Result<PodMetrics, String> {
        let query = format!("labelSelector={}&{}", encoded(selector), query("metricLabelSelector", with)?);
        let values = self.custom(&format!("namespaces/{namespace}/pods/*/{}?{query}", encoded(metric)), metric).await?;
        let one = |value: Value| {
            let window =
                value.window_seconds.and_then(|seconds| seconds.try_into().ok()).map_or(WINDOW, Duration::from_secs);
            let name = value.described_object.as_ref()?.name.clone()?;
            Some((name, PodMetric { at: time(value.timestamp.as_deref()), window, value: milli(&value.value)? }))
        };
        Ok(values.into_iter().filter_map(one).collect())
    }

    /// A metric of an object, in thousandths. `resource` is that of its kind, with the group.
    ///
    /// # Errors
    /// As above.
    pub async fn of_object(
        &self,
        namespace: &str,
        resource: &str,
        name: &str,
        metric: &str,
        with: Option<&LabelSelector>,
    ) -> Result<i64, String> {
        // A namespace is described at its own path.
        let place = match resource {
            "namespaces" => format!("namespaces/{}/metrics", encoded(name)),
            _ => format!("namespaces/{namespace}/{resource}/{}", encoded(name)),
        };
        let query = query("metricLabelSelector", with)?;
        let values = self.custom(&format!("{place}/{}?{query}", encoded(metric)), metric).await?;
        let value = values.first().and_then(|value| milli(&value.value));
        value.ok_or_else(|| format!("unable to get metric {metric}: no metrics returned from custom metrics API"))
    }

    async fn custom(&self, path: &str, metric: &str) -> Result<Vec<Value>, String> {
        let failed =
            |error| format!("unable to get metric {metric}: unable to fetch metrics from custom metrics API: {error}");
        let version = self.version(CUSTOM, "custom").await.map_err(failed)?;
        let list: List<Value> = self.get(&format!("/apis/{version}/{path}")).await.map_err(failed)?;
        match list.items.is_empty() {
            true => Err(format!("unable to get metric {metric}: no metrics returned from custom metrics API")),
            false => Ok(list.items),
        }
    }

    /// The sum of what an external metric is, in thousandths.
    ///
    /// # Errors
    /// As above.
    pub async fn external(&self, namespace: &str, metric: &str, with: Option<&LabelSelector>) -> Result<i64, String> {
        let name = || format!("{namespace}/{metric}/{}", shown(with));
        let failed = |error: String| {
            format!(
                "unable to get external metric {}: unable to fetch metrics from external metrics API: {error}",
                name()
            )
        };
        let version = self.version(EXTERNAL, "external").await.map_err(failed)?;
        let query = query("labelSelector", with)?;
        let path = format!("/apis/{version}/namespaces/{namespace}/{}?{query}", encoded(metric));
        let list: List<Value> = self.get(&path).await.map_err(failed)?;
        let values = list.items.iter().filter_map(|value| milli(&value.value));
        values.reduce(i64::saturating_add).ok_or_else(|| {
            format!("unable to get external metric {}: no metrics returned from external metrics API", name())
        })
    }

    /// The version that is preferred of the versions served.
    async fn version(&self, group: &str, what: &str) -> Result<String, String> {
        let groups = self.client.list_api_groups().await.map_err(|error| message(&error))?;
        let found = groups.groups.into_iter().find(|served| served.name == group);
        let version = found.and_then(|served| {
            let first = served.versions.into_iter().next();
            served.preferred_version.or(first)
        });
        version
            .map(|version| version.group_version)
            .ok_or_else(|| format!("no {what} metrics API ({group}) registered"))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        self.client.request::<T>(request).await.map_err(|error| message(&error))
    }
}

/// A selector of metrics as the query has it; an empty one is left out.
fn query(name: &str, selector: Option<&LabelSelector>) -> Result<String, String> {
    match selector {
        None => Ok(String::new()),
        Some(selector) => {
            let parsed = selector_of(selector).ok_or("the selector of the metric is not valid")?;
            Ok(format!("{name}={}", encoded(&parsed.to_string())))
        }
    }
}

/// A selector of metrics as messages show it.
pub(super) fn shown(selector: Option<&LabelSelector>) -> String {
    selector.and_then(selector_of).map(|selector| selector.to_string()).unwrap_or_default()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A quantity in thousandths.
pub(super) fn milli(quantity: &str) -> Option<i64> {
    quantity.parse::<Quantity>().ok().map(Quantity::milli_value)
}

fn time(text: Option<&str>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or_else(Timestamp::now)
}
