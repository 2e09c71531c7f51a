//! What becomes of a pod's claims when the set is deleted, or gets smaller: they go with what owns them.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention>

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use super::identity::{ordinal_of, ordinals, spec_of};
use crate::common::{controller_reference, uid};

/// Who is to own the claims of a pod.
#[derive(Clone, Copy, PartialEq)]
enum Claimant {
    Nobody,
    Set,
    Pod,
}

fn claimant(set: &StatefulSet, pod: &Pod) -> Claimant {
    let deletes = |policy: Option<&String>| policy.is_some_and(|policy| policy == "Delete");
    let policy = spec_of(set).persistent_volume_claim_retention_policy.as_ref();
    let when_scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    let when_deleted = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    let is_condemned = !ordinal_of(set, pod).is_some_and(|ordinal| ordinals(set).contains(&ordinal));
    match (when_scaled && is_condemned, when_deleted) {
        (true, _) => Claimant::Pod,
        (false, true) => Claimant::Set,
        (false, false) => Claimant::Nobody,
    }
}

fn names<K: Resource<DynamicType = ()>>(reference: &OwnerReference, object: &K) -> bool {
    reference.kind == K::kind(&()) && reference.name == object.name_any()
}

/// Whether the claim belongs to what had the name of the object before it.
fn is_stale<K: Resource<DynamicType = ()>>(reference: &OwnerReference, object: &K) -> bool {
    names(reference, object) && reference.uid != uid(object)
}

/// Whether the claim is about to go with a pod of this name that is gone: the next one waits for that.
pub(super) fn is_leaving(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &str) -> bool {
    let policy = spec_of(set).persistent_volume_claim_retention_policy.as_ref();
    policy.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete")
        && claim.owner_references().iter().any(|reference| reference.kind == "Pod" && reference.name == pod)
}

/// The owners that a claim is to have; `None` when it has them, or is somebody else's.
pub(super) fn wanted_owners(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    pod: &Pod,
) -> Option<Vec<OwnerReference>> {
    let old = claim.owner_references();
    if old.iter().any(|reference| is_stale(reference, set) || is_stale(reference, pod)) {
        return None;
    }
    let mut owners: Vec<OwnerReference> =
        old.iter().filter(|reference| !names(reference, set) && !names(reference, pod)).cloned().collect();
    let controlled = owners.iter().any(|reference| reference.controller == Some(true));
    match claimant(set, pod) {
        Claimant::Set if !controlled => owners.push(controller_reference(set)),
        Claimant::Pod if !controlled => owners.push(controller_reference(pod)),
        _ => {}
    }
    let same = owners.len() == old.len() && owners.iter().all(|owner| old.contains(owner));
    (!same).then_some(owners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(deleted: &str, scaled: &str) -> StatefulSet {
        serde_json::from_value(
            json!({"metadata": {"name": "web", "uid": "set"}, "spec": {"replicas": 1, "selector": {},
            "template": {}, "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}}),
        )
        .unwrap()
    }

    fn pod(ordinal: i32) -> Pod {
        let name = format!("web-{ordinal}");
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name}})).unwrap()
    }

    fn claim(owners: Value) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "c", "ownerReferences": owners}})).unwrap()
    }

    fn kinds(owners: Option<Vec<OwnerReference>>) -> Option<Vec<String>> {
        owners.map(|owners| owners.into_iter().map(|owner| owner.kind).collect())
    }

    #[test]
    fn claims_go_with_the_set_or_with_a_pod_that_is_too_many() {
        let free = claim(json!([]));
        let wanted = |deleted, scaled, ordinal| kinds(wanted_owners(&free, &set(deleted, scaled), &pod(ordinal)));
        assert_eq!(wanted("Retain", "Retain", 0), None);
        assert_eq!(wanted("Delete", "Retain", 0), Some(vec!["StatefulSet".into()]));
        assert_eq!(wanted("Delete", "Retain", 1), Some(vec!["StatefulSet".into()]));
        assert_eq!(wanted("Delete", "Delete", 1), Some(vec!["Pod".into()]));
        assert_eq!(wanted("Retain", "Delete", 0), None);
    }

    #[test]
    fn owners_follow_the_policy_and_others_stay() {
        let of_set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "set",
            "controller": true, "blockOwnerDeletion": true});
        let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"});
        let owned = claim(json!([of_set, other]));
        assert_eq!(wanted_owners(&owned, &set("Delete", "Retain"), &pod(0)), None);
        assert_eq!(kinds(wanted_owners(&owned, &set("Retain", "Retain"), &pod(0))), Some(vec!["ConfigMap".into()]));
        let foreign = json!({"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "x", "controller": true});
        assert_eq!(wanted_owners(&claim(json!([foreign])), &set("Delete", "Delete"), &pod(0)), None);
        let stale = json!({"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "before"});
        assert_eq!(wanted_owners(&claim(json!([stale])), &set("Delete", "Delete"), &pod(0)), None);
        assert!(is_leaving(&set("Retain", "Delete"), &claim(json!([stale])), "web-0"));
        assert!(!is_leaving(&set("Retain", "Retain"), &claim(json!([stale])), "web-0"));
    }
}
