//! CustomResourceDefinition.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, default_text, default_to, object_mut, spec_mut};
use super::{Column, NAME, Strategy, immutable};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, text};

/// A CustomResourceDefinition.
pub struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        super::prepare_status_update(new, old);
        super::keep_metadata(new, old, &super::CLIENT_METADATA);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_to(spec, "conversion", json!({"strategy": "None"}));
        if let Some(names) = object_mut(spec, "names") {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            default_text(names, "singular", &kind.to_lowercase());
            if !kind.is_empty() {
                default_text(names, "listKind", &format!("{kind}List"));
            }
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let (group, plural) = (text(obj, &["spec", "group"]), text(obj, &["spec", "names", "plural"]));
        if meta::name(obj) != format!("{plural}.{group}") {
            let path = Path::new("metadata").child("name");
            errors.push(FieldError::invalid_str(&path, meta::name(obj), "must be spec.names.plural+\".\"+spec.group"));
        }
        if group.is_empty() {
            errors.push(FieldError::required(&path.child("group"), ""));
        } else if !group.contains('.') {
            errors.push(FieldError::invalid_str(
                &path.child("group"),
                group,
                "should be a domain with at least one dot",
            ));
        } else {
            push_all(&mut errors, &path.child("group"), group, field::dns1123_subdomain(group));
        }
        for key in ["plural", "kind"] {
            let name = text(obj, &["spec", "names", key]).to_lowercase();
            push_all(&mut errors, &path.child("names").child(key), &name, field::dns1035_label(&name));
        }
        common::one_of(
            &mut errors,
            &path.child("scope"),
            at(obj, &["spec", "scope"]),
            &["Cluster", "Namespaced"],
            true,
        );
        let versions = list(obj, &["spec", "versions"]);
        if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
            let detail = "must have exactly one version marked as storage version";
            errors.push(FieldError::invalid(&path.child("versions"), at(obj, &["spec", "versions"]), detail));
        }
        for (i, version) in versions.iter().enumerate() {
            let path = path.child("versions").index(i);
            let name = text(version, &["name"]);
            push_all(&mut errors, &path.child("name"), name, field::dns1035_label(name));
            if at(version, &["schema", "openAPIV3Schema"]).is_null() {
                let detail = "schemas are required";
                errors.push(FieldError::required(&path.child("schema").child("openAPIV3Schema"), detail));
            } else if version["schema"]["openAPIV3Schema"]["type"] != "object" {
                let path = path.child("schema").child("openAPIV3Schema").child("type");
                let given = text(version, &["schema", "openAPIV3Schema", "type"]);
                errors.push(FieldError::invalid_str(&path, given, "must be object at the root"));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        immutable(&mut errors, &path.child("group"), &new["spec"]["group"], &old["spec"]["group"]);
        if common::condition(old, "Established")["status"] == "True" {
            immutable(&mut errors, &path.child("scope"), &new["spec"]["scope"], &old["spec"]["scope"]);
            let (now, before) = (at(new, &["spec", "names", "plural"]), at(old, &["spec", "names", "plural"]));
            immutable(&mut errors, &path.child("names").child("plural"), now, before);
            let (now, before) = (at(new, &["spec", "names", "kind"]), at(old, &["spec", "names", "kind"]));
            immutable(&mut errors, &path.child("names").child("kind"), now, before);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Created At", "date", "", 0)] }
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), at(obj, &["metadata", "creationTimestamp"]).clone()]
    }
}
