//! Custom resources: definitions, and the objects of the kinds that they define.

use coracle_testing::until_so;
use serde_json::{Value, json};

use super::apply::{managers, owned};
use super::{Answer, Api};

pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

pub(super) fn definition(versions: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": versions,
        },
    })
}

pub(super) fn version(name: &str, storage: bool, spec: &Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
        "type": "object", "properties": {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    }}})
}

pub(super) fn spec() -> Value {
    json!({"type": "object", "description": "What is wanted.", "required": ["color"], "properties": {
        "color": {"type": "string", "enum": ["red", "green"]},
        "size": {"type": "integer", "minimum": 1, "default": 3, "description": "How large."},
        "port": {"x-kubernetes-int-or-string": true},
        "note": {"type": "string", "nullable": true},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

pub(super) async fn establish(api: &Api, definition: &Value) -> Answer {
    let answer = api.post(DEFINITIONS, definition).await;
    let name = answer.ok()["metadata"]["name"].as_str().expect("a name").to_owned();
    let path = format!("{DEFINITIONS}/{name}");
    let holds = async || {
        let conditions = api.get(&path).await.ok()["status"]["conditions"].clone();
        conditions.as_array().into_iter().flatten().any(|c| c["type"] == "Established" && c["status"] == "True")
    };
    until_so("the definition's being established", holds).await;
    let group = definition["spec"]["group"].as_str().expect("a group").to_owned();
    until_so("its group", async || api.get(&format!("/apis/{group}")).await.status == 200).await;
    answer
}

#[tokio::test]
async fn a_definition_is_served_within_moments_and_its_objects_have_the_form_of_its_schema() {
    let api = Api::new().await;
    let made = establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
    assert_eq!(made.ok()["status"]["storedVersions"], json!(["v1"]));
    let settled = api.get(&format!("{DEFINITIONS}/widgets.example.com")).await.ok();
    assert_eq!(settled["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(settled["status"]["conditions"][0]["type"], "NamesAccepted");

    let given = json!({"color": "red", "port": "80%", "note": null, "free": {"a": {"b": 1}}, "unknown": 1});
    let answer = api.post(WIDGETS, &widget("a", given)).await;
    assert_eq!(answer.warnings(), ["unknown field \\\"spec.unknown\\\""]);
    let made = answer.ok();
    let expected = json!({"color": "red", "port": "80%", "note": null, "free": {"a": {"b": 1}}, "size": 3});
    assert_eq!((&made["spec"], &made["metadata"]["generation"]), (&expected, &json!(1)));
    assert_eq!(api.get(&format!("{WIDGETS}/a")).await.ok(), made);

    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let refused = api.post(&strict, &widget("b", json!({"color": "red", "unknown": 1}))).await;
    refused.refused(
        400,
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.unknown\"",
    );
    api.post(WIDGETS, &widget("b", json!({"color": "blue", "size": 0}))).await.refused(
        422,
        "Widget.example.com \"b\" is invalid: [spec.color: Unsupported value: \"blue\": supported values: \"green\", \"red\", spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1]",
    );
    api.post(WIDGETS, &widget("b", json!({})))
        .await
        .refused(422, "Widget.example.com \"b\" is invalid: spec.color: Required value");
    let path = format!("{WIDGETS}/a");
    let patched = api.patch("merge-patch", &path, &json!({"spec": {"color": "green", "other": 1}})).await;
    assert_eq!(patched.warnings(), ["unknown field \\\"spec.other\\\""]);
    assert_eq!((&patched.ok()["spec"]["color"], &patched.ok()["metadata"]["generation"]), (&json!("green"), &json!(2)));
    api.patch("strategic-merge-patch", &path, &json!({})).await.refused(
        415,
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    );
    let table = api.get_as(WIDGETS, "application/json;as=Table;g=meta.k8s.io;v=v1").await.ok();
    assert_eq!((&table["rows"][0]["cells"][0], &table["columnDefinitions"][1]["name"]), (&json!("a"), &json!("Age")));
}

#[tokio::test]
async fn status_scale_columns_and_selectable_fields_are_those_of_the_definition() {
    let api = Api::new().await;
    let mut version = version(
        "v1",
        true,
        &json!({"type": "object", "properties": {
            "color": {"type": "string"}, "replicas": {"type": "integer"},
        }}),
    );
    version["subresources"] = json!({"status": {}, "scale": {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
    }});
    version["additionalPrinterColumns"] = json!([
        {"name": "Color", "type": "string", "jsonPath": ".spec.color", "description": "Which color."},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
    ]);
    version["selectableFields"] = json!([{"jsonPath": ".spec.color"}]);
    establish(&api, &definition(json!([version]))).await;
    let mut object = widget("a", json!({"color": "red", "replicas": 2}));
    object["status"] = json!({"replicas": 9});
    let made = api.post(WIDGETS, &object).await.ok();
    assert!(made.get("status").is_none());
    let path = format!("{WIDGETS}/a");
    let status = json!({"status": {"replicas": 1, "selector": "a=b", "conditions": [{"type": "Ready", "status": "True"}]},
        "spec": {"color": "blue"}, "metadata": {"labels": {"l": "v"}}});
    let changed = api.patch("merge-patch", &format!("{path}/status"), &status).await.ok();
    assert_eq!((&changed["status"]["replicas"], &changed["spec"]["color"]), (&json!(1), &json!("red")));
    assert_eq!((&changed["metadata"]["generation"], changed["metadata"].get("labels")), (&json!(1), None));

    let scale = api.get(&format!("{path}/scale")).await.ok();
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 1, "selector": "a=b"}))
    );
    api.patch("merge-patch", &format!("{path}/scale"), &json!({"spec": {"replicas": 5}})).await.ok();
    assert_eq!(api.get(&path).await.ok()["spec"]["replicas"], 5);

    let table = api.get_as(WIDGETS, "application/json;as=Table;g=meta.k8s.io;v=v1").await.ok();
    assert_eq!(table["rows"][0]["cells"], json!(["a", "red", "True", 5]));
    assert_eq!(
        (&table["columnDefinitions"][1]["description"], &table["columnDefinitions"][3]["priority"]),
        (&json!("Which color."), &json!(1))
    );
    api.post(WIDGETS, &widget("b", json!({"color": "green"}))).await.ok();
    let selected = api.get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dgreen")).await.ok();
    assert_eq!(selected["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(selected["items"][0]["metadata"]["name"], "b");
    let unknown = api.get(&format!("{WIDGETS}?fieldSelector=spec.size%3D1")).await;
    unknown.refused(400, "field label not supported: spec.size");
}

#[tokio::test]
async fn a_changed_definition_changes_what_is_served_and_old_objects_are_read_by_it() {
    let api = Api::new().await;
    establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
    api.post(WIDGETS, &widget("a", json!({"color": "red", "note": "x"}))).await.ok();
    let mut new = spec();
    new["properties"]["shape"] = json!({"type": "string", "default": "round"});
    new["properties"]["color"]["enum"] = json!(["green"]);
    new["properties"].as_object_mut().expect("an object").remove("note");
    let mut versions = json!([version("v1", false, &new), version("v2", true, &new)]);
    versions[0]["deprecated"] = true.into();
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let changed = api.patch("merge-patch", &path, &json!({"spec": {"versions": versions}})).await.ok();
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    let v2 = "/apis/example.com/v2/namespaces/default/widgets/a";
    until_so("the new version", async || api.get(v2).await.status == 200).await;
    let read = api.get(v2).await.ok();
    assert_eq!(read["spec"], json!({"color": "red", "size": 3, "shape": "round"}));
    let old = api.get(&format!("{WIDGETS}/a")).await;
    assert_eq!(old.warnings(), ["example.com/v1 Widget is deprecated"]);
    assert_eq!((&old.ok()["apiVersion"], &old.ok()["spec"]), (&json!("example.com/v1"), &read["spec"]));
    // What did not change may stay, though it is no longer allowed.
    api.patch("merge-patch", v2, &json!({"spec": {"size": 4}})).await.ok();
    let refused = api.patch("merge-patch", v2, &json!({"spec": {"color": "blue"}})).await;
    refused.refused(
        422,
        "Widget.example.com \"a\" is invalid: spec.color: Unsupported value: \"blue\": supported values: \"green\"",
    );
    let one = json!([version("v2", true, &new)]);
    api.patch("merge-patch", &path, &json!({"spec": {"versions": one}})).await.refused(
        422,
        "CustomResourceDefinition.apiextensions.k8s.io \"widgets.example.com\" is invalid: status.storedVersions[0]: Invalid value: \"v1\": must appear in spec.versions",
    );
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_along() {
    let api = Api::new().await;
    establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
    for number in 0..50 {
        api.post(WIDGETS, &widget(&format!("w{number}"), json!({"color": "red"}))).await.ok();
    }
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    api.patch("merge-patch", &format!("{WIDGETS}/w0"), &held).await.ok();
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let deleting = api.delete(&path).await.ok();
    assert_eq!(deleting["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let left = async || api.get(WIDGETS).await.ok()["items"].as_array().map_or(0, Vec::len);
    until_so("the deletion", async || left().await == 1).await;
    until_so("an end of creations", async || {
        api.post(WIDGETS, &widget("new", json!({"color": "red"}))).await.status == 405
    })
    .await;
    assert_eq!(api.get(&path).await.status, 200);
    api.patch("merge-patch", &format!("{WIDGETS}/w0"), &json!({"metadata": {"finalizers": null}})).await.ok();
    until_so("the definition's end", async || api.get(&path).await.status == 404).await;
    until_so("the kind's end", async || api.get(WIDGETS).await.status == 404).await;
    until_so("the end of its APIService", async || {
        api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com").await.status == 404
    })
    .await;
    assert!(api.store.list("/registry/example.com/", None, None, None).await.expect("it is read").items.is_empty());
    // The same may come again, with nothing in it.
    establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
    assert_eq!(left().await, 0);
}

#[tokio::test]
async fn names_that_another_definition_has_are_not_given() {
    let api = Api::new().await;
    establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
    let mut other = definition(json!([version("v1", true, &spec())]));
    other["metadata"]["name"] = "gadgets.example.com".into();
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Widget"});
    api.post(DEFINITIONS, &other).await.ok();
    let path = format!("{DEFINITIONS}/gadgets.example.com");
    until_so("a condition", async || {
        api.get(&path).await.ok()["status"]["conditions"][0]["reason"] == "ListKindConflict"
    })
    .await;
    let status = api.get(&path).await.ok()["status"].clone();
    assert_eq!(status["conditions"][1]["reason"], "NotAccepted");
    assert_eq!(api.get("/apis/example.com/v1/gadgets").await.status, 404);
    api.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.ok();
    until_so("the names' being free", async || api.get("/apis/example.com/v1/gadgets").await.status == 200).await;
}

#[tokio::test]
async fn discovery_and_documents_tell_of_what_is_defined() {
    let api = Api::new().await;
    establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
    let resource = &api.get("/apis/example.com/v1").await.ok()["resources"][0];
    assert_eq!(
        (&resource["name"], &resource["shortNames"], &resource["categories"]),
        (&json!("widgets"), &json!(["wd"]), &json!(["all"]))
    );
    let v3 = api.get("/openapi/v3/apis/example.com/v1").await.ok();
    let schema = &v3["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"];
    assert_eq!(
        (&schema["description"], &schema["properties"]["size"]["description"]),
        (&json!("What is wanted."), &json!("How large."))
    );
    assert!(api.get("/openapi/v2").await.text.contains("com.example.v1.Widget"));
    until_so("the APIService", async || {
        api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com").await.status == 200
    })
    .await;
    let first = api.get("/openapi/v3").await.ok()["paths"]["apis/example.com/v1"]["serverRelativeURL"].clone();
    let patch = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/description", "value": "Large?"}]);
    api.patch("json-patch", &format!("{DEFINITIONS}/widgets.example.com"), &patch).await.ok();
    until_so("another hash", async || {
        api.get("/openapi/v3").await.ok()["paths"]["apis/example.com/v1"]["serverRelativeURL"] != first
    })
    .await;
}

#[tokio::test]
async fn rules_are_compiled_with_the_definition_and_evaluated_on_every_write() {
    let api = Api::new().await;
    let mut wrong = spec();
    wrong["x-kubernetes-validations"] = json!([{"rule": "self.sise < 10"}]);
    api.post(DEFINITIONS, &definition(json!([version("v1", true, &wrong)]))).await.refused(
        422,
        "CustomResourceDefinition.apiextensions.k8s.io \"widgets.example.com\" is invalid: spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: {\"rule\":\"self.sise < 10\"}: compilation failed: ERROR: <input>:1:5: undefined field 'sise'\n | self.sise < 10\n | ....^",
    );

    let mut spec = spec();
    spec["x-kubernetes-validations"] = json!([
        {"rule": "self.size < 10", "messageExpression": "'%d is too large'.format([self.size])", "fieldPath": ".size"},
        {"rule": "self.color == oldSelf.color", "message": "color is immutable", "reason": "FieldValueForbidden"},
    ]);
    let mut version = version("v1", true, &spec);
    version["subresources"] = json!({"status": {}});
    version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
        json!([{"rule": "!has(self.status) || !has(self.status.seen) || self.status.seen <= self.spec.size"}]);
    version["schema"]["openAPIV3Schema"]["properties"]["status"] =
        json!({"type": "object", "properties": {"seen": {"type": "integer"}}});
    let answer = establish(&api, &definition(json!([version]))).await;
    assert!(answer.warnings().is_empty());

    let large = "spec.size: Invalid value: \"object\": 12 is too large";
    let invalid = |what: &str| format!("Widget.example.com \"a\" is invalid: {what}");
    api.post(WIDGETS, &widget("a", json!({"color": "red", "size": 12}))).await.refused(422, &invalid(large));
    api.post(WIDGETS, &widget("a", json!({"color": "red", "size": 3}))).await.ok();
    let path = format!("{WIDGETS}/a");
    let change = |spec: Value| json!({"spec": spec});
    api.patch("merge-patch", &path, &change(json!({"size": 12}))).await.refused(422, &invalid(large));
    let answer = api.patch("merge-patch", &path, &change(json!({"color": "green"}))).await;
    answer.refused(422, &invalid("spec: Forbidden: color is immutable"));
    assert_eq!(answer.json()["details"]["causes"][0]["reason"], "FieldValueForbidden");
    let seen = |seen: i64| json!({"status": {"seen": seen}});
    api.patch("merge-patch", &format!("{path}/status"), &seen(3)).await.ok();
    api.patch("merge-patch", &format!("{path}/status"), &seen(4)).await.refused(
        422,
        &invalid("<nil>: Invalid value: \"object\": failed rule: !has(self.status) || !has(self.status.seen) || self.status.seen <= self.spec.size"),
    );
    api.patch("merge-patch", &path, &change(json!({"size": 5}))).await.ok();

    // A stricter rule does not hold up what is not changed.
    let stricter = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations/0/rule", "value": "self.size < 4"}]);
    api.patch("json-patch", &format!("{DEFINITIONS}/widgets.example.com"), &stricter).await.ok();
    let tried = format!("{path}?dryRun=All");
    let refused = async || api.patch("merge-patch", &tried, &change(json!({"size": 6}))).await.status == 422;
    until_so("the new rule", refused).await;
    api.patch("merge-patch", &path, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
}

#[tokio::test]
async fn a_server_that_begins_anew_knows_all_definitions_before_it_answers() {
    let api = Api::new().await;
    establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
    let made = api.post(WIDGETS, &widget("a", json!({"color": "red"}))).await.ok();
    let api = Api::after(api).await;
    assert_eq!(api.get(&format!("{WIDGETS}/a")).await.ok(), made);
    // A deletion that was begun goes on.
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    api.patch("merge-patch", &format!("{WIDGETS}/a"), &held).await.ok();
    let path = format!("{DEFINITIONS}/widgets.example.com");
    api.delete(&path).await.ok();
    let api = Api::after(api).await;
    api.patch("merge-patch", &format!("{WIDGETS}/a"), &json!({"metadata": {"finalizers": null}})).await.ok();
    until_so("the definition's end", async || api.get(&path).await.status == 404).await;
}

#[tokio::test]
async fn a_watch_sees_changes_in_the_form_of_the_schema_and_ends_when_that_changes() {
    let api = Api::new().await;
    establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
    api.post(WIDGETS, &widget("a", json!({"color": "red", "unknown": 1}))).await.ok();
    let event = api.first_event(&format!("{WIDGETS}?watch=1")).await;
    assert_eq!(event["object"]["spec"], json!({"color": "red", "size": 3}));
    let partial = api
        .get_as(
            WIDGETS,
            "application/vnd.kubernetes.protobuf,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        )
        .await;
    assert_eq!(partial.ok()["kind"], "PartialObjectMetadataList");
    assert_eq!(api.get_as(WIDGETS, "application/vnd.kubernetes.protobuf").await.status, 406);
    let typed = api.get_as(WIDGETS, "application/vnd.kubernetes.protobuf,application/json").await.ok();
    assert_eq!(typed["kind"], "WidgetList");
}

#[tokio::test]
async fn an_object_is_checked_in_the_version_of_the_request() {
    let api = Api::new().await;
    let loose = json!({"type": "object", "properties": {"color": {"type": "string"}}});
    let strict = json!({"type": "object", "properties": {"color": {"type": "string", "enum": ["red"]}}});
    let mut versions = json!([version("v1", false, &loose), version("v2", true, &strict)]);
    versions[0]["subresources"] = json!({"status": {}});
    versions[1]["subresources"] = json!({"status": {}});
    establish(&api, &definition(versions)).await;
    let made = api.post(WIDGETS, &widget("a", json!({"color": "blue"}))).await.ok();
    assert_eq!((&made["apiVersion"], &made["spec"]["color"]), (&json!("example.com/v1"), &json!("blue")));
    let v2 = "/apis/example.com/v2/namespaces/default/widgets";
    let mut other = api.get(&format!("{v2}/a")).await.ok();
    assert_eq!((&other["apiVersion"], &other["spec"]["color"]), (&json!("example.com/v2"), &json!("blue")));
    api.patch("merge-patch", &format!("{WIDGETS}/a"), &json!({"spec": {"color": "green"}})).await.ok();
    other["metadata"]["name"] = "b".into();
    other["metadata"].as_object_mut().expect("an object").remove("resourceVersion");
    api.post(v2, &other).await.refused(
        422,
        "Widget.example.com \"b\" is invalid: spec.color: Unsupported value: \"blue\": supported values: \"red\"",
    );
    // A status goes with whatever the rest of the object says.
    let status = json!({"spec": {"color": 1}, "status": {"seen": true}});
    let changed = api.patch("merge-patch", &format!("{WIDGETS}/a/status"), &status).await.ok();
    assert_eq!((&changed["spec"]["color"], &changed["status"]["seen"]), (&json!("green"), &json!(true)));
    let stale = json!({"metadata": {"resourceVersion": "1"}, "status": {"seen": false}});
    assert_eq!(api.patch("merge-patch", &format!("{WIDGETS}/a/status"), &stale).await.status, 409);
    let unversioned = widget("a", json!({"color": "red"}));
    api.put(&format!("{WIDGETS}/a"), &unversioned).await.refused(
        422,
        "Widget.example.com \"a\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update",
    );
}

#[tokio::test]
async fn several_managers_apply_parts_of_a_custom_resource_by_its_schema() {
    let api = Api::new().await;
    let items = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "weight": {"type": "integer"},
    }});
    let spec = json!({"type": "object", "properties": {
        "parts": {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "whole": {"type": "array", "items": {"type": "string"}},
        "replicas": {"type": "integer"},
    }});
    let mut version = version("v1", true, &spec);
    version["subresources"] = json!({"status": {}, "scale": {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
    }});
    establish(&api, &definition(json!([version]))).await;
    let path = format!("{WIDGETS}/a");
    let one = json!({"parts": [{"name": "x", "weight": 1}], "tags": ["a"], "whole": ["a"], "replicas": 1});
    let made = api.apply(&path, "one", &widget("a", one)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!((&made.json()["metadata"]["generation"], managers(&made.json()).len()), (&json!(1), 1));
    let two = widget("a", json!({"parts": [{"name": "y", "weight": 2}], "tags": ["b"]}));
    let both = api.apply(&path, "two", &two).await.ok();
    assert_eq!(both["spec"]["parts"], json!([{"name": "x", "weight": 1}, {"name": "y", "weight": 2}]));
    assert_eq!((&both["spec"]["tags"], &both["spec"]["whole"]), (&json!(["a", "b"]), &json!(["a"])));
    let fields = json!({"f:spec": {"f:parts": {"k:{\"name\":\"y\"}": {".": {}, "f:name": {}, "f:weight": {}}}, "f:tags": {"v:\"b\"": {}}}});
    assert_eq!(owned(&both, "two"), fields);
    let refused =
        api.apply(&path, "two", &widget("a", json!({"whole": ["b"], "parts": [{"name": "x", "weight": 9}]}))).await;
    refused.refused(
        409,
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.whole\n- .spec.parts[name=\"x\"].weight",
    );
    // What one no longer applies, and nobody else does, goes.
    let less = api.apply(&path, "one", &widget("a", json!({"replicas": 1}))).await.ok();
    assert_eq!(less["spec"], json!({"parts": [{"name": "y", "weight": 2}], "tags": ["b"], "replicas": 1}));
    // Who scales owns the replicas.
    let scaled = json!({"spec": {"replicas": 5}});
    api.patch("merge-patch", &format!("{path}/scale?fieldManager=scaler"), &scaled).await.ok();
    let now = api.get(&path).await.ok();
    assert_eq!((&now["spec"]["replicas"], owned(&now, "scaler")), (&json!(5), json!({"f:spec": {"f:replicas": {}}})));
    let status =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "status": {"replicas": 5}});
    let told = api.apply(&format!("{path}/status"), "teller", &status).await.ok();
    assert_eq!(owned(&told, "teller"), json!({"f:status": {"f:replicas": {}}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_deleted_while_its_status_is_settled_goes_and_is_served_no_more() {
    let api = Api::new().await;
    let path = format!("{DEFINITIONS}/widgets.example.com");
    for _ in 0..20 {
        establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
        // The server has something to say of it at the moment when it goes.
        let patch = json!([{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]);
        api.patch("json-patch", &format!("{path}/status"), &patch).await.ok();
        api.delete(&path).await.ok();
        until_so("the definition's end", async || api.get(&path).await.status == 404).await;
        until_so("the group's end", async || api.get("/apis/example.com").await.status == 404).await;
    }
}

#[tokio::test]
async fn who_deletes_a_definition_again_does_not_hold_it() {
    let api = Api::new().await;
    let mut held = definition(json!([version("v1", true, &spec())]));
    held["metadata"]["finalizers"] = json!(["held.example.com"]);
    establish(&api, &held).await;
    api.post(WIDGETS, &widget("a", json!({"color": "red"}))).await.ok();
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let deleted = api.delete(&path).await.ok();
    let cleanup = "customresourcecleanup.apiextensions.k8s.io";
    assert_eq!(deleted["metadata"]["finalizers"], json!(["held.example.com", cleanup]));
    let finalizers = async || api.get(&path).await.ok()["metadata"]["finalizers"].clone();
    until_so("the end of its objects", async || finalizers().await == json!(["held.example.com"])).await;
    let again = api.delete(&path).await.ok();
    assert_eq!(again["metadata"]["finalizers"], json!(["held.example.com"]));
    api.patch("merge-patch", &path, &json!({"metadata": {"finalizers": null}})).await.ok();
    until_so("the definition's end", async || api.get(&path).await.status == 404).await;
}

#[tokio::test]
async fn finalizers_of_custom_resources_need_no_path_but_whoever_adds_one_is_warned() {
    let api = Api::new().await;
    establish(&api, &definition(json!([version("v1", true, &spec())]))).await;
    let mut object = widget("a", json!({"color": "red"}));
    object["metadata"]["finalizers"] = json!(["orphan", "b.example.com", "example.com/c", "a.example.com"]);
    let warning = |name: &str| {
        format!(
            "metadata.finalizers: \\\"{name}\\\": prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
        )
    };
    let made = api.post(WIDGETS, &object).await;
    assert_eq!(made.warnings(), [warning("a.example.com"), warning("b.example.com")]);
    let path = format!("{WIDGETS}/a");
    let mut made = made.ok();
    made["metadata"]["labels"] = json!({"a": "b"});
    let changed = api.put(&path, &made).await;
    assert!(changed.warnings().is_empty());
    changed.ok();
    let add = json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "d.example.com"}]);
    assert_eq!(api.patch("json-patch", &path, &add).await.warnings(), [warning("d.example.com")]);
    let map = json!({"metadata": {"name": "a", "finalizers": ["orphan", "a.example.com"]}});
    api.post("/api/v1/namespaces/default/configmaps", &map).await.refused(
        422,
        "ConfigMap \"a\" is invalid: metadata.finalizers[1]: Invalid value: \"a.example.com\": name is neither a standard finalizer name nor is it fully qualified",
    );
}
