//! Room for pods that are resized.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use coracle_matching::amounts::{Amounts, amount};
use coracle_matching::pods::{qos, requests};
use coracle_values::pods::Qos;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Pods, taken};
use crate::admission::check_resources;
use crate::pod::PodExt;
use crate::resize::Refusal;
use crate::worker::Message;

/// What the node has for pods: as its object says it, and as the kubelet counts it.
pub(crate) type Capacity<'a> = (Option<&'a Node>, &'a BTreeMap<String, Quantity>);

/// What may have made room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A pod was given less or more.
    Resized,
    /// A pod came to its end, though it is still there.
    Updated,
    /// A pod went.
    Removed,
}

impl Trigger {
    /// As upstream's metric has it.
    fn name(self) -> &'static str {
        match self {
            Trigger::Resized => "pod_resized",
            Trigger::Updated => "pod_updated",
            Trigger::Removed => "pods_removed",
        }
    }
}

impl Pods {
    /// Gives an admitted pod what it wants, if the node has room for it beside what the others have; else it waits, and
    /// wakes when there may be some. Nothing is answered before all pods of the node are known.
    pub(crate) fn resize(
        &self,
        allocated: &Pod,
        wanted: &Pod,
        capacity: Capacity<'_>,
        since: Timestamp,
    ) -> Option<Result<(), Refusal>> {
        let mut handles = self.handles.lock();
        if !self.listed.load(Ordering::Relaxed) || handles.values().any(|handle| handle.is_undecided) {
            handles.get_mut(wanted.uid())?.is_unanswered = true;
            return None;
        }
        let others = taken(&handles, wanted.uid());
        let result = fits(allocated, wanted, capacity, |pod| {
            check_resources(pod, capacity.0, capacity.1, &others).map_err(|(_, message)| message)
        });
        let handle = handles.get_mut(wanted.uid())?;
        handle.requests = Some(requests(if result.is_ok() { wanted } else { allocated }));
        handle.deferred = matches!(result, Err(Refusal::Deferred(_))).then_some(since);
        Some(result)
    }

    /// Pods are seen with what they are allocated where that is not what they ask for.
    pub(crate) fn set_allocated(&self, uid: &str, pod: Option<std::sync::Arc<Pod>>) {
        if let Some(handle) = self.handles.lock().get_mut(uid) {
            handle.allocated = pod;
        }
    }

    /// All pods of the node are known.
    pub(crate) fn set_listed(&self) {
        self.listed.store(true, Ordering::Relaxed);
        self.answer();
    }

    /// Tells those that asked for room before it was known what others take.
    pub(super) fn answer(&self) {
        for handle in self.handles.lock().values_mut() {
            if std::mem::take(&mut handle.is_unanswered) {
                handle.send(Message::Room);
            }
        }
    }

