//! What the server serves, told in the legacy and the aggregated form, and the OpenAPI documents.
//! <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use coracle_api::kinds::{self, Group, Kind};
use coracle_api::openapi;
use coracle_api::status::Status;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::body::Body;
use crate::negotiate;
use crate::server::Inner;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_BETA: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// Whether a group is served in a version.
pub fn serves(group: &str, version: &str) -> bool {
    kinds::groups().iter().any(|served| served.name == group && served.versions.contains(&version))
}

/// Answers paths that describe the API.
pub fn answer(inner: &Inner, path: &str, parts: &Parts) -> Result<Response<Body>, Status> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let json = |value: Value| Ok(negotiate::json(StatusCode::OK, value.to_string()));
    match segments.as_slice() {
        ["" | "api" | "apis"] if segments != [""] => match aggregated_version(&parts.headers) {
            Some(version) => Ok(aggregated(segments[0] == "api", version, &parts.headers)),
            None if segments[0] == "api" => json(core_versions(inner)),
            None => json(group_list()),
        },
        [""] => json(json!({"paths": paths()})),
        ["api", version] if serves("", version) => json(resource_list("", version)),
        ["apis", group] => {
            find(group).map_or(Err(Status::path_not_found()), |group| json(with_type(api_group(group), "APIGroup")))
        }
        ["apis", group, version] if serves(group, version) => json(resource_list(group, version)),
        ["openapi", "v2"] => Ok(openapi_v2(&parts.headers)),
        ["openapi", "v3"] => Ok(cacheable(openapi_index().clone(), "application/json", &parts.headers)),
        ["openapi", "v3", "api", version] => openapi_v3("", version, &parts.headers),
        ["openapi", "v3", "apis", group, version] => openapi_v3(group, version, &parts.headers),
        _ => Err(Status::path_not_found()),
    }
}

fn find(name: &str) -> Option<&'static Group> {
    kinds::groups().iter().find(|group| group.name == name && !name.is_empty())
}

fn named_groups() -> impl Iterator<Item = &'static Group> {
    kinds::groups().iter().filter(|group| !group.name.is_empty())
}

fn paths() -> Vec<String> {
    let mut paths: Vec<String> =
        ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis"].map(Into::into).into();
    for group in named_groups() {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{version}", group.name)));
    }
    paths.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"]
            .map(Into::into),
    );
    paths
}

fn core_versions(inner: &Inner) -> Value {
    let address = format!("{}:{}", inner.config.advertise_address, inner.config.port);
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

fn group_list() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named_groups().map(api_group).collect::<Vec<_>>()})
}

fn api_group(group: &Group) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{}/{version}", group.name), "version": version});
    json!({
        "name": group.name, "versions": group.versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": group.versions.first().map(version),
    })
}

fn with_type(mut value: Value, kind: &str) -> Value {
    value["kind"] = kind.into();
    value["apiVersion"] = "v1".into();
    value
}

fn kinds_of<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Kind> + 'a {
    kinds::kinds().iter().filter(move |kind| kind.group == group && kind.version == version)
}

fn resource_list(group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for kind in kinds_of(group, version) {
        let mut resource = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": kind.verbs,
        });
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        if !kind.review {
            resource["storageVersionHash"] = storage_hash(kind).into();
        }
        resources.push(resource);
        for subresource in kind.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, subresource.name), "singularName": "", "namespaced": kind.namespaced,
                "kind": subresource.kind, "verbs": subresource.verbs,
            });
            if (subresource.group, subresource.version) != (group, version) {
                entry["group"] = subresource.group.into();
                entry["version"] = subresource.version.into();
            }
            resources.push(entry);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn storage_hash(kind: &'static Kind) -> String {
    use base64::Engine;
    let stored = kind.storage();
    let digest = Sha256::digest(format!("{}/{}/{}", stored.group, stored.version, stored.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// `v2` or `v2beta1` when the client prefers the aggregated form.
fn aggregated_version(headers: &HeaderMap) -> Option<&'static str> {
    let accept = headers.get(ACCEPT)?.to_str().ok()?;
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if !matches!(parts.next()?, "application/json" | "*/*") {
            return None;
        }
        let parameters: Vec<&str> = parts.collect();
        let has = |parameter: &str| parameters.contains(&parameter);
        match (has("as=APIGroupDiscoveryList") && has("g=apidiscovery.k8s.io"), has("v=v2"), has("v=v2beta1")) {
            (true, true, _) => Some(Some("v2")),
            (true, _, true) => Some(Some("v2beta1")),
            (true, _, _) => None,
            // Plain JSON before any aggregated form: the client wants the legacy one.
            _ if parameters.iter().all(|parameter| parameter.starts_with("q=")) => Some(None),
            _ => None,
        }
    })?
}

