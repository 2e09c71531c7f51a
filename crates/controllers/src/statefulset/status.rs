//! What a StatefulSet says of its pods.

use k8s_openapi::api::apps::v1::StatefulSetStatus;

use super::identity::{revision_of, spec_of};
use super::plan::{State, is_running_and_ready};
use crate::common::{is_deleting, phase, shown};

/// The status that the observed pods amount to, while those of `current_revision` become those of the update revision.
pub(super) fn desired_status(state: &State<'_>, current_revision: &str, collisions: Option<i32>) -> StatefulSetStatus {
    let old = state.set.status.clone().unwrap_or_default();
    let count = |matches: &dyn Fn(&k8s_openapi::api::core::v1::Pod) -> bool| {
        i32::try_from(state.pods.iter().filter(|pod| !phase(pod).is_empty() && matches(pod)).count())
            .unwrap_or(i32::MAX)
    };
    let replicas = count(&|_| true);
    let ready = count(&is_running_and_ready);
    let available = count(&|pod| is_running_and_ready(pod) && state.is_available(pod));
    let of = |revision: &str| count(&|pod| !is_deleting(pod) && revision_of(pod) == revision);
    let (mut current, updated) = (of(current_revision), of(state.update_revision));
    let mut current_revision = current_revision.to_owned();
    let wanted = spec_of(state.set).replicas.unwrap_or(1);
    let rolls = spec_of(state.set).update_strategy.as_ref().is_none_or(|s| s.type_.as_deref() != Some("OnDelete"));
    if rolls && [updated, ready, replicas] == [wanted; 3] {
        current = updated;
        current_revision = state.update_revision.to_owned();
    }
    StatefulSetStatus {
        observed_generation: state.set.metadata.generation.or(old.observed_generation),
        replicas,
        ready_replicas: shown(ready, old.ready_replicas),
        available_replicas: Some(available),
        current_replicas: shown(current, old.current_replicas),
        updated_replicas: shown(updated, old.updated_replicas),
        current_revision: Some(current_revision),
        update_revision: Some(state.update_revision.to_owned()),
        collision_count: Some(collisions.unwrap_or(0)),
        conditions: old.conditions,
    }
}
