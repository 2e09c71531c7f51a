//! Counts what a namespace uses of what its quotas limit.
//!
//! The API server keeps the count with every write that it sees; here it is begun when a quota is new or limits something
//! else, and made anew now and then. The quota is read before the objects are, and the count is written only if it has not
//! changed since: so nothing that is written meanwhile is left out.
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/>

use std::collections::BTreeSet;
use std::time::Duration;

use coracle_api::meta;
use coracle_client::{Event, ObjectKey, WorkQueue, is_conflict, is_not_found};
use coracle_policy::amounts::{Amounts, Sum};
use coracle_policy::quota::{Resource, covers, is_tracked, status, usage};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, TypeMeta};
use serde_json::Value;

use crate::common::Context;
use crate::discovery::deletable;
use crate::run::reconcile_all;

/// How often everything is counted anew, as upstream does.
const RESYNC: Duration = Duration::from_secs(300);
const PAGE_SIZE: u32 = 500;
/// Kinds of which each object uses another amount; of all others they are only counted.
const MEASURED: [&str; 3] = ["pods", "services", "persistentvolumeclaims"];

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let queue: WorkQueue<ObjectKey> = WorkQueue::named("resourcequota_primary");
    let quotas = context.informers.all::<ResourceQuota>();
    let q = queue.clone();
    quotas.subscribe(move |event| match event {
        Event::Added(quota) => q.add(ObjectKey::of(&**quota)),
        Event::Updated { new, .. } if is_uncounted(new) => q.add(ObjectKey::of(&**new)),
        _ => {}
    });
    let (store, client) = (quotas.store(), context.client);
    reconcile_all(&[&quotas], &queue, 5, move |key| {
        let found = store.get_key(&key).is_some();
        let client = client.clone();
        async move {
            if !found {
                return Ok::<_, kube::Error>(None);
            }
            match count(&client, &key).await {
                Err(error) if is_conflict(&error) => Ok(Some(Duration::from_millis(50))),
                Err(error) if is_not_found(&error) => Ok(None),
                counted => counted.map(|()| Some(RESYNC)),
            }
        }
    })
    .await
}

/// Whether a quota limits something else than was counted.
fn is_uncounted(quota: &ResourceQuota) -> bool {
    let wanted = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    let status = quota.status.clone().unwrap_or_default();
    let (hard, used) = (status.hard.unwrap_or_default(), status.used.unwrap_or_default());
    wanted != hard || !wanted.keys().eq(used.keys())
}

async fn count(client: &Client, key: &ObjectKey) -> kube::Result<()> {
    let kind = resource("ResourceQuota");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &kind);
    // The role of the controller lets it list, but not get.
    let named = ListParams::default().fields(&format!("metadata.name={}", key.name));
    let Some(mut object) = api.list(&named).await?.items.pop() else { return Ok(()) };
    let quota = serde_json::to_value(&object).map_err(kube::Error::SerdeError)?;
    let used = used(client, &key.namespace, &quota).await?;
    let status = status(&quota, &used);
    if status == quota["status"] {
        return Ok(());
    }
    object.types = Some(TypeMeta { api_version: kind.api_version, kind: kind.kind });
    object.data["status"] = status;
    api.replace_status(&key.name, &PostParams::default(), &object).await?;
    Ok(())
}

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("", "v1", kind))
}

/// What the objects of a namespace use of a quota.
async fn used(client: &Client, namespace: &str, quota: &Value) -> kube::Result<Amounts> {
    let limited: BTreeSet<String> = meta::string_map(&quota["spec"]["hard"]).map(|(name, _)| name.to_owned()).collect();
    let mut used = Amounts::default();
    if limited.is_empty() {
        return Ok(used);
    }
    let now = Timestamp::now();
    for found in deletable(client).await?.resources.iter().filter(|found| found.namespaced) {
        let resource = Resource { group: &found.resource.group, plural: &found.resource.plural };
        if !limited.iter().any(|name| is_tracked(resource, name)) {
            continue;
        }
        let is_measured = resource.group.is_empty() && MEASURED.contains(&resource.plural);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &found.resource);
        each(&api, is_measured, |object| {
            if covers(quota, resource, object) {
                used.add(&usage(resource, object, now));
            }
        })
        .await?;
    }
    Ok(used)
}

/// Looks at every object of a resource in a namespace, page by page; at its metadata only where that is enough.
async fn each(api: &Api<DynamicObject>, whole: bool, mut look: impl FnMut(&Value)) -> kube::Result<()> {
    let mut params = ListParams::default().limit(PAGE_SIZE);
    loop {
        let next = match whole {
            true => {
                let page = api.list(&params).await?;
                page.items
                    .iter()
                    .filter_map(|object| serde_json::to_value(object).ok())
                    .for_each(|object| look(&object));
                page.metadata.continue_
            }
            false => {
                let page = api.list_metadata(&params).await?;
                page.items.iter().for_each(|_| look(&Value::Null));
                page.metadata.continue_
            }
        };
        match next.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_quota_is_counted_when_it_limits_something_else() {
        let quota = |status: Value| -> ResourceQuota {
            serde_json::from_value(json!({"metadata": {}, "spec": {"hard": {"pods": "2"}}, "status": status}))
                .expect("a quota")
        };
        assert!(is_uncounted(&quota(json!({}))));
        assert!(is_uncounted(&quota(json!({"hard": {"pods": "2"}}))));
        assert!(is_uncounted(&quota(json!({"hard": {"pods": "1"}, "used": {"pods": "1"}}))));
        assert!(!is_uncounted(&quota(json!({"hard": {"pods": "2"}, "used": {"pods": "1"}}))));
    }
}
