//! The OpenAPI documents of what is served, version 2 and version 3, made from the schema tables when
//! they are asked for.

mod custom;
mod gnostic;
mod paths;
mod roots;
mod schemas;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use serde_json::{Map, Value, json};

use crate::registry::Registry;
use crate::schema::DefId;

/// The Kubernetes version whose API is described.
pub const KUBERNETES_VERSION: &str = "v1.35.0";

/// Which of the two versions a document is written in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spec {
    V2,
    V3,
}

/// What the paths of a document refer to.
#[derive(Default)]
struct Definitions {
    /// Generated ones; what these refer to comes along.
    generated: Vec<DefId>,
    /// Those of custom resources.
    custom: Map<String, Value>,
}

impl Definitions {
    fn schemas(self, spec: Spec) -> Map<String, Value> {
        let mut all = schemas::reachable(&self.generated, spec);
        all.extend(self.custom);
        all
    }
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": KUBERNETES_VERSION})
}

/// `/openapi/v2`: one document for all groups, as JSON.
pub fn v2(registry: &Registry) -> Vec<u8> {
    v2_document(registry).to_string().into_bytes()
}

/// The media type that [`v2_protobuf`] is answered as. Clients ask for it, or for the older
/// `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`, which is not valid in an answer.
pub const V2_PROTOBUF_MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A document as [`v2`] makes it, in protobuf.
///
/// # Errors
/// It is no JSON.
pub fn v2_protobuf(document: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::from_slice(document).map(|document| gnostic::document(&document))
}

