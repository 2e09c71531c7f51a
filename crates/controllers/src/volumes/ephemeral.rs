//! Makes the claims of pods' ephemeral volumes. They are owned by the pod, and go with it.
//! <https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes>

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use coracle_client::{Event, EventRecorder, EventType, Informer, ObjectKey, WorkQueue};
use coracle_matching::claims::{ephemeral_name, is_for_pod};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimTemplate, Pod};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

use super::claim_protection::{BY_CLAIM, claims_of_pod};
use crate::common::{
    Context, controller_reference, is_already_there, is_deleting, is_namespace_terminating, message, namespace_of,
};
use crate::metrics::METRICS;
use crate::run::{Cache, Controller};

struct EphemeralVolumes {
    client: Client,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    recorder: EventRecorder,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(EphemeralVolumes {
        client: context.client.clone(),
        pods: context.informers.indexed(vec![(BY_CLAIM, Box::new(claims_of_pod))]),
        claims: context.informers.all(),
        recorder: context.recorder("ephemeral_volume"),
        queue: WorkQueue::named("ephemeral_volume"),
    });
    let queue = controller.queue.clone();
    controller.pods.subscribe(move |event| {
        if let Event::Added(pod) | Event::Updated { new: pod, .. } = event
            && !is_deleting(&**pod)
            && templates(pod).next().is_some()
        {
            queue.add(ObjectKey::of(&**pod));
        }
    });
    let (queue, pods) = (controller.queue.clone(), controller.pods.store());
    // One that is gone, or was in the way, is made anew.
    controller.claims.subscribe(move |event| {
        let Event::Deleted(claim) = event else { return };
        let users = pods.by_index(BY_CLAIM, &ObjectKey::of(&**claim).to_string()).unwrap_or_default();
        users.iter().filter(|pod| templates(pod).next().is_some()).for_each(|pod| queue.add(ObjectKey::of(&**pod)));
    });
    crate::run::run(controller).await
}

impl Controller for EphemeralVolumes {
    type Key = ObjectKey;
    const WORKERS: usize = 5;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.pods, &self.claims]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(pod) = self.pods.store().get_key(&key).filter(|pod| !is_deleting(&**pod)) else { return Ok(None) };
        for (volume, template) in templates(&pod) {
            self.ensure(&pod, volume, template).await?;
        }
        Ok(None)
    }
}

impl EphemeralVolumes {
    /// Makes the claim of a volume, unless it is there. Another one of its name is in the way until somebody deletes it.
    async fn ensure(&self, pod: &Pod, volume: &str, template: &PersistentVolumeClaimTemplate) -> anyhow::Result<()> {
        let name = ephemeral_name(pod, volume);
        if let Some(claim) = self.claims.store().get(namespace_of(pod), &name) {
            if let Err(why) = is_for_pod(pod, &claim) {
                self.warn(pod, volume, &why);
            }
            return Ok(());
        }
        let claim = claim(pod, &name, template);
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace_of(pod));
        METRICS.ephemeral_claims.inc();
        match api.create(&PostParams::default(), &claim).await.inspect_err(|_| METRICS.ephemeral_failures.inc()) {
            Ok(_) => Ok(()),
            Err(error) if is_namespace_terminating(&error) => Ok(()),
            // The cache lags behind.
            Err(error) if is_already_there(&error) => Err(error).context("the claim is there"),
            Err(error) => {
                self.warn(pod, volume, &format!("create PVC {name}: {}", message(&error)));
                Err(error.into())
            }
        }
    }

    fn warn(&self, pod: &Pod, volume: &str, why: &str) {
        self.recorder.event(pod, EventType::Warning, "FailedBinding", format!("ephemeral volume {volume}: {why}"));
    }
}

/// The ephemeral volumes of a pod, by name.
fn templates(pod: &Pod) -> impl Iterator<Item = (&str, &PersistentVolumeClaimTemplate)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
        Some((volume.name.as_str(), template))
    })
}

fn claim(pod: &Pod, name: &str, template: &PersistentVolumeClaimTemplate) -> PersistentVolumeClaim {
    let meta = template.metadata.clone().unwrap_or_default();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: pod.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: Some(vec![controller_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    }
}
