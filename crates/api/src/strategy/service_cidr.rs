//! ServiceCIDR and IPAddress.

use jiff::Timestamp;
use serde_json::Value;

use super::common::age;
use super::{AGE, Column, NAME, Strategy, column, immutable};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, text};

/// A ServiceCIDR.
pub struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn has_status(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec").child("cidrs");
        let cidrs = list(obj, &["spec", "cidrs"]);
        if !(1..=2).contains(&cidrs.len()) {
            let detail = "may only hold 1 or 2 values";
            errors.push(FieldError::invalid(&path, at(obj, &["spec", "cidrs"]), detail));
        }
        for (i, cidr) in cidrs.iter().filter_map(Value::as_str).enumerate() {
            push_all(&mut errors, &path.index(i), cidr, field::cidr(cidr));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(&mut errors, &Path::new("spec").child("cidrs"), &new["spec"]["cidrs"], &old["spec"]["cidrs"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("CIDRs"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            list(obj, &["spec", "cidrs"]).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",").into(),
            age(obj, now),
        ]
    }
}

/// An IPAddress, named after itself.
pub struct IpAddress;

impl Strategy for IpAddress {
    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        field::ip(name)
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let path = Path::new("spec").child("parentRef");
        let parent = at(obj, &["spec", "parentRef"]);
        if parent.is_null() {
            return vec![FieldError::required(&path, "")];
        }
        let missing = ["resource", "name"].into_iter().filter(|key| text(parent, &[key]).is_empty());
        missing.map(|key| FieldError::required(&path.child(key), "")).collect()
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(
            &mut errors,
            &Path::new("spec").child("parentRef"),
            &new["spec"]["parentRef"],
            &old["spec"]["parentRef"],
        );
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("ParentRef")] }
    }

    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), parent(obj).into()]
    }
}

fn parent(obj: &Value) -> String {
    let get = |key: &str| text(obj, &["spec", "parentRef", key]);
    let mut parts = vec![get("resource")];
    if !get("group").is_empty() {
        parts.insert(0, get("group"));
    }
    parts.extend([get("namespace"), get("name")].into_iter().filter(|p| !p.is_empty()));
    parts.join("/")
}
