//! What all controllers ask of objects: who owns them, whether a pod is ready, what a selector says.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{EventRecorder, Informer, Informers, is_conflict, is_not_found};
pub(crate) use coracle_matching::pods::is_terminal;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, PodCondition, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::core::Selector;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Index of objects by the UID of their managing controller.
pub(crate) const BY_CONTROLLER: &str = "controller";
/// Index of objects that no controller manages, by namespace.
pub(crate) const ORPHANS: &str = "orphans";
/// Index of pods by node name; the empty value finds pods without a node.
pub(crate) const BY_NODE: &str = "node";

/// What every controller is given.
#[derive(Clone)]
pub(crate) struct Context {
    /// The controller's own, which may do what its role allows.
    pub client: Client,
    /// They see everything, as the controller manager.
    pub informers: Informers,
    pub config: Arc<crate::Config>,
}

impl Context {
    /// Records events as the component of this name.
    pub fn recorder(&self, component: &str) -> EventRecorder {
        EventRecorder::new(self.client.clone(), component, "")
    }

    pub fn pods(&self) -> Informer<Pod> {
        self.informers.indexed(vec![
            (BY_CONTROLLER, Box::new(controller_uid::<Pod>)),
            (ORPHANS, Box::new(orphan_namespace::<Pod>)),
            (BY_NODE, Box::new(|pod: &Pod| vec![node_name(pod).to_owned()])),
        ])
    }

    pub fn replica_sets(&self) -> Informer<ReplicaSet> {
        self.informers.indexed(vec![
            (BY_CONTROLLER, Box::new(controller_uid::<ReplicaSet>)),
            (ORPHANS, Box::new(orphan_namespace::<ReplicaSet>)),
        ])
    }

    pub fn controller_revisions(&self) -> Informer<ControllerRevision> {
        self.informers.indexed(vec![
            (BY_CONTROLLER, Box::new(controller_uid::<ControllerRevision>)),
            (ORPHANS, Box::new(orphan_namespace::<ControllerRevision>)),
        ])
    }

    pub fn deployments(&self) -> Informer<Deployment> {
        self.informers.all()
    }

    pub fn jobs(&self) -> Informer<Job> {
        self.informers.indexed(vec![(BY_CONTROLLER, Box::new(controller_uid::<Job>))])
    }

    pub fn services(&self) -> Informer<Service> {
        self.informers.all()
    }

    pub fn nodes(&self) -> Informer<Node> {
        self.informers.all()
    }

    pub fn namespaces(&self) -> Informer<Namespace> {
        self.informers.all()
    }
}

pub(crate) fn controller_uid<K: Resource>(object: &K) -> Vec<String> {
    controller_of(object.meta()).map(|owner| owner.uid.clone()).into_iter().collect()
}

pub(crate) fn orphan_namespace<K: Resource>(object: &K) -> Vec<String> {
    match controller_of(object.meta()) {
        Some(_) => Vec::new(),
        None => vec![object.meta().namespace.clone().unwrap_or_default()],
    }
}

/// The owner that manages an object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_deref().unwrap_or_default().iter().find(|owner| owner.controller == Some(true))
}

/// The reference that makes `owner` the managing controller of another object.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The object that a controller reference of a kind names, if it is still the one meant.
pub(crate) fn resolve<K: Resource<DynamicType = ()>>(
    store: &coracle_client::Store<K>,
    namespace: &str,
    owner: &OwnerReference,
) -> Option<Arc<K>> {
    if owner.kind != K::kind(&()) || owner.api_version.split('/').next() != K::api_version(&()).split('/').next() {
        return None;
    }
    store.get(namespace, &owner.name).filter(|found| found.meta().uid.as_deref() == Some(owner.uid.as_str()))
}

pub(crate) fn uid<K: Resource>(object: &K) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

pub(crate) fn namespace_of<K: Resource>(object: &K) -> &str {
    object.meta().namespace.as_deref().unwrap_or_default()
}

pub(crate) fn is_deleting<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// A label selector of the API; one that is not valid selects nothing.
pub(crate) fn selector_of(selector: &LabelSelector) -> Option<Selector> {
    selector.clone().try_into().ok()
}

