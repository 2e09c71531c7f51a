//! The node's room: pods that use more of its disk than they may are ended ([`limits`]), and when memory, disk or processes
//! become short, room is made: what nobody uses goes first, then one pod after the other ([`rank`]).
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>

mod claims;
pub mod config;
mod limits;
mod observe;
mod rank;
mod thresholds;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_client::EventType;
use coracle_matching::pods::{is_terminal, qos};
use coracle_values::pods::Qos;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use parking_lot::RwLock;
use tokio::sync::Notify;

use self::config::Eviction;
use self::rank::{Candidate, Promises};
use self::thresholds::{Observation, Observations, Threshold, Tracker};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::stats::counts::Wish;
use crate::stats::disk;
use crate::worker::Message;
use crate::{gc, image_gc, stats};

pub(crate) use rank::is_critical;

/// How often the node is looked at.
const PERIOD: Duration = Duration::from_secs(10);
/// How often it is when it has not much left.
const SHORT_PERIOD: Duration = Duration::from_secs(1);
/// Not much: so many times what may be left at least.
const NEAR: u64 = 4;
/// What is known of pods' disks is as new as the last look, or what could be counted in a short time: the node is in need.
const RANKED: Wish = Wish { at_most: PERIOD, patience: Duration::from_secs(5) };
/// How long a pod has to end that must end at once.
const IMMEDIATE: Duration = Duration::from_secs(1);
/// How long an evicted pod has to free what it used before the next one is looked for.
const CLEAN_UP: Duration = Duration::from_secs(30);

/// Of what the node has too little.
#[derive(Default)]
pub(crate) struct Pressure {
    conditions: RwLock<BTreeSet<&'static str>>,
    /// Told when it changes.
    pub(crate) changed: Notify,
}

impl Pressure {
    /// Whether a condition holds.
    pub(crate) fn has(&self, condition: &str) -> bool {
        self.conditions.read().contains(condition)
    }

    fn set(&self, conditions: BTreeSet<&'static str>) {
        if *self.conditions.read() != conditions {
            tracing::info!(?conditions, "what the node has too little of has changed");
            *self.conditions.write() = conditions;
            self.changed.notify_one();
        }
    }

    /// Checks whether a pod may come: under pressure only those that the system needs do, and with too little memory
    /// those that said how much they need.
    ///
    /// # Errors
    /// Reason and message of the pod's failure.
    pub(crate) fn admit(&self, pod: &Pod) -> Result<(), (String, String)> {
        let conditions = self.conditions.read();
        if conditions.is_empty() || is_critical(pod) {
            return Ok(());
        }
        let only_memory = conditions.iter().all(|condition| *condition == "MemoryPressure");
        if only_memory && (qos(pod) != Qos::BestEffort || tolerates_memory_pressure(pod)) {
            return Ok(());
        }
        let list: Vec<&str> = conditions.iter().copied().collect();
        Err(("Evicted".into(), format!("The node had condition: [{}]. ", list.join(" "))))
    }
}

fn tolerates_memory_pressure(pod: &Pod) -> bool {
    let tolerates = |toleration: &Toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let is_empty = toleration.value.as_deref().unwrap_or_default().is_empty();
        matches!(effect, "" | "NoSchedule")
            && ((key.is_empty() && exists) || (key == "node.kubernetes.io/memory-pressure" && (exists || is_empty)))
    };
    pod.spec().tolerations.iter().flatten().any(tolerates)
}

/// Keeps room on the node and pods within their limits, for ever. Neither waits for the other.
pub(crate) async fn run(k: Arc<Kubelet>) {
    tokio::join!(keep_room(&k), limits::run(&k));
}

async fn keep_room(k: &Arc<Kubelet>) {
    let mut tracker = Tracker::default();
    loop {
        let seen = look(k).await;
        // Whoever fills what is left may be fast.
        let pause = if is_near(&k.config.eviction, &seen) { SHORT_PERIOD } else { PERIOD };
        match synchronize(k, &mut tracker, seen).await {
            Outcome::Enough => tokio::time::sleep(pause).await,
            Outcome::Evicted(uid) => wait_for_end(k, &uid).await,
            Outcome::NobodyToEvict => tokio::time::sleep(PERIOD).await,
        }
    }
}

/// Whether little more than a hard threshold is left of something.
fn is_near(config: &Eviction, seen: &Observations) -> bool {
    config.hard.iter().any(|(signal, amount)| {
        let limit = |seen: &Observation| amount.of(seen.capacity).saturating_mul(NEAR);
        seen.get(signal).is_some_and(|seen| seen.available < limit(seen))
    })
}

/// What came of a look at the node.
enum Outcome {
    /// There is enough of everything, or soon will be.
    Enough,
    /// The pod of this UID was evicted.
    Evicted(String),
    NobodyToEvict,
}

