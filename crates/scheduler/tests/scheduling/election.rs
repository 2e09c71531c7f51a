//! Of several schedulers one schedules, and when it is gone another does.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use serde_json::json;

use crate::cluster::Cluster;

const ELECTION: &str =
    "leaderElection: {leaderElect: true, leaseDuration: 3s, renewDeadline: 2s, retryPeriod: 200ms}\n";

async fn holder(cluster: &Cluster) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-system");
    leases.get_opt("kube-scheduler").await.expect("an answer")?.spec?.holder_identity
}

async fn until_held(cluster: &Cluster, by: impl Fn(&str) -> bool) -> String {
    loop {
        if let Some(holder) = holder(cluster).await.filter(|holder| by(holder)) {
            return holder;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_one_that_ends_waits_for_its_lease() {
    let mut cluster = Cluster::bare().await;
    cluster.node("a", "8", json!({})).await;
    cluster.schedule(ELECTION);
    assert_eq!(until_held(&cluster, |_| true).await, "test-0");
    cluster.schedule(ELECTION);
    cluster.pod("first", "1", json!({})).await;
    cluster.placed("first").await;
    let ended = Instant::now();
    cluster.stop(0);
    assert_eq!(until_held(&cluster, |holder| holder != "test-0").await, "test-1");
    // It was renewed within its deadline before.
    assert!(ended.elapsed() >= Duration::from_secs(1), "{:?}", ended.elapsed());
    cluster.pod("second", "1", json!({})).await;
    cluster.placed("second").await;
}
