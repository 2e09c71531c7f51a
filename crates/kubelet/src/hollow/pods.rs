//! The pods of all hollow nodes: one watch, a few words of each pod at rest, and workers that take turns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Decoded, Follower, Source, WorkQueue, follow, is_conflict, is_not_found};
use coracle_matching::pods::{is_terminal, requests};
use coracle_values::hollow;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Resource;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, Request};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use super::Shared;
use super::room::{Room, Share, addresses, place};
use super::step::{Facts, Next, step};
use crate::pod::PodExt;

/// Pods that are worked on at the same time: so many writes are one write of the store at best.
const WORKERS: usize = 64;

/// One pod.
struct Entry {
    node: u32,
    /// What it has of its node once it was admitted.
    share: Option<Share>,
    /// The version that was written last; what is older is not looked at any more.
    written: u64,
    /// Its newest object, while there is something to do.
    object: Option<Arc<Pod>>,
}

/// What is read of the answer to a write.
#[derive(Deserialize)]
struct Written {
    metadata: ListMeta,
}

#[derive(Default)]
struct State {
    pods: HashMap<Arc<str>, Entry>,
    rooms: HashMap<u32, Room>,
    /// Pods whose nodes are not registered.
    waiting: HashMap<u32, HashSet<Arc<str>>>,
}

/// All of them, by UID.
pub(super) struct Pods {
    shared: Arc<Shared>,
    state: Mutex<State>,
    queue: WorkQueue<Arc<str>>,
}

impl Pods {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Pods> {
        Arc::new(Pods { shared, state: Mutex::default(), queue: WorkQueue::new() })
    }

    /// Works until the future is dropped.
    pub(super) async fn run(self: Arc<Self>) {
        let source = Source {
            client: self.shared.account.clone(),
            url: "/api/v1/pods".into(),
            labels: None,
            // Of what is not bound yet there is nothing to know.
            fields: Some("spec.nodeName!=".into()),
            metadata_only: false,
        };
        let worker = self.clone();
        let work = coracle_client::run(self.queue.clone(), WORKERS, move |uid| {
            let pods = worker.clone();
            async move { pods.reconcile(&uid).await }
        });
        tokio::join!(follow(&source, &*self), work);
    }

    /// Looks at the pods that have waited for their node.
    pub(super) fn node_came(&self, node: u32) {
        let waiting = self.state.lock().waiting.remove(&node);
        waiting.into_iter().flatten().for_each(|uid| self.queue.add(uid));
    }

    /// Whether a pod waits for its node: there may be another of that name, which is not ours to speak for.
    fn waits(&self, uid: &Arc<str>, node: u32) -> bool {
        let mut state = self.state.lock();
        let waits = !self.shared.registered.lock().contains_key(&node);
        if waits {
            state.waiting.entry(node).or_default().insert(uid.clone());
        }
        waits
    }

    fn update(&self, pod: Pod) {
        let name = pod.spec().node_name.clone().unwrap_or_default();
        let Some(node) = hollow::number(&self.shared.config.server, &name) else { return };
        let mut guard = self.state.lock();
        let State { pods, rooms, .. } = &mut *guard;
        let uid: Arc<str> = pod.uid().into();
        let entry = pods.entry(uid.clone()).or_insert(Entry { node, share: None, written: 0, object: None });
        if version(&pod.metadata.resource_version) < entry.written {
            return;
        }
        let has_ended = is_terminal(&pod);
        let is_admitted =
            entry.share.is_some() || pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        let room = rooms.entry(node).or_default();
        if has_ended || is_admitted {
            // It may ask for something else than before.
            let known = entry.share.take();
            let known_place =
                known.as_ref().map(|share| share.place).filter(|place| *place != 0).or_else(|| place(&pod, node));
            known.into_iter().for_each(|share| room.give_back(share));
            entry.share = (!has_ended).then(|| room.take(&pod, known_place));
        }
        if has_ended && !pod.is_deleted() {
            entry.object = None;
            return;
        }
        entry.object = Some(Arc::new(pod));
        drop(guard);
        self.queue.add(uid);
    }

    fn gone(&self, uid: &str) {
        let mut state = self.state.lock();
        let Some(entry) = state.pods.remove(uid) else { return };
        if let Some(waiting) = state.waiting.get_mut(&entry.node) {
            waiting.remove(uid);
        }
        if let (Some(room), Some(share)) = (state.rooms.get_mut(&entry.node), entry.share) {
            room.give_back(share);
        }
    }

    async fn reconcile(&self, uid: &Arc<str>) -> kube::Result<Option<Duration>> {
        let newest = |entry: &Entry| {
            // What was seen before the last write would have it all done again.
            let object = entry.object.clone().filter(|pod| version(&pod.metadata.resource_version) >= entry.written);
            Some((entry.node, object?))
        };
        let known = self.state.lock().pods.get(uid).and_then(newest);
        let Some((node, pod)) = known.filter(|(node, _)| !self.waits(uid, *node)) else { return Ok(None) };
        let object = self.node_for(&pod, node).await?;
        let Some(facts) = self.facts(uid, &pod, node, object.as_ref()) else { return Ok(None) };
        let next = step(&pod, facts);
        let wake = next.wake.map(until);
        self.act(uid, &pod, node, next).await?;
        Ok(wake)
    }

