//! How many replicas each ReplicaSet of a deployment should have.

use std::cmp::Ordering;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::is_recreate;
use super::revision::{DESIRED_REPLICAS, MAX_REPLICAS, annotated_size};
use crate::common::scaled;

pub(super) fn desired(spec: &DeploymentSpec) -> i32 {
    spec.replicas.unwrap_or(1).max(0)
}

pub(super) fn has_deadline(spec: &DeploymentSpec) -> bool {
    spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
}

pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// Older sets first.
pub(super) fn by_age(a: &Arc<ReplicaSet>, b: &Arc<ReplicaSet>) -> Ordering {
    a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp).then_with(|| a.name_any().cmp(&b.name_any()))
}

/// maxSurge and maxUnavailable in pods. A surge is rounded up, unavailability down; when both come out as zero
/// one pod may be unavailable, for else nothing could move.
pub(super) fn fenceposts(spec: &DeploymentSpec) -> (i32, i32) {
    if is_recreate(spec) {
        return (0, 0);
    }
    let wanted = desired(spec);
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".into());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
    let surge = scaled(surge, wanted, true).unwrap_or(0).max(0);
    let unavailable = scaled(unavailable, wanted, false).unwrap_or(0).max(0);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

pub(super) fn max_surge(spec: &DeploymentSpec) -> i32 {
    fenceposts(spec).0
}

pub(super) fn max_unavailable(spec: &DeploymentSpec) -> i32 {
    let wanted = desired(spec);
    if wanted == 0 { 0 } else { fenceposts(spec).1.min(wanted) }
}

/// The size of the new set: as large as the surge permits beside the other sets. `sets` holds all that exist,
/// the new one with its `current` size among them when there is one.
pub(super) fn new_set_replicas(spec: &DeploymentSpec, sets: &[Arc<ReplicaSet>], current: i32) -> i32 {
    let wanted = desired(spec);
    if is_recreate(spec) {
        return wanted;
    }
    let total: i32 = sets.iter().map(|set| replicas(set)).sum();
    let room = wanted.saturating_add(max_surge(spec)) - total;
    if room <= 0 { current } else { current + room.min(wanted - current) }
}

/// The old sets (by index) that may shrink now, and to what size.
pub(super) fn old_set_steps(spec: &DeploymentSpec, new: &ReplicaSet, old: &[Arc<ReplicaSet>]) -> Vec<(usize, i32)> {
    let min_available = desired(spec) - max_unavailable(spec);
    let old_total: i32 = old.iter().map(|set| replicas(set)).sum();
    if old_total == 0 {
        return Vec::new();
    }
    let new_unavailable = replicas(new) - available(new);
    let mut sizes: Vec<i32> = old.iter().map(|set| replicas(set)).collect();
    let mut order: Vec<usize> = (0..old.len()).collect();
    order.sort_by(|a, b| by_age(&old[*a], &old[*b]));
    // Pods that are not available can go without harm, as long as the new set's own failures are counted.
    let mut unhealthy = old_total + replicas(new) - min_available - new_unavailable;
    if unhealthy <= 0 {
        return Vec::new();
    }
    for &at in &order {
        let step = unhealthy.min(sizes[at] - available(&old[at])).max(0);
        sizes[at] -= step;
        unhealthy -= step;
    }
    let total_available: i32 = available(new) + old.iter().map(|set| available(set)).sum::<i32>();
    let mut spare = total_available - min_available;
    for &at in &order {
        let step = spare.min(sizes[at]).max(0);
        sizes[at] -= step;
        spare -= step;
    }
    order.into_iter().filter(|at| sizes[*at] != replicas(&old[*at])).map(|at| (at, sizes[at])).collect()
}

/// Whether the deployment's size changed since its sets were last scaled.
pub(super) fn is_scaling_event(spec: &DeploymentSpec, sets: &[Arc<ReplicaSet>]) -> bool {
    sets.iter()
        .filter(|set| replicas(set) > 0)
        .filter_map(|set| annotated_size(set, DESIRED_REPLICAS))
        .any(|size| size != desired(spec))
}

/// The sizes that the sets get when the deployment is scaled in the middle of a rollout (or while it is paused):
/// replicas are added and taken in proportion to the sizes the sets have.
pub(super) fn proportional_sizes(
    spec: &DeploymentSpec,
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
) -> Vec<(Arc<ReplicaSet>, i32)> {
    let wanted = desired(spec);
    let mut active: Vec<Arc<ReplicaSet>> = old.iter().chain(new).filter(|set| replicas(set) > 0).cloned().collect();
    let sole = match active.len() {
        0 => new.or_else(|| old.iter().max_by(|a, b| by_age(a, b))),
        1 => active.first(),
        _ => None,
    };
    if let Some(sole) = sole {
        return if replicas(sole) == wanted { Vec::new() } else { vec![(sole.clone(), wanted)] };
    }
    if new.is_some_and(|new| is_saturated(new, wanted)) {
        return old.iter().filter(|set| replicas(set) > 0).map(|set| (set.clone(), 0)).collect();
    }
    if is_recreate(spec) {
        return Vec::new();
    }
    let allowed = if wanted > 0 { wanted + max_surge(spec) } else { 0 };
    let to_add = allowed - active.iter().map(|set| replicas(set)).sum::<i32>();
    let larger = |a: &Arc<ReplicaSet>, b: &Arc<ReplicaSet>| replicas(b).cmp(&replicas(a));
    match to_add.cmp(&0) {
        Ordering::Greater => active.sort_by(|a, b| larger(a, b).then_with(|| by_age(b, a))),
        _ => active.sort_by(|a, b| larger(a, b).then_with(|| by_age(a, b))),
    }
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for set in &active {
        let share = if to_add == 0 { 0 } else { proportion(spec, set, to_add, added) };
        added += share;
        sizes.push(replicas(set) + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    active.into_iter().zip(sizes).collect()
}

/// Whether the set is as large as it was to be and all its pods are available.
fn is_saturated(set: &ReplicaSet, wanted: i32) -> bool {
    replicas(set) == wanted && available(set) == wanted && annotated_size(set, DESIRED_REPLICAS) == Some(wanted)
}

fn proportion(spec: &DeploymentSpec, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if replicas(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let share = fraction(spec, set);
    let left = to_add - added;
    if to_add > 0 { share.min(left) } else { share.max(left) }
}

/// How much a set grows (or shrinks) to keep its part of the whole.
fn fraction(spec: &DeploymentSpec, set: &ReplicaSet) -> i32 {
    let wanted = desired(spec);
    if wanted == 0 {
        return -replicas(set);
    }
    let size = i64::from(wanted + max_surge(spec));
    let before = match annotated_size(set, MAX_REPLICAS) {
        Some(before) if before > 0 => i64::from(before),
        // A set without the annotation is kept as it is.
        _ => i64::from(set.status.as_ref().map_or(0, |status| status.replicas)).max(1),
    };
    let ideal = i64::from(replicas(set)) as f64 * size as f64 / before as f64;
    (ideal.round() as i64 - i64::from(replicas(set))) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(replicas: i32, surge: serde_json::Value, unavailable: serde_json::Value) -> DeploymentSpec {
        serde_json::from_value(json!({"replicas": replicas, "selector": {}, "template": {},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}))
        .unwrap()
    }

    fn set(name: &str, size: i32, available: i32, desired: i32, max: i32) -> Arc<ReplicaSet> {
        let value = json!({"metadata": {"name": name, "annotations":
                {DESIRED_REPLICAS: desired.to_string(), MAX_REPLICAS: max.to_string()}},
            "spec": {"replicas": size, "selector": {}}, "status": {"replicas": size, "availableReplicas": available}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_surge_is_rounded_up_and_unavailability_down() {
        assert_eq!(fenceposts(&spec(10, json!("25%"), json!("25%"))), (3, 2));
        assert_eq!(fenceposts(&spec(1, json!("25%"), json!("25%"))), (1, 0));
        assert_eq!(fenceposts(&spec(3, json!(0), json!("10%"))), (0, 1));
        assert_eq!(max_unavailable(&spec(2, json!(0), json!(5))), 2);
        assert_eq!(fenceposts(&spec(3, json!("x"), json!("9999999999999999999%"))), (0, 1));
    }

    #[test]
    fn the_new_set_grows_into_the_surge() {
        let spec = spec(10, json!("25%"), json!("25%"));
        assert_eq!(new_set_replicas(&spec, &[], 0), 10);
        assert_eq!(new_set_replicas(&spec, &[set("old", 10, 10, 10, 13)], 0), 3);
        assert_eq!(new_set_replicas(&spec, &[set("old", 8, 8, 10, 13), set("new", 3, 0, 10, 13)], 3), 5);
    }

    #[test]
    fn old_sets_shrink_as_the_new_one_becomes_available() {
        let spec = spec(10, json!(3), json!(2));
        let old = [set("old", 10, 10, 10, 13)];
        assert_eq!(old_set_steps(&spec, &set("new", 3, 0, 10, 13), &old), [(0, 8)]);
        let old = [set("old", 8, 8, 10, 13)];
        assert!(old_set_steps(&spec, &set("new", 5, 0, 10, 13), &old).is_empty());
        assert_eq!(old_set_steps(&spec, &set("new", 5, 2, 10, 13), &old), [(0, 6)]);
        assert_eq!(old_set_steps(&spec, &set("new", 10, 10, 10, 13), &[set("old", 3, 0, 10, 13)]), [(0, 0)]);
    }

    #[test]
    fn scaling_in_a_rollout_is_proportional() {
        let spec = spec(20, json!(0), json!(1));
        let (old, new) = (set("old", 6, 6, 10, 10), set("new", 4, 4, 10, 10));
        assert!(is_scaling_event(&spec, &[old.clone(), new.clone()]));
        let sizes: Vec<(String, i32)> = proportional_sizes(&spec, Some(&new), &[old])
            .into_iter()
            .map(|(set, size)| (set.name_any(), size))
            .collect();
        assert_eq!(sizes, [("old".to_owned(), 12), ("new".to_owned(), 8)]);
    }
}
