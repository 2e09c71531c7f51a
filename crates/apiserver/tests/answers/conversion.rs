//! Custom resources that a webhook converts between their versions.

use coracle_testing::until_so;
use serde_json::{Value, json};

use crate::Api;
use crate::admission_webhooks::{Answer, Hooks};
use crate::apply::managers;
use crate::custom::{DEFINITIONS, definition, establish, version};

const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";

fn path(version: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/widgets")
}

/// In v1 host and port are one text, in v2 they are two.
pub(super) fn converted(object: &Value, to: &Value) -> Value {
    let mut out = object.clone();
    out["apiVersion"] = to.clone();
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    out["spec"] = match to.as_str() {
        Some("example.com/v1") => json!({"hostPort": format!("{}:{}", text(&spec["host"]), text(&spec["port"]))}),
        _ => {
            let whole = text(&spec["hostPort"]);
            let (host, port) = whole.split_once(':').unwrap_or((&whole, ""));
            json!({"host": host, "port": port, "nobody knows this": 1})
        }
    };
    if let Some(replicas) = spec.get("replicas") {
        out["spec"]["replicas"] = replicas.clone();
    }
    out
}

fn answer(objects: Vec<Value>) -> Value {
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}

fn convert(_: &str, request: &Value) -> Value {
    let objects = request["objects"].as_array().expect("objects").iter();
    answer(objects.map(|object| converted(object, &request["desiredAPIVersion"])).collect())
}

/// A definition of two versions, of which one is stored.
pub(super) fn in_two_versions(hooks: &Hooks, stored: &str) -> Value {
    let text = || json!({"type": "string"});
    let replicas = || json!({"type": "integer"});
    let first = json!({"type": "object", "properties": {"hostPort": text(), "replicas": replicas()}});
    let second = json!({"type": "object", "properties": {
        "host": text(), "port": text(), "replicas": replicas(), "extra": {"type": "string", "default": "x"},
    }});
    let mut versions = json!([version("v1", stored == "v1", &first), version("v2", stored == "v2", &second)]);
    let subresources = json!({"status": {}, "scale": {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
    }});
    for version in versions.as_array_mut().expect("versions") {
        version["subresources"] = subresources.clone();
    }
    versions[1]["selectableFields"] = json!([{"jsonPath": ".spec.host"}]);
    versions[1]["additionalPrinterColumns"] = json!([{"name": "Host", "type": "string", "jsonPath": ".spec.host"}]);
    let mut definition = definition(versions);
    definition["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"url": format!("{}/convert", hooks.url), "caBundle": hooks.bundle},
    }});
    definition
}

pub(super) fn first(name: &str, host_port: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"hostPort": host_port}})
}

pub(super) fn second(name: &str, host: &str) -> Value {
    json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": name}, "spec": {"host": host, "port": "2"}})
}

/// From now on objects are stored in the second version.
pub(super) async fn store_the_second(api: &Api) {
    let patch = json!([
        {"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true},
    ]);
    api.patch("json-patch", DEFINITION, &patch).await.ok();
    until_so("the other version's being stored", async || {
        api.get("/apis/example.com/v1").await.ok()["resources"][0]["storageVersionHash"]
            == api.get("/apis/example.com/v2").await.ok()["resources"][0]["storageVersionHash"]
            && stored_version(api, "probe").await == "example.com/v2"
    })
    .await;
    api.delete(&format!("{}/probe", path("v2"))).await.ok();
}

/// The version in which an object is stored, which is made if it is not there.
async fn stored_version(api: &Api, name: &str) -> String {
    api.delete(&format!("{}/{name}", path("v1"))).await;
    api.post(&path("v1"), &first(name, "a:1")).await;
    stored(api, name).await["apiVersion"].as_str().unwrap_or_default().to_owned()
}

async fn stored(api: &Api, name: &str) -> Value {
    let key = format!("/registry/example.com/widgets/default/{name}");
    let found = api.store.list(&key, None, None, None).await.expect("it is read");
    serde_json::from_slice(found.items.first().expect("it is there").value()).expect("JSON")
}

async fn serve(convert: Answer) -> (Api, Hooks) {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, convert).await;
    establish(&api, &in_two_versions(&hooks, "v1")).await;
    (api, hooks)
}

