//! Tokens of service accounts: in secrets, and at the kubelet's port.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_client::Remote;
use coracle_e2e::*;
use serde_json::json;

/// Somebody who has only a token, at a server of the cluster.
fn with_token(cluster: &Cluster, server: String, token: Option<&str>) -> Api {
    let token = token.map(str::to_owned);
    Api::new(&Remote { server, token, client_cert_pem: None, client_key_pem: None, ..cluster.remote() })
}

#[test]
fn a_secret_with_a_token_lets_its_account_in_and_goes_with_it() {
    let cluster = cluster!();
    let namespace = cluster.namespace("token-secret");
    let api = cluster.api();
    let accounts = namespace.path("serviceaccounts");
    let secrets = namespace.path("secrets");
    api.post(&accounts, &json!({"metadata": {"name": "a"}})).ok();
    let annotations = json!({"kubernetes.io/service-account.name": "a"});
    let secret =
        json!({"metadata": {"name": "t", "annotations": annotations}, "type": "kubernetes.io/service-account-token"});
    api.post(&secrets, &secret).ok();
    let token = eventually("the secret has a token", || {
        let secret = api.get(&format!("{secrets}/t")).ok();
        secret["data"]["token"].as_str().map(|token| STANDARD.decode(token).unwrap()).ok_or(secret)
    });
    let account = with_token(cluster, cluster.remote().server, Some(&String::from_utf8(token).unwrap()));
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = account.post(review, &json!({})).ok();
    let user = format!("system:serviceaccount:{}:a", namespace.name);
    assert_eq!(answer["status"]["userInfo"]["username"], user.as_str());
    api.delete(&format!("{accounts}/a"), &json!({})).ok();
    assert_eq!(account.post(review, &json!({})).status, 401);
    eventually("the secret is gone", || match api.get(&format!("{secrets}/t")).status {
        404 => Ok(()),
        status => Err(status),
    });
}

#[test]
fn the_kubelets_port_lets_in_tokens_that_may() {
    let cluster = cluster!();
    let namespace = cluster.namespace("kubelet-port");
    let api = cluster.api();
    let accounts = namespace.path("serviceaccounts");
    api.post(&accounts, &json!({"metadata": {"name": "scraper"}})).ok();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let name = format!("scrapes-{}", namespace.name);
    let rules = json!([{"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]}]);
    api.post(&format!("{rbac}/clusterroles"), &json!({"metadata": {"name": name}, "rules": rules})).ok();
    let binding = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "scraper", "namespace": namespace.name}]});
    api.post(&format!("{rbac}/clusterrolebindings"), &binding).ok();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = api.post(&format!("{accounts}/scraper/token"), &request).ok();
    let token = token["status"]["token"].as_str().expect("a token");
    let kubelet = format!("https://{}:10250", cluster.node_address());
    let scraper = with_token(cluster, kubelet.clone(), Some(token));
    assert!(scraper.get("/metrics/resource").text.contains("scrape_error 0"));
    let refused = scraper.get("/pods");
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("verb=get, resource=nodes, subresource(s)=[pods proxy]"), "{}", refused.text);
    for token in [None, Some("x")] {
        assert_eq!(with_token(cluster, kubelet.clone(), token).get("/metrics").status, 401);
    }
    api.delete(&format!("{rbac}/clusterrolebindings/{name}"), &json!({})).ok();
    api.delete(&format!("{rbac}/clusterroles/{name}"), &json!({})).ok();
}
