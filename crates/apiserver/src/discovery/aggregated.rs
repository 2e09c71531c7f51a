//! All that is served in one document.

use std::sync::Arc;

use coracle_api::kind::{Kind, Subresource};
use coracle_api::registry::{Group, Registry};
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::aggregation::{self, Remotes};

pub const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
pub const V2_BETA: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// The core group, or all others, with all that they have.
pub fn groups(registry: &Registry, remotes: &Remotes, core: bool, version: &str) -> Value {
    let of = |group: &Group| discovery_group(registry, remotes, group);
    let groups: Vec<Value> = match core {
        true => registry.groups().iter().filter(|group| group.name.is_empty()).map(of).collect(),
        false => aggregation::groups(registry, remotes).iter().map(of).collect(),
    };
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": groups})
}

fn discovery_group(registry: &Registry, remotes: &Remotes, group: &Group) -> Value {
    let version = |version: &SmolStr| {
        let remote =
            remotes.known.iter().find(|known| known.remote.group == group.name && known.remote.version == *version);
        if let Some(remote) = remote {
            return remote.aggregated();
        }
        let resources: Vec<Value> = registry.kinds_of(&group.name, version).iter().map(discovery_resource).collect();
        json!({"version": version, "freshness": "Current", "resources": resources})
    };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.name.is_empty() {
        metadata["name"] = json!(group.name);
    }
    json!({"metadata": metadata, "versions": versions})
}

fn discovery_resource(kind: &Arc<Kind>) -> Value {
    let response = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut resource = json!({
        "resource": kind.plural, "responseKind": response(&kind.group, &kind.version, &kind.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": kind.singular, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let subresource = |sub: &Subresource| json!({"subresource": sub.name, "responseKind": response(&sub.group, &sub.version, &sub.kind), "verbs": sub.verbs});
        resource["subresources"] = kind.subresources.iter().map(subresource).collect();
    }
    resource
}
