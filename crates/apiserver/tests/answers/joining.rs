//! How nodes join: by a bootstrap token, with what they read of the cluster before they trust it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{Answer, Api};

const REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

/// A request of somebody with a token, or of nobody.
async fn by_token(api: &Api, token: &str, method: Method, path: &str, body: &Value) -> Answer {
    use http_body_util::BodyExt;
    let mut request = http::Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.body(Full::new(bytes::Bytes::from(body))).expect("a request");
    let (parts, body) = api.server.handle(request, None).await.into_parts();
    let text = String::from_utf8_lossy(&body.collect().await.expect("a body").to_bytes()).into_owned();
    Answer { status: parts.status, headers: parts.headers, text }
}

async fn make_token(api: &Api) {
    let secret = json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": {
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}});
    api.post("/api/v1/namespaces/kube-system/secrets", &secret).await.ok();
}

#[tokio::test]
async fn a_bootstrap_token_lets_a_node_ask_for_a_certificate_and_no_more() {
    const TOKEN: &str = "abcdef.0123456789abcdef";
    let api = Api::new().await;
    assert_eq!(by_token(&api, TOKEN, Method::POST, REVIEW, &json!({})).await.status, 401);
    make_token(&api).await;
    let review = by_token(&api, TOKEN, Method::POST, REVIEW, &json!({})).await.ok();
    let user = &review["status"]["userInfo"];
    let groups = json!(["system:bootstrappers", "system:authenticated"]);
    assert_eq!((&user["username"], &user["groups"]), (&json!("system:bootstrap:abcdef"), &groups));
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    by_token(&api, TOKEN, Method::GET, requests, &Value::Null).await.ok();
    assert_eq!(by_token(&api, TOKEN, Method::GET, "/api/v1/nodes", &Value::Null).await.status, 403);
    // Gone with its secret.
    api.delete("/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef").await.ok();
    assert_eq!(by_token(&api, TOKEN, Method::POST, REVIEW, &json!({})).await.status, 401);
}

#[tokio::test]
async fn a_token_is_for_this_server_and_no_other_audience() {
    let api = Api::new().await;
    make_token(&api).await;
    let review = async |audiences: Value| {
        let spec = json!({"token": "abcdef.0123456789abcdef", "audiences": audiences});
        api.post("/apis/authentication.k8s.io/v1/tokenreviews", &json!({"spec": spec})).await.ok()["status"].clone()
    };
    let own = "https://kubernetes.default.svc.cluster.local";
    assert_eq!(review(json!([])).await["authenticated"], true);
    assert_eq!(review(json!(["vault", own])).await["audiences"], json!([own]));
    assert_ne!(review(json!(["vault"])).await["authenticated"], true);
}

#[tokio::test]
async fn everybody_reads_where_the_cluster_is_and_signatures_stay() {
    let api = Api::new().await;
    let info = by_token(&api, "", Method::GET, CLUSTER_INFO, &Value::Null).await.ok();
    let kubeconfig = info["data"]["kubeconfig"].as_str().unwrap_or_default();
    assert!(kubeconfig.contains("server: https://192.0.2.1:6443\n"), "{kubeconfig}");
    assert!(kubeconfig.contains(&STANDARD.encode(&api.authority.certificate)), "{kubeconfig}");
    let other = "/api/v1/namespaces/kube-public/configmaps/other";
    assert_eq!(by_token(&api, "", Method::GET, other, &Value::Null).await.status, 403);
    api.patch("merge-patch", CLUSTER_INFO, &json!({"data": {"jws-kubeconfig-abcdef": "s"}})).await.ok();
    let after = Api::after(api).await.get(CLUSTER_INFO).await.ok();
    assert_eq!(after["data"]["jws-kubeconfig-abcdef"], "s");
}

#[tokio::test]
async fn other_servers_read_whom_to_believe() {
    let api = Api::new().await;
    let map = api.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await.ok();
    let front_proxy = api.authority.front_proxy().expect("an authority");
    assert_eq!(map["data"]["client-ca-file"], json!(api.authority.certificate));
    assert_eq!(map["data"]["requestheader-client-ca-file"], json!(front_proxy.certificate));
    assert_eq!(map["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");
}
