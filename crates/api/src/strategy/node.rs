//! Node.

use std::borrow::Cow;

use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::HashSet;

use serde_json::{Value, json};

use super::common::{self, age, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, wide};
use crate::addresses::Ranges;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, text};

/// What a node says of itself; clients expect all of it to be there.
const INFO: [&str; 10] = [
    "architecture",
    "bootID",
    "containerRuntimeVersion",
    "kernelVersion",
    "kubeProxyVersion",
    "kubeletVersion",
    "machineID",
    "operatingSystem",
    "osImage",
    "systemUUID",
];

/// A Node.
pub struct Node;

impl Strategy for Node {
    fn has_status(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        // The deprecated field `podCIDR` mirrors the first of `podCIDRs`.
        let Some(spec) = spec_mut(obj) else { return };
        let first = spec.get("podCIDRs").and_then(|c| c.get(0)).cloned();
        match (spec.get("podCIDR").cloned(), first) {
            (Some(one), None) => {
                spec.insert("podCIDRs".into(), json!([one]));
            }
            (None, Some(first)) => {
                spec.insert("podCIDR".into(), first);
            }
            _ => {}
        }
    }

    fn prepare_create(&self, obj: &mut Value) {
        meta::object_at(obj, "spec");
        // The kubelet registers with the node's status, unlike other kinds.
        if obj["status"].is_null() {
            let info: serde_json::Map<String, Value> =
                INFO.into_iter().map(|key| (key.to_owned(), Value::from(""))).collect();
            let status = meta::object_at(obj, "status");
            status.insert("daemonEndpoints".into(), json!({"kubeletEndpoint": {"Port": 0}}));
            status.insert("nodeInfo".into(), info.into());
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut seen = HashSet::new();
        for (i, taint) in list(obj, &["spec", "taints"]).iter().enumerate() {
            let path = Path::new("metadata").child("taints").index(i);
            let (key, effect) = (text(taint, &["key"]), text(taint, &["effect"]));
            push_all(&mut errors, &path.child("key"), key, field::qualified_name(key));
            let value = text(taint, &["value"]);
            push_all(&mut errors, &path.child("value"), value, field::label_value(value));
            let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            common::one_of(&mut errors, &path.child("effect"), &taint["effect"], &effects, true);
            if !seen.insert((key, effect)) {
                errors.push(FieldError::duplicate(&path, taint));
            }
        }
        let (path, cidrs) = (Path::new("spec").child("podCIDRs"), list(obj, &["spec", "podCIDRs"]));
        for (i, cidr) in cidrs.iter().filter_map(Value::as_str).enumerate() {
            push_all(&mut errors, &path.index(i), cidr, field::cidr(cidr));
        }
        let parsed: Vec<IpNet> = cidrs.iter().filter_map(|cidr| cidr.as_str()?.parse().ok()).collect();
        if cidrs.len() > 1 && (parsed.len() < cidrs.len() || Ranges::of_list(&parsed).is_none()) {
            let detail = "may specify no more than one CIDR for each IP family";
            errors.push(FieldError::invalid(&path, at(obj, &["spec", "podCIDRs"]), detail));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for key in ["podCIDRs", "providerID"] {
            let (now, before) = (at(new, &["spec", key]), at(old, &["spec", key]));
            let set = !before.is_null() && before != "";
            if set && now != before {
                let detail = if key == "podCIDRs" {
                    "node updates may not change podCIDR except from \"\" to valid"
                } else {
                    "node updates may not change providerID except from \"\" to valid"
                };
                errors.push(FieldError::forbidden(&Path::new("spec").child(key), detail));
            }
        }
        errors
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        vec![at(obj, &["spec", "unschedulable"]).as_bool().unwrap_or(false).to_string().into()]
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Status"),
                column("Roles"),
                AGE,
                column("Version"),
                wide("Internal-IP"),
                wide("External-IP"),
                wide("OS-Image"),
                wide("Kernel-Version"),
                wide("Container-Runtime"),
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let ready = common::condition(obj, "Ready");
        let mut status = match text(ready, &["status"]) {
            "" => "Unknown".to_owned(),
            "True" => "Ready".to_owned(),
            _ => "NotReady".to_owned(),
        };
        if at(obj, &["spec", "unschedulable"]) == true {
            status.push_str(",SchedulingDisabled");
        }
        let mut roles: Vec<&str> = meta::labels(obj)
            .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) if !role.is_empty() => Some(role),
                _ if key == "kubernetes.io/role" && !value.is_empty() => Some(value),
                _ => None,
            })
            .collect();
        roles.sort_unstable();
        roles.dedup();
        let address = |kind: &str| {
            let found = list(obj, &["status", "addresses"]).iter().find(|a| a["type"] == kind);
            or(found.map(|a| text(a, &["address"])).unwrap_or_default(), "<none>")
        };
        let info = |key: &str| or(text(obj, &["status", "nodeInfo", key]), "<unknown>");
        vec![
            meta::name(obj).into(),
            status.into(),
            or(&roles.join(","), "<none>"),
            age(obj, now),
            text(obj, &["status", "nodeInfo", "kubeletVersion"]).into(),
            address("InternalIP"),
            address("ExternalIP"),
            info("osImage"),
            info("kernelVersion"),
            info("containerRuntimeVersion"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn taints_differ_in_key_or_effect_however_many_there_are() {
        let taint = |key: String, effect: &str| json!({"key": key, "effect": effect});
        let mut taints: Vec<Value> = (0..100_000).map(|n| taint(format!("k{n}"), "NoSchedule")).collect();
        taints.push(taint("k7".into(), "NoExecute"));
        let node = |taints: &[Value]| json!({"metadata": {"name": "a"}, "spec": {"taints": taints}});
        assert_eq!(Node.validate(&node(&taints)), []);
        taints.push(taint("k7".into(), "NoSchedule"));
        let errors = Node.validate(&node(&taints));
        assert!(errors.len() == 1 && errors[0].to_string().starts_with("metadata.taints[100001]: Duplicate value"));
    }

    #[test]
    fn a_node_has_at_most_one_range_of_each_family() {
        let errors = |cidrs: &[&str]| {
            let node = json!({"metadata": {"name": "a"}, "spec": {"podCIDRs": cidrs}});
            Node.validate(&node).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        for good in
            [&["10.244.1.0/24"][..], &["fd00::/64"], &["10.244.1.0/24", "fd00::/64"], &["fd00::/64", "10.0.0.0/24"]]
        {
            assert_eq!(errors(good), "", "{good:?}");
        }
        for bad in [
            &["10.244.1.0/24", "10.244.2.0/24"][..],
            &["fd00::/64", "fd01::/64"],
            &["10.244.1.0/24", "fd00::/64", "10.244.2.0/24"],
        ] {
            let told = errors(bad);
            let whole = told.starts_with("spec.podCIDRs: Invalid value: ");
            assert!(whole && told.ends_with("may specify no more than one CIDR for each IP family"), "{told}");
        }
        assert!(errors(&["10.244.1.0/24", "nowhere"]).starts_with("spec.podCIDRs[1]: Invalid value"));
    }
}
