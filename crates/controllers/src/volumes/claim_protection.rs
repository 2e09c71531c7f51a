//! Keeps a claim that is deleted until no pod on a node uses it any more.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection>

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Event, Informer, ObjectKey, WorkQueue};
use coracle_matching::claims::{Used, is_for_pod, of_pod};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};

use super::protection::{self, Wants};
use crate::common::{Context, is_deleting, is_outdated, namespace_of, node_name};
use crate::run::{Cache, Controller};

const FINALIZER: &str = "kubernetes.io/pvc-protection";
/// Index of pods by the claims that they use, as `namespace/name`.
pub(super) const BY_CLAIM: &str = "claims";

struct ClaimProtection {
    client: Client,
    claims: Informer<PersistentVolumeClaim>,
    pods: Informer<Pod>,
    queue: WorkQueue<ObjectKey>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(ClaimProtection {
        client: context.client.clone(),
        claims: context.informers.all(),
        pods: context.informers.indexed(vec![(BY_CLAIM, Box::new(claims_of_pod))]),
        queue: WorkQueue::named("pvcprotection"),
    });
    let queue = controller.queue.clone();
    controller.claims.subscribe(move |event| {
        if let Event::Added(claim) | Event::Updated { new: claim, .. } = event
            && protection::wants(&**claim, FINALIZER).is_some()
        {
            queue.add(ObjectKey::of(&**claim));
        }
    });
    let (queue, claims) = (controller.queue.clone(), controller.claims.store());
    controller.pods.subscribe(move |event| {
        let pod = match event {
            Event::Deleted(pod) => pod,
            Event::Updated { old, new } if old.metadata.uid != new.metadata.uid => old,
            Event::Added(pod) | Event::Updated { new: pod, .. } if is_shut_down(pod) => pod,
            _ => return,
        };
        let used = of_pod(pod).map(|used| ObjectKey::new(namespace_of(&**pod), used.name));
        used.filter(|key| claims.get_key(key).is_some_and(|claim| is_deleting(&*claim))).for_each(|key| queue.add(key));
    });
    crate::run::run(controller).await
}

/// The claims that a pod uses, as [`BY_CLAIM`] finds it.
pub(super) fn claims_of_pod(pod: &Pod) -> Vec<String> {
    of_pod(pod).map(|used| ObjectKey::new(namespace_of(pod), used.name).to_string()).collect()
}

impl Controller for ClaimProtection {
    type Key = ObjectKey;
    const WORKERS: usize = 2;

    fn queue(&self) -> &WorkQueue<ObjectKey> {
        &self.queue
    }

    fn caches(&self) -> Vec<&dyn Cache> {
        vec![&self.claims, &self.pods]
    }

    async fn reconcile(&self, key: ObjectKey) -> anyhow::Result<Option<Duration>> {
        let Some(claim) = self.claims.store().get_key(&key) else { return Ok(None) };
        let changed = match protection::wants(&*claim, FINALIZER) {
            Some(Wants::Finalizer) => protection::with(&*claim, FINALIZER),
            Some(Wants::End) if !self.is_used(&claim).await? => protection::without(&*claim, FINALIZER),
            _ => return Ok(None),
        };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.replace(&key.name, &PostParams::default(), &changed).await {
            Err(error) if !is_outdated(&error, &["persistentvolumeclaims"]) => Err(error.into()),
            _ => Ok(None),
        }
    }
}

impl ClaimProtection {
    /// Whether a pod uses a claim, by the cache, and if that knows of none, by the server.
    async fn is_used(&self, claim: &PersistentVolumeClaim) -> anyhow::Result<bool> {
        let key = ObjectKey::of(claim);
        if self.pods.store().by_index(BY_CLAIM, &key.to_string())?.iter().any(|pod| uses(pod, claim)) {
            return Ok(true);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        Ok(api.list(&ListParams::default()).await?.items.iter().any(|pod| uses(pod, claim)))
    }
}

/// Whether a pod on a node uses a claim. One without a node gets none any more: kubelets refuse claims that are being deleted.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let is_this = |used: Used| {
        used.name == claim.name_any() && (!used.is_ephemeral || (!is_shut_down(pod) && is_for_pod(pod, claim).is_ok()))
    };
    !node_name(pod).is_empty() && of_pod(pod).any(is_this)
}

/// Whether a pod is deleted and its kubelet is done with it.
fn is_shut_down(pod: &Pod) -> bool {
    is_deleting(pod) && pod.metadata.deletion_grace_period_seconds == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(node: &str, volume: Value, meta: Value) -> Pod {
        let mut metadata = json!({"name": "p", "namespace": "n", "uid": "u"});
        meta.as_object().unwrap().iter().for_each(|(key, value)| metadata[key] = value.clone());
        let spec = json!({"nodeName": node, "containers": [], "volumes": [volume]});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn pods_on_nodes_use_their_claims_to_the_end() {
        let named = json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-v"}});
        let made = json!({"name": "v", "ephemeral": {}});
        let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]);
        let claim = |owners: Value| -> PersistentVolumeClaim {
            let meta = json!({"name": "p-v", "namespace": "n", "ownerReferences": owners});
            serde_json::from_value(json!({"metadata": meta})).unwrap()
        };
        let gone = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0});
        assert!(uses(&pod("a", named.clone(), json!({})), &claim(json!([]))));
        assert!(uses(&pod("a", named.clone(), gone.clone()), &claim(json!([]))));
        assert!(!uses(&pod("", named, json!({})), &claim(json!([]))));
        assert!(uses(&pod("a", made.clone(), json!({})), &claim(owner.clone())));
        assert!(!uses(&pod("a", made.clone(), json!({})), &claim(json!([]))));
        assert!(!uses(&pod("a", made, gone), &claim(owner)));
    }
}
