//! What is refused with which code, and what is not.

use http::Method;
use serde_json::{Value, json};

use super::Api;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// An API with the pod `a` on a node that is not there.
async fn with_a_pod() -> (Api, String) {
    let api = Api::new().await;
    let spec = json!({"nodeName": "nowhere", "containers": [{"name": "c", "image": "i:1"}]});
    api.post(PODS, &json!({"metadata": {"name": "a", "labels": {"l": "v"}}, "spec": spec})).await.ok();
    (api, format!("{PODS}/a"))
}

#[tokio::test]
async fn an_address_that_is_none_is_no_pods() {
    let (api, pod) = with_a_pod().await;
    let status = |ip: &str| json!({"status": {"podIPs": [{"ip": ip}]}});
    let why = "Pod \"a\" is invalid: status.podIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    api.patch("merge-patch", &format!("{pod}/status"), &status("x")).await.refused(422, why);
    let made = api.patch("merge-patch", &format!("{pod}/status"), &status("192.0.2.7")).await.ok();
    assert_eq!(made["status"]["podIP"], "192.0.2.7");
}

#[tokio::test]
async fn a_patch_changes_no_uid_and_a_put_has_it_as_a_precondition() {
    let (api, pod) = with_a_pod().await;
    let another = json!({"metadata": {"uid": "zz"}});
    let why = "Pod \"a\" is invalid: metadata.uid: Invalid value: \"zz\": field is immutable";
    for path in [pod.clone(), format!("{pod}/status")] {
        for kind in ["merge-patch", "strategic-merge-patch"] {
            api.patch(kind, &path, &another).await.refused(422, why);
        }
    }
    let applied = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "zz"}}).to_string();
    let headers = [("content-type", "application/apply-patch+yaml")];
    api.call(Method::PATCH, &format!("{pod}?fieldManager=m"), &headers, applied).await.refused(422, why);
    let outdated = json!({"metadata": {"uid": "zz", "resourceVersion": "1"}});
    assert_eq!(api.patch("merge-patch", &pod, &outdated).await.status, 409);
    let mut whole = api.get(&pod).await.ok();
    whole["metadata"]["uid"] = "zz".into();
    assert_eq!(api.put(&pod, &whole).await.status, 409);
    let renamed = json!({"metadata": {"name": "b"}});
    api.patch("merge-patch", &pod, &renamed)
        .await
        .refused(400, "the name of the object (b) does not match the name on the URL (a)");
}

#[tokio::test]
async fn a_binding_names_its_pod() {
    let (api, pod) = with_a_pod().await;
    let target = json!({"name": "n"});
    let why = "name in URL does not match name in Binding object";
    api.post(&format!("{pod}/binding"), &json!({"target": target})).await.refused(400, why);
    api.post("/api/v1/namespaces/default/bindings", &json!({"target": target}))
        .await
        .refused(400, "Name parameter required.");
    let named = json!({"metadata": {"name": "a"}, "target": target});
    assert_eq!(api.post(&format!("{pod}/binding"), &named).await.status, 409);
}

#[tokio::test]
async fn a_pod_is_bound_to_what_may_be_a_node_and_not_before_its_gates_are_gone() {
    let api = Api::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let spec =
        json!({"containers": [{"name": "c", "image": "i:1"}], "schedulingGates": [{"name": "example.com/wait"}]});
    let pod = json!({"metadata": {"name": "a"}, "spec": spec});
    let made = api.post(pods, &pod).await.ok();
    let binding = |node: &str| json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": node}});
    let path = format!("{pods}/a/binding");
    let why = "Operation cannot be fulfilled on pods/binding \"a\": pod a has non-empty .spec.schedulingGates";
    api.post(&path, &binding("n")).await.refused(409, why);
    api.patch("merge-patch", &format!("{pods}/a"), &json!({"spec": {"schedulingGates": null}})).await.ok();
    assert_eq!(api.post(&path, &binding("N/")).await.status, 422);
    api.post(&path, &binding("n")).await.ok();
    let bound = api.get(&format!("{pods}/a")).await.ok();
    assert_eq!((&bound["spec"]["nodeName"], &bound["spec"]["containers"]), (&json!("n"), &made["spec"]["containers"]));
}

