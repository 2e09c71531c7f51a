//! The kinds that a CustomResourceDefinition defines.

use std::sync::Arc;

use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::kind::{Kind, Subresource};
use crate::meta::{self, list, text};
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

/// What a definition defines.
pub struct Defined {
    /// The version that objects are stored in, whether it is served or not.
    pub stored: Arc<Kind>,
    /// The versions that are served.
    pub served: Vec<Arc<Kind>>,
}

/// What a definition defines, under the names that it was given; `None` when no version is the stored one.
pub fn kinds(definition: &Value) -> Option<Defined> {
    let versions = list(definition, &["spec", "versions"]);
    let stored = versions.iter().find(|version| version["storage"] == true)?;
    let stored = Arc::new(kind(definition, stored));
    let served = versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| match version["storage"] == true {
            true => stored.clone(),
            false => Arc::new(kind(definition, version).stored_as(stored.clone())),
        })
        .collect();
    Some(Defined { stored, served })
}

/// Sets a condition of a definition. Its time changes when its status does.
pub fn set_condition(definition: &mut Value, kind: &str, holds: bool, reason: &str, message: &str) {
    let status = if holds { "True" } else { "False" };
    let before = condition(definition, kind);
    let time = match before["status"] == status {
        true => before["lastTransitionTime"].clone(),
        false => meta::format_time(jiff::Timestamp::now()).into(),
    };
    let new = json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time});
    let conditions = meta::object_at(definition, "status").entry("conditions").or_insert_with(|| json!([]));
    let Value::Array(conditions) = conditions else { return };
    match conditions.iter_mut().find(|condition| condition["type"] == kind) {
        Some(condition) => *condition = new,
        None => conditions.push(new),
    }
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
