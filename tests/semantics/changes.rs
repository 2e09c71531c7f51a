//! Creating, changing and patching.

use coracle_e2e::*;
use serde_json::json;

#[test]
fn the_server_fills_in_what_is_its_to_say() {
    let cluster = cluster!();
    let namespace = cluster.namespace("metadata");
    let made = namespace
        .create("configmaps", &json!({"metadata": {"generateName": "a-", "uid": "mine", "creationTimestamp": null}}));
    let metadata = &made["metadata"];
    assert_eq!(metadata["name"].as_str().unwrap().len(), "a-".len() + 5);
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<u64>().is_ok());
    assert_eq!(metadata["namespace"], "metadata");

    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "test:1"}]}}});
    let path = namespace.path_in("apps/v1", "deployments");
    let made = namespace.api.post(&path, &json!({"metadata": {"name": "d"}, "spec": spec})).ok();
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(
        made["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
    // The generation of a deployment also counts changes of annotations, but not of the one that its controller makes;
    // a replica set's counts those of the spec only.
    eventually("the controller has seen the deployment", || {
        let seen = namespace.api.get(&format!("{path}/d")).ok();
        let revision = &seen["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
        if revision == "1" && !seen["status"]["observedGeneration"].is_null() { Ok(()) } else { Err(seen.to_string()) }
    });
    let seen = namespace.api.get(&format!("{path}/d")).ok();
    assert_eq!((&seen["status"]["observedGeneration"], &seen["metadata"]["generation"]), (&json!(1), &json!(1)));
    let noted = json!({"metadata": {"annotations": {"note": "x"}}});
    let patched = namespace.api.patch(&format!("{path}/d"), MERGE, &noted).ok();
    assert_eq!(patched["metadata"]["generation"], 2);
    let path = namespace.path_in("apps/v1", "replicasets");
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"c": "d"}}, "template": {
        "metadata": {"labels": {"c": "d"}}, "spec": {"containers": [{"name": "c", "image": "test:1"}]}}});
    namespace.api.post(&path, &json!({"metadata": {"name": "d"}, "spec": spec})).ok();
    let patched = namespace.api.patch(&format!("{path}/d"), MERGE, &json!({"metadata": {"labels": {"x": "y"}}})).ok();
    assert_eq!(patched["metadata"]["generation"], 1);
    let patched = namespace.api.patch(&format!("{path}/d"), MERGE, &json!({"spec": {"minReadySeconds": 1}})).ok();
    assert_eq!(patched["metadata"]["generation"], 2);
    let status = json!({"metadata": {"name": "d"}, "status": {"observedGeneration": 9}, "spec": {"replicas": 7}});
    let patched = namespace.api.patch(&format!("{path}/d/status"), MERGE, &status).ok();
    assert_eq!(patched["spec"]["replicas"], 0, "status changed the spec");
}

#[test]
fn a_dry_run_answers_as_if_but_changes_nothing() {
    let cluster = cluster!();
    let namespace = cluster.namespace("dry-run");
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "1"}});
    let made = namespace.api.post(&namespace.path("configmaps?dryRun=All"), &object).ok();
    assert!(made["metadata"]["uid"].is_string());
    assert!(namespace.found("configmaps/a").is_err());
    let before = namespace.create("configmaps", &object);
    let patch = json!({"data": {"k": "2"}});
    let patched = namespace.api.patch(&namespace.path("configmaps/a?dryRun=All"), MERGE, &patch).ok();
    assert_eq!(patched["data"]["k"], "2");
    namespace.api.delete(&namespace.path("configmaps/a?dryRun=All"), &json!({"dryRun": ["All"]})).ok();
    assert_eq!(namespace.found("configmaps/a").unwrap(), before);
    assert_eq!(namespace.api.post(&namespace.path("configmaps?dryRun=Some"), &object).status, 422);
}

#[test]
fn three_kinds_of_patches() {
    let cluster = cluster!();
    let namespace = cluster.namespace("patches");
    let mut object = pod("p", &["sleep", "1000"]);
    object["spec"]["containers"].as_array_mut().unwrap().push(container("side", &["sleep", "1000"]));
    namespace.create("pods", &object);
    let path = namespace.path("pods/p");
    let strategic = json!({"spec": {"containers": [{"name": "side", "image": "test:2"}]}});
    let patched = namespace.api.patch(&path, STRATEGIC, &strategic).ok();
    let images: Vec<&str> =
        patched["spec"]["containers"].as_array().unwrap().iter().map(|one| one["image"].as_str().unwrap()).collect();
    assert_eq!(images, ["test:1", "test:2"]);
    let patched = namespace.api.patch(&path, MERGE, &json!({"metadata": {"labels": {"a": "b", "app": null}}})).ok();
    assert_eq!(patched["metadata"]["labels"], json!({"a": "b"}));
    let json_patch = "application/json-patch+json";
    let good = json!([
        {"op": "test", "path": "/metadata/labels/a", "value": "b"},
        {"op": "add", "path": "/metadata/annotations", "value": {"x.io/y": "1"}},
        {"op": "replace", "path": "/metadata/annotations/x.io~1y", "value": "2"},
        {"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/c"},
    ]);
    let patched = namespace.api.patch(&path, json_patch, &good).ok();
    assert_eq!(patched["metadata"]["annotations"]["x.io/y"], "2");
    assert_eq!(patched["metadata"]["labels"], json!({"c": "b"}));
    let failing = json!([{"op": "test", "path": "/metadata/labels/c", "value": "other"}]);
    let answer = namespace.api.patch(&path, json_patch, &failing);
    assert_eq!((answer.status, answer.body["reason"].as_str()), (422, Some("Invalid")), "{}", answer.text);
    let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"z": "z"}}});
    assert_eq!(namespace.api.patch(&path, MERGE, &stale).status, 409);
}

