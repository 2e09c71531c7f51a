//! What is refused, with which words.

use coracle_e2e::*;
use serde_json::json;

#[test]
fn what_is_not_there() {
    let cluster = cluster!();
    let api = cluster.api();
    api.get("/api/v1/namespaces/default/configmaps/nothing").is_failure(
        404,
        "NotFound",
        "configmaps \"nothing\" not found",
    );
    api.get("/apis/apps/v1/namespaces/default/deployments/nothing").is_failure(
        404,
        "NotFound",
        "deployments.apps \"nothing\" not found",
    );
    api.get("/api/v1/nonsense").is_failure(404, "NotFound", "the server could not find the requested resource");
    api.post("/api/v1/namespaces/no-such/configmaps", &json!({"metadata": {"name": "a"}})).is_failure(
        404,
        "NotFound",
        "namespaces \"no-such\" not found",
    );
}

#[test]
fn what_is_there_already_and_what_has_changed() {
    let cluster = cluster!();
    let namespace = cluster.namespace("conflicts");
    let mut object = namespace.create("configmaps", &json!({"metadata": {"name": "a"}, "data": {"k": "1"}}));
    namespace.api.post(&namespace.path("configmaps"), &json!({"metadata": {"name": "a"}})).is_failure(
        409,
        "AlreadyExists",
        "configmaps \"a\" already exists",
    );
    object["data"]["k"] = json!("2");
    namespace.api.put(&namespace.path("configmaps/a"), &object).ok();
    object["data"]["k"] = json!("3");
    namespace.api.put(&namespace.path("configmaps/a"), &object).is_failure(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
    );
    let other_uid = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}});
    let answer = namespace.api.delete(&namespace.path("configmaps/a"), &other_uid);
    assert_eq!((answer.status, answer.body["reason"].as_str()), (409, Some("Conflict")), "{}", answer.text);
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.contains("Precondition failed: UID in precondition: 00000000"), "{message}");
    assert_eq!(namespace.found("configmaps/a").unwrap()["data"]["k"], "2");
}

#[test]
fn what_is_invalid_names_its_fields() {
    let cluster = cluster!();
    let namespace = cluster.namespace("invalid");
    let refused = |plural: &str, object: serde_json::Value, message: &str| {
        let answer = namespace.api.post(&namespace.path(plural), &object);
        answer.is_failure(422, "Invalid", message);
        assert!(answer.body["details"]["causes"].as_array().is_some_and(|causes| !causes.is_empty()));
    };
    refused(
        "configmaps",
        json!({"metadata": {"name": "Bad_Name"}}),
        "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    );
    refused(
        "pods",
        json!({"metadata": {"name": "p"}, "spec": {"containers": []}}),
        "Pod \"p\" is invalid: spec.containers: Required value",
    );
    refused(
        "pods",
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}),
        "Pod \"p\" is invalid: spec.containers[0].image: Required value",
    );
    refused(
        "services",
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 70000, "targetPort": 80}]}}),
        "Service \"s\" is invalid: spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
    );
    let mut object = namespace.create("pods", &pod("p", &["sleep", "100"]));
    object["spec"]["containers"][0]["command"] = json!(["other"]);
    // Scheduler and kubelet write meanwhile; the update shall not lose to them.
    object["metadata"]["resourceVersion"] = json!("");
    let answer = namespace.api.put(&namespace.path("pods/p"), &object);
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert!(answer.text.contains("pod updates may not change fields other than"), "{}", answer.text);
}

#[test]
fn what_cannot_be_read() {
    let cluster = cluster!();
    let api = cluster.api();
    let post = |content_type: &str, body: &str| {
        let request = http::Request::post("/api/v1/namespaces/default/configmaps").header("content-type", content_type);
        api.send(request.body(body.as_bytes().to_vec()).unwrap())
    };
    assert_eq!(post("application/json", "{nonsense").status, 400);
    assert_eq!(post("application/json", r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#).status, 400);
    assert_eq!(post("text/plain", "a").status, 415);
    assert_eq!(api.get_as("/api/v1/nodes", "application/nonsense").status, 406);
    let answer = api.get("/api/v1/pods?labelSelector=a%20in%20(");
    assert_eq!((answer.status, answer.body["reason"].as_str()), (400, Some("BadRequest")), "{}", answer.text);
    assert_eq!(api.get("/api/v1/pods?fieldSelector=spec.nonsense=1").status, 400);
    assert_eq!(api.patch("/api/v1/namespaces/default", "text/plain", &json!({})).status, 415);
    let method = http::Request::put("/api/v1/pods").body(Vec::new()).unwrap();
    assert_eq!(api.send(method).status, 405);
}

#[test]
fn unknown_fields_are_dropped_warned_of_or_refused() {
    let cluster = cluster!();
    let namespace = cluster.namespace("unknown-fields");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "nonsense": 1});
    namespace.api.post(&namespace.path("configmaps?fieldValidation=Strict"), &object).is_failure(
        400,
        "BadRequest",
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"nonsense\"",
    );
    let kept = namespace.api.post(&namespace.path("configmaps?fieldValidation=Ignore"), &object).ok();
    assert!(kept.get("nonsense").is_none());
}

#[test]
fn bodies_that_are_too_large() {
    let cluster = cluster!();
    let namespace = cluster.namespace("too-large");
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(1_100_000)}});
    let answer = namespace.api.post(&namespace.path("configmaps"), &object);
    assert_eq!(answer.status, 422, "{:.200}", answer.text);
    assert!(answer.text.contains("Too long: may not be more than 1048576 bytes"), "{:.300}", answer.text);
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(4 << 20)}});
    assert_eq!(namespace.api.post(&namespace.path("configmaps"), &object).status, 413);
}
