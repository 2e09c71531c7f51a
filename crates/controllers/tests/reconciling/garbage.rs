//! What becomes of objects whose owners are elsewhere.

use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, PersistentVolume};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::cluster::{Cluster, until};

#[tokio::test]
async fn an_owner_is_where_a_reference_can_mean_it() {
    let cluster = Cluster::new().await;
    let create = PostParams::default();
    let other: Namespace = serde_json::from_value(json!({"metadata": {"name": "other"}})).unwrap();
    Api::all(cluster.client.clone()).create(&create, &other).await.unwrap();
    let owner: ConfigMap = cluster.create(json!({"metadata": {"name": "owner"}})).await;
    let meta = |name: &str| {
        json!({"name": name, "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid()}]})
    };
    let volume = json!({"metadata": meta("volume"), "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/x"}}});
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    volumes.create(&create, &serde_json::from_value(volume).unwrap()).await.unwrap();
    let elsewhere: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "other");
    let stranger = serde_json::from_value(json!({"metadata": meta("stranger")})).unwrap();
    elsewhere.create(&create, &stranger).await.unwrap();
    cluster.create::<ConfigMap>(json!({"metadata": meta("child")})).await;

    until("the stranger's end", || async { elsewhere.get_opt("stranger").await.unwrap().is_none().then_some(()) })
        .await;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "other");
    let about = |name: &str| ListParams::default().fields(&format!("involvedObject.name={name}"));
    let found = until("the event about it", || async {
        events.list(&about("stranger")).await.unwrap().items.into_iter().next()
    })
    .await;
    let uid = owner.uid().unwrap();
    let text = format!(
        "ownerRef [v1/ConfigMap, namespace: other, name: owner, uid: {uid}] does not exist in namespace \"other\""
    );
    assert_eq!((found.reason.as_deref(), found.message), (Some("OwnerRefInvalidNamespace"), Some(text)));
    cluster.event("volume", "OwnerRefInvalidNamespace").await;

    cluster.api::<ConfigMap>().delete("owner", &DeleteParams::default()).await.unwrap();
    until("the child's end", || async {
        cluster.api::<ConfigMap>().get_opt("child").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(volumes.get("volume").await.unwrap().metadata.deletion_timestamp.is_none());
}