#[test]
fn concurrent_writers_lose_no_update() {
    let cluster = cluster!();
    let namespace = cluster.namespace("writers");
    namespace.create("configmaps", &json!({"metadata": {"name": "counter"}, "data": {"n": "0"}}));
    let path = namespace.path("configmaps/counter");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    loop {
                        let mut object = namespace.found("configmaps/counter").unwrap();
                        let number: u32 = object["data"]["n"].as_str().unwrap().parse().unwrap();
                        object["data"]["n"] = json!((number + 1).to_string());
                        match namespace.api.put(&path, &object).status {
                            200 => break,
                            409 => {}
                            other => panic!("{other}"),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(namespace.found("configmaps/counter").unwrap()["data"]["n"], "100");
}

#[test]
fn scale_is_a_resource_of_its_own() {
    let cluster = cluster!();
    let namespace = cluster.namespace("scale");
    let path = namespace.path_in("apps/v1", "deployments");
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container("c", &["sleep", "1000"])]}}});
    namespace.api.post(&path, &json!({"metadata": {"name": "d"}, "spec": spec})).ok();
    let mut scale = namespace.api.get(&format!("{path}/d/scale")).ok();
    assert_eq!((scale["kind"].as_str(), scale["apiVersion"].as_str()), (Some("Scale"), Some("autoscaling/v1")));
    assert_eq!(scale["status"]["selector"], "a=b");
    scale["spec"]["replicas"] = json!(2);
    // The controller writes the status meanwhile.
    scale["metadata"]["resourceVersion"] = json!(null);
    namespace.api.put(&format!("{path}/d/scale"), &scale).ok();
    eventually("two pods run", || {
        let deployment = namespace.api.get(&format!("{path}/d")).ok();
        if deployment["status"]["readyReplicas"] == 2 { Ok(()) } else { Err(deployment["status"].to_string()) }
    });
}

#[test]
fn a_token_of_a_service_account_is_that_account() {
    let cluster = cluster!();
    let namespace = cluster.namespace("tokens");
    let request = json!({"spec": {"audiences": [], "expirationSeconds": 3600}});
    let made = namespace.api.post(&namespace.path("serviceaccounts/default/token"), &request).ok();
    let mut remote = cluster.remote();
    (remote.client_cert_pem, remote.client_key_pem) = (None, None);
    remote.token = Some(made["status"]["token"].as_str().unwrap().into());
    let them = Api::new(&remote);
    let answer = them.get(&namespace.path("secrets"));
    answer.is_failure(403, "Forbidden", "secrets is forbidden: User \"system:serviceaccount:tokens:default\" cannot list resource \"secrets\" in API group \"\" in the namespace \"tokens\"");
    let review = namespace
        .api
        .post("/apis/authentication.k8s.io/v1/tokenreviews", &json!({"spec": {"token": made["status"]["token"]}}));
    if review.status != 404 {
        assert_eq!(review.ok()["status"]["user"]["username"], "system:serviceaccount:tokens:default");
    }
}

#[test]
fn a_pods_own_token_works_from_inside() {
    let cluster = cluster!();
    let namespace = cluster.namespace("own-token");
    let run = namespace.run(&["ls", "/var/run/secrets/kubernetes.io/serviceaccount"]);
    for file in ["ca.crt", "namespace", "token"] {
        assert!(run.log.lines().any(|line| line == file), "{run:?}");
    }
    let run = namespace.run(&["cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"]);
    assert_eq!(run.log, "own-token");
    let run = namespace.run(&["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"]);
    let mut remote = cluster.remote();
    (remote.client_cert_pem, remote.client_key_pem) = (None, None);
    remote.token = Some(run.log.trim().to_owned());
    // The pod is gone by now, and with it the token bound to it; either it is refused or it is the account.
    let answer = Api::new(&remote).get(&namespace.path("pods"));
    assert!(answer.status == 401 || answer.status == 403, "{}", answer.text);
}
