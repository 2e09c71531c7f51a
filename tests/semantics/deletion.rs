//! How objects go, and what goes with them.

use std::time::Duration;

use coracle_e2e::*;
use serde_json::{Value, json};

fn gone(namespace: &Namespace<'_>, path: &str) {
    eventually(&format!("{path} is gone"), || match namespace.api.get(path) {
        answer if answer.status == 404 => Ok(()),
        answer => Err(answer.text),
    });
}

/// A replica set of two pods.
fn replica_set(namespace: &Namespace<'_>, name: &str) -> Vec<String> {
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"set": name}}, "template": {
        "metadata": {"labels": {"set": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container("c", &["sleep", "1000"])]}}});
    namespace
        .api
        .post(&namespace.path_in("apps/v1", "replicasets"), &json!({"metadata": {"name": name}, "spec": spec}))
        .ok();
    eventually("two pods are there", || {
        let list = namespace.found(&format!("pods?labelSelector=set={name}"))?;
        let items: Vec<Value> = list["items"].as_array().cloned().unwrap_or_default();
        let names: Vec<String> =
            items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        if names.len() == 2 { Ok(names) } else { Err(format!("{names:?}")) }
    })
}

#[test]
fn a_finalizer_holds_an_object() {
    let cluster = cluster!();
    let namespace = cluster.namespace("finalizers");
    namespace.create("configmaps", &json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}}));
    let path = namespace.path("configmaps/a");
    let answer = namespace.api.delete(&path, &json!({})).ok();
    assert!(answer["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(answer["metadata"]["deletionGracePeriodSeconds"], 0);
    never("it goes", Duration::from_millis(300), || (namespace.api.get(&path).status == 404).then_some("gone"));
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    assert_eq!(namespace.api.patch(&path, MERGE, &more).status, 422);
    namespace.api.patch(&path, MERGE, &json!({"metadata": {"finalizers": []}})).ok();
    gone(&namespace, &path);
}

#[test]
fn background_deletion_takes_the_dependents_after() {
    let cluster = cluster!();
    let namespace = cluster.namespace("background");
    let pods = replica_set(&namespace, "r");
    let path = namespace.path_in("apps/v1", "replicasets/r");
    namespace.api.delete(&path, &json!({"propagationPolicy": "Background"})).ok();
    assert_eq!(namespace.api.get(&path).status, 404);
    pods.iter().for_each(|name| gone(&namespace, &namespace.path(&format!("pods/{name}"))));
}

#[test]
fn foreground_deletion_takes_the_dependents_first() {
    let cluster = cluster!();
    let namespace = cluster.namespace("foreground");
    let pods = replica_set(&namespace, "r");
    let path = namespace.path_in("apps/v1", "replicasets/r");
    let answer = namespace.api.delete(&path, &json!({"propagationPolicy": "Foreground"})).ok();
    assert_eq!(answer["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    gone(&namespace, &path);
    for name in pods {
        assert!(namespace.found(&format!("pods/{name}")).is_err(), "the owner went before {name}");
    }
}

#[test]
fn objects_that_own_each_other_in_a_circle_go_together() {
    let cluster = cluster!();
    let namespace = cluster.namespace("circle");
    let path = |name: &str| namespace.path(&format!("configmaps/{name}"));
    let uid =
        |name: &str| namespace.create("configmaps", &json!({"metadata": {"name": name}}))["metadata"]["uid"].clone();
    let uids = ["a", "b", "c"].map(|name| (name, uid(name)));
    for (dependent, (owner, uid)) in ["b", "c", "a"].into_iter().zip(uids) {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid,
            "controller": true, "blockOwnerDeletion": true});
        namespace.api.patch(&path(dependent), MERGE, &json!({"metadata": {"ownerReferences": [owner]}})).ok();
    }
    namespace.api.delete(&path("a"), &json!({"propagationPolicy": "Foreground"})).ok();
    ["a", "b", "c"].into_iter().for_each(|name| gone(&namespace, &path(name)));
}

#[test]
fn orphans_stay() {
    let cluster = cluster!();
    let namespace = cluster.namespace("orphans");
    let pods = replica_set(&namespace, "r");
    let path = namespace.path_in("apps/v1", "replicasets/r");
    namespace.api.delete(&path, &json!({"propagationPolicy": "Orphan"})).ok();
    gone(&namespace, &path);
    for name in &pods {
        eventually("the pod has no owner", || {
            let pod = namespace.found(&format!("pods/{name}"))?;
            let owners = pod["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
            if owners == 0 && pod["metadata"]["deletionTimestamp"].is_null() { Ok(()) } else { Err(pod.to_string()) }
        });
    }
}

#[test]
fn an_owner_that_never_was_takes_its_dependents() {
    let cluster = cluster!();
    let namespace = cluster.namespace("absent-owner");
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "11111111-1111-1111-1111-111111111111"});
    namespace.create("secrets", &json!({"metadata": {"name": "a", "ownerReferences": [owner]}}));
    gone(&namespace, &namespace.path("secrets/a"));
}

#[test]
fn a_collection_is_deleted_by_selector() {
    let cluster = cluster!();
    let namespace = cluster.namespace("collection");
    for (name, label) in [("a", "go"), ("b", "go"), ("c", "stay")] {
        namespace.create("configmaps", &json!({"metadata": {"name": name, "labels": {"x": label}}}));
    }
    namespace.api.delete(&namespace.path("configmaps?labelSelector=x=go"), &json!({})).ok();
    let left = namespace.found("configmaps?labelSelector=x").unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_namespace_goes_with_everything_in_it() {
    let cluster = cluster!();
    let namespace = cluster.namespace("whole");
    namespace.create("configmaps", &json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}}));
    replica_set(&namespace, "r");
    let path = "/api/v1/namespaces/whole";
    namespace.api.delete(path, &json!({})).ok();
    eventually("it says what it waits for", || {
        let object = namespace.api.get(path).ok();
        let terminating = object["status"]["phase"] == "Terminating";
        let conditions = object["status"]["conditions"].to_string();
        if terminating && conditions.contains("example.com/hold") { Ok(()) } else { Err(object.to_string()) }
    });
    let refused = namespace.api.post(&namespace.path("configmaps"), &json!({"metadata": {"name": "late"}}));
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("because it is being terminated"), "{}", refused.text);
    namespace.api.patch(&namespace.path("configmaps/a"), MERGE, &json!({"metadata": {"finalizers": null}})).ok();
    gone(&namespace, path);
}
