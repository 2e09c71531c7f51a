//! Pod Security admission.

use serde_json::{Value, json};

use crate::Api;

const NAMESPACES: &str = "/api/v1/namespaces";
const PODS: &str = "/api/v1/namespaces/n/pods";

async fn namespace(api: &Api, labels: &[(&str, &str)]) {
    api.post(NAMESPACES, &json!({"metadata": {"name": "n", "labels": labelled(labels)}})).await.ok();
    api.post("/api/v1/namespaces/n/serviceaccounts", &json!({"metadata": {"name": "default"}})).await.ok();
}

fn labelled(labels: &[(&str, &str)]) -> Value {
    let labels = labels.iter().map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), (*value).into()));
    Value::Object(labels.collect())
}

fn pod(name: &str, context: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "i:1", "securityContext": context}]}})
}

#[tokio::test]
async fn what_violates_the_enforced_level_is_refused() {
    let api = Api::new().await;
    namespace(&api, &[("enforce", "baseline"), ("warn", "restricted"), ("warn-version", "v1.20")]).await;
    api.post(PODS, &pod("p", json!({"privileged": true}))).await.refused(
        403,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"a\" must not set securityContext.privileged=true)",
    );
    let made = api.post(PODS, &pod("p", json!({"allowPrivilegeEscalation": false}))).await;
    made.ok();
    let warning = "would violate PodSecurity \\\"restricted:v1.20\\\": runAsNonRoot != true (pod or container \\\"a\\\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \\\"a\\\" must set securityContext.seccompProfile.type to \\\"RuntimeDefault\\\" or \\\"Localhost\\\")";
    assert_eq!(made.warnings(), [warning]);
    // A change that concerns nothing of that is not looked at.
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert!(api.patch("merge-patch", &format!("{PODS}/p"), &labels).await.warnings().is_empty());
}

#[tokio::test]
async fn ephemeral_containers_are_looked_at_and_status_is_not() {
    let api = Api::new().await;
    namespace(&api, &[("enforce", "baseline")]).await;
    api.post(PODS, &pod("p", json!({}))).await.ok();
    let added = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i:1", "securityContext": {"privileged": true}}]}});
    let path = format!("{PODS}/p/ephemeralcontainers");
    api.patch("strategic-merge-patch", &path, &added).await.refused(
        403,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"e\" must not set securityContext.privileged=true)",
    );
    api.patch("merge-patch", &format!("{PODS}/p/status"), &json!({"status": {"phase": "Running"}})).await.ok();
}

#[tokio::test]
async fn who_makes_workloads_is_warned_of_their_pods() {
    let api = Api::new().await;
    namespace(&api, &[("enforce", "baseline")]).await;
    let mut template = pod("", json!({}));
    template["metadata"] = json!({"labels": {"a": "b"}});
    template["spec"]["hostPID"] = true.into();
    let workload =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let made = api.post("/apis/apps/v1/namespaces/n/deployments", &workload).await;
    made.ok();
    assert_eq!(made.warnings(), ["would violate PodSecurity \\\"baseline:latest\\\": host namespaces (hostPID=true)"]);
}

#[tokio::test]
async fn labels_are_checked_and_pods_that_do_not_fit_are_named() {
    let api = Api::new().await;
    let wrong = json!({"metadata": {"name": "w", "labels": labelled(&[("enforce", "strict"), ("warn-version", "1")])}});
    api.post(NAMESPACES, &wrong).await.refused(
        422,
        "Namespace \"w\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1\": must be \"latest\" or \"v1.x\"]",
    );
    namespace(&api, &[]).await;
    for name in ["b", "a"] {
        api.post(PODS, &pod(name, json!({"privileged": true}))).await.ok();
    }
    let enforce = json!({"metadata": {"labels": labelled(&[("enforce", "baseline")])}});
    let changed = api.patch("merge-patch", &format!("{NAMESPACES}/n"), &enforce).await;
    changed.ok();
    assert_eq!(
        changed.warnings(),
        [
            "existing pods in namespace \\\"n\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"",
            "a (and 1 other pod): privileged",
        ]
    );
}
