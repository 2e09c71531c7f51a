//! Tokens in secrets: when they are used is written down.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::Api;

const SECRET: &str = "/api/v1/namespaces/default/secrets/s";

async fn use_it(api: &Arc<Api>, token: &str) -> u16 {
    let request = Request::get("/version").header("authorization", format!("Bearer {token}"));
    let request = request.body(Full::new(bytes::Bytes::new())).expect("a request");
    api.server.handle(request, None).await.status().as_u16()
}

#[tokio::test]
async fn the_day_of_the_last_use_is_written_down_and_one_that_is_invalid_is_refused() {
    let api = Arc::new(Api::new().await);
    let account = api.get("/api/v1/namespaces/default/serviceaccounts/default").await.ok();
    let uid = account["metadata"]["uid"].clone();
    let claims = json!({"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:default",
        "kubernetes.io/serviceaccount/namespace": "default", "kubernetes.io/serviceaccount/secret.name": "s",
        "kubernetes.io/serviceaccount/service-account.name": "default",
        "kubernetes.io/serviceaccount/service-account.uid": uid});
    let token = api.authority.service_account_key().expect("a key").sign(&claims).expect("a token");
    let secret = json!({"metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token", "data": {"token": STANDARD.encode(&token)}});
    api.post("/api/v1/namespaces/default/secrets", &secret).await.ok();
    assert_eq!(use_it(&api, &token).await, 200);
    let mut last_used = json!(null);
    for _ in 0..500 {
        last_used = api.get(SECRET).await.ok()["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].clone();
        if last_used.is_string() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let since = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking";
    assert_eq!(api.get(since).await.ok()["data"]["since"], last_used, "both are of today");
    let version = api.get(SECRET).await.ok()["metadata"]["resourceVersion"].clone();
    assert_eq!(use_it(&api, &token).await, 200);
    assert_eq!(api.get(SECRET).await.ok()["metadata"]["resourceVersion"], version, "once a day is enough");
    let invalid = json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2024-01-01"}}});
    api.patch("merge-patch", SECRET, &invalid).await.ok();
    assert_eq!(use_it(&api, &token).await, 401);
}
