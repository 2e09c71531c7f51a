//! Revisions: the annotations that `kubectl rollout` reads, and which sets are history.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::HASH_LABEL;
use super::math::{desired, max_surge, replicas};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations that stay with the object they are on.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// The longest history of revisions that a set remembers, in characters.
const MAX_HISTORY: usize = 2000;

pub(super) fn revision_of(meta: &ObjectMeta) -> Option<i64> {
    meta.annotations.as_ref()?.get(REVISION)?.parse().ok()
}

pub(super) fn max_revision(sets: &[Arc<ReplicaSet>]) -> i64 {
    sets.iter().filter_map(|set| revision_of(&set.metadata)).max().unwrap_or(0)
}

pub(super) fn annotated_size(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.annotations().get(annotation)?.parse().ok()
}

/// Whether a set was made of this template; the hash label aside, which only the set has.
pub(super) fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(mut of_set) = set.spec.as_ref().and_then(|spec| spec.template.clone()) else { return false };
    let mut template = template.clone();
    for side in [&mut of_set, &mut template] {
        let meta = side.metadata.get_or_insert_default();
        let labels = meta.labels.get_or_insert_default();
        labels.remove(HASH_LABEL);
        meta.annotations.get_or_insert_default();
        meta.creation_timestamp = None;
    }
    of_set == template
}

/// Copies annotations to the set and gives it the revision, unless it has a later one. Returns whether anything
/// changed. A set that comes back (a rollback) remembers the revisions it was before.
pub(super) fn annotate_new_set(
    d: &Deployment,
    spec: &DeploymentSpec,
    set: &mut ReplicaSet,
    revision: i64,
    exists: bool,
) -> bool {
    let before = set.metadata.annotations.clone().unwrap_or_default();
    let mut annotations = before.clone();
    for (key, value) in d.annotations() {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = old.as_deref().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    if old_number < revision {
        annotations.insert(REVISION.into(), revision.to_string());
        if let Some(old) = old.filter(|old| !old.is_empty()) {
            let history = annotations.remove(REVISION_HISTORY).filter(|history| !history.is_empty());
            let mut revisions: Vec<&str> = history.as_deref().map(|h| h.split(',').collect()).unwrap_or_default();
            revisions.push(&old);
            while revisions.len() > 1 && revisions.iter().map(|r| r.len() + 1).sum::<usize>() > MAX_HISTORY {
                revisions.remove(0);
            }
            annotations.insert(REVISION_HISTORY.into(), revisions.join(","));
        }
    }
    set.metadata.annotations = Some(annotations);
    // An existing set's sizes are written when it is scaled: changing them here would hide a scaling event.
    if !exists {
        annotate_sizes(spec, set);
    }
    set.metadata.annotations.as_ref() != Some(&before)
}

/// Notes the deployment's size and its maximum on a set; returns whether they changed.
pub(super) fn annotate_sizes(spec: &DeploymentSpec, set: &mut ReplicaSet) -> bool {
    let wanted = desired(spec);
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (key, size) in [(DESIRED_REPLICAS, wanted), (MAX_REPLICAS, wanted.saturating_add(max_surge(spec)))] {
        let size = size.to_string();
        changed |= annotations.get(key) != Some(&size);
        annotations.insert(key.into(), size);
    }
    changed
}

/// The old sets to delete so that `limit` remain: lowest revisions first, and only those that are empty and whose
/// controller has seen that.
pub(super) fn beyond_history(old: &[Arc<ReplicaSet>], limit: usize) -> Vec<Arc<ReplicaSet>> {
    let mut sets: Vec<Arc<ReplicaSet>> =
        old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).cloned().collect();
    sets.sort_by_key(|set| (revision_of(&set.metadata), set.metadata.creation_timestamp.clone()));
    let excess = sets.len().saturating_sub(limit);
    sets.into_iter()
        .take(excess)
        .filter(|set| {
            let status = set.status.clone().unwrap_or_default();
            status.replicas == 0 && replicas(set) == 0 && set.metadata.generation <= status.observed_generation
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_set_that_comes_back_remembers_its_revisions() {
        let d: Deployment = serde_json::from_value(json!({"metadata": {"name": "web", "annotations":
            {"note": "x", REVISION: "3"}}, "spec": {"replicas": 2, "selector": {}, "template": {}}}))
        .unwrap();
        let spec = d.spec.clone().unwrap();
        let mut set: ReplicaSet =
            serde_json::from_value(json!({"metadata": {"annotations": {REVISION: "1"}}})).unwrap();
        assert!(annotate_new_set(&d, &spec, &mut set, 4, true));
        let annotations = set.annotations().clone();
        assert_eq!(annotations[REVISION], "4");
        assert_eq!(annotations[REVISION_HISTORY], "1");
        assert_eq!(annotations["note"], "x");
        assert!(!annotate_new_set(&d, &spec, &mut set, 4, true));
    }

    #[test]
    fn templates_are_compared_without_the_hash() {
        let set: ReplicaSet = serde_json::from_value(json!({"metadata": {}, "spec": {"selector": {}, "template":
            {"metadata": {"labels": {"app": "web", HASH_LABEL: "abc"}}, "spec": {"containers": [{"name": "c"}]}}}}))
        .unwrap();
        let same = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}});
        assert!(has_template(&set, &serde_json::from_value(same).unwrap()));
        let other = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "d"}]}});
        assert!(!has_template(&set, &serde_json::from_value(other).unwrap()));
    }
}