fn specs(list: &Value) -> Vec<&Value> {
    list["items"].as_array().expect("items").iter().map(|item| &item["spec"]).collect()
}

#[tokio::test]
async fn an_object_is_shown_in_every_version_and_stays_in_the_one_in_which_it_was_stored() {
    let (api, hooks) = serve(convert).await;
    let made = api.post(&path("v1"), &first("a", "here:1")).await.ok();
    assert_eq!(hooks.count(), 0);
    let second_form = json!({"host": "here", "port": "1", "extra": "x"});
    let shown = api.get(&format!("{}/a", path("v2"))).await.ok();
    assert_eq!((&shown["apiVersion"], &shown["spec"]), (&json!("example.com/v2"), &second_form));
    assert_eq!(shown["metadata"], made["metadata"]);
    let review = hooks.reviews.lock()[0].clone();
    assert_eq!(
        (&review["kind"], &review["apiVersion"]),
        (&json!("ConversionReview"), &json!("apiextensions.k8s.io/v1"))
    );
    assert_eq!(review["request"]["desiredAPIVersion"], "example.com/v2");
    assert_eq!(review["request"]["objects"], json!([made]));
    // What was converted once is known.
    api.get(&format!("{}/a", path("v2"))).await.ok();
    assert_eq!(hooks.count(), 1);

    store_the_second(&api).await;
    api.post(&path("v2"), &second("b", "there")).await.ok();
    assert_eq!(
        [&stored(&api, "a").await["apiVersion"], &stored(&api, "b").await["apiVersion"]],
        ["example.com/v1", "example.com/v2"]
    );
    let list = api.get(&path("v1")).await.ok();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("WidgetList"), &json!("example.com/v1")));
    assert_eq!(specs(&list), [&json!({"hostPort": "here:1"}), &json!({"hostPort": "there:2"})]);
    let list = api.get(&path("v2")).await.ok();
    assert_eq!(specs(&list), [&second_form, &json!({"host": "there", "port": "2", "extra": "x"})]);
    let selected = api.get(&format!("{}?fieldSelector=spec.host%3Dthere", path("v2"))).await.ok();
    assert_eq!(specs(&selected).len(), 1);
    let page = api.get(&format!("{}?limit=1", path("v2"))).await.ok();
    assert_eq!((specs(&page), &page["metadata"]["remainingItemCount"]), (vec![&second_form], &json!(1)));
    let table = api.get_as(&path("v2"), "application/json;as=Table;g=meta.k8s.io;v=v1").await.ok();
    assert_eq!([&table["rows"][0]["cells"][1], &table["rows"][1]["cells"][1]], ["here", "there"]);

    // An update that changes nothing stores it in the other version.
    let now = api.get(&format!("{}/a", path("v1"))).await.ok();
    let same = api.put(&format!("{}/a", path("v1")), &now).await.ok();
    assert_eq!((&same["spec"], &same["metadata"]["generation"]), (&json!({"hostPort": "here:1"}), &json!(1)));
    assert_ne!(same["metadata"]["resourceVersion"], now["metadata"]["resourceVersion"]);
    assert_eq!(stored(&api, "a").await["spec"], second_form);
    let again = api.put(&format!("{}/a", path("v1")), &same).await.ok();
    assert_eq!(again["metadata"]["resourceVersion"], same["metadata"]["resourceVersion"]);
    let status = api.get(DEFINITION).await.ok()["status"]["storedVersions"].clone();
    assert_eq!(status, json!(["v1", "v2"]));

    let api = Api::after(api).await;
    assert_eq!(specs(&api.get(&path("v1")).await.ok()).len(), 2);
    api.delete(&format!("{}/a", path("v2"))).await.ok();
    api.call(http::Method::DELETE, &path("v1"), &[], String::new()).await.ok();
    assert!(specs(&api.get(&path("v1")).await.ok()).is_empty());
}

