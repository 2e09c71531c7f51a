//! ServiceCIDR and IPAddress.

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

use super::common::age;
use super::{AGE, Column, NAME, Strategy, column, immutable};
use crate::addresses::Ranges;
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
        let parsed: Vec<IpNet> = cidrs.iter().filter_map(|cidr| cidr.as_str()?.parse().ok()).collect();
        if parsed.len() == 2 && Ranges::of_list(&parsed).is_none() {
            let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.push(FieldError::invalid(&path, at(obj, &["spec", "cidrs"]), detail));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec").child("cidrs");
        let (now, before) = (list(new, &["spec", "cidrs"]), list(old, &["spec", "cidrs"]));
        match (before, now) {
            // A cluster of one family may come to have both.
            ([first], [same, _]) => immutable(&mut errors, &path.index(0), same, first),
            _ => immutable(&mut errors, &path, at(new, &["spec", "cidrs"]), at(old, &["spec", "cidrs"])),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_range_of_the_other_family_is_added() {
        let object = |cidrs: &[&str]| json!({"metadata": {"name": "a"}, "spec": {"cidrs": cidrs}});
        let (one, both) = (object(&["10.96.0.0/16"]), object(&["10.96.0.0/16", "fd00::/112"]));
        assert_eq!(ServiceCidr.validate_update(&both, &one), []);
        assert_eq!(ServiceCidr.validate_update(&both, &both), []);
        for (new, old) in [
            (&one, &both),
            (&object(&["fd00::/112", "10.96.0.0/16"]), &one),
            (&object(&["10.97.0.0/16"]), &one),
            (&object(&["10.96.0.0/16", "fd01::/112"]), &both),
        ] {
            let errors = ServiceCidr.validate_update(new, old);
            assert!(errors.len() == 1 && errors[0].to_string().contains("field is immutable"), "{errors:?}");
        }
        let same = ServiceCidr.validate(&object(&["10.96.0.0/16", "10.97.0.0/16"]));
        assert!(same[0].to_string().contains("no more than one IP for each IP family"));
    }
}
