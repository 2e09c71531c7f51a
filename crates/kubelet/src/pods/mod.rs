//! Which pods the node has, and the worker of each.

mod room;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use coracle_client::Event;
use coracle_matching::amounts::{Amounts, Sum};
use coracle_matching::pods::{host_ports, is_terminal, requests};
use coracle_runtime::cri::ContainerEvent;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::{broadcast, mpsc, watch};

use crate::admission::Taken;
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::sync::Observed;
use crate::worker::{Message, Worker};
pub(crate) use room::Trigger;

/// Messages that may wait for a worker; beyond it the worker looks at everything anew.
const INBOX: usize = 256;

/// What the API wants of a pod.
#[derive(Clone, Debug)]
pub(crate) enum Desired {
    /// It is to be as its object says.
    Pod(Arc<Pod>),
    /// Its object is gone.
    Gone(Arc<Pod>),
}

impl Desired {
    fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Pod(pod) | Self::Gone(pod) => pod,
        }
    }

    /// Whether the scheduler counts it among the pods of the node.
    fn takes_room(&self) -> bool {
        matches!(self, Self::Pod(pod) if !is_terminal(pod))
    }
}

struct Handle {
    desired: watch::Sender<Desired>,
    inbox: mpsc::Sender<Message>,
    /// Set when the inbox was full.
    overflow: watch::Sender<u64>,
    observed: Arc<RwLock<Observed>>,
    /// What it takes of the node once admitted, in thousandths.
    requests: Option<Amounts>,
    /// Nobody decided yet whether it may run here.
    is_undecided: bool,
    /// With what it is allocated, where that is not what it asks for.
    allocated: Option<Arc<Pod>>,
    /// It asked for room before it was known what others take.
    is_unanswered: bool,
    /// Since when it waits for room for more.
    deferred: Option<Timestamp>,
}

impl Handle {
    fn new(
        desired: watch::Sender<Desired>,
        inbox: mpsc::Sender<Message>,
        overflow: watch::Sender<u64>,
        observed: Arc<RwLock<Observed>>,
    ) -> Handle {
        Handle {
            desired,
            inbox,
            overflow,
            observed,
            requests: None,
            is_undecided: true,
            allocated: None,
            is_unanswered: false,
            deferred: None,
        }
    }

    /// Wakes the worker; one that has too many messages is told to look at everything.
    fn send(&self, message: Message) {
        if self.inbox.try_send(message).is_err() {
            self.overflow.send_modify(|count| *count += 1);
        }
    }
}

/// What the admitted pods but one take together. One that the API has forgotten, or calls ended, takes nothing.
fn taken(handles: &HashMap<String, Handle>, but: &str) -> Taken {
    let mut taken = Taken::default();
    for (_, handle) in handles.iter().filter(|(uid, _)| *uid != but) {
        let desired = handle.desired.borrow();
        let Some(requests) = handle.requests.as_ref().filter(|_| desired.takes_room()) else { continue };
        taken.pods += 1;
        taken.ports.extend(host_ports(desired.pod().spec()));
        taken.resources.add(requests);
    }
    taken
}

/// All pods of the node by UID.
#[derive(Default)]
pub(crate) struct Pods {
    handles: Mutex<HashMap<String, Handle>>,
    kubelet: OnceLock<Weak<Kubelet>>,
    /// The node ends: no pod gets a worker any more.
    taken: AtomicBool,
    /// All pods that the node had at the start have workers.
    listed: AtomicBool,
}

impl Pods {
    /// Tells which kubelet new workers belong to.
    pub(crate) fn attach(&self, kubelet: &Arc<Kubelet>) {
        let _ = self.kubelet.set(Arc::downgrade(kubelet));
    }

    /// Follows an event of the pods' informer.
    pub(crate) fn on_event(&self, event: &Event<Pod>) {
        match event {
            Event::Added(pod) | Event::Updated { new: pod, .. } => self.update(pod.clone()),
            Event::Deleted(pod) => {
                if let Some(handle) = self.handles.lock().get(pod.uid()) {
                    handle.desired.send_replace(Desired::Gone(pod.clone()));
                }
                self.retry_resizes(Trigger::Removed);
            }
        }
        // One object may be replaced by another of the same name between two events.
        if let Event::Updated { old, new } = event
            && old.uid() != new.uid()
            && let Some(handle) = self.handles.lock().get(old.uid())
        {
            handle.desired.send_replace(Desired::Gone(old.clone()));
        }
    }