#[tokio::test]
async fn every_write_is_done_in_the_version_of_the_request() {
    let (api, _hooks) = serve(convert).await;
    let object = format!("{}/a", path("v2"));
    let made = api.post(&path("v2"), &second("a", "here")).await.ok();
    assert_eq!((&made["apiVersion"], &made["spec"]["host"]), (&json!("example.com/v2"), &json!("here")));
    assert_eq!(stored(&api, "a").await["spec"], json!({"hostPort": "here:2"}));
    let patched = api.patch("merge-patch", &object, &json!({"spec": {"host": "there"}})).await.ok();
    assert_eq!((&patched["spec"]["host"], &patched["metadata"]["generation"]), (&json!("there"), &json!(2)));
    assert_eq!(stored(&api, "a").await["spec"], json!({"hostPort": "there:2"}));
    let status = json!({"status": {"replicas": 4}});
    let told = api.patch("merge-patch", &format!("{object}/status"), &status).await.ok();
    assert_eq!((&told["apiVersion"], &told["status"]["replicas"]), (&json!("example.com/v2"), &json!(4)));
    let scaled = api.patch("merge-patch", &format!("{object}/scale"), &json!({"spec": {"replicas": 3}})).await.ok();
    assert_eq!(
        (&scaled["kind"], &scaled["spec"]["replicas"], &scaled["status"]["replicas"]),
        (&json!("Scale"), &json!(3), &json!(4))
    );
    assert_eq!(stored(&api, "a").await["spec"], json!({"hostPort": "there:2", "replicas": 3}));
    assert_eq!(api.get(&format!("{object}/scale")).await.ok()["spec"]["replicas"], 3);
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    api.patch("merge-patch", &object, &held).await.ok();
    let deleting = api.delete(&object).await.ok();
    assert_eq!((&deleting["apiVersion"], &deleting["spec"]["host"]), (&json!("example.com/v2"), &json!("there")));
    assert!(deleting["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(stored(&api, "a").await["apiVersion"], "example.com/v1");
    api.patch("merge-patch", &object, &json!({"metadata": {"finalizers": null}})).await.ok();
    assert_eq!(api.get(&object).await.status, 404);
    let tried = api.post(&format!("{}?dryRun=All", path("v2")), &second("b", "here")).await.ok();
    assert_eq!((&tried["apiVersion"], &tried["spec"]["host"]), (&json!("example.com/v2"), &json!("here")));
    let wrong =
        json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "b"}, "spec": {"host": 1}});
    api.post(&path("v2"), &wrong).await.refused(
        422,
        "Widget.example.com \"b\" is invalid: spec.host: Invalid value: \"integer\": spec.host in body must be of type string: \"integer\"",
    );
}

#[tokio::test]
async fn fields_are_owned_in_the_versions_in_which_they_are_applied() {
    let (api, hooks) = serve(convert).await;
    let object = |version: &str| format!("{}/a", path(version));
    let made = api.apply(&object("v1"), "one", &first("a", "here:1")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    // Port and host are one field for who applied them in the first version.
    let other =
        json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"port": "7"}});
    api.apply(&object("v2"), "two", &other)
        .await
        .refused(409, "Apply failed with 1 conflict: conflict with \"one\": .spec.hostPort");
    let both = api.apply(&format!("{}?force=true", object("v2")), "two", &other).await.ok();
    assert_eq!((&both["spec"]["host"], &both["spec"]["port"]), (&json!("here"), &json!("7")));
    assert_eq!(managers(&both), ["two Apply example.com/v2"]);
    let free =
        json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"replicas": 2}});
    let three = api.apply(&object("v2"), "three", &free).await.ok();
    // In the order of their seconds, which may be one or two.
    let mut owners = managers(&three);
    owners.sort();
    assert_eq!(owners, ["three Apply example.com/v2", "two Apply example.com/v2"]);
    let changed = api
        .patch("merge-patch", &format!("{}?fieldManager=four", object("v1")), &json!({"spec": {"hostPort": "x:7"}}))
        .await;
    assert_eq!(changed.ok()["spec"], json!({"hostPort": "x:7", "replicas": 2}));
    let now = api.get(&object("v2")).await.ok();
    assert!(managers(&now).contains(&"four Update example.com/v1".to_owned()), "{:?}", managers(&now));
    assert!(hooks.count() < 40);
}

