//! What the volumes of a pod say about its node: a pod without claims and disks is asked nothing of this.
//!
//! [`binding`] sees to it that claims have volumes that the node reaches, [`restrictions`] that a volume for one pod has one,
//! [`limits`] that a node attaches no more than it can, and [`zone`] that volumes and node are in one zone. They look at
//! [`Volumes`], a field of the table.

pub(crate) mod assumed;
pub(crate) mod binding;
pub(crate) mod claims;
mod decide;
pub(crate) mod limits;
mod reserve;
pub(crate) mod restrictions;
pub(crate) mod zone;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use coracle_client::{Event, Informer, Informers, ObjectKey, Store};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::assumed::Assumed;
use self::reserve::Reserved;
use crate::framework::Actions;

/// What the scheduler knows of volumes, and what it took of them for pods.
pub(crate) struct Volumes {
    pub claims: Assumed<PersistentVolumeClaim>,
    pub volumes: Assumed<PersistentVolume>,
    pub classes: Store<StorageClass>,
    pub nodes: Store<CSINode>,
    pub drivers: Store<CSIDriver>,
    pub capacities: Store<CSIStorageCapacity>,
    /// By node.
    pub attachments: Store<VolumeAttachment>,
    /// Told of every change of claims and volumes.
    changed: Notify,
    /// By the UID of the pod.
    reserved: Mutex<HashMap<String, Reserved>>,
}

/// There are none, as in tests of what has nothing to do with them.
impl Default for Volumes {
    fn default() -> Self {
        Volumes::of(Store::of(Vec::new(), Vec::new()), Store::of(Vec::new(), vec![decide::by_class()]))
    }
}

impl fmt::Debug for Volumes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volumes").finish_non_exhaustive()
    }
}

/// Whether something came, changed or went.
fn verb<K>(event: &Event<K>) -> Actions {
    match event {
        Event::Added(_) => Actions::ADDED,
        Event::Updated { .. } => Actions::UPDATED,
        Event::Deleted(_) => Actions::DELETED,
    }
}

impl Volumes {
    /// Those of these claims and volumes, without classes and drivers.
    fn of(claims: Store<PersistentVolumeClaim>, volumes: Store<PersistentVolume>) -> Volumes {
        Volumes {
            claims: Assumed::new(claims),
            volumes: Assumed::new(volumes),
            classes: Store::of(Vec::new(), Vec::new()),
            nodes: Store::of(Vec::new(), Vec::new()),
            drivers: Store::of(Vec::new(), Vec::new()),
            capacities: Store::of(Vec::new(), Vec::new()),
            attachments: Store::of(Vec::new(), vec![limits::by_node()]),
            changed: Notify::new(),
            reserved: Mutex::default(),
        }
    }

    /// Those of the cluster, once all are there. `wake` is told of what happens to them, and of which claim if it is one.
    pub async fn follow(
        informers: &Informers,
        wake: impl Fn(Actions, Option<ObjectKey>) + Clone + Send + Sync + 'static,
    ) -> Arc<Volumes> {
        let claims: Informer<PersistentVolumeClaim> = informers.all();
        let volumes: Informer<PersistentVolume> = informers.indexed(vec![decide::by_class()]);
        let classes: Informer<StorageClass> = informers.all();
        let nodes: Informer<CSINode> = informers.all();
        let (drivers, capacities): (Informer<CSIDriver>, Informer<CSIStorageCapacity>) =
            (informers.all(), informers.all());
        let attachments: Informer<VolumeAttachment> = informers.indexed(vec![limits::by_node()]);
        let all = Arc::new(Volumes {
            classes: classes.store(),
            nodes: nodes.store(),
            drivers: drivers.store(),
            capacities: capacities.store(),
            attachments: attachments.store(),
            ..Volumes::of(claims.store(), volumes.store())
        });
        let (a, w) = (all.clone(), wake.clone());
        claims.subscribe(move |event| {
            a.changed.notify_waiters();
            let (Event::Added(claim) | Event::Updated { new: claim, .. } | Event::Deleted(claim)) = event;
            w(Actions::CLAIM | verb(event), Some(ObjectKey::of(&**claim)));
        });
        let (a, w) = (all.clone(), wake.clone());
        volumes.subscribe(move |event| {
            a.changed.notify_waiters();
            w(Actions::VOLUME | verb(event), None);
        });
        let w = wake.clone();
        classes.subscribe(move |event| w(Actions::STORAGE_CLASS | verb(event), None));
        let w = wake.clone();
        nodes.subscribe(move |event| w(Actions::CSI_NODE | verb(event), None));
        let w = wake.clone();
        attachments.subscribe(move |event| {
            if matches!(event, Event::Deleted(_)) {
                w(Actions::ATTACHMENT_DELETE, None);
            }
        });
        let w = wake.clone();
        drivers.subscribe(move |event| w(Actions::CSI_DRIVER | verb(event), None));
        capacities.subscribe(move |event| wake(Actions::CSI_CAPACITY | verb(event), None));
        claims.synced().await;
        volumes.synced().await;
        classes.synced().await;
        nodes.synced().await;
        drivers.synced().await;
        capacities.synced().await;
        attachments.synced().await;
        all
    }
}
