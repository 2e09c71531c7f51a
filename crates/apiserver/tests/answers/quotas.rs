//! Resource quotas.

use serde_json::{Value, json};

use crate::Api;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A quota, counted as its controller does it.
async fn quota(api: &Api, spec: Value, used: Value) {
    api.post(QUOTAS, &json!({"metadata": {"name": "q"}, "spec": spec})).await.ok();
    let status = json!({"status": {"hard": spec["hard"], "used": used}});
    api.patch("merge-patch", &format!("{QUOTAS}/q/status"), &status).await.ok();
}

async fn used(api: &Api) -> Value {
    api.get(&format!("{QUOTAS}/q")).await.ok()["status"]["used"].clone()
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c1", "image": "i:1"}]}})
}

#[tokio::test]
async fn pods_are_charged_until_there_is_no_more_and_given_back() {
    let api = Api::new().await;
    quota(&api, json!({"hard": {"pods": "2"}}), json!({"pods": "0"})).await;
    api.post(PODS, &pod("a")).await.ok();
    // What fails is not charged, and neither is a trial.
    assert_eq!(api.post(PODS, &pod("a")).await.status, 409);
    api.post(&format!("{PODS}?dryRun=All"), &pod("b")).await.ok();
    assert_eq!(used(&api).await, json!({"pods": "1"}));
    api.post(PODS, &pod("b")).await.ok();
    let refusal = "pods \"c\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
    api.post(PODS, &pod("c")).await.refused(403, refusal);
    api.post(&format!("{PODS}?dryRun=All"), &pod("c")).await.refused(403, refusal);
    api.delete(&format!("{PODS}/a")).await.ok();
    assert_eq!(used(&api).await, json!({"pods": "1"}));
    let ended = json!({"status": {"phase": "Succeeded"}});
    api.patch("merge-patch", &format!("{PODS}/b/status"), &ended).await.ok();
    assert_eq!(used(&api).await, json!({"pods": "0"}));
}

#[tokio::test]
async fn many_side_by_side_never_use_more_than_there_is() {
    let api = Api::new().await;
    quota(&api, json!({"hard": {"pods": "7", "count/pods": "9"}}), json!({"pods": "0", "count/pods": "0"})).await;
    let pods: Vec<Value> = (0..40).map(|n| pod(&format!("p{n}"))).collect();
    let made = futures::future::join_all(pods.iter().map(|pod| api.post(PODS, pod))).await;
    assert_eq!(made.iter().filter(|answer| answer.status == 201).count(), 7);
    assert!(made.iter().all(|answer| matches!(answer.status.as_u16(), 201 | 403)));
    assert_eq!(used(&api).await, json!({"pods": "7", "count/pods": "7"}));
    let paths: Vec<String> = (0..40).map(|n| format!("{PODS}/p{n}")).collect();
    futures::future::join_all(paths.iter().map(|path| api.delete(path))).await;
    assert_eq!(used(&api).await, json!({"pods": "0", "count/pods": "0"}));
}

#[tokio::test]
async fn what_is_limited_must_be_said_and_counted() {
    let api = Api::new().await;
    quota(&api, json!({"hard": {"limits.cpu": "2"}}), json!({"limits.cpu": "0"})).await;
    api.post(PODS, &pod("a"))
        .await
        .refused(403, "pods \"a\" is forbidden: failed quota: q: must specify limits.cpu for: c1");
    let fresh = json!({"status": {"hard": {"pods": "1"}, "used": null}});
    api.patch("merge-patch", &format!("{QUOTAS}/q/status"), &fresh).await.ok();
    let status = api.get(&format!("{QUOTAS}/q")).await.ok();
    assert_eq!(status["status"]["hard"]["pods"], "1");
    let body = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c1", "image": "i:1", "resources": {"limits": {"cpu": "1"}}}]}});
    api.post(PODS, &body)
        .await
        .refused(403, "pods \"a\" is forbidden: status unknown for quota: q, resources: limits.cpu,pods");
}

#[tokio::test]
async fn scopes_choose_pods_and_kinds_are_counted_by_name() {
    let api = Api::new().await;
    quota(&api, json!({"hard": {"pods": "0"}, "scopes": ["Terminating"]}), json!({"pods": "0"})).await;
    api.post(PODS, &pod("a")).await.ok();
    let mut limited = pod("b");
    limited["spec"]["activeDeadlineSeconds"] = 10.into();
    let exceeded = "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0";
    api.post(PODS, &limited).await.refused(403, &format!("pods \"b\" is forbidden: {exceeded}"));
    api.delete(&format!("{QUOTAS}/q")).await.ok();
    let hard = json!({"count/deployments.apps": "0", "services.nodeports": "1", "configmaps": "1"});
    quota(
        &api,
        json!({"hard": hard}),
        json!({"count/deployments.apps": "0", "services.nodeports": "0", "configmaps": "0"}),
    )
    .await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("")["spec"]});
    let deployment =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    api.post("/apis/apps/v1/namespaces/default/deployments", &deployment).await.refused(
        403,
        "deployments.apps \"d\" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0",
    );
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    api.post(services, &service).await.ok();
    let two = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}});
    api.patch("merge-patch", &format!("{services}/s"), &two).await.refused(
        403,
        "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1",
    );
    api.patch("merge-patch", &format!("{services}/s"), &json!({"spec": {"type": "NodePort"}})).await.ok();
    assert_eq!(used(&api).await["services.nodeports"], "1");
}

#[tokio::test]
async fn a_quota_of_quotas_goes_and_is_given_back_to_the_others() {
    let api = Api::new().await;
    let hard = json!({"hard": {"resourcequotas": "2", "count/resourcequotas": "2"}});
    quota(&api, hard.clone(), json!({"resourcequotas": "1", "count/resourcequotas": "1"})).await;
    api.post(QUOTAS, &json!({"metadata": {"name": "other"}, "spec": hard})).await.ok();
    assert_eq!(used(&api).await, json!({"resourcequotas": "2", "count/resourcequotas": "2"}));
    let status =
        json!({"status": {"hard": hard["hard"], "used": {"resourcequotas": "2", "count/resourcequotas": "2"}}});
    let other = format!("{QUOTAS}/other");
    api.patch("merge-patch", &format!("{other}/status"), &status).await.ok();
    api.delete(&other).await.ok();
    assert_eq!(api.get(&other).await.status, 404);
    assert_eq!(used(&api).await, json!({"resourcequotas": "1", "count/resourcequotas": "1"}));
    api.delete(&format!("{QUOTAS}/q")).await.ok();
    assert_eq!(api.get(&format!("{QUOTAS}/q")).await.status, 404);
}
