//! The kinds that a CustomResourceDefinition defines.

use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

use crate::kind::{Kind, Subresource};
use crate::meta::{list, text};
use crate::schema::structural::Definition;
use crate::strategy::common::condition;
use crate::strategy::custom_resource::CustomResource;

const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];
/// Verbs while the definition is being deleted.
const TERMINATING: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Whether a condition of a definition holds.
pub fn has_condition(definition: &Value, kind: &str) -> bool {
    condition(definition, kind)["status"] == "True"
}

/// The kinds of a definition, one for each version that is served, under the names that it was given.
pub fn kinds(definition: &Value) -> Vec<Arc<Kind>> {
    let versions = list(definition, &["spec", "versions"]);
    let Some(stored) = versions.iter().find(|version| version["storage"] == true) else { return Vec::new() };
    let stored = Arc::new(kind(definition, stored));
    versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| match version["storage"] == true {
            true => stored.clone(),
            false => Arc::new(kind(definition, version).stored_as(stored.clone())),
        })
        .collect()
}

fn kind(definition: &Value, version: &Value) -> Kind {
    let name = |key: &str| text(definition, &["status", "acceptedNames", key]);
    let names = |key: &str| -> Vec<SmolStr> {
        let names = list(definition, &["status", "acceptedNames", key]);
        names.iter().filter_map(Value::as_str).map(SmolStr::new).collect()
    };
    let (group, version_name) = (text(definition, &["spec", "group"]), text(version, &["name"]));
    let (own, plural) = (name("kind"), name("plural"));
    let schema = Arc::new(Definition::new(&version["schema"]["openAPIV3Schema"]));
    let strategy = CustomResource::new(version, schema.clone(), &format!("{group}/{version_name}"), own);
    let mut kind = Kind::new(group, version_name, (own, plural, name("singular")), schema, strategy)
        .stored_at(&format!("{group}/{plural}"))
        .listed_as(name("listKind"))
        .subresources(subresources(version, group, own));
    kind.namespaced = definition["spec"]["scope"] == "Namespaced";
    kind.short_names = names("shortNames");
    kind.categories = names("categories");
    if has_condition(definition, "Terminating") {
        kind.verbs = TERMINATING;
    }
    kind
}

fn subresources(version: &Value, group: &str, kind: &str) -> Vec<Subresource> {
    let of = |name, group: &str, version: &str, kind: &str| Subresource {
        name,
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        verbs: GET_PATCH_UPDATE,
    };
    let has = |name: &str| version["subresources"][name].is_object();
    let status = has("status").then(|| of("status", group, text(version, &["name"]), kind));
    let scale = has("scale").then(|| of("scale", "autoscaling", "v1", "Scale"));
    status.into_iter().chain(scale).collect()
}