    /// The node's object, if the pod asks for something of which only that tells.
    async fn node_for(&self, pod: &Pod, node: u32) -> kube::Result<Option<Node>> {
        let spec = pod.spec();
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let capacity = &self.shared.wanted().capacity;
        let is_choosy = spec.node_selector.as_ref().is_some_and(|selector| !selector.is_empty())
            || affinity.is_some_and(|nodes| nodes.required_during_scheduling_ignored_during_execution.is_some())
            || requests(pod).iter().any(|(name, _)| !capacity.contains_key(name));
        let is_new = pod.status.as_ref().is_none_or(|status| status.start_time.is_none());
        if !is_choosy || !is_new || pod.is_deleted() {
            return Ok(None);
        }
        let name = self.shared.name(node);
        Api::all(self.shared.client_of(node)).get_opt(&name).await
    }

    /// What its node says of a pod, which is admitted now if it is new.
    fn facts(&self, uid: &Arc<str>, pod: &Pod, node: u32, object: Option<&Node>) -> Option<Facts> {
        let wanted = self.shared.wanted();
        let mut guard = self.state.lock();
        let State { pods, rooms, .. } = &mut *guard;
        let entry = pods.get_mut(uid)?;
        let room = rooms.entry(node).or_default();
        let mut refusal = None;
        let has_ended = is_terminal(pod);
        if entry.share.is_none() && !has_ended && !pod.is_deleted() {
            match room.admit(pod, object, &wanted.capacity) {
                Ok(()) => entry.share = Some(room.take(pod, None)),
                Err(why) => refusal = Some(why),
            }
        }
        let place = entry.share.as_ref().map_or(0, |share| share.place);
        let families = &self.shared.config.families;
        // Times of pods are told in seconds.
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        Some(Facts { host_ips: self.shared.addresses(node), pod_ips: addresses(families, node, place), refusal, now })
    }

    async fn act(&self, uid: &Arc<str>, pod: &Arc<Pod>, node: u32, next: Next) -> kube::Result<()> {
        if let Some(patch) = &next.patch {
            let written = self.write(pod, node, patch).await?;
            if let Some(entry) = self.state.lock().pods.get_mut(uid) {
                entry.written = entry.written.max(written);
            }
            for told in next.events {
                let recorder = self.shared.recorder.on_host(&self.shared.name(node));
                recorder.record(told.about, told.kind, &told.reason, told.message);
            }
        }
        if next.delete {
            return self.delete(pod, node).await;
        }
        if next.patch.is_none() && next.wake.is_none() {
            let mut state = self.state.lock();
            // Something newer may have come.
            if let Some(entry) = state.pods.get_mut(uid)
                && entry.object.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, pod))
            {
                entry.object = None;
            }
        }
        Ok(())
    }

    /// Writes a status; answers with the pod's version then.
    async fn write(&self, pod: &Pod, node: u32, patch: &Value) -> kube::Result<u64> {
        let pods = Request::new(Pod::url_path(&(), Some(pod.namespace())));
        let request = pods.patch_subresource("status", pod.name(), &PatchParams::default(), &Patch::Strategic(patch));
        let request = request.map_err(kube::Error::BuildRequest)?;
        match self.shared.client_of(node).request::<Written>(request).await {
            Ok(written) => Ok(version(&written.metadata.resource_version)),
            // The object is gone or another one has its name: there is nothing to write to.
            Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, pod: &Pod, node: u32) -> kube::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.shared.client_of(node), pod.namespace());
        let preconditions = Preconditions { uid: Some(pod.uid().to_owned()), resource_version: None };
        let params =
            DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..Default::default() };
        match api.delete(pod.name(), &params).await {
            Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Follower for Pods {
    type Object = Decoded<Pod>;

    fn replace(&self, objects: Vec<Decoded<Pod>>) {
        let pods: Vec<Pod> = objects.into_iter().filter_map(Decoded::object).collect();
        let live: HashSet<&str> = pods.iter().map(PodExt::uid).collect();
        let known: Vec<Arc<str>> = self.state.lock().pods.keys().cloned().collect();
        known.iter().filter(|uid| !live.contains(&***uid)).for_each(|uid| self.gone(uid));
        // Those that have addresses keep them.
        let (old, new): (Vec<Pod>, Vec<Pod>) =
            pods.into_iter().partition(|pod| pod.status.as_ref().is_some_and(|status| status.start_time.is_some()));
        old.into_iter().chain(new).for_each(|pod| self.update(pod));
    }

    fn put(&self, object: Decoded<Pod>) {
        object.object().into_iter().for_each(|pod| self.update(pod));
    }

    fn remove(&self, object: Decoded<Pod>) {
        object.object().into_iter().for_each(|pod| self.gone(pod.uid()));
    }
}

fn version(text: &Option<String>) -> u64 {
    text.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// How long it is until then.
fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}
