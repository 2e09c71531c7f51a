//! Namespace.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::age;
use super::{AGE, Column, NAME, Strategy, column, keep, masked};
use crate::field::{self, FieldError, Path};
use crate::meta::{self, text};

/// A Namespace.
pub struct Namespace;

impl Strategy for Namespace {
    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        label_name(obj);
    }

    fn prepare_create(&self, obj: &mut Value) {
        // A generated name was not known when defaults were set.
        label_name(obj);
        let map = meta::as_object(obj);
        map.insert("status".into(), json!({"phase": "Active"}));
        let spec = meta::as_object(map.entry("spec").or_insert_with(|| json!({})));
        let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers.as_array_mut()
            && !list.iter().any(|f| f == "kubernetes")
        {
            list.push("kubernetes".into());
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        // The finalizers of the spec are written by the subresource `finalize`.
        keep(new, old, "spec");
        keep(new, old, "status");
    }

    fn prepare_subresource(&self, subresource: &str, new: &mut Value, old: &Value) {
        match subresource {
            // The finalizers are all that the spec has.
            "finalize" => keep(new, old, "status"),
            _ => new.clone_from(old),
        }
    }

    fn mark_deleted(&self, obj: &mut Value, _: bool) {
        meta::object_at(obj, "status").insert("phase".into(), "Terminating".into());
    }

    fn outlives_deletion(&self, obj: &Value) -> bool {
        !meta::list(obj, &["spec", "finalizers"]).is_empty()
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        field::dns1123_label(&masked(name, prefix))
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let phase = text(new, &["status", "phase"]);
        let expected = if meta::is_deleting(new) { "Terminating" } else { "Active" };
        if phase == expected {
            return Vec::new();
        }
        let detail = if meta::is_deleting(new) {
            "may only be 'Terminating' if `deletionTimestamp` is not empty"
        } else {
            "may only be 'Active' if `deletionTimestamp` is empty"
        };
        vec![FieldError::invalid_str(&Path::new("status").child("Phase"), phase, detail)]
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        vec![text(obj, &["status", "phase"]).into()]
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Status"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), text(obj, &["status", "phase"]).into(), age(obj, now)]
    }
}

fn label_name(obj: &mut Value) {
    // Selectors of namespaces by name rely on this label.
    let name = meta::name(obj).to_owned();
    if !name.is_empty() {
        let labels = meta::metadata_mut(obj).entry("labels").or_insert_with(|| json!({}));
        meta::as_object(labels).insert("kubernetes.io/metadata.name".into(), name.into());
    }
}
