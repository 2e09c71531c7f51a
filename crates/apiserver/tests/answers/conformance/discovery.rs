//! Discovery, whole and group by group.

use serde_json::{Value, json};

use crate::Api;
use crate::custom::{definition, establish, spec, version};

/// The forms in which aggregated discovery is asked for.
const FORMS: [&str; 2] = [
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
];
/// What a client sends that takes the old form too.
const ANY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// Whether a document has a resource.
fn has(document: &Value, group: &str, version: &str, resource: &str) -> bool {
    let groups = document["items"].as_array().into_iter().flatten();
    let versions = groups
        .filter(|item| item["metadata"]["name"].as_str().unwrap_or_default() == group)
        .flat_map(|item| item["versions"].as_array().into_iter().flatten().filter(|found| found["version"] == version));
    versions.flat_map(|found| found["resources"].as_array().into_iter().flatten()).any(|r| r["resource"] == resource)
}

async fn the_built_in_resources_are_there(api: &Api, accept: &str) {
    let core = api.get_as("/api", accept).await;
    let groups = api.get_as("/apis", accept).await;
    for answer in [&core, &groups] {
        let media_type = answer.headers["content-type"].to_str().expect("text");
        assert!(media_type.contains("as=APIGroupDiscoveryList"), "{media_type}");
        assert_eq!(answer.ok()["kind"], "APIGroupDiscoveryList");
    }
    for resource in ["namespaces", "pods", "services", "configmaps", "secrets"] {
        assert!(has(&core.json(), "", "v1", resource), "{resource}");
    }
    for (group, version, resource) in [
        ("apps", "v1", "deployments"),
        ("batch", "v1", "cronjobs"),
        ("networking.k8s.io", "v1", "ingresses"),
        ("rbac.authorization.k8s.io", "v1", "clusterroles"),
        ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
        ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "v1", "apiservices"),
    ] {
        assert!(has(&groups.json(), group, version, resource), "{resource}.{version}.{group}");
    }
}

async fn a_definition_comes_into_it(api: &Api, accept: &str) {
    establish(api, &definition(json!([version("v1", true, &spec())]))).await;
    assert!(has(&api.get_as("/apis", accept).await.ok(), "example.com", "v1", "widgets"));
}

#[tokio::test]
async fn should_support_aggregated_discovery_interface() {
    the_built_in_resources_are_there(&Api::new().await, ANY).await;
}

#[tokio::test]
async fn should_support_aggregated_discovery_interface_for_crds() {
    a_definition_comes_into_it(&Api::new().await, ANY).await;
}

#[tokio::test]
async fn should_support_raw_aggregated_discovery_endpoint_accept_headers() {
    let api = Api::new().await;
    for form in FORMS {
        the_built_in_resources_are_there(&api, form).await;
    }
    // The old form for who does not ask for the new one.
    assert_eq!(api.get_as("/apis", "application/json").await.ok()["kind"], "APIGroupList");
    assert_eq!(api.get_as("/api", "application/json").await.ok()["kind"], "APIVersions");
}

#[tokio::test]
async fn should_support_raw_aggregated_discovery_request_for_crds() {
    a_definition_comes_into_it(&Api::new().await, FORMS[0]).await;
}

#[tokio::test]
async fn should_locate_the_group_version_and_a_resource_within_each_api_group() {
    let api = Api::new().await;
    let groups = api.get("/apis").await.ok()["groups"].clone();
    for group in groups.as_array().expect("groups") {
        for version in group["versions"].as_array().expect("versions") {
            let group_version = version["groupVersion"].as_str().expect("a version");
            let list = api.get(&format!("/apis/{group_version}")).await.ok();
            assert_eq!((&list["kind"], &list["groupVersion"]), (&"APIResourceList".into(), &group_version.into()));
            let resources = list["resources"].as_array().expect("resources");
            assert!(!resources.is_empty(), "{group_version}");
            for resource in resources {
                for field in ["name", "kind"] {
                    assert!(!resource[field].as_str().unwrap_or_default().is_empty(), "{group_version}: {resource}");
                }
                assert!(!resource["verbs"].as_array().expect("verbs").is_empty(), "{group_version}: {resource}");
            }
        }
    }
}
