//! Node lifecycle: nodes that stop reporting become unknown, are tainted, and lose their pods.

mod zones;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_client::{
    Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue, is_conflict, is_not_found, patch_status_strategic,
};
use coracle_matching::taints::covers;
use coracle_metrics::Counter;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::*;
use crate::metrics::METRICS;
use crate::run::{Cache, reconcile_all};

use zones::{Census, Pace, Turns, zone_of};

/// How long a node may be silent, as upstream's `--node-monitor-grace-period`.
const GRACE: Duration = Duration::from_secs(50);
/// The same while its kubelet has not told of it yet, as `--node-startup-grace-period`.
const GRACE_AT_FIRST: Duration = Duration::from_secs(60);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Conditions and the taints that show them, by the condition's status.
const CONDITION_TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
/// How often a node that keeps its pods because others are silent too is looked at.
const MONITOR_PERIOD: Duration = Duration::from_secs(5);
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The last sign of life of a node, by our own clock: other machines' clocks are not compared with ours.
struct Sign {
    lease: Option<MicroTime>,
    heartbeat: Option<Time>,
    at: Instant,
}

struct Controller {
    client: Client,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    leases: Informer<Lease>,
    signs: Mutex<HashMap<String, Sign>>,
    census: Mutex<Census>,
    turns: Mutex<Turns>,
    recorder: EventRecorder,
    queue: WorkQueue<String>,
    evictions: WorkQueue<ObjectKey>,
    /// Pods that were just bound.
    bound: WorkQueue<ObjectKey>,
    /// Nodes that went from Ready to Unknown, of which the pods are not all marked yet.
    fallen_silent: Mutex<HashSet<String>>,
    /// Since when pods may stay for a while only: whoever taints a node need not say when.
    staying: Mutex<HashMap<ObjectKey, Timestamp>>,
}

/// Runs the controller until its queues are closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let leases: Informer<Lease> = Informer::new(Api::namespaced(context.informers.client().clone(), "kube-node-lease"));
    leases.start();
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        nodes: context.nodes(),
        pods: context.pods(),
        leases,
        signs: Mutex::default(),
        census: Mutex::default(),
        turns: Mutex::default(),
        recorder: context.recorder("node-controller"),
        queue: WorkQueue::named("node_lifecycle_controller"),
        evictions: WorkQueue::named("noexec_taint_pod"),
        bound: WorkQueue::named("node_lifecycle_controller_pods"),
        fallen_silent: Mutex::default(),
        staying: Mutex::default(),
    });
    let c = controller.clone();
    controller.nodes.subscribe(move |event| match event {
        Event::Added(node) => c.node_changed(None, node),
        Event::Updated { old, new } => c.node_changed(Some(old), new),
        Event::Deleted(node) => {
            c.signs.lock().remove(&node.name_any());
            c.census.lock().remove(&node.name_any());
            c.fallen_silent.lock().remove(&node.name_any());
            let text = format!("Node {} event: Removing Node {} from Controller", node.name_any(), node.name_any());
            c.recorder.event(&**node, EventType::Normal, "RemovingNode", text);
        }
    });
    let c = controller.clone();
    // A renewal only moves the time of the last sign; the timer of the node finds that out when it fires.
    controller.leases.subscribe(move |event| {
        if let Event::Added(lease) | Event::Updated { new: lease, .. } = event {
            let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
            let name = lease.name_any();
            let mut signs = c.signs.lock();
            if let Some(sign) = signs.get_mut(&name)
                && sign.lease != renewed
            {
                sign.lease = renewed;
                sign.at = Instant::now();
            }
        }
    });
    let c = controller.clone();
    controller.pods.subscribe(move |event| {
        let (Event::Added(pod) | Event::Updated { new: pod, .. }) = event else { return };
        let is_bound_before = matches!(event, Event::Updated { old, .. } if node_name(old) == node_name(pod));
        if !is_bound_before && !node_name(pod).is_empty() {
            c.bound.add(ObjectKey::of(&**pod));
        }
        let moved = !matches!(event, Event::Updated { old, .. } if node_name(old) == node_name(pod)
            && old.spec.as_ref().map(|s| &s.tolerations) == pod.spec.as_ref().map(|s| &s.tolerations));
        if moved && !node_name(pod).is_empty() {
            c.evictions.add(ObjectKey::of(&**pod));
        }
    });
    let c = controller.clone();
    let _shown = METRICS.show_nodes(move || c.census.lock().zones());
    let caches: [&dyn Cache; 3] = [&controller.nodes, &controller.leases, &controller.pods];
    let (c, e) = (controller.clone(), controller.clone());
    let nodes = reconcile_all(&caches, &controller.queue, 4, move |name| {
        let controller = c.clone();
        async move {
            match controller.reconcile(&name).await {
                Err(error) if is_conflict(&error) => Ok(Some(Duration::from_millis(50))),
                Err(error) if is_not_found(&error) => Ok(None),
                other => other,
            }
        }
    });
    let b = controller.clone();
    let bound = reconcile_all(&caches, &controller.bound, 4, move |key| {
        let controller = b.clone();
        async move { controller.bound(&key).await }
    });
    let pods = reconcile_all(&caches, &controller.evictions, 8, move |key| {
        let controller = e.clone();
        async move { controller.evict(&key).await }
    });
    tokio::try_join!(nodes, bound, pods)?;
    Ok(())
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn condition_status<'a>(node: &'a Node, kind: &str) -> &'a str {
    condition(node, kind).map_or("", |condition| condition.status.as_str())
}

