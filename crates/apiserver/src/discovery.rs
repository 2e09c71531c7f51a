//! What the server serves, told in the legacy and the [aggregated] form, and the OpenAPI documents.
//! <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>

pub mod aggregated;

use std::sync::Arc;

use coracle_api::Kind;
use coracle_api::registry::{Group, Registry};
use coracle_api::status::Status;
use http::header::{ACCEPT, HeaderValue, VARY};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use smol_str::SmolStr;

use crate::aggregation;
use crate::body::Body;
use crate::documents::{Name, Served};
use crate::negotiate;
use crate::state::State;

/// Answers paths that describe the API.
pub async fn answer(state: &State, path: &str, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let json = |value: Value| Ok(negotiate::json(StatusCode::OK, value.to_string()));
    let registry = state.objects.storage.kinds.snapshot();
    let served = &Served { registry, remotes: state.aggregator.remotes() };
    let registry = &served.registry;
    let document = |name| state.documents.answer(served, name, headers);
    let groups = || aggregation::groups(registry, &served.remotes);
    match segments.as_slice() {
        [root @ ("api" | "apis")] => {
            let core = *root == "api";
            match aggregated_version(headers) {
                Some(version) => {
                    let mut response = document(Name::Discovery { core, version }).await?;
                    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
                    Ok(response)
                }
                None => json(if core { core_versions(state) } else { group_list(&groups()) }),
            }
        }
        [""] => json(json!({"paths": paths(&groups())})),
        ["api", version] if registry.serves("", version) => json(resource_list(registry, "", version)),
        ["apis", group] => {
            let group = groups().into_iter().find(|served| served.name == *group).ok_or_else(Status::path_not_found)?;
            json(with_type(api_group(&group), "APIGroup"))
        }
        ["apis", group, version] if registry.serves(group, version) => json(resource_list(registry, group, version)),
        ["openapi", "v2"] => document(open_api_v2(headers)).await,
        ["openapi", "v3"] => document(Name::OpenApiV3Index).await,
        ["openapi", "v3", "api", version] => document(Name::OpenApiV3("".into(), (*version).into())).await,
        ["openapi", "v3", "apis", group, version] => {
            document(Name::OpenApiV3((*group).into(), (*version).into())).await
        }
        _ => Err(Status::path_not_found()),
    }
}

/// The form that the client asked for.
fn open_api_v2(headers: &HeaderMap) -> Name {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("proto-openapi.spec.v2") { Name::OpenApiV2Protobuf } else { Name::OpenApiV2 }
}

fn paths(groups: &[Group]) -> Vec<String> {
    let mut paths: Vec<String> =
        ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis"].map(Into::into).into();
    for group in groups {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{version}", group.name)));
    }
    paths.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"]
            .map(Into::into),
    );
    paths
}

fn core_versions(state: &State) -> Value {
    let address = state.endpoint.to_string();
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

fn group_list(groups: &[Group]) -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.iter().map(api_group).collect::<Vec<_>>()})
}

fn api_group(group: &Group) -> Value {
    let version = |version: &SmolStr| json!({"groupVersion": format!("{}/{version}", group.name), "version": version});
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

fn resource_list(registry: &Registry, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for kind in registry.kinds_of(group, version) {
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
        for subresource in &kind.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, subresource.name), "singularName": "", "namespaced": kind.namespaced,
                "kind": subresource.kind, "verbs": subresource.verbs,
            });
            if (&*subresource.group, &*subresource.version) != (group, version) {
                entry["group"] = json!(subresource.group);
                entry["version"] = json!(subresource.version);
            }
            resources.push(entry);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn storage_hash(kind: &Arc<Kind>) -> String {
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
