//! ValidatingAdmissionPolicies.

use serde_json::{Value, json};

use super::Resource;
use crate::Api;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn policy() -> Value {
    let rule =
        json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
    let validation = json!({"expression": "object.spec.replicas > 1", "messageExpression": "'wants more than ' + string(object.spec.replicas)"});
    json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}})
}

async fn bound(api: &Api, policy: &Value) {
    api.post(&format!("{GROUP}/validatingadmissionpolicies"), policy).await.ok();
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "default"}});
    let spec =
        json!({"policyName": "p", "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selector}});
    let binding = json!({"metadata": {"name": "b"}, "spec": spec});
    api.post(&format!("{GROUP}/validatingadmissionpolicybindings"), &binding).await.ok();
}

fn deployment(name: &str, replicas: u32) -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn one_replica_is_too_few(api: &Api) {
    api.post(DEPLOYMENTS, &deployment("two", 2)).await.ok();
    let refused = api.post(DEPLOYMENTS, &deployment("one", 1)).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["reason"]), (422, &json!("Invalid")));
    assert!(refused.text.contains("wants more than 1"), "{}", refused.text);
    assert_eq!(api.get(&format!("{DEPLOYMENTS}/one")).await.status, 404);
}

#[tokio::test]
async fn should_validate_against_a_deployment() {
    let api = Api::new().await;
    bound(&api, &policy()).await;
    one_replica_is_too_few(&api).await;
}

#[tokio::test]
async fn should_allow_expressions_to_refer_variables() {
    let api = Api::new().await;
    let mut policy = policy();
    policy["spec"]["variables"] = json!([{"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}]);
    policy["spec"]["validations"] = json!([{"expression": "variables.replicas > 1", "messageExpression": "'wants more than ' + string(variables.replicas)"},
        {"expression": "!variables.oddReplicas"}]);
    bound(&api, &policy).await;
    one_replica_is_too_few(&api).await;
    assert_eq!(api.post(DEPLOYMENTS, &deployment("three", 3)).await.status, 422);
}

#[tokio::test]
async fn should_support_validating_admission_policy_api_operations() {
    let api = Api::new().await;
    let resource = Resource {
        group: "admissionregistration.k8s.io",
        version: "v1",
        plural: "validatingadmissionpolicies",
        subresources: &["status"],
    };
    resource.supports_all_operations(&api, policy).await;
}

#[tokio::test]
async fn should_support_validating_admission_policy_binding_api_operations() {
    let api = Api::new().await;
    let resource = Resource {
        group: "admissionregistration.k8s.io",
        version: "v1",
        plural: "validatingadmissionpolicybindings",
        subresources: &[],
    };
    resource
        .supports_all_operations(&api, || json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}}))
        .await;
}
