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
/// from the server; owned ones that no longer match are released. `adoptable` says which of the orphans that match may be
/// taken. The store needs the indexes [`BY_CONTROLLER`] and [`ORPHANS`].
///
/// # Errors
/// The server refuses, or there is something to adopt and the owner was deleted meanwhile: what it is said to have would
/// be less than what it had, and replacing that would be wrong.
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
            check_owner(owner, live.as_ref())?;
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

/// Checks that an owner, as the server has it now, may adopt.
fn check_owner<O: Resource<DynamicType = ()>>(owner: &O, live: Option<&O>) -> kube::Result<()> {
    let (kind, namespace, name) = (O::kind(&()), namespace_of(owner), owner.name_any());
    let why = match live {
        None => format!("original {kind} {namespace}/{name} is gone"),
        Some(live) if uid(live) != uid(owner) => {
            format!("original {kind} {namespace}/{name} is gone: got uid {}, wanted {}", uid(live), uid(owner))
        }
        Some(live) if is_deleting(live) => format!("{namespace}/{name} has just been deleted"),
        Some(_) => return Ok(()),
    };
    Err(kube::Error::Service(why.into()))
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, ReplicationController};
    use kube::client::Body;
    use serde_json::Value;

    use super::*;
    use crate::common::{controller_uid, orphan_namespace};

    /// What the server answers to whoever reads the owner; nothing else is asked of it.
    fn server(owner: Option<Value>) -> Client {
        coracle_client::in_process(tower::service_fn(move |request: http::Request<Body>| {
            assert_eq!((request.method().as_str(), request.uri().path()), ("GET", OWNER));
            let missing =
                json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "", "status": "Failure"});
            let code = if owner.is_some() { 200 } else { 404 };
            let answer = owner.clone().unwrap_or(missing).to_string();
            let answer = http::Response::builder().status(code).body(Body::from(answer.into_bytes()));
            async move { answer }
        }))
    }

    const OWNER: &str = "/api/v1/namespaces/n/replicationcontrollers/web";

    fn owner(uid: &str, deleted: bool) -> Value {
        let mut owner = json!({"metadata": {"name": "web", "namespace": "n", "uid": uid}});
        if deleted {
            owner["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        owner
    }

    #[tokio::test]
    async fn an_owner_that_was_deleted_meanwhile_is_not_told_that_it_has_less_than_before() {
        let pod = json!({"metadata": {"name": "a", "namespace": "n", "uid": "p", "labels": {"app": "web"}}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let indexes: Vec<(_, coracle_client::Indexer<Pod>)> =
            vec![(BY_CONTROLLER, Box::new(controller_uid::<Pod>)), (ORPHANS, Box::new(orphan_namespace::<Pod>))];
        let pods = Store::of(vec![pod], indexes);
        let known: ReplicationController = serde_json::from_value(owner("u", false)).unwrap();
        for (live, told) in [
            (None, "original ReplicationController n/web is gone"),
            (Some(owner("u", true)), "n/web has just been deleted"),
            (Some(owner("v", false)), "original ReplicationController n/web is gone: got uid v, wanted u"),
        ] {
            let error = claim(&server(live), &known, &pods, |_| true, |_| true).await.unwrap_err();
            assert_eq!(error.to_string(), format!("ServiceError: {told}"));
        }
    }
}
