//! How many pods the controller of a pod wants: by its own number of replicas, or by its subresource `scale`.

use std::collections::HashMap;

use coracle_client::{Informer, is_not_found};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResourceList, OwnerReference};
use kube::Client;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::common::{Context, controller_of, message, resolve, uid};
use crate::run::Cache;

/// A controller's UID, and the replicas that it wants.
pub(super) type Wanted = (String, i32);

pub(super) struct Scales {
    client: Client,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication_controllers: Informer<ReplicationController>,
    /// The paths of kinds, by API version and kind, as discovery told them.
    plurals: Mutex<HashMap<(String, String), String>>,
}

impl Scales {
    pub fn new(context: &Context) -> Scales {
        Scales {
            client: context.client.clone(),
            deployments: context.deployments(),
            replica_sets: context.replica_sets(),
            stateful_sets: context.informers.all(),
            replication_controllers: context.informers.all(),
            plurals: Mutex::default(),
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
        match self.known(namespace, owner) {
            Some(wanted) => Ok(Some(wanted)),
            None => self.ask(namespace, owner).await,
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

    /// By the subresource of a kind of which nothing else is known, as a custom resource's.
    async fn ask(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<Wanted>, String> {
        let plural = self.plural(owner).await?;
        let base = base_path(&owner.api_version);
        // Whoever writes a pod chooses the name, which is to be no more than a name.
        let name = utf8_percent_encode(&owner.name, NON_ALPHANUMERIC);
        let request = http::Request::get(format!("{base}/namespaces/{namespace}/{plural}/{name}/scale"));
        let request = request.body(Vec::new()).map_err(|error| error.to_string())?;
        match self.client.request::<Scale>(request).await {
            Ok(scale) if uid(&scale) == owner.uid => {
                Ok(Some((owner.uid.clone(), scale.spec.and_then(|spec| spec.replicas).unwrap_or(0))))
            }
            Ok(_) => Ok(None),
            Err(error) if is_not_found(&error) => {
                // The kind may be gone, or have another plural.
                self.plurals.lock().remove(&(owner.api_version.clone(), owner.kind.clone()));
                let subresource = format!("{plural}/scale");
                let resources = self.resources(&owner.api_version).await?;
                if resources.resources.iter().any(|resource| resource.name == subresource) {
                    return Ok(None);
                }
                let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
                Err(format!("{} does not implement the scale subresource", qualified(&plural, group)))
            }
            Err(error) => Err(message(&error)),
        }
    }

    async fn plural(&self, owner: &OwnerReference) -> Result<String, String> {
        let key = (owner.api_version.clone(), owner.kind.clone());
        if let Some(plural) = self.plurals.lock().get(&key) {
            return Ok(plural.clone());
        }
        let no_match = || format!("no matches for kind \"{}\" in version \"{}\"", owner.kind, owner.api_version);
        if !self.is_served(&owner.api_version).await? {
            return Err(no_match());
        }
        let resources = self.resources(&owner.api_version).await?;
        let of_kind = resources.resources.iter().find(|r| r.kind == owner.kind && !r.name.contains('/'));
        let plural = of_kind.map(|resource| resource.name.clone()).ok_or_else(no_match)?;
        self.plurals.lock().insert(key, plural.clone());
        Ok(plural)
    }

    /// Whether discovery knows this API version; what it does not know is never part of a path.
    async fn is_served(&self, api_version: &str) -> Result<bool, String> {
        if !api_version.contains('/') {
            return Ok(api_version == "v1");
        }
        let groups = self.client.list_api_groups().await.map_err(|error| message(&error))?;
        let mut versions = groups.groups.iter().flat_map(|group| &group.versions);
        Ok(versions.any(|version| version.group_version == api_version))
    }

    async fn resources(&self, api_version: &str) -> Result<APIResourceList, String> {
        let listed = match api_version.contains('/') {
            true => self.client.list_api_group_resources(api_version).await,
            false => self.client.list_core_api_resources(api_version).await,
        };
        listed.map_err(|error| message(&error))
    }
}

fn base_path(api_version: &str) -> String {
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    format!("{root}/{api_version}")
}

fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}
