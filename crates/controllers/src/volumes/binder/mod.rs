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

/// How many volumes and claims there are, bound and not.
fn counted(volumes: &[Arc<PersistentVolume>], claims: &[Arc<PersistentVolumeClaim>]) -> Volumes {
    fn add<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(1);
    }
    let text = |field: Option<&String>| field.cloned().unwrap_or_default();
    let mut found = Volumes::default();
    for volume in volumes {
        let is_bound = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        let mode = volume.spec.as_ref().and_then(|spec| spec.volume_mode.clone());
        add(&mut found.of_plugins, (plugin_of(volume), mode.unwrap_or_else(|| "Filesystem".into())));
        add(&mut found.volumes, (is_bound, class_of_volume(volume).to_owned()));
    }
    for claim in claims {
        let is_bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        let spec = claim.spec.as_ref();
        let class = text(spec.and_then(|spec| spec.storage_class_name.as_ref()));
        let attributes = text(spec.and_then(|spec| spec.volume_attributes_class_name.as_ref()));
        add(&mut found.claims, (is_bound, [namespace_of(&**claim).to_owned(), class, attributes]));
    }
    found
}

/// What upstream's metrics call the plugin of a volume; its controllers know these.
fn plugin_of(volume: &PersistentVolume) -> String {
    let Some(spec) = &volume.spec else { return "N/A".into() };
    match &spec.csi {
        Some(csi) => format!("kubernetes.io/csi:{}", csi.driver),
        None if spec.host_path.is_some() => "kubernetes.io/host-path".into(),
        None if spec.local.is_some() => "kubernetes.io/local-volume".into(),
        None if spec.nfs.is_some() => "kubernetes.io/nfs".into(),
        None => "N/A".into(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn volumes_and_claims_are_counted_by_what_upstream_tells_apart() {
        let volume = |spec: Value, phase: &str| {
            Arc::new(serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": {"phase": phase}})).unwrap())
        };
        let volumes = [
            volume(json!({"csi": {"driver": "d", "volumeHandle": "v"}, "storageClassName": "c"}), "Bound"),
            volume(json!({"local": {"path": "/x"}, "volumeMode": "Block"}), "Available"),
        ];
        let claim = json!({"metadata": {"namespace": "n"}, "spec": {"storageClassName": "c", "volumeAttributesClassName": "a"},
            "status": {"phase": "Bound"}});
        let found = counted(&volumes, &[Arc::new(serde_json::from_value(claim).unwrap())]);
        let plugins = [("kubernetes.io/csi:d", "Filesystem"), ("kubernetes.io/local-volume", "Block")];
        let plugins = plugins.map(|(plugin, mode)| ((plugin.to_owned(), mode.to_owned()), 1));
        let claims = [((true, ["n", "c", "a"].map(str::to_owned)), 1)];
        let volumes = [((true, "c".to_owned()), 1), ((false, String::new()), 1)];
        let expected = Volumes { of_plugins: plugins.into(), volumes: volumes.into(), claims: claims.into() };
        assert_eq!(found, expected);
    }
}
