//! Server-side apply, and who owns which fields after any write.

use http::Method;
use serde_json::{Value, json};

use crate::{Answer, Api, held};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

impl Api {
    pub(super) async fn apply(&self, path: &str, manager: &str, object: &Value) -> Answer {
        let path = format!("{path}{}fieldManager={manager}", if path.contains('?') { '&' } else { '?' });
        self.patch_as("application/apply-patch+yaml", &path, object.to_string()).await
    }

    async fn patch_as(&self, media_type: &str, path: &str, body: String) -> Answer {
        self.call(Method::PATCH, path, &[("content-type", media_type)], body).await
    }
}

/// Managers and operations of an object's fields, with the subresource where there is one.
pub(super) fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let shown = |entry: &Value| {
        let words = ["manager", "operation", "apiVersion", "subresource"].map(|field| text(entry, field));
        words.join(" ").trim_end().to_owned()
    };
    entries.into_iter().flatten().map(shown).collect()
}

pub(super) fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array();
    let own = entries.into_iter().flatten().find(|entry| entry["manager"] == manager);
    own.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn deployment(spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"a": "b"}});
    spec["template"] =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

#[tokio::test]
async fn an_apply_makes_an_object_and_then_changes_what_is_its_own() {
    let api = Api::new().await;
    let path = format!("{MAPS}/a");
    let made = api.apply(&path, "me", &map(json!({"k": "1", "gone": "soon"}))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(managers(&made.json()), ["me Apply v1"]);
    assert_eq!(owned(&made.json(), "me"), json!({"f:data": {"f:gone": {}, "f:k": {}}}));
    assert_eq!(api.get(&path).await.ok(), made.json());
    let again = api.apply(&path, "me", &map(json!({"k": "1", "gone": "soon"}))).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, made.json()));
    let changed = api.apply(&path, "me", &map(json!({"k": "2"}))).await.ok();
    assert_eq!(changed["data"], json!({"k": "2"}));

    let other = map(json!({"k": "3"}));
    let refused = api.apply(&path, "other", &other).await;
    refused.refused(409, "Apply failed with 1 conflict: conflict with \"me\": .data.k");
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let dry = api.apply(&format!("{path}?force=true&dryRun=All"), "other", &other).await.ok();
    assert_eq!((managers(&dry), &dry["data"]["k"]), (vec!["other Apply v1".to_owned()], &json!("3")));
    assert_eq!(api.get(&path).await.ok(), changed);
    let forced = api.apply(&format!("{path}?force=true"), "other", &other).await.ok();
    assert_eq!((managers(&forced), &forced["data"]["k"]), (vec!["other Apply v1".to_owned()], &json!("3")));
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}});
    assert_eq!(api.apply(&format!("{MAPS}/b?dryRun=All"), "me", &empty).await.status, 201);
    assert_eq!(api.get(&format!("{MAPS}/b")).await.status, 404);
}

