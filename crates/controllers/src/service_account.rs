//! Gives every namespace its ServiceAccount `default`.

use std::sync::Arc;

use coracle_client::{Event, Informer, WorkQueue, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, PostParams};

use crate::common::{Context, is_deleting, is_namespace_terminating, namespace_of};
use crate::run::reconcile_all;

const NAME: &str = "default";

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let queue: WorkQueue<String> = WorkQueue::named("serviceaccount");
    let namespaces = context.namespaces();
    let fields = Some(format!("metadata.name={NAME}"));
    let accounts: Informer<ServiceAccount> =
        Informer::with_selectors(Api::all(context.informers.client().clone()), None, fields, Vec::new());
    accounts.start();
    let q = queue.clone();
    namespaces.subscribe(move |event| {
        if let Event::Added(namespace) | Event::Updated { new: namespace, .. } = event {
            q.add(namespace.name_any());
        }
    });
    let q = queue.clone();
    accounts.subscribe(move |event| {
        if let Event::Deleted(account) = event {
            q.add(namespace_of(&**account).to_owned());
        }
    });
    let (known, existing, client) = (namespaces.store(), accounts.store(), Arc::new(context.client));
    reconcile_all(&[&namespaces, &accounts], &queue, 2, move |name| {
        let live = known.get("", &name).is_some_and(|namespace| !is_deleting(&*namespace));
        let missing = live && existing.get(&name, NAME).is_none();
        let client = client.clone();
        async move {
            if !missing {
                return Ok(None);
            }
            let account = ServiceAccount {
                metadata: ObjectMeta {
                    name: Some(NAME.into()),
                    namespace: Some(name.clone()),
                    ..ObjectMeta::default()
                },
                ..ServiceAccount::default()
            };
            let api: Api<ServiceAccount> = Api::namespaced((*client).clone(), &name);
            match api.create(&PostParams::default(), &account).await {
                Ok(_) => Ok(None),
                Err(error) if is_conflict(&error) || is_not_found(&error) || is_namespace_terminating(&error) => {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        }
    })
    .await
}
