//! What users should know of an answer: it goes with it in headers.

use coracle_api::Kind;
use serde_json::Value;

/// What becomes of the objects of a kind that nothing here acts on yet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Missing {
    /// No controller looks at them.
    Controller,
    /// They limit or allow something, and are not asked.
    Enforcement,
}

use Missing::{Controller, Enforcement};

/// The kinds that are stored and no more, by group and kind.
const MISSING: &[(&str, &str, Missing)] = &[
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", Enforcement),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", Enforcement),
    ("networking.k8s.io", "ServiceCIDR", Controller),
    ("resource.k8s.io", "DeviceClass", Controller),
    ("resource.k8s.io", "ResourceClaim", Controller),
    ("resource.k8s.io", "ResourceClaimTemplate", Controller),
    ("resource.k8s.io", "ResourceSlice", Controller),
];

/// For a new object.
pub fn on_create(kind: &Kind, object: &Value) -> Vec<String> {
    let mut out = kind.strategy.warnings(object);
    out.extend(kind.strategy.warnings_on_create(object));
    let missing = MISSING.iter().find(|(group, name, _)| kind.is(group, name));
    match missing.map(|(_, _, missing)| missing) {
        Some(Controller) => {
            out.push(format!("{} is stored but has no controller in this version: nothing acts on it", kind.kind));
        }
        Some(Enforcement) => out.push(format!("{} is stored but not enforced by this version", kind.kind)),
        None => {}
    }
    out
}

/// For an object that was `old` before.
pub fn on_change(kind: &Kind, new: &Value, old: &Value) -> Vec<String> {
    let mut out = kind.strategy.warnings(new);
    out.extend(kind.strategy.warnings_on_change(new, old));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_is_said_to_miss_something_is_served() {
        for (group, name, _) in MISSING {
            let served = coracle_api::kinds::built_in().kinds().iter().any(|kind| kind.is(group, name));
            assert!(served, "{group}/{name}");
        }
    }
}