    fn update(&self, pod: Arc<Pod>) {
        let mut handles = self.handles.lock();
        if let Some(handle) = handles.get(pod.uid()) {
            let desired = Desired::Pod(pod);
            let takes_room = desired.takes_room();
            handle.desired.send_replace(desired);
            drop(handles);
            if !takes_room {
                self.retry_resizes(Trigger::Updated);
            }
            return;
        }
        let Some(kubelet) = self.kubelet.get().and_then(Weak::upgrade) else { return };
        if self.taken.load(Ordering::Relaxed) {
            return;
        }
        let uid = pod.uid().to_owned();
        let (desired, desired_receiver) = watch::channel(Desired::Pod(pod.clone()));
        let (inbox, messages) = mpsc::channel(INBOX);
        let (overflow, overflowed) = watch::channel(0);
        let observed = Arc::new(RwLock::new(Observed::default()));
        handles.insert(uid.clone(), Handle::new(desired, inbox, overflow, observed.clone()));
        let worker = Worker::new(kubelet.clone(), pod, desired_receiver, messages, overflowed, observed);
        tokio::spawn(async move {
            worker.run().await;
            kubelet.pods.handles.lock().remove(&uid);
            kubelet.pods.retry_resizes(Trigger::Removed);
        });
    }

    /// Ends all workers, for good, and answers with the pods that they had.
    pub(crate) fn take(&self) -> Vec<(Arc<Pod>, Observed)> {
        let mut handles = self.handles.lock();
        self.taken.store(true, Ordering::Relaxed);
        // A worker ends with the sender of what is desired.
        let pods = handles.drain().map(|(_, handle)| {
            let pod = handle.desired.borrow().pod().clone();
            let observed = handle.observed.read().clone();
            (pod, observed)
        });
        pods.collect()
    }

    /// Wakes a pod's worker with a message; without room it is told to look at everything.
    pub(crate) fn send(&self, uid: &str, message: Message) {
        if let Some(handle) = self.handles.lock().get(uid) {
            handle.send(message);
        }
    }

