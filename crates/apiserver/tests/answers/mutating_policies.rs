//! MutatingAdmissionPolicies.

use coracle_apiserver::RuntimeConfig;
use serde_json::{Value, json};

use crate::Api;
use crate::custom::{definition, establish, version};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1beta1";

/// A server that serves what is about here, which is in beta.
async fn api() -> Api {
    let beta = ["admissionregistration.k8s.io/v1beta1=true".to_owned()];
    let beta = RuntimeConfig::parse(&beta).expect("a version that is known");
    Api::with(|config| config.runtime_config = beta).await
}

fn rules(group: &str, resources: &str) -> Value {
    json!({"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resources]}]})
}

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

/// Makes a policy about resources, and binds it.
async fn bind(api: &Api, name: &str, constraints: Value, mutations: Value, more: Value) {
    let mut spec = json!({"matchConstraints": constraints, "mutations": mutations, "reinvocationPolicy": "Never"});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let policy = json!({"metadata": {"name": name}, "spec": spec});
    api.post(&format!("{GROUP}/mutatingadmissionpolicies"), &policy).await.ok();
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
    api.post(&format!("{GROUP}/mutatingadmissionpolicybindings"), &binding).await.ok();
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

#[tokio::test]
async fn what_is_written_is_changed_by_configurations_and_patches() {
    let api = api().await;
    let sidecar = "Object{metadata: Object.metadata{labels: {'injected': variables.who}}, spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{\
        initContainers: [Object.spec.template.spec.initContainers{name: 'mesh', image: 'mesh:1', restartPolicy: 'Always'}]}}}}";
    let more = json!({
        "variables": [{"name": "who", "expression": "request.userInfo.username"}],
        "matchConditions": [{"name": "once", "expression": "!has(object.spec.template.spec.initContainers)"}],
    });
    bind(&api, "mesh", rules("apps", "deployments"), json!([apply(sidecar)]), more).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let made = api.post(DEPLOYMENTS, &json!({"metadata": {"name": "a"}, "spec": spec})).await.ok();
    let pod = &made["spec"]["template"]["spec"];
    assert_eq!((&pod["initContainers"][0]["name"], &pod["containers"][0]["name"]), (&json!("mesh"), &json!("c")));
    assert_eq!(pod["initContainers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(made["metadata"]["labels"], json!({"injected": "admin"}));
    // Fields that a policy sets are nobody's.
    assert!(!made["metadata"]["managedFields"].to_string().contains("mesh"), "{}", made["metadata"]["managedFields"]);

    let operations = "[JSONPatch{op: 'test', path: '/data/a', value: '1'}, \
        JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('x~y'), value: 'z'}, \
        JSONPatch{op: 'add', path: '/metadata/annotations', value: {'seen': object.metadata.name}}]";
    bind(
        &api,
        "patch",
        rules("", "configmaps"),
        json!([patch(operations)]),
        json!({"matchConditions": [
        {"name": "own", "expression": "!request.name.startsWith('free')"}]}),
    )
    .await;
    // A key of a ConfigMap has no tilde: what a policy makes is validated.
    let refused = api.post(MAPS, &map("b", json!({"a": "1"}))).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    let unchanged = api.post(MAPS, &map("c", json!({"a": "2"}))).await.ok();
    assert_eq!(unchanged["data"], json!({"a": "2"}));
    assert_eq!(api.post(MAPS, &map("free", json!({"a": "1"}))).await.ok()["data"], json!({"a": "1"}));
}

#[tokio::test]
async fn what_goes_wrong_refuses_unless_the_policy_ignores_it() {
    let api = api().await;
    let atomic = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{nodeSelector: {'a': 'b'}}}}}";
    bind(&api, "atomic", rules("apps", "deployments"), json!([apply(atomic)]), json!({})).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let refused = api.post(DEPLOYMENTS, &json!({"metadata": {"name": "a"}, "spec": spec})).await;
    refused.refused(403, "policy 'atomic' with binding 'atomic' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.nodeSelector");
    assert_eq!(refused.json()["reason"], "Invalid");

    let wrong = "Object{data: {'a': object.data.none}}";
    bind(&api, "wrong", rules("", "configmaps"), json!([apply(wrong)]), json!({})).await;
    let created = async || api.post(MAPS, &map("a", json!({"a": "1"}))).await;
    created().await.refused(
        403,
        &format!("policy 'wrong' with binding 'wrong' denied request: expression '{wrong}' resulted in error: no such key: none"),
    );
    let policy = format!("{GROUP}/mutatingadmissionpolicies/wrong");
    api.patch("merge-patch", &policy, &json!({"spec": {"failurePolicy": "Ignore"}})).await.ok();
    created().await.ok();
    api.patch(
        "merge-patch",
        &policy,
        &json!({"spec": {"failurePolicy": "Fail", "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}}),
    )
    .await
    .ok();
    let binding = format!("{GROUP}/mutatingadmissionpolicybindings/wrong");
    let reference = json!({"spec": {"paramRef": {"name": "none", "parameterNotFoundAction": "Deny"}}});
    api.patch("merge-patch", &binding, &reference).await.ok();
    api.post(MAPS, &map("b", json!({}))).await.refused(
        403,
        "policy 'wrong' with binding 'wrong' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
    );
}

#[tokio::test]
async fn policies_see_parameters_and_are_asked_again_if_they_want() {
    let api = api().await;
    api.post(MAPS, &map("params", json!({"team": "blue"}))).await.ok();
    // The first counts what is there, which the second adds to.
    let count = "Object{metadata: Object.metadata{annotations: {'count': string(size(object.data))}}}";
    bind(&api, "a-count", rules("", "configmaps"), json!([apply(count)]), json!({"reinvocationPolicy": "IfNeeded"}))
        .await;
    let team = "Object{data: {'team': params.data.team}}";
    let kind = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}});
    bind(&api, "b-team", rules("", "configmaps"), json!([apply(team)]), kind).await;
    let binding = format!("{GROUP}/mutatingadmissionpolicybindings/b-team");
    let reference =
        json!({"spec": {"paramRef": {"name": "params", "namespace": "default", "parameterNotFoundAction": "Deny"}}});
    api.patch("merge-patch", &binding, &reference).await.ok();
    let made = api.post(MAPS, &map("a", json!({"a": "1"}))).await.ok();
    assert_eq!(made["data"], json!({"a": "1", "team": "blue"}));
    assert_eq!(made["metadata"]["annotations"], json!({"count": "2"}));
    let tried = api.post(&format!("{MAPS}?dryRun=All"), &map("b", json!({"a": "1"}))).await.ok();
    assert_eq!(tried["data"], json!({"a": "1", "team": "blue"}));
}

#[tokio::test]
async fn custom_resources_and_scales_are_changed_too() {
    let api = api().await;
    let parts = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
        "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "size": {"type": "integer", "default": 3}}}});
    let spec = json!({"type": "object", "properties": {"parts": parts, "replicas": {"type": "integer"}}});
    let mut only = version("v1", true, &spec);
    only["subresources"] =
        json!({"scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}});
    establish(&api, &definition(json!([only]))).await;
    let part = "Object{spec: Object.spec{parts: [Object.spec.parts{name: 'b'}]}}";
    bind(&api, "part", rules("example.com", "widgets"), json!([apply(part)]), json!({})).await;
    let scaled = "Object{spec: Object.spec{replicas: object.spec.replicas * 2}}";
    bind(&api, "scale", rules("example.com", "widgets/scale"), json!([apply(scaled)]), json!({})).await;
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"parts": [{"name": "a"}], "replicas": 1}});
    let made = api.post(widgets, &widget).await.ok();
    assert_eq!(made["spec"]["parts"], json!([{"name": "a", "size": 3}, {"name": "b", "size": 3}]));
    let scale = api.patch("merge-patch", &format!("{widgets}/a/scale"), &json!({"spec": {"replicas": 3}})).await.ok();
    assert_eq!(scale["spec"]["replicas"], 6);
    assert_eq!(api.get(&format!("{widgets}/a")).await.ok()["spec"]["replicas"], 6);
}

/// A policy about the ConfigMap of its own name, which puts something into the metadata.
async fn claim(api: &Api, name: &str, field: &str, value: &str) {
    let operations = format!("[JSONPatch{{op: 'add', path: '/metadata/{field}', value: {value}}}]");
    let own = json!([{"name": "own", "expression": format!("object.metadata.name == '{name}'")}]);
    bind(api, name, rules("", "configmaps"), json!([patch(&operations)]), json!({"matchConditions": own})).await;
}

#[tokio::test]
async fn where_an_object_is_and_how_the_server_knows_it_is_not_for_policies() {
    const TIME: &str = "'2020-01-01T00:00:00Z'";
    let api = api().await;
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.ok();
    claim(&api, "moved", "namespace", "'other'").await;
    let refused = api.post(MAPS, &map("moved", json!({}))).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(api.get("/api/v1/namespaces/other/configmaps/moved").await.status, 404);
    let fields = [
        ("uid", "'mine'"),
        ("creationTimestamp", TIME),
        ("deletionTimestamp", TIME),
        ("deletionGracePeriodSeconds", "7"),
        ("generation", "7"),
        ("selfLink", "'mine'"),
    ];
    for (field, value) in fields {
        let name = format!("new-{}", field.to_lowercase());
        claim(&api, &name, field, value).await;
        let made = api.post(MAPS, &map(&name, json!({}))).await.ok();
        let now = made["metadata"][field].to_string();
        assert!(!now.contains("mine") && !now.contains("2020") && now != "7", "{made}");
    }
    for (field, value) in fields {
        let name = format!("old-{}", field.to_lowercase());
        let made = api.post(MAPS, &map(&name, json!({}))).await.ok();
        claim(&api, &name, field, value).await;
        let path = format!("{MAPS}/{name}");
        let changed = api.put(&path, &map(&name, json!({"a": "b"}))).await;
        let is_restored = ["creationTimestamp", "generation", "selfLink"].contains(&field);
        assert_eq!(changed.status, if is_restored { 200 } else { 422 }, "{}", changed.text);
        assert_eq!(api.get(&path).await.ok()["metadata"][field], made["metadata"][field]);
    }
}

#[tokio::test]
async fn managed_fields_that_cannot_be_read_are_not_a_policys_to_make() {
    let api = api().await;
    claim(&api, "broken", "managedFields", "[{'manager': 'x', 'operation': 'Bogus', 'apiVersion': 'v1'}]").await;
    claim(&api, "none", "managedFields", "[]").await;
    let made = api.post(MAPS, &map("broken", json!({"a": "1"}))).await;
    assert!(made.headers["warning"].to_str().expect("a text").contains("in an invalid state after admission"));
    let owned = &made.ok()["metadata"]["managedFields"];
    assert_eq!((&owned[0]["operation"], &owned[0]["fieldsV1"]["f:data"]["f:a"]), (&json!("Update"), &json!({})));
    let made = api.post(MAPS, &map("none", json!({"a": "1"}))).await.ok();
    assert!(made["metadata"].get("managedFields").is_none(), "{made}");
}

#[tokio::test]
async fn policies_are_served_and_asked_only_where_their_version_is_wanted() {
    let before = api().await;
    let spec = json!({"matchConstraints": {"resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]},
        "reinvocationPolicy": "Never", "failurePolicy": "Fail", "mutations": [
        {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/data', value: {'k': 'v'}}]"}}]});
    before
        .post(&format!("{GROUP}/mutatingadmissionpolicies"), &json!({"metadata": {"name": "p"}, "spec": spec}))
        .await
        .ok();
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p"}});
    before.post(&format!("{GROUP}/mutatingadmissionpolicybindings"), &binding).await.ok();
    let made = before.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    assert_eq!(made["data"], json!({"k": "v"}));
    let service = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.admissionregistration.k8s.io";
    assert_eq!(before.get(service).await.status, 200);

    let after = Api::after(before).await;
    assert_eq!(after.get(GROUP).await.status, 404);
    assert_eq!(after.get(&format!("{GROUP}/mutatingadmissionpolicies/p")).await.status, 404);
    let group = after.get("/apis/admissionregistration.k8s.io").await.ok();
    assert_eq!(group["versions"].as_array().map(Vec::len), Some(1));
    assert!(!after.get("/openapi/v3").await.text.contains("admissionregistration.k8s.io/v1beta1"));
    assert_eq!(after.get(service).await.status, 404);
    let made = after.post(MAPS, &json!({"metadata": {"name": "b"}})).await.ok();
    assert!(made.get("data").is_none());
}