    /// There may be room now, by what happened: pods that wait for it get it, those first that ask for no more than they
    /// have, then by priority, quality of service, and how long they wait.
    pub(crate) fn retry_resizes(&self, trigger: Trigger) {
        let Some(k) = self.kubelet.get().and_then(Weak::upgrade) else { return };
        let node = k.nodes.store().get("", &k.config.node_name);
        let mut handles = self.handles.lock();
        let waiting = handles.iter().filter_map(|(uid, handle)| {
            let since = handle.deferred?;
            let wanted = handle.desired.borrow().pod().clone();
            let has = handle.requests.clone().unwrap_or_default();
            Some((rank(&wanted, &has, since), uid.clone(), wanted))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(rank, ..)| *rank);
        for (_, uid, wanted) in waiting {
            let others = taken(&handles, &uid);
            if check_resources(&wanted, node.as_deref(), &k.allocatable, &others).is_ok()
                && let Some(handle) = handles.get_mut(&uid)
            {
                // It is set aside until the worker takes it.
                handle.requests = Some(requests(&wanted));
                handle.deferred = None;
                handle.send(Message::Room);
                k.metrics.resize_accepted(trigger.name());
            }
        }
    }
}

/// The order in which pods that wait are given room.
fn rank(wanted: &Pod, has: &Amounts, since: Timestamp) -> (bool, Reverse<i32>, bool, Timestamp) {
    let grows = increases(has, &requests(wanted)).next().is_some();
    (grows, Reverse(wanted.spec().priority.unwrap_or(0)), qos(wanted) != Qos::Guaranteed, since)
}

/// What of processor and memory is more than before.
fn increases(has: &Amounts, wants: &Amounts) -> impl Iterator<Item = (&'static str, i64)> + use<> {
    let both = [("memory", has.memory, wants.memory), ("cpu", has.cpu, wants.cpu)];
    both.into_iter().filter_map(|(name, has, wants)| (wants > has).then_some((name, wants)))
}

fn fits(
    allocated: &Pod,
    wanted: &Pod,
    (node, allocatable): Capacity<'_>,
    check: impl FnOnce(&Pod) -> Result<(), String>,
) -> Result<(), Refusal> {
    let (has, wants) = (requests(allocated), requests(wanted));
    // What gives back or stays fits.
    if increases(&has, &wants).next().is_none() {
        return Ok(());
    }
    let of_node = node.and_then(|node| node.status.as_ref()?.allocatable.as_ref());
    for (name, requested) in increases(&has, &wants) {
        let Some(capacity) = allocatable.get(name).or_else(|| of_node?.get(name)) else { continue };
        let capacity = amount(name, capacity);
        if requested > capacity {
            return Err(Refusal::Infeasible(format!(
                "Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}"
            )));
        }
    }
    check(wanted).map_err(Refusal::Deferred)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Taken;
    use serde_json::{Value, json};

    fn pod(cpu: &str, spec: Value) -> Pod {
        let mut pod = json!({"metadata": {"uid": "u"}, "spec": spec});
        pod["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]);
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_resize_is_deferred_while_others_have_the_room_and_infeasible_when_nobody_has_so_much() {
        let allocatable = BTreeMap::from([("cpu".to_owned(), Quantity("4".into()))]);
        let refused = |wanted: &str, used: i64| {
            let taken = Taken { resources: Amounts { cpu: used, ..Amounts::default() }, ..Taken::default() };
            let check = |pod: &Pod| check_resources(pod, None, &allocatable, &taken).map_err(|(_, message)| message);
            fits(&pod("2", json!({})), &pod(wanted, json!({})), (None, &allocatable), check)
        };
        assert_eq!(refused("3", 1000), Ok(()));
        let message = "Node didn't have enough resource: cpu, requested: 3000, used: 1500, capacity: 4000";
        assert_eq!(refused("3", 1500), Err(Refusal::Deferred(message.into())));
        let message = "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000";
        assert_eq!(refused("5", 0), Err(Refusal::Infeasible(message.into())));
        // The node has shrunk meanwhile: that is no reason to keep more.
        assert_eq!(refused("1", 9000), Ok(()));
    }

    #[test]
    fn those_that_wait_come_by_growth_priority_quality_and_age() {
        let has = Amounts { cpu: 1000, memory: 1 << 30, ..Amounts::default() };
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let guaranteed = || {
            let mut pod = pod("2", json!({}));
            let resources = pod.spec.as_mut().unwrap().containers[0].resources.as_mut().unwrap();
            resources.limits.clone_from(&resources.requests);
            pod
        };
        let mut list = [
            ("young", rank(&pod("2", json!({})), &has, at(9))),
            ("old", rank(&pod("2", json!({})), &has, at(1))),
            ("guaranteed", rank(&guaranteed(), &has, at(9))),
            ("important", rank(&pod("2", json!({"priority": 5})), &has, at(9))),
            ("shrinks", rank(&pod("1", json!({})), &has, at(9))),
        ];
        list.sort_by_key(|(_, rank)| *rank);
        assert_eq!(list.map(|(name, _)| name), ["shrinks", "important", "guaranteed", "old", "young"]);
    }
}