#[tokio::test]
async fn every_other_write_owns_what_it_changes() {
    let api = Api::new().await;
    let path = format!("{DEPLOYMENTS}/d");
    let agent = [("user-agent", "kubectl/v1.33 (linux)")];
    let body = deployment(json!({"replicas": 1})).to_string();
    let made = api.call(Method::POST, DEPLOYMENTS, &agent, body).await.ok();
    assert_eq!(managers(&made), ["kubectl Update apps/v1"]);
    // The creator owns the defaults, too.
    assert_eq!(owned(&made, "kubectl")["f:spec"]["f:progressDeadlineSeconds"], json!({}));
    assert_eq!(owned(&made, "kubectl").get("f:status"), None);

    let mut changed = made.clone();
    changed["spec"]["replicas"] = 2.into();
    let changed = api.put(&format!("{path}?fieldManager=putter"), &changed).await.ok();
    assert_eq!(owned(&changed, "putter"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(owned(&changed, "kubectl")["f:spec"].get("f:replicas"), None);
    let patch = json!({"metadata": {"labels": {"x": "y"}}});
    let patched = api.patch("merge-patch", &format!("{path}?fieldManager=patcher"), &patch).await.ok();
    assert_eq!(owned(&patched, "patcher"), json!({"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}));
    let status = json!({"status": {"replicas": 2}});
    let status = api.patch("merge-patch", &format!("{path}/status?fieldManager=controller"), &status).await.ok();
    assert!(managers(&status).contains(&"controller Update apps/v1 status".to_owned()), "{:?}", managers(&status));
    assert_eq!(owned(&status, "controller"), json!({"f:status": {"f:replicas": {}}}));
    // What changes nothing writes nothing.
    assert_eq!(api.patch("merge-patch", &format!("{path}?fieldManager=nobody"), &patch).await.ok(), status);

    // As kubectl does it when it goes over to applying on the server's side.
    let upgrade = |version: &str| {
        json!([{"op": "replace", "path": "/metadata/managedFields", "value": changed["metadata"]["managedFields"]},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version}])
    };
    assert_eq!(api.patch("json-patch", &path, &upgrade("1")).await.status, 409);
    let now = api.get(&path).await.ok()["metadata"]["resourceVersion"].as_str().expect("text").to_owned();
    let upgraded = api.patch("json-patch", &path, &upgrade(&now)).await.ok();
    assert_eq!(managers(&upgraded), managers(&changed));

    for none in [json!([]), json!([{}])] {
        let patch = json!({"metadata": {"managedFields": none}});
        let reset = api.patch("merge-patch", &path, &patch).await.ok();
        assert_eq!(managers(&reset), Vec::<String>::new());
        api.patch("merge-patch", &path, &patch).await.ok();
    }
    let applied = api.apply(&path, "me", &deployment(json!({"replicas": 2}))).await.ok();
    assert_eq!(managers(&applied), ["me Apply apps/v1", "before-first-apply Update apps/v1"]);
}

#[tokio::test]
async fn who_scales_owns_the_replicas() {
    let api = Api::new().await;
    let path = format!("{DEPLOYMENTS}/d");
    api.apply(&path, "me", &deployment(json!({"replicas": 1, "minReadySeconds": 1}))).await.ok();
    let patch = json!({"spec": {"replicas": 3}});
    let scaled = api.patch("merge-patch", &format!("{path}/scale?fieldManager=scaler"), &patch).await.ok();
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    let object = api.get(&path).await.ok();
    assert_eq!(owned(&object, "scaler"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(owned(&object, "me")["f:spec"].get("f:replicas"), None);
    assert_eq!(managers(&object), ["me Apply apps/v1", "scaler Update apps/v1 scale"]);
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 4}});
    api.apply(&format!("{path}/scale"), "other", &scale)
        .await
        .refused(409, "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using autoscaling/v1: .spec.replicas");
    let scaled = api.apply(&format!("{path}/scale?force=true"), "other", &scale).await.ok();
    assert_eq!(scaled["spec"]["replicas"], 4);
    assert_eq!(owned(&api.get(&path).await.ok(), "other"), json!({"f:spec": {"f:replicas": {}}}));
    api.apply(&format!("{path}/scale"), "other", &map(json!({})))
        .await
        .refused(400, "invalid object type: /v1, Kind=ConfigMap");
}

#[tokio::test]
async fn a_status_is_applied_where_there_is_an_object() {
    let api = Api::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let status = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"message": "m"}});
    let answer = api.apply(&format!("{pods}/p/status"), "me", &status).await;
    answer.refused(404, "pods \"p\" not found");
    api.post(pods, &json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}))
        .await
        .ok();
    let applied = api.apply(&format!("{pods}/p/status"), "me", &status).await.ok();
    assert_eq!((&applied["status"]["message"], &applied["status"]["phase"]), (&json!("m"), &json!("Pending")));
    assert_eq!(owned(&applied, "me"), json!({"f:status": {"f:message": {}}}));
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    api.post(&format!("{pods}/p/binding"), &binding).await.ok();
    let bound = api.get(&format!("{pods}/p")).await.ok();
    assert_eq!(bound["metadata"]["managedFields"], applied["metadata"]["managedFields"]);
}

