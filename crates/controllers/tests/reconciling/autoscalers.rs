//! Autoscalers, whose metrics come from an API of external metrics that a custom resource stands for.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Value, json};

use crate::cluster::Cluster;

async fn deployment(cluster: &Cluster, replicas: i32) {
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    cluster.create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": spec})).await;
}

async fn autoscaler(cluster: &Cluster, metrics: Value, min: i32, max: i32) {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let spec = json!({"scaleTargetRef": target, "minReplicas": min, "maxReplicas": max, "metrics": metrics});
    cluster.create::<HorizontalPodAutoscaler>(json!({"metadata": {"name": "h"}, "spec": spec})).await;
}

/// The API of external metrics, with one metric.
async fn external(cluster: &Cluster, value: &str) {
    let schema = json!({"type": "object", "properties": {"value": {"type": "string"}}});
    let annotations = json!({"api-approved.kubernetes.io": "unapproved, for a test"});
    let definition = json!({
        "metadata": {"name": "queued.external.metrics.k8s.io", "annotations": annotations},
        "spec": {"group": "external.metrics.k8s.io", "scope": "Namespaced",
            "names": {"plural": "queued", "kind": "Queued"}, "versions": [
                {"name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
    });
    cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await.expect("a definition");
    let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queued";
    let object = json!({"apiVersion": "external.metrics.k8s.io/v1beta1", "kind": "Queued", "metadata": {"name": "q"}, "value": value});
    for _ in 0..1000 {
        if cluster.post(path, &object).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the metric is not served");
}

fn said<'a>(autoscaler: &'a HorizontalPodAutoscaler, kind: &str) -> (&'a str, &'a str, &'a str) {
    let conditions = autoscaler.status.as_ref().and_then(|status| status.conditions.as_ref());
    let condition = conditions.into_iter().flatten().find(|condition| condition.type_ == kind);
    condition.map_or(("", "", ""), |c| {
        (&c.status, c.reason.as_deref().unwrap_or_default(), c.message.as_deref().unwrap_or_default())
    })
}

fn replicas(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref()?.replicas
}

#[tokio::test]
async fn replicas_follow_an_external_metric() {
    let cluster = Cluster::new().await;
    external(&cluster, "35").await;
    deployment(&cluster, 1).await;
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    let metric = json!({"type": "External", "external": {"metric": {"name": "queued"}, "target": target}});
    cluster.active_pods("app=web", 1).await;
    cluster.wait::<Deployment>("web", "one replica", |d| d.status.as_ref().and_then(|s| s.replicas) == Some(1)).await;
    autoscaler(&cluster, json!([metric]), 1, 10).await;
    cluster.wait::<Deployment>("web", "four replicas", |d| replicas(d) == Some(4)).await;
    let event = cluster.event("h", "SuccessfulRescale").await;
    assert_eq!(event.message.as_deref(), Some("New size: 4; reason: external metric queued() above target"));
    let autoscaler: HorizontalPodAutoscaler = cluster
        .wait("h", "a status", |h: &HorizontalPodAutoscaler| h.status.as_ref().is_some_and(|s| s.desired_replicas == 4))
        .await;
    let status = autoscaler.status.clone().expect("a status");
    assert!(status.last_scale_time.is_some(), "{status:?}");
    let current = &status.current_metrics.as_ref().expect("metrics")[0];
    let current = current.external.as_ref().expect("the metric").current.average_value.as_ref();
    assert_eq!(current.map(|quantity| quantity.0.as_str()), Some("35"));
    assert_eq!(
        said(&autoscaler, "AbleToScale"),
        ("True", "SucceededRescale", "the HPA controller was able to update the target scale to 4")
    );
    assert_eq!(said(&autoscaler, "ScalingActive").1, "ValidMetricFound");
    assert_eq!(said(&autoscaler, "ScalingLimited").1, "DesiredWithinRange");
}

#[tokio::test]
async fn bounds_hold_without_any_metric() {
    let cluster = Cluster::new().await;
    deployment(&cluster, 1).await;
    autoscaler(&cluster, Value::Null, 3, 5).await;
    cluster.wait::<Deployment>("web", "three replicas", |d| replicas(d) == Some(3)).await;
    let event = cluster.event("h", "SuccessfulRescale").await;
    assert_eq!(
        event.message.as_deref(),
        Some("New size: 3; reason: Current number of replicas below Spec.MinReplicas")
    );
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let cluster = Cluster::new().await;
    autoscaler(&cluster, Value::Null, 1, 5).await;
    let event = cluster.event("h", "FailedGetScale").await;
    assert_eq!(event.message.as_deref(), Some("deployments.apps \"web\" not found"));
    deployment(&cluster, 2).await;
    let fits = |h: &HorizontalPodAutoscaler| said(h, "ScalingActive").0 == "False";
    // It looks every 15 seconds.
    let autoscaler: HorizontalPodAutoscaler = cluster.wait("h", "the failure", fits).await;
    let (_, reason, message) = said(&autoscaler, "ScalingActive");
    assert_eq!(reason, "FailedGetResourceMetric");
    assert_eq!(
        message,
        "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for \
        resource cpu: no metrics returned from resource metrics API"
    );
    assert_eq!(said(&autoscaler, "AbleToScale").1, "SucceededGetScale");
    let event = cluster.event("h", "FailedComputeMetricsReplicas").await;
    let message = event.message.unwrap_or_default();
    assert!(
        message.starts_with("invalid metrics (1 invalid out of 1), first error is: failed to get cpu"),
        "{message}"
    );
}