/// How long the node may be silent.
fn grace(node: &Node) -> Duration {
    condition(node, "Ready").map_or(GRACE_AT_FIRST, |_| GRACE)
}

fn taints(node: &Node) -> Vec<Taint> {
    node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default()
}

impl Controller {
    fn node_changed(&self, old: Option<&Node>, node: &Node) {
        let name = node.name_any();
        self.census.lock().put(node);
        let heartbeat = condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.clone());
        {
            let mut signs = self.signs.lock();
            let sign = signs.entry(name.clone()).or_insert_with(|| Sign {
                lease: None,
                heartbeat: heartbeat.clone(),
                at: Instant::now(),
            });
            if sign.heartbeat != heartbeat {
                sign.heartbeat = heartbeat;
                sign.at = Instant::now();
            }
        }
        if old.is_none() {
            let text = format!("Node {name} event: Registered Node {name} in Controller");
            self.recorder.event(node, EventType::Normal, "RegisteredNode", text);
        }
        let changed = old.is_none_or(|old| {
            old.spec != node.spec
                || CONDITION_TAINTS.iter().any(|(kind, ..)| condition_status(old, kind) != condition_status(node, kind))
        });
        if changed {
            self.queue.add(name.clone());
        }
        if old.is_none_or(|old| taints(old) != taints(node)) {
            match self.pods.store().by_index(BY_NODE, &name) {
                Ok(pods) => pods.iter().for_each(|pod| self.evictions.add(ObjectKey::of(&**pod))),
                Err(error) => tracing::error!(%error, node = name, "the node's pods are not looked at for its taints"),
            }
        }
    }

    async fn reconcile(&self, name: &str) -> kube::Result<Option<Duration>> {
        let Some(node) = self.nodes.store().get("", name) else { return Ok(None) };
        let silent = self.signs.lock().get(name).map_or(Duration::ZERO, |sign| sign.at.elapsed());
        let grace = grace(&node);
        let node = if silent >= grace && condition_status(&node, "Ready") != "Unknown" {
            if condition_status(&node, "Ready") == "True" {
                self.fallen_silent.lock().insert(name.to_owned());
            }
            self.mark_unknown(&node).await?
        } else {
            (*node).clone()
        };
        let (wanted, waits) = self.in_turn(&node, desired_taints(&node, now()));
        if wanted != taints(&node) {
            let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": wanted}});
            let api: Api<Node> = Api::all(self.client.clone());
            let begins = take_pods(&wanted) && !take_pods(&taints(&node));
            let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
            if patched.is_err() && waits.is_none() && begins {
                self.turns.lock().give_back(&zone_of(&node));
            }
            patched?;
            if begins {
                METRICS.evictions.with([&zone_of(&node)], Counter::inc);
            }
        }
        let is_ready = condition_status(&node, "Ready") == "True";
        // Of a kubelet that says itself that it is not ready, the pods are its own to tell of.
        if !is_ready && self.fallen_silent.lock().contains(name) {
            for pod in self.pods.store().by_index(BY_NODE, name)? {
                self.mark_not_ready(&pod).await?;
            }
        }
        self.fallen_silent.lock().remove(name);
        let again =
            if silent < grace { grace.saturating_sub(silent).saturating_add(Duration::from_millis(10)) } else { grace };
        Ok(Some(waits.map_or(again, |waits| waits.min(again))))
    }

    /// The taints without those by which the node loses its pods, if it is not its turn; and when to look again then.
    fn in_turn(&self, node: &Node, mut wanted: Vec<Taint>) -> (Vec<Taint>, Option<Duration>) {
        if !take_pods(&wanted) {
            return (wanted, None);
        }
        let zone = zone_of(node);
        let mut census = self.census.lock();
        // What was just written of it may not be here yet.
        census.written(node);
        let has_begun = take_pods(&taints(node));
        let waits = match census.pace(&zone) {
            Pace::Undo => MONITOR_PERIOD,
            _ if has_begun => return (wanted, None),
            Pace::Wait => MONITOR_PERIOD,
            Pace::Every(interval) => {
                let mut turns = self.turns.lock();
                turns.retain(|zone| census.has(zone));
                match turns.take(&zone, interval, Instant::now()) {
                    Ok(()) => return (wanted, None),
                    Err(left) => left,
                }
            }
        };
        wanted.retain(|taint| !takes_pods(taint));
        (wanted, Some(waits))
    }

    /// Says in the node's status that nothing is known of it any more.
    async fn mark_unknown(&self, node: &Node) -> kube::Result<Node> {
        let reported = condition(node, "Ready").is_some();
        let was_ready = condition_status(node, "Ready") == "True";
        let (reason, text) = if reported {
            ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        } else {
            ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
        };
        let time = now();
        let conditions: Vec<Value> = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
            .into_iter()
            .filter(|kind| condition_status(node, kind) != "Unknown")
            .map(|kind| {
                let heartbeat = condition(node, kind).and_then(|old| old.last_heartbeat_time.clone());
                json!({"type": kind, "status": "Unknown", "reason": reason, "message": text,
                    "lastTransitionTime": time,
                    "lastHeartbeatTime": heartbeat.or_else(|| node.metadata.creation_timestamp.clone())})
            })
            .collect();
        let name = node.name_any();
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version},
            "status": {"conditions": conditions}});
        let node = patch_status_strategic(&Api::<Node>::all(self.client.clone()), &name, &patch).await?;
        if !was_ready {
            return Ok(node);
        }
        let text = format!("Node {name} status is now: NodeNotReady");
        self.recorder.event(&node, EventType::Normal, "NodeNotReady", text);
        Ok(node)
    }

    /// Marks a pod that was just bound to a node that is not ready.
    async fn bound(&self, key: &ObjectKey) -> kube::Result<Option<Duration>> {
        let Some(pod) = self.pods.store().get_key(key) else { return Ok(None) };
        let node = self.nodes.store().get("", node_name(&pod));
        if node.is_some_and(|node| condition(&node, "Ready").is_some_and(|ready| ready.status != "True")) {
            self.mark_not_ready(&pod).await?;
        }
        Ok(None)
    }

    async fn mark_not_ready(&self, pod: &Pod) -> kube::Result<()> {
        if !is_ready(pod) {
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace_of(pod));
        let patch = json!({"metadata": {"uid": uid(pod)}, "status": {"conditions": [{"type": "Ready",
            "status": "False", "reason": "NodeNotReady", "message": "Node is not ready",
            "lastTransitionTime": now()}]}});
        match patch_status_strategic(&api, &pod.name_any(), &patch).await {
            Ok(_) => self.recorder.event(pod, EventType::Warning, "NodeNotReady", "Node is not ready"),
            Err(error) if is_not_found(&error) || is_conflict(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Deletes a pod that does not tolerate a NoExecute taint of its node, or not for longer.
    async fn evict(&self, key: &ObjectKey) -> kube::Result<Option<Duration>> {
        let pod = self.pods.store().get_key(key).filter(|pod| !is_deleting(&**pod) && !is_terminal(pod));
        let node = pod.as_ref().and_then(|pod| self.nodes.store().get("", node_name(pod)));
        let (Some(pod), Some(node)) = (pod, node) else {
            self.staying.lock().remove(key);
            return Ok(None);
        };
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        let at = Timestamp::now();
        let since = self.staying.lock().get(key).copied();
        let Some(left) = time_left(&taints(&node), tolerations, since.unwrap_or(at), at) else {
            if self.staying.lock().remove(key).is_some() {
                let text = format!("Cancelling deletion of Pod {}/{}", key.namespace, key.name);
                self.recorder.event(&*pod, EventType::Normal, "TaintManagerEviction", text);
            }
            return Ok(None);
        };
        if since.is_none() {
            self.staying.lock().insert(key.clone(), at);
        }
        if !left.is_zero() {
            return Ok(Some(left));
        }
        self.recorder.event(
            &*pod,
            EventType::Normal,
            "TaintManagerEviction",
            format!("Marking for deletion Pod {}/{}", key.namespace, key.name),
        );
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = json!({"metadata": {"uid": uid(&*pod)}, "status": {"conditions": [{"type": "DisruptionTarget",
            "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": now()}]}});
        match patch_status_strategic(&api, &key.name, &patch).await {
            Err(error) if !is_not_found(&error) => return Err(error),
            _ => {}
        }
        delete_exactly(&api, &*pod).await?;
        self.staying.lock().remove(key);
        Ok(None)
    }
}

/// Whether a node that has the taint because it is silent loses its pods.
fn takes_pods(taint: &Taint) -> bool {
    taint.effect == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str())
}

/// Whether one of the taints does that.
fn take_pods(taints: &[Taint]) -> bool {
    taints.iter().any(takes_pods)
}

/// The node's taints with those that show its conditions brought up to date.
fn desired_taints(node: &Node, time: Time) -> Vec<Taint> {
    let mut wanted: Vec<(&str, &str)> = CONDITION_TAINTS
        .iter()
        .filter(|(kind, status, _)| condition_status(node, kind) == *status)
        .map(|(_, _, key)| (*key, "NoSchedule"))
        .collect();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    match condition_status(node, "Ready") {
        "False" => wanted.push((NOT_READY, "NoExecute")),
        "Unknown" => wanted.push((UNREACHABLE, "NoExecute")),
        _ => {}
    }
    // A node that was never heard of keeps what it was registered with.
    if condition(node, "Ready").is_none() {
        for taint in taints(node) {
            if taint.key == NOT_READY && taint.effect == "NoSchedule" {
                wanted.push((NOT_READY, "NoSchedule"));
            }
        }
    }
    let managed = |taint: &Taint| {
        let shown = CONDITION_TAINTS.iter().any(|(_, _, key)| taint.key == *key) || taint.key == UNSCHEDULABLE;
        shown && (taint.effect == "NoSchedule" || takes_pods(taint))
    };
    let is_wanted = |taint: &Taint| wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let mut all: Vec<Taint> = taints(node).into_iter().filter(|taint| !managed(taint) || is_wanted(taint)).collect();
    for (key, effect) in wanted {
        if !all.iter().any(|taint| taint.key == key && taint.effect == effect) {
            all.push(Taint { key: key.into(), effect: effect.into(), time_added: Some(time.clone()), value: None });
        }
    }
    all
}

/// How long the pod may stay: `None` for ever, zero when it has to go now. A taint that does not say when it came is there
/// since `seen`.
fn time_left(taints: &[Taint], tolerations: &[Toleration], seen: Timestamp, now: Timestamp) -> Option<Duration> {
    let mut least: Option<Duration> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let covering: Vec<&Toleration> = tolerations.iter().filter(|toleration| covers(toleration, taint)).collect();
        if covering.is_empty() {
            return Some(Duration::ZERO);
        }
        let Some(seconds) = covering.iter().filter_map(|toleration| toleration.toleration_seconds).min() else {
            continue;
        };
        let since = taint.time_added.as_ref().map_or(seen, |time| time.0);
        let left = secs(seconds.max(0).saturating_sub(seconds_between(since, now)));
        least = Some(least.map_or(left, |least| least.min(left)));
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "a"},
            "spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}, {"key": NOT_READY, "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap()
    }

    #[test]
    fn taints_follow_conditions() {
        let keys = |ready| -> Vec<String> {
            desired_taints(&node(ready), now())
                .into_iter()
                .map(|taint| format!("{}:{}", taint.key, taint.effect))
                .collect()
        };
        assert_eq!(keys("True"), ["mine:NoSchedule"]);
        assert_eq!(
            keys("Unknown"),
            ["mine:NoSchedule".to_owned(), format!("{UNREACHABLE}:NoSchedule"), format!("{UNREACHABLE}:NoExecute")]
        );
    }

    #[test]
    fn a_node_that_was_not_heard_of_yet_has_longer() {
        assert_eq!(grace(&node("True")), Duration::from_secs(50));
        assert_eq!(grace(&Node::default()), Duration::from_secs(60));
    }

    #[test]
    fn a_toleration_bounds_the_stay() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let taint: Taint = serde_json::from_value(
            json!({"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}),
        )
        .unwrap();
        let left = |tolerations: Value| {
            let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).unwrap();
            let seen = now.checked_sub(jiff::SignedDuration::from_secs(10)).unwrap();
            let untimed = Taint { time_added: None, ..taint.clone() };
            [&taint, &untimed].map(|taint| time_left(std::slice::from_ref(taint), &tolerations, seen, now))
        };
        let both = |left: Option<Duration>| [left, left];
        assert_eq!(left(json!([])), both(Some(Duration::ZERO)));
        assert_eq!(left(json!([{"operator": "Exists"}])), both(None));
        let limited =
            json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
        assert_eq!(left(limited), [Some(Duration::from_secs(240)), Some(Duration::from_secs(290))]);
    }
}
