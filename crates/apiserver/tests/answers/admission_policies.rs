//! ValidatingAdmissionPolicies and their bindings.

use coracle_apiserver::auth::User;
use http::Method;
use serde_json::{Value, json};

use crate::Api;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A policy about configmaps, with what is given of its spec.
async fn policy(api: &Api, spec: Value) {
    let mut whole = json!({"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["configmaps"]}]}});
    for (key, value) in spec.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    api.post(POLICIES, &json!({"metadata": {"name": "p"}, "spec": whole})).await.ok();
}

async fn binding(api: &Api, spec: Value) {
    let mut whole = json!({"policyName": "p", "validationActions": ["Deny"]});
    for (key, value) in spec.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    api.post(BINDINGS, &json!({"metadata": {"name": "b"}, "spec": whole})).await.ok();
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "data": data})
}

#[tokio::test]
async fn what_a_bound_policy_refuses_is_told() {
    let api = Api::new().await;
    let validation = json!({"expression": "!has(object.data) || !('secret' in object.data)", "messageExpression": "object.metadata.name + ' has a secret'"});
    policy(&api, json!({"validations": [validation]})).await;
    api.post(MAPS, &map("unbound", json!({"secret": "x"}))).await.ok();
    binding(&api, json!({})).await;
    let refused = api.post(MAPS, &map("a", json!({"secret": "x"}))).await;
    let why = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: a has a secret";
    refused.refused(422, &format!("configmaps \"a\" is forbidden: {why}"));
    assert_eq!(refused.json()["reason"], "Invalid");
    assert_eq!(refused.json()["details"]["causes"], json!([{"message": why}]));
    api.post(MAPS, &map("a", json!({"other": "x"}))).await.ok();
    let changed = json!({"data": {"secret": "x"}});
    assert_eq!(api.patch("merge-patch", &format!("{MAPS}/a"), &changed).await.status, 422);
    // What is about other kinds is not asked, and a policy that is changed counts at once.
    api.post("/api/v1/namespaces/default/secrets", &map("s", json!({}))).await.ok();
    let gentle = json!({"spec": {"validations": [{"expression": "true"}]}});
    api.patch("merge-patch", &format!("{POLICIES}/p"), &gentle).await.ok();
    api.patch("merge-patch", &format!("{MAPS}/a"), &changed).await.ok();
}

#[tokio::test]
async fn deletions_and_who_makes_them_are_seen() {
    let api = Api::new().await;
    let expression =
        "request.operation != 'DELETE' || request.userInfo.username == 'admin' || oldObject.metadata.name != 'kept'";
    policy(&api, json!({"validations": [{"expression": expression, "reason": "Forbidden", "message": "it stays"}]}))
        .await;
    binding(&api, json!({})).await;
    api.post(MAPS, &map("kept", json!({}))).await.ok();
    let other = User::new("joe", &["system:masters"]);
    let path = format!("{MAPS}/kept");
    api.call_by(other, Method::DELETE, &path, &[], String::new()).await.refused(
        403,
        "configmaps \"kept\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: it stays",
    );
    api.delete(&path).await.ok();
}

#[tokio::test]
async fn warnings_go_with_the_answer() {
    let api = Api::new().await;
    policy(&api, json!({"validations": [{"expression": "false", "message": "think again"}]})).await;
    binding(&api, json!({"validationActions": ["Warn", "Audit"]})).await;
    let made = api.post(MAPS, &map("a", json!({}))).await;
    made.ok();
    assert_eq!(made.warnings(), ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': think again"]);
}

#[tokio::test]
async fn bindings_narrow_and_bring_parameters() {
    let api = Api::new().await;
    let validation = json!({"expression": "size(object.data) <= int(params.data.max)"});
    policy(
        &api,
        json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [validation],
        "matchConditions": [{"name": "no-params", "expression": "object.metadata.name != 'limit'"}]}),
    )
    .await;
    let reference = json!({"name": "limit", "namespace": "default", "parameterNotFoundAction": "Deny"});
    binding(&api, json!({"paramRef": reference, "matchResources": {"objectSelector": {"matchLabels": {"app": "a"}}}}))
        .await;
    let two = json!({"x": "1", "y": "2"});
    api.post(MAPS, &map("b", two.clone())).await.ok();
    api.post(MAPS, &map("a", two.clone())).await.refused(
        422,
        "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
    );
    api.post(MAPS, &map("limit", json!({"max": "1"}))).await.ok();
    api.post(MAPS, &map("a", two)).await.refused(
        422,
        "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: size(object.data) <= int(params.data.max)",
    );
    api.post(MAPS, &map("a", json!({"x": "1"}))).await.ok();
}

#[tokio::test]
async fn expressions_see_what_users_may_do_and_the_namespace() {
    let api = Api::new().await;
    let expression = "authorizer.serviceAccount('default', 'default').group('').resource('pods').namespace('default').check('create').allowed() || namespaceObject.metadata.name == 'other'";
    policy(&api, json!({"validations": [{"expression": expression}]})).await;
    binding(&api, json!({})).await;
    assert_eq!(api.post(MAPS, &map("a", json!({}))).await.status, 422);
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.ok();
    api.post("/api/v1/namespaces/other/configmaps", &map("a", json!({}))).await.ok();
}

#[tokio::test]
async fn policies_that_do_not_compile_are_refused() {
    let api = Api::new().await;
    let spec = json!({"validations": [{"expression": "object.x >"}], "matchConstraints": {"resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}});
    let answer = api.post(POLICIES, &json!({"metadata": {"name": "p"}, "spec": spec})).await;
    assert_eq!(answer.status, 422);
    let message = answer.json()["message"].as_str().expect("a message").to_owned();
    assert!(message.starts_with("ValidatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: spec.validations[0].expression: Invalid value: \"object.x >\": compilation failed: ERROR: <input>:1:11: Syntax error"), "{message}");
}

#[tokio::test]
async fn what_is_sent_to_subresources_is_seen() {
    let api = Api::new().await;
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "CONNECT"],
        "resources": ["pods/exec", "pods/binding", "pods/eviction"]});
    let expression = "request.operation == 'CONNECT' ? object.command != ['sh'] : \
        request.kind.kind == 'Binding' ? object.target.name != 'bad' : request.kind.group != 'policy'";
    policy(&api, json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression, "message": "no"}]})).await;
    binding(&api, json!({})).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    api.post(pods, &pod).await.ok();
    let denied = "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
    let exec = |command: &str| format!("{pods}/p/exec?container=c&stdout=true&command={command}");
    api.post(&exec("sh"), &Value::Null).await.refused(422, denied);
    api.post(&exec("ls"), &Value::Null).await.refused(400, "pod p does not have a host assigned");
    let bind = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    api.post(&format!("{pods}/p/binding"), &bind("bad")).await.refused(422, denied);
    api.post(&format!("{pods}/p/binding"), &bind("good")).await.ok();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    api.post(&format!("{pods}/p/eviction"), &eviction).await.refused(422, denied);
}

#[tokio::test]
async fn what_no_object_has_is_told_in_the_status() {
    let api = Api::new().await;
    policy(&api, json!({"validations": [{"expression": "object.spec.x == 1"}]})).await;
    for _ in 0..500 {
        let status = api.get(&format!("{POLICIES}/p")).await.ok()["status"].clone();
        if status["observedGeneration"] == 1 {
            let warning = &status["typeChecking"]["expressionWarnings"][0];
            assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
            let text = warning["warning"].as_str().expect("a text");
            assert!(text.starts_with("v1, Kind=ConfigMap: ERROR: <input>:1:7: undefined field 'spec'"), "{text}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the status is not told");
}