pub(crate) fn selector_is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && selector.match_expressions.as_ref().is_none_or(|expressions| expressions.is_empty())
}

pub(crate) fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether a pod counts as a replica: neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_deleting(pod)
}

pub(crate) fn pod_condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    pod_condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Since when the pod is ready.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    pod_condition(pod, "Ready")
        .filter(|condition| condition.status == "True")
        .and_then(|condition| condition.last_transition_time.as_ref())
        .map(|time| time.0)
}

/// Whether the pod has been ready for `min_ready_seconds`.
pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds <= 0
            || ready_since(pod).is_some_and(|since| seconds_between(since, now) >= i64::from(min_ready_seconds)))
}

/// When the next of the pods that are ready will have been so for `min_ready_seconds`; `None` when all have been.
pub(crate) fn until_available<'a>(
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Option<Duration> {
    let waiting = pods.into_iter().filter(|pod| is_ready(pod) && !is_available(pod, min_ready_seconds, now));
    let left = waiting
        .filter_map(|pod| ready_since(pod))
        .map(|since| i64::from(min_ready_seconds).saturating_sub(seconds_between(since, now)).max(1));
    left.min().map(secs)
}

/// A count as a status shows it: the API leaves zero out, and what others wrote out in full is left as it is.
pub(crate) fn shown(new: i32, old: Option<i32>) -> Option<i32> {
    if new == old.unwrap_or(0) { old } else { Some(new).filter(|new| *new != 0) }
}

/// Deletes this very object, and no other that has its name by now. Returns whether it was this that deleted it.
pub(crate) async fn delete_exactly<K>(api: &Api<K>, object: &K) -> kube::Result<bool>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let uid = Preconditions { uid: object.meta().uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(uid), ..DeleteParams::default() };
    match api.delete(object.meta().name.as_deref().unwrap_or_default(), &params).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whole seconds from one time to another; negative when `later` is before `earlier`.
pub(crate) fn seconds_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.as_second().saturating_sub(earlier.as_second())
}

/// A number, or a percentage of `total`; `None` when it is neither.
pub(crate) fn scaled(value: &IntOrString, total: i32, round_up: bool) -> Option<i32> {
    match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let product = percent.checked_mul(i64::from(total))?;
            let share = if round_up { product.saturating_add(99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(share).ok()
        }
    }
}

pub(crate) fn now() -> Time {
    // The API keeps whole seconds; a finer time would differ from what comes back.
    Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default())
}

pub(crate) fn secs(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Whether an object of that name is there. Whoever else answers 409, such as a webhook, gives another reason.
pub(crate) fn is_already_there(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists")
}

/// Whether a write found that an object of one of these resources has changed or is gone: the cache lags behind, and soon
/// shows what is there.
pub(crate) fn is_outdated(error: &kube::Error, resources: &[&str]) -> bool {
    concerns(error, resources)
        && matches!(error, kube::Error::Api(status) if matches!(status.reason.as_str(), "Conflict" | "NotFound"))
}

/// Whether the server says that an object of one of these resources is what an error is about.
pub(crate) fn concerns(error: &kube::Error, resources: &[&str]) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.details.as_ref().is_some_and(|details| resources.contains(&details.kind.as_str()))
}

/// Whether the server refuses to create because the namespace is being deleted.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status
            .details
            .as_ref()
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")),
        _ => false,
    }
}

/// The message of an API error as kubectl shows it.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_soon_comes_through_the_cache_is_outdated() {
        let error = |reason: &str, kind: &str| {
            let status = json!({"kind": "Status", "status": "Failure", "code": 409, "reason": reason, "message": "",
                "details": {"name": "d", "kind": kind}});
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        let outdated = |reason, kind| is_outdated(&error(reason, kind), &["daemonsets", "controllerrevisions"]);
        assert!(outdated("Conflict", "daemonsets") && outdated("NotFound", "controllerrevisions"));
        assert!(!outdated("Conflict", "pods") && !outdated("Conflict", ""), "a webhook may refuse so for ever");
        assert!(!outdated("AlreadyExists", "controllerrevisions"));
    }
}
