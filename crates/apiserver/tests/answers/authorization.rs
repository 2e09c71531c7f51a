//! Another server that is asked who may do what.

use std::sync::Arc;
use std::time::Duration;

use coracle_apiserver::auth::User;
use coracle_apiserver::authz::{Options, WebhookOptions};
use http::Method;
use serde_json::{Value, json};

use crate::Api;
use crate::other_server::OtherServer;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Lets joe read, forbids jane everything, and fails for eve.
async fn server() -> OtherServer {
    OtherServer::serve(Arc::new(|_, review| {
        let spec = &review["spec"];
        let status = match (spec["user"].as_str(), spec["resourceAttributes"]["verb"].as_str()) {
            (Some("joe"), Some("list" | "get")) => json!({"allowed": true, "reason": "joe reads"}),
            (Some("jane"), _) => json!({"allowed": false, "denied": true, "reason": "not jane"}),
            (Some("eve"), _) => return (String::new(), 0),
            _ => json!({"allowed": false, "reason": "who knows"}),
        };
        (
            json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": status})
                .to_string(),
            0,
        )
    }))
    .await
}

async fn get(api: &Api, user: &str, path: &str) -> (u16, Value) {
    let answer = api.call_by(User::new(user, &[]), Method::GET, path, &[], String::new()).await;
    let status: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    (answer.status.as_u16(), status["message"].clone())
}

#[tokio::test]
async fn a_webhook_allows_forbids_and_is_not_asked_twice() {
    let server = server().await;
    let webhook = WebhookOptions {
        config: server.kubeconfig("/authorize"),
        version: "v1".into(),
        authorized_ttl: Duration::from_secs(60),
        unauthorized_ttl: Duration::ZERO,
    };
    let modes = ["Node", "RBAC", "Webhook"].map(Into::into).to_vec();
    let options = Options { modes, webhook: Some(webhook), config: None };
    let api = Api::with(|config| config.authorization = options).await;
    for _ in 0..3 {
        assert_eq!(get(&api, "joe", PODS).await.0, 200);
    }
    assert_eq!(server.count("/authorize"), 1);
    let (_, review) = server.asked.lock()[0].clone();
    assert_eq!(review["apiVersion"], "authorization.k8s.io/v1");
    let expected = json!({"user": "joe", "groups": ["system:authenticated"], "resourceAttributes":
        {"namespace": "default", "verb": "list", "version": "v1", "resource": "pods"}});
    assert_eq!(review["spec"], expected);
    let (code, message) = get(&api, "jane", PODS).await;
    let why =
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!((code, message), (403, json!(format!("{why}: not jane"))));
    get(&api, "jane", PODS).await;
    assert_eq!(server.count("/authorize"), 3);
    // Those who may anyway are not asked about, nor are administrators.
    api.get(PODS).await.ok();
    assert_eq!(get(&api, "jane", "/version").await.0, 200);
    assert_eq!(server.count("/authorize"), 3);
    let review =
        json!({"spec": {"user": "joe", "resourceAttributes": {"verb": "get", "resource": "pods", "version": "v1"}}});
    let review = api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await.ok();
    assert_eq!((&review["status"]["allowed"], &review["status"]["reason"]), (&json!(true), &json!("joe reads")));
    let rules = json!({"spec": {"namespace": "default"}});
    let rules = api.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &rules).await.ok();
    assert_eq!(rules["status"]["incomplete"], true);
}

