//! Webhook configurations with match conditions.

use serde_json::{Value, json};

use crate::Api;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

fn configuration(conditions: &Value) -> Value {
    let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]});
    let client = json!({"service": {"namespace": "default", "name": "hook", "path": "/x", "port": 443}});
    json!({"metadata": {"name": "a"}, "webhooks": [{"name": "hook.example.com", "rules": [rule], "clientConfig": client,
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "matchConditions": conditions}]})
}

async fn conditions_are_stored_as_given(plural: &str) {
    let api = Api::new().await;
    let path = format!("{GROUP}/{plural}");
    let first = json!([{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]);
    let made = api.post(&path, &configuration(&first)).await.ok();
    assert_eq!(made["webhooks"][0]["matchConditions"], first);
    let second = json!([first[0], {"name": "expression-2", "expression": "object.metadata.namespace == 'staging'"}]);
    let mut changed = made;
    changed["webhooks"][0]["matchConditions"] = second.clone();
    api.put(&format!("{path}/a"), &changed).await.ok();
    assert_eq!(api.get(&format!("{path}/a")).await.ok()["webhooks"][0]["matchConditions"], second);
}

async fn invalid_conditions_are_refused(plural: &str) {
    let api = Api::new().await;
    let conditions = json!([{"name": "invalid", "expression": "... [] bad expression"}]);
    let answer = api.post(&format!("{GROUP}/{plural}"), &configuration(&conditions)).await;
    assert_eq!(answer.status, 422);
    let message = answer.json()["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("webhooks[0].matchConditions[0].expression"), "{message}");
    assert!(message.contains("compilation failed"), "{message}");
}

#[tokio::test]
async fn should_be_able_to_create_and_update_mutating_webhook_configurations_with_match_conditions() {
    conditions_are_stored_as_given("mutatingwebhookconfigurations").await;
}

#[tokio::test]
async fn should_be_able_to_create_and_update_validating_webhook_configurations_with_match_conditions() {
    conditions_are_stored_as_given("validatingwebhookconfigurations").await;
}

#[tokio::test]
async fn should_reject_mutating_webhook_configurations_with_invalid_match_conditions() {
    invalid_conditions_are_refused("mutatingwebhookconfigurations").await;
}

#[tokio::test]
async fn should_reject_validating_webhook_configurations_with_invalid_match_conditions() {
    invalid_conditions_are_refused("validatingwebhookconfigurations").await;
}
