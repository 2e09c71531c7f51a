//! Limit ranges.

use serde_json::{Value, json};

use crate::Api;

const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

async fn range(api: &Api, limit: Value) {
    let made = api.post(RANGES, &json!({"metadata": {"name": "r"}, "spec": {"limits": [limit]}})).await;
    made.ok();
    assert!(made.warnings().is_empty());
}

fn pod(resources: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i:1", "resources": resources}]}})
}

#[tokio::test]
async fn containers_get_what_they_do_not_say() {
    let api = Api::new().await;
    range(&api, json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}})).await;
    let made = api.post(PODS, &pod(json!({}))).await.ok();
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}})
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container a; cpu limit for container a"
    );
    assert_eq!(made["status"]["qosClass"], "Burstable");
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_when_made_and_when_resized() {
    let api = Api::new().await;
    range(&api, json!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m"}})).await;
    api.post(PODS, &pod(json!({"limits": {"cpu": "3"}, "requests": {"cpu": "50m"}}))).await.refused(
        403,
        "pods \"p\" is forbidden: [minimum cpu usage per Container is 100m, but request is 50m, maximum cpu usage per Container is 2, but limit is 3]",
    );
    api.post(PODS, &pod(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}))).await.ok();
    let resize = json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "4"}}}]}});
    api.patch("strategic-merge-patch", &format!("{PODS}/p/resize"), &resize)
        .await
        .refused(403, "pods \"p\" is forbidden: maximum cpu usage per Container is 2, but limit is 4");
}

#[tokio::test]
async fn claims_are_bound_too() {
    let api = Api::new().await;
    range(&api, json!({"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}})).await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}});
    api.post(CLAIMS, &claim).await.refused(
        403,
        "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 10Gi",
    );
}
