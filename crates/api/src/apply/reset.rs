//! What a write cannot change: the server puts it back, so that nobody comes to own it by trying.

use super::element::Element;
use super::mask::{Hidden, Mask, hide};
use super::set::{Entry, Set};
use crate::Kind;

/// What a write to an object or a subresource cannot change.
#[derive(Clone, Copy, Debug)]
pub enum Reset {
    /// These fields.
    Fields(&'static Mask),
    /// All but what is below these paths, in which `*` is any item.
    AllBut(&'static [&'static [&'static str]]),
}

const STATUS: &Mask = &[("status", Hidden::All)];
const SPEC: &Mask = &[("spec", Hidden::All)];
const SPEC_AND_METADATA: &Mask = &[("metadata", Hidden::All), ("spec", Hidden::All)];
const SPEC_AND_LABELS: &Mask = &[("metadata", Hidden::Below(&[("labels", Hidden::All)])), ("spec", Hidden::All)];
const OF_POD_STATUS: &Mask = &[
    ("metadata", Hidden::Below(&[("deletionTimestamp", Hidden::All), ("ownerReferences", Hidden::All)])),
    ("spec", Hidden::All),
];
const OF_CSR_STATUS: &Mask = &[("spec", Hidden::All), ("status", Hidden::Below(&[("conditions", Hidden::All)]))];
const OF_CSR_APPROVAL: &Mask = &[("spec", Hidden::All), ("status", Hidden::Below(&[("certificate", Hidden::All)]))];
const EPHEMERAL: &[&[&str]] = &[&["spec", "ephemeralContainers"]];
const RESIZE: &[&[&str]] = &[
    &["spec", "containers", "*", "resources"],
    &["spec", "containers", "*", "resizePolicy"],
    &["spec", "initContainers", "*", "resources"],
    &["spec", "initContainers", "*", "resizePolicy"],
];

impl Reset {
    /// Nothing is reset.
    pub const NONE: Reset = Reset::Fields(&[]);

    /// What a write to a built-in kind's object, or to a subresource if one is named, cannot change.
    pub fn of(kind: &Kind, subresource: &str) -> Reset {
        match (&*kind.kind, subresource) {
            (_, "status") if kind.def().is_none() => Reset::Fields(SPEC),
            _ if kind.def().is_none() && !kind.has_status() => Reset::NONE,
            _ if kind.def().is_none() => Reset::Fields(STATUS),
            ("Pod", "ephemeralcontainers") => Reset::AllBut(EPHEMERAL),
            ("Pod", "resize") => Reset::AllBut(RESIZE),
            ("Pod", "status") => Reset::Fields(OF_POD_STATUS),
            ("Deployment", "status") => Reset::Fields(SPEC_AND_LABELS),
            ("CertificateSigningRequest", "status") => Reset::Fields(OF_CSR_STATUS),
            ("CertificateSigningRequest", "approval") => Reset::Fields(OF_CSR_APPROVAL),
            (
                "CustomResourceDefinition"
                | "FlowSchema"
                | "PriorityLevelConfiguration"
                | "ValidatingAdmissionPolicy"
                | "VolumeAttachment",
                "status",
            ) => Reset::Fields(SPEC_AND_METADATA),
            (_, "status") => Reset::Fields(SPEC),
            _ if kind.has_status() => Reset::Fields(STATUS),
            _ => Reset::NONE,
        }
    }

    /// The fields of the set that the write can change.
    pub(super) fn filter<'a>(self, set: &Set<'a>) -> Set<'a> {
        match self {
            Reset::Fields([]) => set.clone(),
            Reset::Fields(mask) => hide(set, mask),
            Reset::AllBut(paths) => only(set, paths.to_vec()),
        }
    }
}

fn only<'a>(set: &Set<'a>, paths: Vec<&[&str]>) -> Set<'a> {
    let kept = set.entries().iter().filter_map(|entry| {
        let matches = |step: &str| step == "*" || matches!(&entry.element, Element::Field(name) if name == step);
        let below: Vec<_> = paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter(|(step, _)| matches(step))
            .map(|(_, rest)| rest)
            .collect();
        match below {
            below if below.is_empty() => None,
            below if below.iter().any(|rest| rest.is_empty()) => Some(entry.clone()),
            below => {
                Some(Entry { element: entry.element.clone(), member: entry.member, below: only(&entry.below, below) })
            }
        }
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::fields_v1;
    use crate::kinds::by_kind;
    use serde_json::json;

    fn left(kind: (&str, &str), subresource: &str) -> String {
        let fields = json!({"f:metadata": {"f:labels": {".": {}}, "f:annotations": {}}, "f:status": {"f:phase": {}}, "f:spec": {
            "f:ephemeralContainers": {"k:{\"name\":\"e\"}": {".": {}}}, "f:containers": {"k:{\"name\":\"a\"}": {
                "f:image": {}, "f:resources": {"f:limits": {}}}}}});
        let set = fields_v1::parse(&fields).expect("it parses");
        let kind = by_kind(kind.0, "v1", kind.1).expect("the kind is there");
        fields_v1::print(&Reset::of(kind, subresource).filter(&set))
    }

    #[test]
    fn a_subresource_changes_its_own_part() {
        assert!(!left(("", "Pod"), "").contains("f:status"));
        assert!(left(("", "ConfigMap"), "").contains("f:status"));
        assert_eq!(
            left(("", "Pod"), "resize"),
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{"f:resources":{"f:limits":{}}}}}}"#
        );
        assert_eq!(
            left(("", "Pod"), "ephemeralcontainers"),
            r#"{"f:spec":{"f:ephemeralContainers":{"k:{\"name\":\"e\"}":{}}}}"#
        );
        assert_eq!(
            left(("apps", "Deployment"), "status"),
            r#"{"f:metadata":{"f:annotations":{}},"f:status":{"f:phase":{}}}"#
        );
        assert_eq!(left(("storage.k8s.io", "VolumeAttachment"), "status"), r#"{"f:status":{"f:phase":{}}}"#);
    }
}
