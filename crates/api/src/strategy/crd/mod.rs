//! CustomResourceDefinition.

pub mod approval;
pub mod condition;
mod conversion;
mod names;
mod rules;
mod schema;
mod validate;
mod version;

use serde_json::{Value, json};

use super::common::{self, default_text, default_to, object_mut, spec_mut};
use super::{Strategy, immutable};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, list, text};

/// The finalizer of a definition that has been deleted, until all its objects are.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// A CustomResourceDefinition.
pub struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn prepare_create(&self, obj: &mut Value) {
        super::prepare_create(self, obj);
        remember_stored(obj);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        super::prepare_update(self, new, old);
        remember_stored(new);
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        super::prepare_status_update(new, old);
        super::keep_metadata(new, old, &super::CLIENT_METADATA);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn empty_status(&self) -> Value {
        json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": []})
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_to(spec, "conversion", json!({"strategy": "None"}));
        let webhook = object_mut(spec, "conversion").and_then(|conversion| object_mut(conversion, "webhook"));
        let config = webhook.and_then(|webhook| object_mut(webhook, "clientConfig"));
        if let Some(service) = config.and_then(|config| object_mut(config, "service")) {
            default_to(service, "port", 443);
        }
        if let Some(names) = object_mut(spec, "names") {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            default_text(names, "singular", &kind.to_lowercase());
            if !kind.is_empty() {
                default_text(names, "listKind", &format!("{kind}List"));
            }
        }
    }

    /// Deleting a definition deletes its objects first. Another deletion asks for nothing more: what waits for the objects may
    /// have been done by then, and other finalizers hold the definition.
    fn mark_deleted(&self, obj: &mut Value, is_first: bool) {
        if !is_first {
            return;
        }
        let mut finalizers: Vec<String> = meta::finalizers(obj).into_iter().map(str::to_owned).collect();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
            finalizers.push(CLEANUP.to_owned());
        }
        meta::set_finalizers(obj, &finalizers.iter().map(String::as_str).collect::<Vec<_>>());
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        condition::set(obj, "Terminating", true, "InstanceDeletionPending", message);
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut out = Vec::new();
        for (index, version) in list(obj, &["spec", "versions"]).iter().enumerate() {
            let path = format!("spec.versions[{index}].schema.openAPIV3Schema");
            schema::unknown_formats(&version["schema"]["openAPIV3Schema"], &path, &mut out);
        }
        out
    }

    fn validates_slowly(&self) -> bool {
        true
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        validate::definition(obj, &Value::Null)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate::definition(new, old);
        let path = Path::new("spec");
        immutable(&mut errors, &path.child("group"), &new["spec"]["group"], &old["spec"]["group"]);
        let (now, before) = (at(new, &["spec", "names", "plural"]), at(old, &["spec", "names", "plural"]));
        immutable(&mut errors, &path.child("names").child("plural"), now, before);
        if common::condition(old, "Established")["status"] == "True" {
            immutable(&mut errors, &path.child("scope"), &new["spec"]["scope"], &old["spec"]["scope"]);
            let (now, before) = (at(new, &["spec", "names", "kind"]), at(old, &["spec", "names", "kind"]));
            immutable(&mut errors, &path.child("names").child("kind"), now, before);
        }
        validate::stored_versions(new, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        names::check(at(new, &["status", "acceptedNames"]), &Path::new("status").child("acceptedNames"), &mut errors);
        validate::stored_versions(new, &mut errors);
        errors
    }
}

/// The version that objects are stored in is one of those that they have been stored in.
fn remember_stored(obj: &mut Value) {
    let versions = list(obj, &["spec", "versions"]);
    let Some(stored) = versions.iter().find(|version| version["storage"] == true) else { return };
    let stored = Value::from(text(stored, &["name"]));
    let status = meta::object_at(obj, "status");
    let versions = status.entry("storedVersions").or_insert_with(|| json!([]));
    if let Value::Array(versions) = versions
        && !versions.contains(&stored)
    {
        versions.push(stored);
    }
}