#[tokio::test]
async fn watches_of_several_versions_see_every_change_in_theirs() {
    let (api, hooks) = serve(convert).await;
    api.post(&path("v1"), &first("a", "here:1")).await.ok();
    let event = api.first_event(&format!("{}?watch=1", path("v2"))).await;
    assert_eq!((&event["type"], &event["object"]["spec"]["host"]), (&json!("ADDED"), &json!("here")));
    let since = event["object"]["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    hooks.count();
    api.patch("merge-patch", &format!("{}/a", path("v1")), &json!({"spec": {"hostPort": "there:1"}})).await.ok();
    api.delete(&format!("{}/a", path("v1"))).await.ok();
    let watch = format!("{}?watch=1&resourceVersion={since}", path("v2"));
    let watches = (0..20).map(|_| api.event(&watch, |event| event["type"] == "DELETED"));
    for event in futures::future::join_all(watches).await {
        assert_eq!(event["object"]["spec"]["host"], "there");
        assert!(event["object"]["metadata"]["resourceVersion"].as_str() > Some(&since));
    }
    // Each state was converted once, whoever watched.
    assert_eq!(hooks.count(), 1);
    let named = format!("{}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Dothers", path("v2"));
    api.post(&path("v1"), &first("others", "a:1")).await.ok();
    api.post(&path("v1"), &first("b", "a:1")).await.ok();
    hooks.count();
    assert_eq!(api.first_event(&named).await["object"]["metadata"]["name"], "others");
    let asked = hooks.reviews.lock().first().map(|review| review["request"]["objects"].as_array().map_or(0, Vec::len));
    assert_eq!(asked, Some(1));
    let selecting = format!("{watch}&fieldSelector=spec.host%3Dthere");
    assert_eq!(api.first_event(&selecting).await["type"], "ADDED");
    let listed = format!(
        "{}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        path("v2")
    );
    let bookmark = api.event(&listed, |event| event["type"] == "BOOKMARK").await;
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_page_is_one_review_and_a_long_list_a_few() {
    let (api, hooks) = serve(convert).await;
    for number in 0..1200 {
        api.post(&path("v1"), &first(&format!("w{number:04}"), "a:1")).await.ok();
    }
    hooks.count();
    assert_eq!(specs(&api.get(&format!("{}?limit=100", path("v2"))).await.ok()).len(), 100);
    assert_eq!(hooks.count(), 1);
    assert_eq!(specs(&api.get(&path("v2")).await.ok()).len(), 1200);
    assert_eq!(hooks.count(), 3);
    assert_eq!(specs(&api.get(&path("v2")).await.ok()).len(), 1200);
    assert_eq!(hooks.count(), 0);
}

#[tokio::test]
async fn a_webhook_that_answers_nonsense_is_told_of_and_harms_nobody() {
    let (api, _hooks) = serve(|_, request| {
        let object = &request["objects"][0];
        let mut good = converted(object, &request["desiredAPIVersion"]);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match name {
            "none" => answer(vec![]),
            "failed" => json!({"result": {"status": "Failure", "message": "no way"}}),
            "other" => {
                good["metadata"]["name"] = "x".into();
                answer(vec![good])
            }
            "large" => json!({"pad": "x".repeat(100 << 20)}),
            "deep" => {
                let mut deep = Value::Null;
                (0..105).for_each(|_| deep = json!([deep.take()]));
                good["spec"] = deep;
                answer(vec![good])
            }
            "odd" => {
                good["spec"] = json!("text");
                answer(vec![good])
            }
            "huge" => {
                good["spec"]["host"] = "x".repeat(5 << 20).into();
                answer(vec![good])
            }
            _ => answer(vec![good]),
        }
    })
    .await;
    let failed = "Internal error occurred: conversion webhook for example.com/v1, Kind=Widget";
    for name in ["none", "failed", "other", "large", "deep", "odd", "huge", "good"] {
        api.post(&path("v1"), &first(name, "a:1")).await.ok();
    }
    for (name, why) in [
        ("none", "returned 0 objects, expected 1"),
        ("failed", "failed: no way"),
        ("other", "returned invalid object: must have the same name: other != x"),
        ("deep", "returned invalid object: exceeded max depth"),
    ] {
        api.get(&format!("{}/{name}", path("v2"))).await.refused(500, &format!("{failed} {why}"));
        api.delete(&format!("{}/{name}", path("v2"))).await.refused(500, &format!("{failed} {why}"));
        let patch = json!({"metadata": {"labels": {"a": "b"}}});
        api.patch("merge-patch", &format!("{}/{name}", path("v2")), &patch)
            .await
            .refused(500, &format!("{failed} {why}"));
    }
    let large = api.get(&format!("{}/large", path("v2"))).await;
    assert!(
        large.json()["message"].as_str().is_some_and(|text| text.starts_with(&format!("{failed} failed: Post "))),
        "{}",
        large.text
    );
    api.get(&format!("{}/odd", path("v2"))).await.ok();
    api.get(&format!("{}/huge", path("v2"))).await.ok();
    api.get(&format!("{}/good", path("v2"))).await.ok();
    let event = api.event(&format!("{}?watch=1", path("v2")), |event| event["type"] == "ERROR").await;
    assert_eq!(event["object"]["code"], 500);
    let list = api.get(&path("v2")).await;
    assert_eq!(list.status, 500);
    // A new object is not stored if it cannot be.
    api.post(&path("v2"), &second("none", "a")).await.refused(
        500,
        "Internal error occurred: conversion webhook for example.com/v2, Kind=Widget returned 0 objects, expected 1",
    );
    // In the version in which it is stored nobody is asked, and neither when all goes with the definition.
    assert_eq!(specs(&api.get(&path("v1")).await.ok()).len(), 8);
    api.delete(DEFINITION).await.ok();
    until_so("the definition's end", async || api.get(DEFINITION).await.status == 404).await;
}

#[tokio::test]
async fn a_webhook_that_is_not_there_is_told_of() {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, convert).await;
    let mut definition = in_two_versions(&hooks, "v1");
    definition["spec"]["conversion"]["webhook"]["clientConfig"] =
        json!({"service": {"namespace": "default", "name": "converter", "path": "/c"}, "caBundle": hooks.bundle});
    establish(&api, &definition).await;
    let port = &api.get(DEFINITION).await.ok()["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"];
    assert_eq!(port, 443);
    api.post(&path("v1"), &first("a", "a:1")).await.ok();
    api.get(&format!("{}/a", path("v2"))).await.refused(
        500,
        "Internal error occurred: conversion webhook for example.com/v1, Kind=Widget failed: Post \"https://converter.default.svc:443/c?timeout=30s\": service \"converter\" not found",
    );
    let change = async |config: Value| {
        let config = json!({"spec": {"conversion": {"webhook": {"clientConfig": config}}}});
        api.patch("merge-patch", DEFINITION, &config).await.ok();
    };
    let told = async |why: &str| {
        let message =
            format!("Internal error occurred: conversion webhook for example.com/v1, Kind=Widget failed: Post \"{why}");
        until_so("the reason", async || api.get(&format!("{}/a", path("v2"))).await.json()["message"] == message).await;
    };
    change(json!({"service": null, "url": "https://127.0.0.1:1/c"})).await;
    told("https://127.0.0.1:1/c?timeout=30s\": dial tcp 127.0.0.1:1: connect: connection refused").await;
    change(json!({"url": format!("{}/convert", hooks.url), "caBundle": null})).await;
    told(&format!(
        "{}/convert?timeout=30s\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        hooks.url
    ))
    .await;
    // Once it is there, it is asked.
    change(json!({"caBundle": hooks.bundle})).await;
    until_so("the webhook's being asked", async || api.get(&format!("{}/a", path("v2"))).await.status == 200).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_conversion_is_told() {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, convert).await;
    let refused = async |conversion: Value, why: &str| {
        let mut definition = in_two_versions(&hooks, "v1");
        definition["spec"]["conversion"] = conversion;
        let answer = api.post(DEFINITIONS, &definition).await;
        answer.refused(
            422,
            &format!("CustomResourceDefinition.apiextensions.k8s.io \"widgets.example.com\" is invalid: {why}"),
        );
    };
    let webhook = |webhook: Value| json!({"strategy": "Webhook", "webhook": webhook});
    let url = json!({"url": "https://x.example.com"});
    refused(json!({"strategy": "None", "webhook": {"clientConfig": url, "conversionReviewVersions": ["v1"]}}), "[spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook, spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook]").await;
    refused(
        webhook(json!({"conversionReviewVersions": ["v1"]})),
        "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
    )
    .await;
    refused(
        webhook(json!({"clientConfig": {}, "conversionReviewVersions": ["v1"]})),
        "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required",
    )
    .await;
    refused(webhook(json!({"clientConfig": url, "conversionReviewVersions": ["v3", "v3"]})), "[spec.conversion.conversionReviewVersions[1]: Invalid value: \"v3\": duplicate version, spec.conversion.conversionReviewVersions: Invalid value: [\"v3\",\"v3\"]: must include at least one of v1, v1beta1]").await;
    refused(
        webhook(json!({"clientConfig": url, "conversionReviewVersions": []})),
        "spec.conversion.conversionReviewVersions: Required value",
    )
    .await;
}

#[tokio::test]
async fn policies_and_webhooks_see_the_version_that_their_rules_name() {
    let (api, hooks) = serve(|path, request| match path {
        "/convert" => convert(path, request),
        _ => json!({"allowed": request["object"]["spec"]["host"] != "evil", "status": {"message": "evil"}}),
    })
    .await;
    let hook = json!({"name": "deny.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "matchPolicy": "Equivalent",
        "clientConfig": {"url": format!("{}/admit", hooks.url), "caBundle": hooks.bundle},
        "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v2"], "operations": ["CREATE"], "resources": ["widgets"]}]});
    let group = "/apis/admissionregistration.k8s.io/v1";
    let configuration = json!({"metadata": {"name": "hooks"}, "webhooks": [hook]});
    api.post(&format!("{group}/validatingwebhookconfigurations"), &configuration).await.ok();
    api.post(&path("v1"), &first("a", "evil:1"))
        .await
        .refused(400, "admission webhook \"deny.example.com\" denied the request: evil");
    api.post(&path("v1"), &first("a", "good:1")).await.ok();
    let rules = json!([{"apiGroups": ["example.com"], "apiVersions": ["v2"], "operations": ["UPDATE"], "resources": ["widgets"]}]);
    let policy = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": rules}, "validations": [
        {"expression": "object.spec.host == oldObject.spec.host", "message": "the host stays"}]}});
    api.post(&format!("{group}/validatingadmissionpolicies"), &policy).await.ok();
    let binding = json!({"metadata": {"name": "p"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    api.post(&format!("{group}/validatingadmissionpolicybindings"), &binding).await.ok();
    let object = format!("{}/a", path("v1"));
    api.patch("merge-patch", &object, &json!({"spec": {"hostPort": "good:2"}})).await.ok();
    api.patch("merge-patch", &object, &json!({"spec": {"hostPort": "other:2"}})).await.refused(
        422,
        "widgets.example.com \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: the host stays",
    );
}