#[tokio::test]
async fn a_patch_says_who_owns_what_whether_or_not_it_mentions_that() {
    let api = Api::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let made = api.post(&format!("{pods}?fieldManager=maker"), &pod).await.ok();
    let path = format!("{pods}/p/status?fieldManager=teller");
    let told = json!({"status": {"message": "m"}});
    let patched = api.patch("strategic-merge-patch", &path, &told).await.ok();
    assert_eq!(owned(&patched, "teller"), json!({"f:status": {"f:message": {}}}));
    assert_eq!(owned(&patched, "maker"), owned(&made, "maker"));
    // What changes nothing is answered with all that there is.
    assert_eq!(api.patch("strategic-merge-patch", &path, &told).await.ok(), patched);
    let path = format!("{pods}/p?fieldManager=other");
    let labeled = api.patch("merge-patch", &path, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert_eq!(owned(&labeled, "other"), json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}));
    assert_eq!(owned(&labeled, "teller"), owned(&patched, "teller"));
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_as_upstream_does() {
    let api = Api::new().await;
    let path = format!("{MAPS}/a");
    let yaml = "application/apply-patch+yaml";
    let configuration = map(json!({"k": "v"}));
    api.patch_as(yaml, &path, configuration.to_string()).await.refused(
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
    );
    api.patch("merge-patch", &format!("{path}?force=true"), &configuration).await.refused(
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
    );
    let long = "x".repeat(129);
    api.post(&format!("{MAPS}?fieldManager={long}"), &configuration).await.refused(
        422,
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes",
    );
    assert_eq!(api.patch_as("application/apply-patch+cbor", &path, String::new()).await.status, 415);
    let unlike = |change: &dyn Fn(&mut Value)| {
        let mut other = configuration.clone();
        change(&mut other);
        other
    };
    for (other, code, message) in [
        (unlike(&|it| it["kind"] = "Secret".into()), 400, "invalid object type: /v1, Kind=Secret"),
        (
            json!([1]),
            400,
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            unlike(&|it| it["metadata"]["name"] = "b".into()),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            unlike(&|it| it["metadata"]["uid"] = "u".into()),
            409,
            "Operation cannot be fulfilled on configmaps \"a\": uid mismatch: the provided object specified uid u, and no existing object was found",
        ),
        (unlike(&|it| it["metadata"]["managedFields"] = json!([])), 400, "metadata.managedFields must be nil"),
        (
            unlike(&|it| it["dta"] = json!({})),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .dta: field not declared in schema",
        ),
    ] {
        api.apply(&path, "me", &other).await.refused(code, message);
    }
    assert_eq!(api.get(&path).await.status, 404);
    let twice = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1", "k": "2"}}"#;
    let strict = api.patch_as(yaml, &format!("{path}?fieldManager=me&fieldValidation=Strict"), twice.into()).await;
    assert_eq!(strict.status, 400, "{}", strict.text);
    let warned = api.patch_as(yaml, &format!("{path}?fieldManager=me"), twice.into()).await;
    assert_eq!((warned.status.as_u16(), warned.warnings().len()), (201, 1), "{}", warned.text);
    // Real YAML is one as well.
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: three\n";
    let applied = api.patch_as(yaml, &format!("{path}?fieldManager=me"), text.into()).await.ok();
    assert_eq!(applied["data"], json!({"k": "three"}));
}

#[tokio::test]
async fn fields_are_owned_in_the_version_that_is_written() {
    let api = Api::new().await;
    let path = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers/h");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let spec = json!({"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50});
    let object = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec});
    let made = api.apply(&path("v1"), "me", &object).await.ok();
    assert_eq!(managers(&made), ["me Apply autoscaling/v1"]);
    let patch = json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 60}}}]}});
    let other = api.patch("merge-patch", &format!("{}?fieldManager=other", path("v2")), &patch).await.ok();
    assert_eq!(owned(&other, "other"), json!({"f:spec": {"f:metrics": {}}}));
    assert_eq!(owned(&other, "me")["f:spec"].get("f:targetCPUUtilizationPercentage"), None, "{other}");
    assert_eq!(owned(&other, "me")["f:spec"]["f:maxReplicas"], json!({}));
}

#[tokio::test]
async fn two_who_apply_at_once_both_have_what_is_theirs() {
    let (api, held) = held::api().await;
    let path = format!("{MAPS}/a");
    held.hold();
    let (late, at) = (api.clone(), path.clone());
    let task = tokio::spawn(async move { late.apply(&at, "late", &map(json!({"late": "1"}))).await });
    held.holds().await;
    assert_eq!(api.apply(&path, "first", &map(json!({"first": "1"}))).await.status, 201);
    held.release().await;
    let answer = task.await.expect("an answer");
    assert_eq!((answer.status.as_u16(), &answer.json()["data"]), (200, &json!({"first": "1", "late": "1"})));
    assert_eq!(managers(&answer.json()).len(), 2);
}
