//! What makes the binder look at a claim or a volume again. Nothing is looked at without a change.

use std::sync::Arc;

use coracle_client::{Event, ObjectKey};
use coracle_matching::claims::{claim_of, class_of_volume};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::{BY_CLAIM, BY_VOLUME, Binder, Key, WAITING, key_of};
use crate::volumes::classes::is_default;

pub(super) fn subscribe(binder: &Arc<Binder>) {
    let b = Arc::downgrade(binder);
    binder.claims.subscribe(move |event| {
        let Some(binder) = b.upgrade() else { return };
        let (Event::Added(claim) | Event::Updated { new: claim, .. } | Event::Deleted(claim)) = event;
        binder.claim_changed(claim);
    });
    let b = Arc::downgrade(binder);
    binder.volumes.subscribe(move |event| {
        let Some(binder) = b.upgrade() else { return };
        let (Event::Added(volume) | Event::Updated { new: volume, .. } | Event::Deleted(volume)) = event;
        binder.volume_changed(volume);
        if let Event::Updated { old, .. } = event {
            binder.claim_of_volume_changed(old);
        }
    });
    let b = Arc::downgrade(binder);
    binder.classes.subscribe(move |event| {
        let Some(binder) = b.upgrade() else { return };
        if let Event::Added(class) | Event::Updated { new: class, .. } = event {
            binder.class_changed(class);
        }
    });
}

impl Binder {
    /// Volumes that were chosen for a claim wait for what becomes of it.
    fn claim_changed(&self, claim: &PersistentVolumeClaim) {
        let key = ObjectKey::of(claim);
        let volumes = self.volumes.store().by_index(BY_CLAIM, &key.to_string()).unwrap_or_default();
        self.queue.add(Key::Claim(key));
        self.queue_all(volumes.iter().map(|volume| Key::Volume(volume.name_any())));
    }

    fn volume_changed(&self, volume: &PersistentVolume) {
        self.queue.add(Key::Volume(volume.name_any()));
        self.claim_of_volume_changed(volume);
        let claims = self.claims.store();
        let mut concerned = claims.by_index(BY_VOLUME, &volume.name_any()).unwrap_or_default();
        if claim_of(volume).is_none() {
            concerned.extend(claims.by_index(WAITING, class_of_volume(volume)).unwrap_or_default());
        }
        self.queue_all(concerned.iter().map(|claim| Key::Claim(ObjectKey::of(&**claim))));
    }

    fn claim_of_volume_changed(&self, volume: &PersistentVolume) {
        let claim = claim_of(volume).map(key_of);
        let is_there = |key: &ObjectKey| self.claims.store().get_key(key).is_some();
        self.queue_all(claim.filter(is_there).map(Key::Claim));
    }

    fn class_changed(&self, class: &StorageClass) {
        let claims = self.claims.store();
        let mut concerned = claims.by_index(WAITING, &class.name_any()).unwrap_or_default();
        if is_default(class) {
            concerned.extend(claims.by_index(WAITING, "").unwrap_or_default());
        }
        self.queue_all(concerned.iter().map(|claim| Key::Claim(ObjectKey::of(&**claim))));
    }

    fn queue_all(&self, keys: impl IntoIterator<Item = Key>) {
        keys.into_iter().for_each(|key| self.queue.add(key));
    }
}
