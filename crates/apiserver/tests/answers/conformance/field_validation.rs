//! Validation of fields.

use serde_json::{Value, json};

use crate::custom::{definition, establish};
use crate::{Answer, Api};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

async fn with_schema(schema: Value) -> Api {
    let api = Api::new().await;
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    establish(&api, &definition(json!([version]))).await;
    api
}

fn schema(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

fn ports() -> Value {
    let port =
        json!({"type": "object", "properties": {"name": {"type": "string"}, "containerPort": {"type": "integer"}}});
    json!({"type": "object", "properties": {"foo": {"type": "string"}, "ports": {"type": "array", "items": port}}})
}

async fn create(api: &Api, path: &str, body: &str) -> Answer {
    api.call(http::Method::POST, &format!("{path}?fieldValidation=Strict"), &[], body.to_owned()).await
}

async fn apply(api: &Api, path: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/apply-patch+yaml")];
    let query = "fieldManager=field_validation_test&fieldValidation=Strict";
    api.call(http::Method::PATCH, &format!("{path}?{query}"), &headers, body.to_owned()).await
}

/// A creation and an apply are both refused, and name what is wrong.
async fn is_refused(api: &Api, path: &str, body: &str, why: &[&str]) {
    let name = serde_json::from_str::<Value>(body).expect("an object")["metadata"]["name"].clone();
    let one = format!("{path}/{}", name.as_str().expect("a name"));
    for answer in [create(api, path, body).await, apply(api, &one, body).await] {
        assert!(matches!(answer.status.as_u16(), 400 | 422 | 500), "{}: {}", answer.status, answer.text);
        let message = answer.json()["message"].as_str().expect("a message").to_owned();
        let found: Vec<&&str> = why.iter().filter(|part| message.contains(**part)).collect();
        assert!(!found.is_empty(), "{message}");
    }
    assert_eq!(api.get(&one).await.status, 404);
}

/// A creation of one and an apply of another both succeed.
async fn is_taken(api: &Api, body: &str) {
    create(api, WIDGETS, body).await.ok();
    apply(api, &format!("{WIDGETS}/b"), &body.replace(r#""name":"a""#, r#""name":"b""#)).await.ok();
}

fn deployment(metadata: &str, spec: &str, template: &str) -> String {
    let template = format!(
        r#"{{"metadata":{{"labels":{{"app":"a"}}{template}}},"spec":{{"containers":[{{"name":"c","image":"i:1"}}]}}}}"#
    );
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"a"{metadata}}},"spec":{{"selector":{{"matchLabels":{{"app":"a"}}}},"template":{template}{spec}}}}}"#
    )
}

fn widget(metadata: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"a"{metadata}}},"spec":{{{spec}}}}}"#
    )
}

#[tokio::test]
async fn should_detect_unknown_and_duplicate_fields_of_a_typed_object() {
    let api = Api::new().await;
    let body = deployment("", r#","unknownField":"x","replicas":1,"paused":true,"paused":false"#, "");
    let answer = create(&api, DEPLOYMENTS, &body).await;
    assert_eq!(answer.status, 400);
    for part in ["strict decoding error", r#"unknown field "spec.unknownField""#, r#"duplicate field "spec.paused""#] {
        assert!(answer.json()["message"].as_str().expect("a message").contains(part), "{}", answer.text);
    }
    let why = [
        r#"unknown field "spec.unknownField""#,
        r#"duplicate field "spec.paused""#,
        ".spec.unknownField: field not declared",
    ];
    is_refused(&api, DEPLOYMENTS, &body, &why).await;
}

#[tokio::test]
async fn should_detect_unknown_metadata_fields_of_a_typed_object() {
    let api = Api::new().await;
    for (body, field) in [
        (deployment(r#","unknownMeta":"x""#, "", ""), "metadata.unknownMeta"),
        (deployment("", "", r#","unknownMeta":"x""#), "spec.template.metadata.unknownMeta"),
    ] {
        is_refused(&api, DEPLOYMENTS, &body, &[field]).await;
    }
}

#[tokio::test]
async fn should_create_apply_a_valid_cr_for_crd_with_validation_schema() {
    let api = with_schema(schema(ports())).await;
    is_taken(&api, &widget("", r#""foo":"bar","ports":[{"name":"x","containerPort":8080}]"#)).await;
}

#[tokio::test]
async fn should_create_apply_a_cr_with_unknown_fields_for_crd_with_no_validation_schema() {
    let api = with_schema(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    is_taken(&api, &widget("", r#""unknown1":"uk1","ports":[{"name":"x","containerPort":8080}]"#)).await;
}

#[tokio::test]
async fn should_create_apply_an_invalid_cr_with_extra_properties_for_crd_with_validation_schema() {
    let api = with_schema(schema(ports())).await;
    let body = widget("", r#""unknown":"uk1","ports":[{"name":"x","containerPort":8080,"unknownNested":1}]"#);
    is_refused(
        &api,
        WIDGETS,
        &body,
        &[r#"unknown field "spec.ports[0].unknownNested""#, ".spec.unknown: field not declared"],
    )
    .await;
}

#[tokio::test]
async fn should_detect_unknown_metadata_fields_in_both_the_root_and_embedded_object_of_a_cr() {
    let embedded =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    let spec = json!({"type": "object", "properties": {"template": embedded}});
    let api = with_schema(schema(spec)).await;
    let template = |metadata: &str| {
        format!(r#""template":{{"apiVersion":"foo/v1","kind":"Sub","metadata":{{"name":"sub"{metadata}}}}}"#)
    };
    for (body, field) in [
        (widget(r#","unknownMeta":"x""#, &template("")), "metadata.unknownMeta"),
        (widget("", &template(r#","unknownSubMeta":"x""#)), "spec.template.metadata.unknownSubMeta"),
    ] {
        is_refused(&api, WIDGETS, &body, &[field]).await;
    }
    is_taken(&api, &widget("", &template(""))).await;
}

#[tokio::test]
async fn should_detect_duplicates_in_a_cr_when_preserving_unknown_fields() {
    let api = with_schema(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    let body = widget("", r#""unknown":"uk1","unknown":"uk2""#);
    is_refused(&api, WIDGETS, &body, &[r#"duplicate field "spec.unknown""#]).await;
}
