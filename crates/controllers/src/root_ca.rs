//! Publishes the cluster's root certificate in every namespace, as ConfigMap `kube-root-ca.crt`.

use std::collections::BTreeMap;

use coracle_client::{Event, Informer, WorkQueue, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use crate::common::{Context, is_deleting, is_namespace_terminating, namespace_of};
use crate::run::reconcile_all;

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let queue: WorkQueue<String> = WorkQueue::named("root-ca-cert-publisher");
    let namespaces = context.namespaces();
    let fields = Some(format!("metadata.name={NAME}"));
    let maps: Informer<ConfigMap> =
        Informer::with_selectors(Api::all(context.informers.client().clone()), None, fields, Vec::new());
    maps.start();
    let q = queue.clone();
    namespaces.subscribe(move |event| {
        if let Event::Added(namespace) | Event::Updated { new: namespace, .. } = event {
            q.add(namespace.name_any());
        }
    });
    let q = queue.clone();
    maps.subscribe(move |event| {
        if let Event::Updated { new: map, .. } | Event::Deleted(map) = event {
            q.add(namespace_of(&**map).to_owned());
        }
    });
    let (known, published) = (namespaces.store(), maps.store());
    let (client, config) = (context.client.clone(), context.config.clone());
    reconcile_all(&[&namespaces, &maps], &queue, 2, move |name| {
        let live = known.get("", &name).is_some_and(|namespace| !is_deleting(&*namespace));
        let current = published.get(&name, NAME);
        let (client, config) = (client.clone(), config.clone());
        async move {
            if !live || current.as_ref().is_some_and(|map| is_published(map, &config.root_ca)) {
                return Ok(None);
            }
            match publish(client, &name, current.as_deref(), &config.root_ca).await {
                Ok(()) => Ok(None),
                Err(error) if is_conflict(&error) || is_not_found(&error) || is_namespace_terminating(&error) => {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        }
    })
    .await
}

fn is_published(map: &ConfigMap, root_ca: &str) -> bool {
    map.data.as_ref().is_some_and(|data| data.len() == 1 && data.get("ca.crt").is_some_and(|ca| ca == root_ca))
        && map.annotations().get(DESCRIPTION).is_some_and(|text| text == DESCRIPTION_TEXT)
}

async fn publish(client: Client, namespace: &str, current: Option<&ConfigMap>, root_ca: &str) -> kube::Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let mut map = current.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.into()), namespace: Some(namespace.into()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    });
    // What others put beside the certificate goes.
    map.data = Some(BTreeMap::from([("ca.crt".into(), root_ca.into())]));
    map.binary_data = None;
    map.metadata.annotations.get_or_insert_default().insert(DESCRIPTION.into(), DESCRIPTION_TEXT.into());
    match current {
        Some(_) => api.replace(NAME, &PostParams::default(), &map).await.map(|_| ()),
        None => api.create(&PostParams::default(), &map).await.map(|_| ()),
    }
}
