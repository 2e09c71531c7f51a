//! What who makes a network policy is told.

use coracle_apiserver::AdmissionOptions;
use coracle_testing::policies::definitions;
use serde_json::{Value, json};

use crate::Api;

#[tokio::test]
async fn who_makes_a_policy_that_only_plugins_enforce_is_warned() {
    const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    for foreign_network in [false, true] {
        let api = Api::with(|config| {
            config.admission = AdmissionOptions { foreign_network, ..AdmissionOptions::default() };
            config.initial = definitions();
        })
        .await;
        let made = api.post(POLICIES, &json!({"metadata": {"name": "p"}, "spec": {"podSelector": {}}})).await;
        assert_eq!(made.status.as_u16(), 201, "{}", made.text);
        let warned = made.warnings().iter().any(|warning| warning.contains("CNI plugins"));
        assert_eq!(warned, foreign_network, "{:?}", made.warnings());
        let made = api.post(&format!("{GROUP}/adminnetworkpolicies"), &admin(&json!([]))).await;
        made.ok();
        let warned = made.warnings().iter().any(|warning| warning.contains("CNI plugins"));
        assert_eq!(warned, foreign_network, "{:?}", made.warnings());
    }
}

const GROUP: &str = "/apis/policy.networking.k8s.io/v1alpha1";

/// A server of a new cluster, with the definitions of administrators' policies.
async fn administered() -> Api {
    Api::with(|config| config.initial = definitions()).await
}

fn admin(egress: &Value) -> Value {
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "AdminNetworkPolicy", "metadata": {"name": "p"},
        "spec": {"priority": 10, "subject": {"namespaces": {}}, "egress": egress}})
}

#[tokio::test]
async fn administrators_have_policies_of_their_own() {
    let api = administered().await;
    let to = json!([{"pods": {"namespaceSelector": {}, "podSelector": {}}}]);
    let rule = json!({"action": "Pass", "to": to, "ports": [{"portNumber": {"port": 80}}, {"namedPort": "web"}]});
    let made = api.post(&format!("{GROUP}/adminnetworkpolicies"), &admin(&json!([rule]))).await;
    assert_eq!(made.ok()["spec"]["egress"][0]["ports"][0]["portNumber"]["protocol"], "TCP");
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let baseline = |name: &str, action: &str| {
        json!({"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "BaselineAdminNetworkPolicy", "metadata": {"name": name},
            "spec": {"subject": {"namespaces": {}}, "ingress": [{"action": action, "from": [{"namespaces": {}}]}]}})
    };
    let path = format!("{GROUP}/baselineadminnetworkpolicies");
    for (name, action) in [("other", "Deny"), ("default", "Pass")] {
        let refused = api.post(&path, &baseline(name, action)).await;
        assert_eq!(refused.status.as_u16(), 422, "{name} {action}: {}", refused.text);
    }
    api.post(&path, &baseline("default", "Deny")).await.ok();
    for (path, status) in [
        ("adminnetworkpolicies/p", "adminnetworkpolicies/p/status"),
        ("baselineadminnetworkpolicies/default", "baselineadminnetworkpolicies/default/status"),
    ] {
        let found = api.get(&format!("{GROUP}/{path}")).await;
        assert_eq!(api.get(&format!("{GROUP}/{status}")).await.ok()["spec"], found.ok()["spec"]);
    }
}

#[tokio::test]
async fn what_no_node_could_follow_is_refused() {
    let api = administered().await;
    let path = format!("{GROUP}/adminnetworkpolicies");
    let nodes = json!([{"nodes": {}}]);
    let pods = |count: usize| -> Vec<Value> {
        (0..count).map(|n| json!({"namespaces": {"matchLabels": {"n": n.to_string()}}})).collect()
    };
    let rule = |to: &Value, port: Value| json!([{"action": "Deny", "to": to, "ports": [port]}]);
    let wide = |rules: usize| -> Value { (0..rules).map(|_| json!({"action": "Deny", "to": pods(99)})).collect() };
    let number = json!({"portNumber": {"port": 80}});
    for (egress, why) in [
        (json!([{"action": "Reject", "to": nodes}]), "Unsupported value"),
        (json!([{"action": "Deny", "to": []}]), "at least 1 items"),
        (json!([{"action": "Deny", "to": pods(101)}]), "at most 100 items"),
        (json!([{"action": "Allow", "to": [{"domainNames": ["example.com"]}]}]), "at least 1 propert"),
        (json!([{"action": "Allow", "to": [{"nodes": {}, "networks": ["10.0.0.0/8"]}]}]), "at most 1 items"),
        (json!([{"action": "Allow", "to": [{"networks": ["10.0.0.0/33"]}]}]), "range of addresses"),
        (
            json!([{"action": "Allow", "to": [{"namespaces": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}]}]),
            "Unsupported value",
        ),
        (rule(&nodes, json!({"namedPort": "web"})), "no pods"),
        (rule(&nodes, json!({"portNumber": {"port": 0}})), "greater than or equal to 1"),
        (rule(&nodes, json!({"portNumber": {"port": 80, "protocol": "ICMP"}})), "Unsupported value"),
        (rule(&nodes, json!({"portRange": {"start": 9, "end": 8}})), "before it begins"),
        (wide(21), "more than 2000"),
        ((0..101).map(|_| json!({"action": "Deny", "to": nodes, "ports": [number]})).collect(), "at most 100 items"),
    ] {
        let refused = api.post(&path, &admin(&egress)).await;
        assert_eq!(refused.status.as_u16(), 422, "{egress}: {}", refused.text);
        assert!(refused.text.contains(why), "{egress}: {}", refused.text);
    }
    for (priority, status) in [(-1, 422), (1001, 422), (1000, 201)] {
        let mut object = admin(&wide(20));
        object["spec"]["priority"] = priority.into();
        assert_eq!(api.post(&path, &object).await.status.as_u16(), status, "{priority}");
    }
}