/// Looks at the node once.
async fn synchronize(k: &Arc<Kubelet>, tracker: &mut Tracker, seen: Observations) -> Outcome {
    let config = &k.config.eviction;
    let finding = tracker.observe(config, &seen, Instant::now());
    k.pressure.set(finding.conditions);
    let Some(threshold) = finding.due.first() else { return Outcome::Enough };
    let resource = threshold.signal.resource();
    k.recorder.record(
        k.node_reference(),
        EventType::Warning,
        "EvictionThresholdMet",
        format!("Attempting to reclaim {resource}"),
    );
    if threshold.signal.condition() == "DiskPressure" {
        reclaim(k).await;
        if !tracker.is_short(config, &look(k).await, resource) {
            return Outcome::Enough;
        }
    }
    evict(k, threshold, &seen).await.map_or(Outcome::NobodyToEvict, Outcome::Evicted)
}

async fn look(k: &Kubelet) -> Observations {
    let (root, images) = (k.config.root_dir.clone(), k.config.image_dir.clone());
    tokio::task::spawn_blocking(move || observe::observe(&root, &images)).await.unwrap_or_default()
}

/// Removes from the disk what nobody uses.
async fn reclaim(k: &Kubelet) {
    gc::remove_dead_containers(k, true).await;
    if let Err(error) = image_gc::delete_unused(k).await {
        tracing::warn!(error, "unused images could not be removed");
    }
}

/// Ends the pod whose end helps most.
async fn evict(k: &Arc<Kubelet>, threshold: &Threshold, seen: &Observations) -> Option<String> {
    let resource = threshold.signal.resource();
    let (usages, disks) = tokio::join!(stats::pods(k), disk::of_pods(k, RANKED));
    let mut candidates = Vec::new();
    for usage in usages {
        let ends = usage.pod.is_deleted() || is_terminal(&usage.pod);
        if !ends && !is_critical(&usage.pod) {
            let disk = disks.get(usage.pod.uid()).cloned();
            candidates.push(Candidate { usage, disk });
        }
    }
    let capacity = seen.get(&threshold.signal).map_or(0, |seen| seen.capacity);
    rank::sort(&mut candidates, resource, Promises::of(disks.values(), capacity));
    let Some(first) = candidates.first() else {
        tracing::warn!(resource, "the node is short of something, and no pod can be evicted");
        return None;
    };
    let message = rank::message(first, threshold, seen);
    let uid = first.pod().uid().to_owned();
    let grace = if threshold.grace.is_some() { k.config.eviction.max_pod_grace_period } else { IMMEDIATE };
    k.metrics.evicted(threshold.signal.name());
    k.pods.send(&uid, Message::Evict { message, grace, by_node: true });
    Some(uid)
}

/// Waits until nothing of a pod runs any more, its object says that it has ended, and its volumes are gone.
async fn wait_for_end(k: &Kubelet, uid: &str) {
    let longest = CLEAN_UP.saturating_add(k.config.eviction.max_pod_grace_period);
    let ended = async {
        let runs = || k.pods.observed(uid).is_some_and(|observed| observed.running().next().is_some());
        let lives = || {
            let pods = k.pods.list();
            let pod = pods.iter().find(|pod| pod.uid() == uid);
            pod.is_some_and(|pod| !is_terminal(pod))
        };
        // Only then the room that it took is free.
        let has_volumes = || !k.volumes.state.of(uid).is_empty();
        while runs() || lives() || has_volumes() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(longest, ended).await.is_err() {
        tracing::warn!(uid, "an evicted pod has not ended yet");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn under_pressure_only_those_come_whom_it_does_not_concern() {
        let pressure = Pressure::default();
        let admitted = |spec: Value| {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            pressure.admit(&pod).map_err(|(reason, message)| format!("{reason}: {message}"))
        };
        let plain = || json!({"containers": [{"name": "c"}]});
        let asking = || json!({"containers": [{"name": "c", "resources": {"requests": {"memory": "1Mi"}}}]});
        let critical = || json!({"priority": 2_000_000_000, "containers": []});
        let tolerating =
            |key: &str| json!({"containers": [{"name": "c"}], "tolerations": [{"key": key, "operator": "Exists"}]});
        assert_eq!(admitted(plain()), Ok(()));
        pressure.set(["MemoryPressure"].into());
        assert_eq!(admitted(plain()), Err("Evicted: The node had condition: [MemoryPressure]. ".to_owned()));
        let known = "node.kubernetes.io/memory-pressure";
        for good in [asking(), critical(), tolerating(known), tolerating("")] {
            assert_eq!(admitted(good), Ok(()));
        }
        assert!(admitted(tolerating("other")).is_err());
        pressure.set(["DiskPressure", "MemoryPressure"].into());
        for bad in [plain(), asking(), tolerating(known)] {
            let refused = admitted(bad).unwrap_err();
            assert_eq!(refused, "Evicted: The node had condition: [DiskPressure MemoryPressure]. ");
        }
        assert_eq!(admitted(critical()), Ok(()));
    }
}
