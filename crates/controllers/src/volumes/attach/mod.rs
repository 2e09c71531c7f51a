//! Attaches volumes of CSI drivers to the nodes whose pods use them, and detaches them when none does any more.
//! <https://kubernetes.io/docs/concepts/storage/volumes/#csi>
//!
//! That a volume is to be attached is said by a VolumeAttachment, which the driver's external attacher acts on; it is detached by
//! deleting that. The status of the node says what is attached there ([`report`]): a kubelet mounts nothing that is not among it,
//! and says itself what it uses. So a volume leaves that list first, and is then detached unless the kubelet has it in use; a node
//! that is lost is waited for six minutes, or not at all once somebody says by a taint that it is out of service.
//!
//! Everything is told by objects: whoever comes next goes on from them. Only events and how long somebody waits are remembered here.

mod names;
mod pass;
mod report;
mod wake;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_client::{EventRecorder, Informer, ObjectKey, WorkQueue};
use coracle_matching::claims::claim_of;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;

use super::claim_protection::{BY_CLAIM, claims_of_pod};
use crate::common::{BY_NODE, Context, is_outdated, is_terminal, node_name, uid};
use crate::metrics::METRICS;
use crate::run::{Cache, Controller};

/// Index of attachments by the volume that they attach.
const BY_VOLUME: &str = "volume";
/// What a node says whose volumes this controller attaches.
const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Where a volume is attached.
    Volume(String),
    /// What the status of a node says of it.
    Node(String),
}

struct AttachDetach {
    client: Client,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    nodes: Informer<Node>,
    drivers: Informer<CSIDriver>,
    attachments: Informer<VolumeAttachment>,
    recorder: EventRecorder,
    queue: WorkQueue<Key>,
    /// Of volumes on nodes that are being attached or detached.
    known: Mutex<HashMap<(String, String), Known>>,
}

/// What is remembered of a volume on a node.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Since when nobody wants it there.
    unwanted: Option<Instant>,
    /// It is no longer told of in the node's status.
    leaving: bool,
    /// When it was asked for.
    asked: Option<Instant>,
    /// The last event about it.
    told: String,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let of_volume = |attachment: &VolumeAttachment| volume_of(attachment).map(str::to_owned).into_iter().collect();
    let of_node = |attachment: &VolumeAttachment| vec![attachment.spec.node_name.clone()];
    let controller = Arc::new(AttachDetach {
        client: context.client.clone(),
        pods: context.informers.indexed(vec![
            (BY_CLAIM, Box::new(claims_of_pod)),
            (BY_NODE, Box::new(|pod: &Pod| vec![node_name(pod).to_owned()])),
        ]),
        claims: context.informers.all(),
        volumes: context.informers.all(),
        nodes: context.nodes(),
        drivers: context.informers.all(),
        attachments: context.informers.indexed(vec![(BY_VOLUME, Box::new(of_volume)), (BY_NODE, Box::new(of_node))]),
        recorder: context.recorder("attachdetach-controller"),
        queue: WorkQueue::named("attachdetach"),
        known: Mutex::default(),
    });
    wake::subscribe(&controller);
    let shown = Arc::downgrade(&controller);
    let _shown = METRICS.show_attached(move || shown.upgrade().map(|c| c.counts()).unwrap_or_default());
    crate::run::run(controller).await
}

impl Controller for AttachDetach {
    type Key = Key;
    const WORKERS: usize = 10;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.pods, &self.claims, &self.volumes, &self.nodes, &self.drivers, &self.attachments]
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let done = match &key {
            Key::Volume(name) => self.look_at_volume(name).await,
            Key::Node(name) => self.report(name).await,
        };
        match done {
            // What is there comes through the caches.
            Err(error) if is_outdated(&error, &["volumeattachments", "nodes"]) => Ok(Some(Duration::from_millis(50))),
            done => Ok(done?),
        }
    }
}

impl AttachDetach {
    /// The nodes whose pods use a volume, in the order in which the first of these came.
    fn wanted(&self, volume: &PersistentVolume) -> Vec<(Arc<Node>, Vec<Arc<Pod>>)> {
        let Some(source) = names::source(volume) else { return Vec::new() };
        let driver = self.drivers.store().get("", &source.driver);
        // A driver that says nothing of itself wants to be asked.
        if driver.is_some_and(|driver| driver.spec.attach_required == Some(false)) {
            return Vec::new();
        }
        let mut pods = self.pods_of(volume);
        pods.sort_by_cached_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.name_any()));
        let mut wanted: Vec<(Arc<Node>, Vec<Arc<Pod>>)> = Vec::new();
        for pod in pods {
            let Some(node) = self.nodes.store().get("", node_name(&pod)).filter(|node| is_managed(node)) else {
                continue;
            };
            match wanted.iter_mut().find(|(other, _)| other.name_any() == node.name_any()) {
                Some((_, pods)) => pods.push(pod),
                None => wanted.push((node, vec![pod])),
            }
        }
        wanted
    }

    /// The pods on nodes that use a volume by the claim that is bound to it.
    fn pods_of(&self, volume: &PersistentVolume) -> Vec<Arc<Pod>> {
        let bound = || {
            let claim = claim_of(volume)?;
            let key = ObjectKey::new(claim.namespace.clone()?, claim.name.clone()?);
            let found = self.claims.store().get_key(&key)?;
            let is_bound = found.spec.as_ref()?.volume_name.as_deref() == volume.metadata.name.as_deref()
                && claim.uid.as_deref() == Some(uid(&*found));
            is_bound.then_some(key)
        };
        let Some(claim) = bound() else { return Vec::new() };
        let pods = self.pods.store().by_index(BY_CLAIM, &claim.to_string()).unwrap_or_default();
        pods.into_iter().filter(|pod| !node_name(pod).is_empty() && !is_terminal(pod)).collect()
    }

    /// The attachments of a volume that are called as they are here.
    fn attachments_of(&self, volume: &PersistentVolume) -> Vec<Arc<VolumeAttachment>> {
        let Some(source) = names::source(volume) else { return Vec::new() };
        let all = self.attachments.store().by_index(BY_VOLUME, &volume.name_any()).unwrap_or_default();
        let is_ours =
            |found: &Arc<VolumeAttachment>| found.name_any() == names::attachment(source, &found.spec.node_name);
        all.into_iter().filter(is_ours).collect()
    }

    /// How many volumes of each driver are wanted and there, for the metrics.
    fn counts(&self) -> BTreeMap<String, (usize, usize)> {
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for volume in self.volumes.store().list() {
            let Some(source) = names::source(&volume) else { continue };
            let (wanted, there) = counts.entry(format!("kubernetes.io/csi:{}", source.driver)).or_default();
            *wanted = wanted.saturating_add(self.wanted(&volume).len());
            *there = there.saturating_add(self.attachments_of(&volume).len());
        }
        counts
    }
}

/// The volume that is attached by an attachment.
fn volume_of(attachment: &VolumeAttachment) -> Option<&str> {
    attachment.spec.source.persistent_volume_name.as_deref()
}

fn is_managed(node: &Node) -> bool {
    node.annotations().get(MANAGED).is_some_and(|value| value == "true")
}

fn is_attached(attachment: &VolumeAttachment) -> bool {
    attachment.status.as_ref().is_some_and(|status| status.attached)
}