#[tokio::test]
async fn only_objects_are_merged() {
    let (api, pod) = with_a_pod().await;
    for (value, what) in [(json!([1]), "array"), (json!(1), "number"), (json!("x"), "string"), (json!(true), "bool")] {
        let why = format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}");
        api.patch("merge-patch", &pod, &value).await.refused(400, &format!("error decoding patch: {why}"));
        api.patch("strategic-merge-patch", &pod, &value).await.refused(400, &why);
    }
    api.patch("merge-patch", &pod, &Value::Null).await.refused(400, "Invalid JSON Patch");
    api.patch("strategic-merge-patch", &pod, &Value::Null).await.ok();
}

#[tokio::test]
async fn a_member_that_is_replaced_need_not_be_there() {
    let (api, pod) = with_a_pod().await;
    let replace = |path: &str| json!([{"op": "replace", "path": path}]);
    let changed = api.patch("json-patch", &pod, &replace("/metadata/labels/x")).await.ok();
    assert_eq!(changed["metadata"]["labels"], json!({"l": "v", "x": ""}));
    for path in ["/metadata/nothing/x", "/spec/containers/7"] {
        assert_eq!(api.patch("json-patch", &pod, &replace(path)).await.status, 422, "{path}");
    }
}

#[tokio::test]
async fn a_review_of_no_token_is_refused() {
    let api = Api::new().await;
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let why = "token is required for TokenReview in authentication";
    for spec in [json!({}), json!({"token": ""})] {
        api.post(reviews, &json!({"spec": spec})).await.refused(400, why);
    }
    let status = api.post(reviews, &json!({"spec": {"token": "x"}})).await.ok()["status"].clone();
    assert_eq!((&status["authenticated"], &status["user"]), (&Value::Null, &json!({})));
}

#[tokio::test]
async fn a_version_does_not_matter_where_nothing_is_made() {
    let api = Api::new().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"metadata": {"name": "a", "resourceVersion": "5"}});
    api.post(&format!("{maps}?dryRun=All"), &map).await.ok();
    api.post(maps, &map).await.refused(400, "resourceVersion should not be set on objects to be created");
}

#[tokio::test]
async fn a_completed_pod_takes_no_commands_and_whoever_attaches_is_told_by_its_kubelet() {
    let (api, pod) = with_a_pod().await;
    api.patch("merge-patch", &format!("{pod}/status"), &json!({"status": {"phase": "Succeeded"}})).await.ok();
    let why = "cannot exec into a container in a completed pod; current phase is Succeeded";
    api.post(&format!("{pod}/exec?command=a&stdout=true"), &json!({})).await.refused(400, why);
    api.post(&format!("{pod}/attach?stdout=true"), &json!({})).await.refused(404, "nodes \"nowhere\" not found");
}

#[tokio::test]
async fn what_is_asked_of_logs_is_looked_at_before_the_node() {
    let (api, pod) = with_a_pod().await;
    let tail = "tailLines: Invalid value: -1: must be greater than or equal to 0";
    for name in ["a", "nobody"] {
        let why = format!("PodLogOptions \"{name}\" is invalid: {tail}");
        api.get(&format!("{PODS}/{name}/log?tailLines=-1")).await.refused(422, &why);
    }
    let time = "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"";
    api.get(&format!("{pod}/log?sinceTime=x")).await.refused(400, time);
    api.get(&format!("{pod}/log?container=zz")).await.refused(400, "container zz is not valid for pod a");
    assert_eq!(api.get(&format!("{pod}/log")).await.status, 404);
}

#[tokio::test]
async fn a_pod_without_containers_is_told_of_them_alone() {
    let (api, pod) = with_a_pod().await;
    let why = "Pod \"x\" is invalid: spec.containers: Required value";
    for empty in [json!({"metadata": {"name": "x"}}), json!({"metadata": {"name": "x"}, "spec": {"containers": []}})] {
        api.post(PODS, &empty).await.refused(422, why);
    }
    let why = "Pod \"a\" is invalid: [spec.containers: Required value, spec.containers: Forbidden: pod updates may not add or remove containers]";
    api.put(&pod, &json!({"metadata": {"name": "a"}})).await.refused(422, why);
}
