//! What one request must not do to the server, or to the requests of others.

use std::time::Duration;

use coracle_apiserver::auth::User;
use http::Method;
use serde_json::{Map, Value, json};

use super::Api;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn no_object_is_nested_deeper_than_it_can_be_read() {
    let api = Api::new().await;
    api.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    // Each turn puts what there is into something of a hundred levels.
    let nested = (0..100).fold(json!({}), |inner, _| json!({"x": inner}));
    let turn = [
        json!({"op": "add", "path": "/t", "value": nested}),
        json!({"op": "move", "from": "/a", "path": format!("/t{}", "/x".repeat(101))}),
        json!({"op": "move", "from": "/t", "path": "/a"}),
    ];
    let patch = std::iter::once(json!({"op": "add", "path": "/a", "value": {}}));
    let patch: Value = patch.chain(std::iter::repeat_n(turn, 3000).flatten()).collect();
    assert_eq!(api.patch("json-patch", &format!("{MAPS}/a"), &patch).await.status, 413);

    // What may be anything goes as deep as it can be read again with who owns it.
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let revision = |name: &str, levels: usize| {
        let data = (0..levels).fold(json!({"y": 1}), |inner, _| json!({"x": inner}));
        json!({"metadata": {"name": name}, "revision": 1, "data": data})
    };
    let made = api.post(revisions, &revision("a", 97)).await.ok();
    assert_eq!(api.get(&format!("{revisions}/a")).await.ok(), made);
    api.patch("merge-patch", &format!("{revisions}/a"), &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert_eq!(api.post(revisions, &revision("b", 100)).await.status, 400);
    let deeper = json!([{"op": "add", "path": format!("/data{}/x", "/x".repeat(96)), "value": {"z": {"z": {}}}}]);
    assert_eq!(api.patch("json-patch", &format!("{revisions}/a"), &deeper).await.status, 422);
    assert_eq!(api.get(revisions).await.ok()["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_object_of_very_many_labels_is_read_like_any_other() {
    let api = Api::new().await;
    let labels: Map<String, Value> = (0..40_000).map(|number| (format!("l{number}"), "v".into())).collect();
    api.post(MAPS, &json!({"metadata": {"name": "a", "labels": labels}})).await.ok();
    let found = api.get(&format!("{MAPS}?labelSelector=l39999%3Dv")).await.ok();
    assert_eq!(found["items"][0]["metadata"]["labels"]["l0"], "v");
}

#[tokio::test]
async fn what_is_wrong_in_very_many_places_is_told_of_the_first() {
    let api = Api::new().await;
    let labels: Map<String, Value> = (0..200_000).map(|number| (format!("-{number}"), "".into())).collect();
    for metadata in [
        json!({"name": "a", "labels": labels}),
        json!({"name": "a", "finalizers": vec!["a"; 700_000]}),
        json!({"name": "a", "ownerReferences": vec![json!({}); 1_000_000]}),
    ] {
        let answer = api.post(MAPS, &json!({"metadata": metadata})).await;
        assert_eq!(answer.status, 422);
        assert!(answer.text.len() < 2 << 20, "{}", answer.text.len());
    }
}

#[tokio::test]
async fn a_role_of_a_thousand_million_permissions_is_refused_at_once() {
    let api = Api::new().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let writes =
        json!([{"verbs": ["create", "update"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]}]);
    api.post(roles, &json!({"metadata": {"name": "writer"}, "rules": writes})).await.ok();
    let group = "rbac.authorization.k8s.io";
    let bound = json!({"metadata": {"name": "writer"}, "subjects": [{"kind": "User", "name": "eve", "apiGroup": group}],
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "writer"}});
    api.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &bound).await.ok();
    let many: Vec<String> = (0..1000).map(|number| format!("x{number}")).collect();
    let role = json!({"metadata": {"name": "a"}, "rules": [{"verbs": many, "apiGroups": many, "resources": many}]});
    let answer = api.call_by(User::new("eve", &[]), Method::POST, roles, &[], role.to_string()).await;
    answer.refused(403, "roles.rbac.authorization.k8s.io \"a\" is forbidden: the rules stand for more permissions than can be compared with those of the user: grant them by several roles");
}

#[tokio::test]
async fn no_definition_takes_the_place_of_a_built_in_kind() {
    let api = Api::new().await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for (plural, kind, group) in [
        ("leases", "Lease", "coordination.k8s.io"),
        ("roles", "Role", "rbac.authorization.k8s.io"),
        ("customresourcedefinitions", "CustomResourceDefinition", "apiextensions.k8s.io"),
    ] {
        let name = format!("{plural}.{group}");
        let names =
            json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")});
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let definition = json!({
            "metadata": {"name": name, "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}},
            "spec": {"group": group, "scope": "Namespaced", "names": names,
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
        });
        api.post(definitions, &definition).await.ok();
        let established = json!({"type": "Established", "status": "True", "reason": "Mine", "message": "", "lastTransitionTime": null});
        let status = json!({"status": {"acceptedNames": names, "conditions": [established]}});
        api.patch("merge-patch", &format!("{definitions}/{name}/status"), &status).await.ok();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let lease = json!({"metadata": {"name": "a"}, "spec": {"holderIdentity": "x"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    assert_eq!(api.post(leases, &lease).await.ok()["spec"]["holderIdentity"], "x");
    for name in ["leases.coordination.k8s.io", "customresourcedefinitions.apiextensions.k8s.io"] {
        api.delete(&format!("{definitions}/{name}")).await.ok();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(api.get(&format!("{leases}/a")).await.ok()["spec"]["holderIdentity"], "x");
    assert_eq!(api.get(definitions).await.ok()["items"][0]["metadata"]["name"], "roles.rbac.authorization.k8s.io");
}
