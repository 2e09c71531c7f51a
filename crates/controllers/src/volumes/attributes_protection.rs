//! Keeps a class of volume attributes that is deleted until no claim and no volume is of it any more.
//! <https://kubernetes.io/docs/concepts/storage/volume-attributes-classes/>

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Cached, Event, Informer, ObjectKey, WorkQueue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};

use super::protection::{self, Wants};
use crate::common::{Context, is_deleting, is_outdated};
use crate::run::{Cache, Controller};

const FINALIZER: &str = "kubernetes.io/vac-protection";
/// Index of claims and of volumes by their classes of attributes.
const BY_CLASS: &str = "attributes class";

struct AttributesProtection {
    client: Client,
    classes: Informer<VolumeAttributesClass>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(AttributesProtection {
        client: context.client.clone(),
        classes: context.informers.all(),
        claims: context.informers.indexed(vec![(BY_CLASS, Box::new(classes_of_claim))]),
        volumes: context.informers.indexed(vec![(BY_CLASS, Box::new(classes_of_volume))]),
        queue: WorkQueue::named("vacprotection"),
    });
    let queue = controller.queue.clone();
    controller.classes.subscribe(move |event| {
        if let Event::Added(class) | Event::Updated { new: class, .. } = event {
            queue.add(ObjectKey::of(&**class));
        }
    });
    controller.wake_by(&controller.claims, classes_of_claim);
    controller.wake_by(&controller.volumes, classes_of_volume);
    crate::run::run(controller).await
}

fn classes_of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let target =
        status.and_then(|status| status.modify_volume_status.as_ref()?.target_volume_attributes_class_name.clone());
    wanted.into_iter().chain(current).chain(target).collect()
}

fn classes_of_volume(volume: &PersistentVolume) -> Vec<String> {
    volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone()).into_iter().collect()
}

impl Controller for AttributesProtection {
    type Key = ObjectKey;
    const WORKERS: usize = 1;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.classes, &self.claims, &self.volumes]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(class) = self.classes.store().get_key(&key) else { return Ok(None) };
        let changed = match protection::wants(&*class, FINALIZER) {
            Some(Wants::Finalizer) => protection::with(&*class, FINALIZER),
            Some(Wants::End) if !self.is_used(&key.name).await? => protection::without(&*class, FINALIZER),
            _ => return Ok(None),
        };
        let api: Api<VolumeAttributesClass> = Api::all(self.client.clone());
        match api.replace(&key.name, &PostParams::default(), &changed).await {
            Err(error) if !is_outdated(&error, &["volumeattributesclasses"]) => Err(error.into()),
            _ => Ok(None),
        }
    }
}

impl AttributesProtection {
    /// Looks at a class again when what was of it is so no more.
    fn wake_by<K>(&self, informer: &Informer<K>, classes_of: fn(&K) -> Vec<String>)
    where
        K: Cached,
    {
        let (queue, known) = (self.queue.clone(), self.classes.store());
        informer.subscribe(move |event| {
            let (Event::Deleted(object) | Event::Updated { old: object, .. }) = event else { return };
            let names = classes_of(object).into_iter().map(|name| ObjectKey::new("", name));
            names
                .filter(|key| known.get_key(key).is_some_and(|class| is_deleting(&*class)))
                .for_each(|key| queue.add(key));
        });
    }

    /// Whether something is of a class, by the caches, and if those know of nothing, by the server.
    async fn is_used(&self, name: &str) -> anyhow::Result<bool> {
        if !self.claims.store().by_index(BY_CLASS, name)?.is_empty()
            || !self.volumes.store().by_index(BY_CLASS, name)?.is_empty()
        {
            return Ok(true);
        }
        let is_this = |other: &String| other == name;
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let volumes = volumes.list(&ListParams::default()).await?.items;
        if volumes.iter().any(|volume| classes_of_volume(volume).iter().any(is_this)) {
            return Ok(true);
        }
        let claims: Api<PersistentVolumeClaim> = Api::all(self.client.clone());
        let claims = claims.list(&ListParams::default()).await?.items;
        Ok(claims.iter().any(|claim| classes_of_claim(claim).iter().any(is_this)))
    }
}
