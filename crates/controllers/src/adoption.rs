//! Adoption and release: the objects of a controller are those that it owns and that its selector matches.

use std::fmt::Debug;
use std::sync::Arc;

use coracle_client::{Store, is_not_found};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::common::{BY_CONTROLLER, ORPHANS, controller_reference, is_deleting, namespace_of, uid};

/// The objects in `store` that belong to `owner`. Orphans that match are adopted, after the owner was read anew
/// from the server (a deleted owner adopts nothing); owned ones that no longer match are released. `adoptable`
/// says which of the orphans that match may be taken. The store needs the indexes [`BY_CONTROLLER`] and [`ORPHANS`].
pub(crate) async fn claim<O, K>(
    client: &Client,
    owner: &O,
    store: &Store<K>,
    matches: impl Fn(&K) -> bool,
    adoptable: impl Fn(&K) -> bool,
) -> kube::Result<Vec<Arc<K>>>
where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    claim_with_finalizer(client, owner, store, None, matches, adoptable).await
}

/// As [`claim`], for an owner whose objects have a finalizer, which comes and goes with the ownership.
pub(crate) async fn claim_with_finalizer<O, K>(
    client: &Client,
    owner: &O,
    store: &Store<K>,
    finalizer: Option<&str>,
    matches: impl Fn(&K) -> bool,
    adoptable: impl Fn(&K) -> bool,
) -> kube::Result<Vec<Arc<K>>>
where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let namespace = namespace_of(owner);
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let mut claimed = Vec::new();
    for object in store.by_index(BY_CONTROLLER, uid(owner))? {
        if matches(&object) {
            claimed.push(object);
        } else if !is_deleting(owner) && !is_deleting(&*object) {
            let mut patch = json!({"metadata": {
                "uid": uid(&*object),
                "ownerReferences": [{"$patch": "delete", "uid": uid(owner)}],
            }});
            if let Some(finalizer) = finalizer {
                patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
            }
            patch_owners(&api, &object, patch).await?;
        }
    }
    if is_deleting(owner) {
        return Ok(claimed);
    }
    let mut verified = false;
    for object in store.by_index(ORPHANS, namespace)? {
        if is_deleting(&*object) || !matches(&object) || !adoptable(&object) {
            continue;
        }
        if !verified {
            let live = Api::<O>::namespaced(client.clone(), namespace).get_opt(&owner.name_any()).await?;
            if !live.is_some_and(|live| uid(&live) == uid(owner) && !is_deleting(&live)) {
                return Ok(claimed);
            }
            verified = true;
        }
        let mut patch = json!({"metadata": {"uid": uid(&*object), "ownerReferences": [controller_reference(owner)]}});
        if let Some(finalizer) = finalizer {
            patch["metadata"]["finalizers"] = json!([finalizer]);
        }
        if let Some(adopted) = patch_owners(&api, &object, patch).await? {
            claimed.push(Arc::new(adopted));
        }
    }
    Ok(claimed)
}

/// `None` when the object is gone or another one of its name took its place.
async fn patch_owners<K>(api: &Api<K>, object: &K, patch: serde_json::Value) -> kube::Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(patched) => Ok(Some(patched)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(None),
        Err(error) => Err(error),
    }
}
