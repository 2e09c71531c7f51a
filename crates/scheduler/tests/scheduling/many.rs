//! More pods than are bound at once.

use futures::future::join_all;
use kube::api::ListParams;
use serde_json::json;

use crate::cluster::{Cluster, until};

#[tokio::test(flavor = "multi_thread")]
async fn all_of_many_pods_that_come_together_are_bound_where_there_is_room() {
    const PODS: usize = 600;
    let mut cluster = Cluster::bare().await;
    for number in 0..6 {
        cluster.node(&format!("n{number}"), "100", json!({})).await;
    }
    let names: Vec<String> = (0..PODS).map(|number| format!("p{number}")).collect();
    join_all(names.iter().map(|name| cluster.pod(name, "1", json!({})))).await;
    cluster.schedule("{}");
    until("a node for every pod", || async {
        let unbound = ListParams::default().fields("spec.nodeName=");
        cluster.pods().list(&unbound).await.expect("a list").items.is_empty().then_some(())
    })
    .await;
    for number in 0..6 {
        let on_it = ListParams::default().fields(&format!("spec.nodeName=n{number}"));
        assert_eq!(cluster.pods().list(&on_it).await.expect("a list").items.len(), PODS / 6);
    }
}