fn v2_document(registry: &Registry) -> Value {
    let mut all_paths = Map::new();
    let mut definitions = Definitions::default();
    for kind in registry.kinds() {
        paths::of_kind(kind, Spec::V2, &mut all_paths, &mut definitions);
    }
    for group in registry.groups() {
        for version in &group.versions {
            roots::of_version(&group.name, version, Spec::V2, &mut all_paths, &mut definitions);
        }
    }
    roots::of_server(registry, &mut all_paths, &mut definitions);
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": all_paths,
        "definitions": definitions.schemas(Spec::V2),
    })
}

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// `/openapi/v3`: the URLs of the documents, one for each group and version.
pub fn v3_index(registry: &Registry) -> Vec<u8> {
    let mut list = Map::new();
    for group in registry.groups() {
        for version in &group.versions {
            let path = path_of(&group.name, version);
            let url = format!("/openapi/v3/{path}?hash={}", hash(registry, &group.name, version));
            list.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({ "paths": list }).to_string().into_bytes()
}

/// Raised when the documents change although the tables do not: clients keep them by their hash.
const EDITION: u32 = 3;

/// What changes when the document of the group and version changes, for caches: 16 hexadecimal digits.
pub fn hash(registry: &Registry, group: &str, version: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (group, version, KUBERNETES_VERSION, env!("CARGO_PKG_VERSION"), EDITION).hash(&mut hasher);
    for kind in registry.kinds_of(group, version) {
        (&*kind.kind, &*kind.plural, kind.namespaced, kind.verbs, kind.subresources.len(), kind.def())
            .hash(&mut hasher);
        kind.schema.structural().map(|definition| &definition.source).hash(&mut hasher);
    }
    for def in crate::schema::defs() {
        (def.name, def.fields.len()).hash(&mut hasher);
    }
    format!("{:016X}", hasher.finish())
}

/// `/openapi/v3/api/v1` or `/openapi/v3/apis/{group}/{version}`, as JSON; `None` when it is not served.
pub fn v3(registry: &Registry, group: &str, version: &str) -> Option<Vec<u8>> {
    let mut all_paths = Map::new();
    let mut definitions = Definitions::default();
    for kind in registry.kinds_of(group, version) {
        paths::of_kind(kind, Spec::V3, &mut all_paths, &mut definitions);
    }
    roots::of_version(group, version, Spec::V3, &mut all_paths, &mut definitions);
    registry.serves(group, version).then(|| {
        let document = json!({
            "openapi": "3.0.0",
            "info": info(),
            "paths": all_paths,
            "components": {"schemas": definitions.schemas(Spec::V3)},
        });
        document.to_string().into_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::built_in;

    fn check_references(document: &Value, all: &Value) {
        match document {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let name = reference.rsplit('/').next().unwrap_or_default();
                    assert!(all.get(name).is_some(), "{reference} leads nowhere");
                }
                map.values().for_each(|v| check_references(v, all));
            }
            Value::Array(items) => items.iter().for_each(|v| check_references(v, all)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let v2: Value = serde_json::from_slice(&v2(built_in())).expect("it is JSON");
        check_references(&v2, &v2["definitions"]);
        for group in built_in().groups() {
            for version in &group.versions {
                let v3: Value = serde_json::from_slice(&v3(built_in(), &group.name, version).expect("it is served"))
                    .expect("it is JSON");
                check_references(&v3, &v3["components"]["schemas"]);
            }
        }
        assert!(v3(built_in(), "none", "v1").is_none());
    }

    #[test]
    fn what_kubectl_looks_for_is_there() {
        let apps: Value =
            serde_json::from_slice(&v3(built_in(), "apps", "v1").expect("it is served")).expect("it is JSON");
        let deployment = &apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(deployment["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
        assert_eq!(
            deployment["properties"]["spec"]["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"
        );
        let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-action"], "patch");
        let names: Vec<&str> =
            patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
        assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"), "{names:?}");
        let index: Value = serde_json::from_slice(&v3_index(built_in())).expect("it is JSON");
        assert!(
            index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap().starts_with("/openapi/v3/api/v1?hash=")
        );
        let core: Value = serde_json::from_slice(&v3(built_in(), "", "v1").expect("it is served")).expect("it is JSON");
        let containers = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-type"], "map");
    }

    #[test]
    fn operations_are_named_and_answered_as_upstreams() {
        let v2: Value = serde_json::from_slice(&v2(built_in())).expect("it is JSON");
        let operation = |path: &str, method: &str| v2["paths"][path][method].clone();
        for (path, method, name, codes) in [
            ("/api/v1/namespaces/{namespace}/pods", "post", "createCoreV1NamespacedPod", "200 201 202 401"),
            ("/api/v1/namespaces/{namespace}/pods", "get", "listCoreV1NamespacedPod", "200 401"),
            ("/api/v1/namespaces/{namespace}/pods", "delete", "deleteCoreV1CollectionNamespacedPod", "200 401"),
            ("/api/v1/pods", "get", "listCoreV1PodForAllNamespaces", "200 401"),
            ("/api/v1/nodes/{name}", "get", "readCoreV1Node", "200 401"),
            ("/api/v1/nodes/{name}/status", "put", "replaceCoreV1NodeStatus", "200 201 401"),
            (
                "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
                "patch",
                "patchAppsV1NamespacedDeploymentScale",
                "200 201 401",
            ),
            ("/api/v1/watch/pods", "get", "watchCoreV1PodListForAllNamespaces", "200 401"),
            ("/api/v1/watch/namespaces/{namespace}/pods", "get", "watchCoreV1NamespacedPodList", "200 401"),
            ("/api/v1/watch/nodes/{name}", "get", "watchCoreV1Node", "200 401"),
            ("/api/v1/namespaces/{namespace}/pods/{name}/log", "get", "readCoreV1NamespacedPodLog", "200 401"),
            (
                "/api/v1/namespaces/{namespace}/pods/{name}/exec",
                "post",
                "connectCoreV1PostNamespacedPodExec",
                "200 401",
            ),
            ("/api/v1/nodes/{name}/proxy/{path}", "put", "connectCoreV1PutNodeProxyWithPath", "200 401"),
            ("/api/", "get", "getCoreAPIVersions", "200 401"),
            ("/apis/", "get", "getAPIVersions", "200 401"),
            ("/apis/apps/", "get", "getAppsAPIGroup", "200 401"),
            ("/apis/apps/v1/", "get", "getAppsV1APIResources", "200 401"),
            ("/version/", "get", "getCodeVersion", "200 401"),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}",
                "delete",
                "deleteRbacAuthorizationV1ClusterRole",
                "200 202 401",
            ),
        ] {
            let operation = operation(path, method);
            assert_eq!(operation["operationId"], name);
            let mut found: Vec<&str> =
                operation["responses"].as_object().into_iter().flatten().map(|(code, _)| code.as_str()).collect();
            found.sort_unstable();
            assert_eq!(found.join(" "), codes, "{name}");
        }
        let service = operation("/api/v1/namespaces/{namespace}/services/{name}", "delete");
        assert_eq!(service["responses"]["200"]["schema"]["$ref"], "#/definitions/io.k8s.api.core.v1.Service");
        let patch = operation("/api/v1/namespaces/{namespace}/services/{name}", "patch");
        assert!(patch["consumes"].to_string().contains("apply-patch+yaml"), "{patch}");
        assert!(patch["parameters"].to_string().contains("\"force\""), "{patch}");
        let role = operation("/apis/rbac.authorization.k8s.io/v1/clusterroles", "get");
        assert_eq!(role["tags"][0], "rbacAuthorization_v1");
        let spec = &v2["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["restartPolicy"];
        assert_eq!(spec["enum"], json!(["Always", "Never", "OnFailure"]));
        let values = "\n\nPossible enum values:\n - `\"Always\"`\n - `\"Never\"`\n - `\"OnFailure\"`";
        assert!(spec["description"].as_str().is_some_and(|text| text.ends_with(values)), "{spec}");
        let mut names: Vec<&str> = Vec::new();
        for (_, path) in v2["paths"].as_object().expect("there are paths") {
            names.extend(path.as_object().into_iter().flatten().filter_map(|(_, o)| o["operationId"].as_str()));
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name is there twice");
    }
}