#[tokio::test]
async fn conditions_and_failures_are_as_the_file_says() {
    let server = server().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.yaml");
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": [
        {"type": "Webhook", "name": "w", "webhook": {"timeout": "1s", "subjectAccessReviewVersion": "v1",
            "matchConditionSubjectAccessReviewVersion": "v1", "failurePolicy": "Deny", "unauthorizedTTL": "30s",
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": server.kubeconfig("/authorize")},
            "matchConditions": [{"expression": "has(request.resourceAttributes)"},
                {"expression": "!request.user.startsWith('system:')"}]}},
        {"type": "AlwaysAllow", "name": "all"}]});
    std::fs::write(&file, config.to_string()).expect("a file");
    let options = Options { config: Some(file), ..Options::default() };
    let api = Api::with(|config| config.authorization = options).await;
    // Nobody but the webhook says no.
    assert_eq!(get(&api, "pete", PODS).await.0, 200);
    assert_eq!(get(&api, "jane", PODS).await.0, 403);
    assert_eq!(get(&api, "jane", "/metrics").await.0, 200);
    let before = server.count("/authorize");
    assert_eq!(get(&api, "system:pete", PODS).await.0, 200);
    assert_eq!(server.count("/authorize"), before);
    let (code, message) = get(&api, "eve", PODS).await;
    assert_eq!(code, 403);
    let message = message.as_str().expect("a message");
    assert!(message.ends_with("the authorizer \"w\" could not be asked"), "{message}");
}

/// What expressions ask is found out before they say anything, one question after the other if need be.
#[tokio::test]
async fn expressions_of_policies_ask_the_webhook() {
    let server = server().await;
    let webhook = WebhookOptions {
        config: server.kubeconfig("/authorize"),
        version: "v1".into(),
        authorized_ttl: Duration::ZERO,
        unauthorized_ttl: Duration::ZERO,
    };
    let options = Options { modes: vec!["RBAC".into(), "Webhook".into()], webhook: Some(webhook), config: None };
    let api = Api::with(|config| config.authorization = options).await;
    let group = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let maps = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]);
    api.post(&format!("{group}/roles"), &json!({"metadata": {"name": "maps"}, "rules": maps})).await.ok();
    let subjects: Value = ["joe", "pete"]
        .map(|name| json!({"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}))
        .into_iter()
        .collect();
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"});
    let bound = json!({"metadata": {"name": "maps"}, "subjects": subjects, "roleRef": role});
    api.post(&format!("{group}/rolebindings"), &bound).await.ok();

    let asks = |narrowed: &str, verb: &str| {
        let secrets = "authorizer.group('').resource('secrets').namespace('default')";
        format!("{secrets}{narrowed}.check('{verb}').allowed()")
    };
    let selected = ".fieldSelector('metadata.name=a').labelSelector('b in (c)')";
    let expression = format!("{} && {}", asks(selected, "get"), asks(".labelSelector('!!')", "list"));
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let rules = json!({"resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]});
    let spec = json!({"matchConstraints": rules, "validations": [{"expression": expression, "message": "no reader"}]});
    api.post(policies, &json!({"metadata": {"name": "p"}, "spec": spec})).await.ok();
    let spec = json!({"policyName": "p", "validationActions": ["Deny"]});
    api.post(&policies.replace("policies", "policybindings"), &json!({"metadata": {"name": "b"}, "spec": spec}))
        .await
        .ok();

    let make = async |user: &str| {
        let map = json!({"metadata": {"name": user}}).to_string();
        let path = "/api/v1/namespaces/default/configmaps";
        api.call_by(User::new(user, &[]), Method::POST, path, &[("content-type", "application/json")], map).await
    };
    let denied = make("pete").await;
    assert!(denied.status == 422 && denied.text.contains("denied request: no reader"), "{}", denied.text);
    let before = server.count("/authorize");
    make("joe").await.ok();
    assert_eq!(server.count("/authorize") - before, 2);
    let requirement =
        |key: &str, value: &str| json!({"requirements": [{"key": key, "operator": "In", "values": [value]}]});
    let mut asked = json!({"namespace": "default", "verb": "get", "version": "*", "resource": "secrets"});
    asked["fieldSelector"] = requirement("metadata.name", "a");
    asked["labelSelector"] = requirement("b", "c");
    let reviews: Vec<Value> = server.asked.lock().iter().rev().take(2).map(|(_, review)| review.clone()).collect();
    assert_eq!(reviews[1]["spec"]["resourceAttributes"], asked);
    // What cannot be read is left out, so that more is asked for.
    let asked = json!({"namespace": "default", "verb": "list", "version": "*", "resource": "secrets"});
    assert_eq!(reviews[0]["spec"]["resourceAttributes"], asked);
}
