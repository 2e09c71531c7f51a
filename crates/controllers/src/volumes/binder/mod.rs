//! Binds claims to volumes, and says what became of both.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#lifecycle-of-a-volume-and-claim>
//!
//! A binding is written in four steps: the volume names the claim with its UID, the volume is `Bound`, the claim names the
//! volume, the claim is `Bound`. Only the first decides; whoever finds one of them done does the others, so that it does not
//! matter who dies in between.

mod bind;
mod claim;
mod events;
mod provision;
mod reclaim;
mod volume;
mod wake;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{EventRecorder, Informer, ObjectKey, WorkQueue};
use coracle_matching::claims::{claim_of, class_of_claim, class_of_volume};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::common::{Context, is_outdated, namespace_of};
use crate::metrics::{METRICS, Volumes};
use crate::run::{Cache, Controller};
use writer::Writer;

/// Index of volumes by the claim that they name, as `namespace/name`.
const BY_CLAIM: &str = "claim";
/// Index of volumes that name no claim, by class.
const FREE: &str = "free volumes of a class";
/// Index of claims by the volume that they name.
const BY_VOLUME: &str = "volume";
/// Index of claims that name no volume, by class.
const WAITING: &str = "waiting claims of a class";

/// What the binder looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Claim(ObjectKey),
    Volume(String),
}

struct Binder {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    writer: Writer,
    recorder: EventRecorder,
    queue: WorkQueue<Key>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let binder = Arc::new(Binder {
        claims: context.informers.indexed(vec![
            (
                BY_VOLUME,
                Box::new(|claim: &PersistentVolumeClaim| named_volume(claim).map(str::to_owned).into_iter().collect()),
            ),
            (WAITING, Box::new(waiting_class)),
        ]),
        volumes: context.informers.indexed(vec![
            (
                BY_CLAIM,
                Box::new(|volume: &PersistentVolume| {
                    claim_of(volume).map(|claim| key_of(claim).to_string()).into_iter().collect()
                }),
            ),
            (FREE, Box::new(free_class)),
        ]),
        classes: context.informers.all(),
        pods: context.pods(),
        writer: Writer::new(context.client.clone()),
        recorder: context.recorder("persistentvolume-controller"),
        queue: WorkQueue::named("claims"),
    });
    wake::subscribe(&binder);
    let (volumes, claims) = (binder.volumes.store(), binder.claims.store());
    let _shown = METRICS.show_volumes(move || counted(&volumes.list(), &claims.list()));
    crate::run::run(binder).await
}

impl Controller for Binder {
    type Key = Key;
    /// Two that look at claims at once would choose the same volume.
    const WORKERS: usize = 1;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.claims, &self.volumes, &self.classes, &self.pods]
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<Option<Duration>> {
        let done = match &key {
            Key::Claim(key) => self.look_at_claim(key).await,
            Key::Volume(name) => self.look_at_volume(name).await,
        };
        match done {
            // What is there comes through the cache.
            Err(error) if is_outdated(&error, &["persistentvolumes", "persistentvolumeclaims"]) => {
                Ok(Some(Duration::from_millis(50)))
            }
            done => Ok(done.map(|()| None)?),
        }
    }
}

impl Binder {
    async fn look_at_claim(&self, key: &ObjectKey) -> kube::Result<()> {
        let Some(claim) = self.claim(key) else {
            self.writer.forget_claim(key);
            return Ok(());
        };
        self.sync_claim(&claim).await
    }

    async fn look_at_volume(&self, name: &str) -> kube::Result<()> {
        let Some(volume) = self.volume(name) else {
            self.writer.forget_volume(name);
            return Ok(());
        };
        self.sync_volume(&volume).await
    }

    /// A claim as it was read or written last.
    fn claim(&self, key: &ObjectKey) -> Option<Arc<PersistentVolumeClaim>> {
        Some(self.writer.newest_claim(self.claims.store().get_key(key)?))
    }

    /// A volume as it was read or written last.
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        Some(self.writer.newest_volume(self.volumes.store().get("", name)?))
    }
}

/// How many volumes and claims are bound, and are not.
fn counted(volumes: &[Arc<PersistentVolume>], claims: &[Arc<PersistentVolumeClaim>]) -> Volumes {
    let mut found = Volumes::default();
    let add = |counts: &mut BTreeMap<String, usize>, label: &str| {
        let count = counts.entry(label.to_owned()).or_default();
        *count = count.saturating_add(1);
    };
    for volume in volumes {
        let is_bound = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        add(if is_bound { &mut found.bound_volumes } else { &mut found.free_volumes }, class_of_volume(volume));
    }
    for claim in claims {
        let is_bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        add(if is_bound { &mut found.bound_claims } else { &mut found.free_claims }, namespace_of(&**claim));
    }
    found
}

/// The volume that a claim names.
fn named_volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

fn waiting_class(claim: &PersistentVolumeClaim) -> Vec<String> {
    match named_volume(claim) {
        None => vec![class_of_claim(claim).to_owned()],
        Some(_) => Vec::new(),
    }
}

fn free_class(volume: &PersistentVolume) -> Vec<String> {
    match claim_of(volume) {
        None => vec![class_of_volume(volume).to_owned()],
        Some(_) => Vec::new(),
    }
}

fn key_of(claim: &ObjectReference) -> ObjectKey {
    ObjectKey::new(claim.namespace.clone().unwrap_or_default(), claim.name.clone().unwrap_or_default())
}

/// A claim as messages name it.
fn shown(claim: &PersistentVolumeClaim) -> String {
    format!("{}/{}", namespace_of(claim), claim.metadata.name.as_deref().unwrap_or_default())
}