fn aggregated(core: bool, version: &str, headers: &HeaderMap) -> Response<Body> {
    let groups: Vec<Value> =
        kinds::groups().iter().filter(|group| group.name.is_empty() == core).map(discovery_group).collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": groups});
    let content_type = if version == "v2" { AGGREGATED } else { AGGREGATED_BETA };
    let mut response = cacheable(list.to_string().into(), content_type, headers);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn discovery_group(group: &Group) -> Value {
    let version = |version: &&str| {
        let resources: Vec<Value> = kinds_of(group.name, version).map(discovery_resource).collect();
        json!({"version": version, "freshness": "Current", "resources": resources})
    };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.name.is_empty() {
        metadata["name"] = group.name.into();
    }
    json!({"metadata": metadata, "versions": versions})
}

fn discovery_resource(kind: &'static Kind) -> Value {
    let response = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut resource = json!({
        "resource": kind.plural, "responseKind": response(kind.group, kind.version, kind.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": kind.singular, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let subresource = |sub: &kinds::Subresource| json!({"subresource": sub.name, "responseKind": response(sub.group, sub.version, sub.kind), "verbs": sub.verbs});
        resource["subresources"] = kind.subresources.iter().map(subresource).collect();
    }
    resource
}

fn openapi_v2(headers: &HeaderMap) -> Response<Body> {
    static JSON: OnceLock<Bytes> = OnceLock::new();
    static PROTO: OnceLock<Bytes> = OnceLock::new();
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("proto-openapi.spec.v2") {
        return cacheable(
            PROTO.get_or_init(|| openapi::v2_protobuf().into()).clone(),
            openapi::V2_PROTOBUF_MEDIA_TYPE,
            headers,
        );
    }
    cacheable(JSON.get_or_init(|| openapi::v2().into()).clone(), "application/json", headers)
}

fn openapi_index() -> &'static Bytes {
    static INDEX: OnceLock<Bytes> = OnceLock::new();
    INDEX.get_or_init(|| openapi::v3_index().into())
}

fn openapi_v3(group: &str, version: &str, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    static DOCUMENTS: Mutex<BTreeMap<String, Bytes>> = Mutex::new(BTreeMap::new());
    if !serves(group, version) {
        return Err(Status::path_not_found());
    }
    let mut documents = DOCUMENTS.lock();
    let name = format!("{group}/{version}");
    let document = match documents.get(&name) {
        Some(document) => document.clone(),
        None => {
            let document = Bytes::from(openapi::v3(group, version).ok_or_else(Status::path_not_found)?);
            documents.insert(name, document.clone());
            document
        }
    };
    Ok(cacheable(document, "application/json", headers))
}

/// A document with its digest as entity tag; 304 to a client that has it.
fn cacheable(bytes: Bytes, content_type: &'static str, headers: &HeaderMap) -> Response<Body> {
    let digest: String = Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02X}")).collect();
    let tag = format!("\"{digest}\"");
    let known = headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let mut response = match known {
        true => negotiate::respond(StatusCode::NOT_MODIFIED, content_type, Bytes::new()),
        false => negotiate::respond(StatusCode::OK, content_type, bytes),
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
