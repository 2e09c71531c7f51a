//! API priority and fairness.

use serde_json::json;

use super::Resource;
use crate::Api;

#[tokio::test]
async fn should_support_flow_schema_api_operations() {
    let api = Api::new().await;
    let resource = Resource {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        plural: "flowschemas",
        subresources: &["status"],
    };
    let rule = json!({"subjects": [{"kind": "User", "user": {"name": "example"}}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]});
    let spec = json!({"matchingPrecedence": 10_000, "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"}, "rules": [rule]});
    resource.supports_all_operations(&api, || json!({"spec": spec})).await;
}

#[tokio::test]
async fn should_support_priority_level_configuration_api_operations() {
    let api = Api::new().await;
    let resource = Resource {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        plural: "prioritylevelconfigurations",
        subresources: &["status"],
    };
    let limited = json!({"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}});
    resource.supports_all_operations(&api, || json!({"spec": {"type": "Limited", "limited": limited}})).await;
}