    /// Hands the runtime's events to the workers, for ever.
    pub(crate) async fn follow(self: Arc<Self>, mut events: broadcast::Receiver<ContainerEvent>) {
        loop {
            match events.recv().await {
                Ok(event) => {
                    let uid = event.pod_uid.clone();
                    self.send(&uid, Message::Runtime(event));
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events of the runtime were missed, looking at all pods");
                    for handle in self.handles.lock().values() {
                        handle.overflow.send_modify(|count| *count += 1);
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// What was observed of a pod.
    pub(crate) fn observed(&self, uid: &str) -> Option<Observed> {
        self.handles.lock().get(uid).map(|handle| handle.observed.read().clone())
    }

    /// All pods with what they are allocated.
    pub(crate) fn allocated(&self) -> Vec<Arc<Pod>> {
        let handles = self.handles.lock();
        let pods = handles.values().map(|handle| match &handle.allocated {
            Some(pod) => pod.clone(),
            None => handle.desired.borrow().pod().clone(),
        });
        pods.collect()
    }

    /// All pods as the API wants them.
    pub(crate) fn list(&self) -> Vec<Arc<Pod>> {
        self.handles.lock().values().map(|handle| handle.desired.borrow().pod().clone()).collect()
    }

    /// UIDs of pods that have ended, or that the API has forgotten.
    pub(crate) fn ended(&self) -> Vec<String> {
        let handles = self.handles.lock();
        let ended = handles.iter().filter(|(_, handle)| !handle.desired.borrow().takes_room());
        ended.map(|(uid, _)| uid.clone()).collect()
    }

    /// A pod by namespace and name, and by its UID if one is given.
    pub(crate) fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
        let handles = self.handles.lock();
        let wanted = handles.values().map(|handle| handle.desired.borrow().clone());
        meant(wanted, namespace, name, uid)
    }

    /// Whether there is a worker for a pod.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.handles.lock().contains_key(uid)
    }

    /// Admits a pod if `fits`, which is given what the admitted pods take together. One that the API has
    /// forgotten, or calls ended, takes nothing, though it may still end: the scheduler, which knows no more than the API, has
    /// given its room away.
    pub(crate) fn admit(
        &self,
        pod: &Pod,
        fits: impl FnOnce(&Taken) -> Result<(), (String, String)>,
    ) -> Result<(), (String, String)> {
        let mut handles = self.handles.lock();
        let result = fits(&taken(&handles, pod.uid()));
        if let Some(handle) = handles.get_mut(pod.uid()).filter(|_| result.is_ok()) {
            handle.requests = Some(requests(pod));
        }
        self.decided(handles, pod.uid());
        result
    }

    /// Whether a pod may run here is not a question any more; who waits for the last such one is told.
    fn decided(&self, mut handles: MutexGuard<'_, HashMap<String, Handle>>, uid: &str) {
        let was = handles.get_mut(uid).is_some_and(|handle| std::mem::take(&mut handle.is_undecided));
        let is_last = was && !handles.values().any(|handle| handle.is_undecided);
        drop(handles);
        if is_last && self.listed.load(Ordering::Relaxed) {
            self.answer();
        }
    }

    /// A pod is not to be admitted: it has ended, or is about to.
    pub(crate) fn pass(&self, uid: &str) {
        self.decided(self.handles.lock(), uid);
    }

    /// Frees what a pod took of the node.
    pub(crate) fn leave(&self, uid: &str) {
        if let Some(handle) = self.handles.lock().get_mut(uid) {
            (handle.requests, handle.deferred) = (None, None);
        }
        self.retry_resizes(Trigger::Updated);
    }
}

/// The pod of a name. While one that the API has forgotten or deletes still ends, another may have its name, and is
/// meant then unless a UID says otherwise.
fn meant(pods: impl Iterator<Item = Desired>, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
    pods.filter(|desired| desired.pod().namespace() == namespace && desired.pod().name() == name)
        .filter(|desired| uid.is_none_or(|uid| desired.pod().uid() == uid))
        .min_by_key(|desired| (matches!(desired, Desired::Gone(_)), desired.pod().is_deleted()))
        .map(|desired| desired.pod().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_that_the_api_has_forgotten_takes_no_room_from_another() {
        let pod = |uid: &str, phase: &str| -> Arc<Pod> {
            let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
            let object = json!({"metadata": {"name": uid, "uid": uid}, "spec": spec, "status": {"phase": phase}});
            Arc::new(serde_json::from_value(object).unwrap())
        };
        let pods = Pods::default();
        let come = |uid: &str| {
            let (desired, _) = watch::channel(Desired::Pod(pod(uid, "Running")));
            let (inbox, overflow) = (mpsc::channel(1).0, watch::channel(0).0);
            let handle = Handle::new(desired, inbox, overflow, Arc::default());
            pods.handles.lock().insert(uid.into(), handle);
            let mut found = (0, 0);
            let fits = |taken: &Taken| {
                found = (taken.pods, taken.resources.cpu);
                Ok(())
            };
            pods.admit(&pod(uid, "Pending"), fits).unwrap();
            found
        };
        assert_eq!((come("a"), come("b"), come("c")), ((0, 0), (1, 1000), (2, 2000)));
        pods.on_event(&Event::Deleted(pod("a", "Running")));
        assert_eq!(come("d"), (2, 2000));
        let (old, new) = (pod("b", "Running"), pod("b", "Succeeded"));
        pods.on_event(&Event::Updated { old, new });
        assert_eq!(come("e"), (2, 2000));
    }

    #[test]
    fn of_pods_of_one_name_the_one_that_stays_is_meant_or_the_one_of_the_uid() {
        let pod = |uid: &str, deleted: Option<&str>| -> Arc<Pod> {
            let metadata = json!({"name": "p", "namespace": "n", "uid": uid, "deletionTimestamp": deleted});
            Arc::new(serde_json::from_value(json!({"metadata": metadata})).unwrap())
        };
        let mut pods = [
            Desired::Gone(pod("forgotten", None)),
            Desired::Pod(pod("ends", Some("2026-01-01T00:00:00Z"))),
            Desired::Pod(pod("stays", None)),
        ];
        for _ in 0..pods.len() {
            pods.rotate_left(1);
            let uid = |name: &str, uid| meant(pods.iter().cloned(), "n", name, uid).map(|pod| pod.uid().to_owned());
            assert_eq!(uid("p", None).as_deref(), Some("stays"));
            for known in ["forgotten", "ends", "stays"] {
                assert_eq!(uid("p", Some(known)).as_deref(), Some(known));
            }
            assert_eq!((uid("p", Some("other")), uid("q", None)), (None, None));
        }
    }
}
