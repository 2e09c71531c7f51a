//! How many pods the controller of a pod wants: by its own number of replicas, or by its subresource `scale`.

use coracle_client::Informer;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::common::{Context, controller_of, resolve, uid};
use crate::run::Cache;
use crate::scale::{Error, Scales, Target};

/// A controller's UID, and the replicas that it wants.
pub(super) type Wanted = (String, i32);

pub(super) struct Replicas {
    scales: Scales,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication_controllers: Informer<ReplicationController>,
}

impl Replicas {
    pub fn new(context: &Context) -> Replicas {
        Replicas {
            scales: Scales::new(context.client.clone()),
            deployments: context.deployments(),
            replica_sets: context.replica_sets(),
            stateful_sets: context.informers.all(),
            replication_controllers: context.informers.all(),
        }
    }

    pub fn caches(&self) -> [&dyn Cache; 4] {
        [&self.deployments, &self.replica_sets, &self.stateful_sets, &self.replication_controllers]
    }

    /// What the controller `owner` of a pod wants; `None` when it is gone.
    ///
    /// # Errors
    /// It has no number of replicas, or the API server does not tell it.
    pub async fn of(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<Wanted>, String> {
        if let Some(wanted) = self.known(namespace, owner) {
            return Ok(Some(wanted));
        }
        // Of a kind of which nothing else is known, as a custom resource's.
        let target = Target { namespace, api_version: &owner.api_version, kind: &owner.kind, name: &owner.name };
        match self.scales.get(target).await {
            Ok(scale) if uid(&scale) == owner.uid => {
                Ok(Some((owner.uid.clone(), scale.spec.and_then(|spec| spec.replicas).unwrap_or(0))))
            }
            Ok(_) | Err(Error::Gone(_)) => Ok(None),
            Err(Error::Other(text)) => Err(text),
        }
    }

    /// Of the kinds that are in the cache. The replica set of a deployment counts as the deployment.
    fn known(&self, namespace: &str, owner: &OwnerReference) -> Option<Wanted> {
        if let Some(set) = resolve(&self.replica_sets.store(), namespace, owner) {
            return match controller_of(&set.metadata).filter(|parent| parent.kind == "Deployment") {
                Some(parent) => {
                    let deployment = resolve(&self.deployments.store(), namespace, parent)?;
                    Some((uid(&*deployment).to_owned(), deployment.spec.as_ref()?.replicas.unwrap_or(1)))
                }
                None => Some((owner.uid.clone(), set.spec.as_ref()?.replicas.unwrap_or(1))),
            };
        }
        let stateful = resolve(&self.stateful_sets.store(), namespace, owner)
            .and_then(|set| Some(set.spec.as_ref()?.replicas.unwrap_or(1)));
        let replicas = stateful.or_else(|| {
            let controller = resolve(&self.replication_controllers.store(), namespace, owner)?;
            Some(controller.spec.as_ref()?.replicas.unwrap_or(1))
        })?;
        Some((owner.uid.clone(), replicas))
    }
}
