//! Of several processes one leads, by a lease in the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coracle_client::{Election, LeaderElection};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use tokio::sync::{Notify, oneshot};

use crate::cluster::{Cluster, until};

/// Patient leaders and impatient others.
fn election() -> Election {
    Election {
        elect: true,
        namespace: "default".into(),
        lease_duration: Duration::from_secs(2),
        renew_deadline: Duration::from_secs(1),
        retry_period: Duration::from_millis(50),
    }
}

/// A candidate that leads until it is told to end; says when it begins.
fn candidate(
    client: &Client,
    identity: &str,
    end: Arc<Notify>,
) -> (tokio::task::JoinHandle<bool>, oneshot::Receiver<()>) {
    let candidate = LeaderElection::new(client.clone(), election(), "lease", identity);
    let (begins, begun) = oneshot::channel();
    let task = tokio::spawn(async move {
        let lead = || async {
            let _ = begins.send(());
            end.notified().await;
        };
        candidate.run(lead).await.is_ok()
    });
    (task, begun)
}

async fn holder(cluster: &Cluster) -> String {
    let lease = cluster.api::<Lease>().get("lease").await.expect("the lease");
    lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default()
}

#[tokio::test]
async fn a_lease_is_of_one_process_until_it_gives_it_up_or_is_gone() {
    let cluster = Cluster::new().await;
    let (first_ends, second_ends, third_ends) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
    let (first, begun) = candidate(&cluster.client, "first", first_ends.clone());
    begun.await.expect("the first leads");
    let (second, mut begun) = candidate(&cluster.client, "second", second_ends.clone());
    // Longer than the lease lasts: who leads renews it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(begun.try_recv().is_err() && !first.is_finished());
    assert_eq!(holder(&cluster).await, "first");
    first_ends.notify_one();
    assert!(first.await.expect("it ends"));
    begun.await.expect("the second leads");
    // Who is killed gives nothing up; its lease runs out.
    let (third, begun) = candidate(&cluster.client, "third", third_ends.clone());
    second.abort();
    begun.await.expect("the third leads");
    assert_eq!(holder(&cluster).await, "third");
    third_ends.notify_one();
    assert!(third.await.expect("it ends"));
    assert_eq!(holder(&cluster).await, "");
}

/// Whoever finds that another has the lease stops what it does.
#[tokio::test]
async fn who_loses_its_lease_is_stopped_where_it_stands() {
    let cluster = Cluster::new().await;
    let (task, begun) = candidate(&cluster.client, "first", Arc::default());
    begun.await.expect("it leads");
    let patch = serde_json::json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}});
    cluster.patch::<Lease>("lease", patch).await;
    assert!(!task.await.expect("it ends"), "it led to its end");
    assert_eq!(holder(&cluster).await, "thief");
}

/// However many come at once.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_come_at_once_one_leads() {
    let cluster = Cluster::new().await;
    let (leading, led) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for number in 0..5 {
        let candidate = LeaderElection::new(cluster.client.clone(), election(), "lease", &format!("c{number}"));
        let (leading, led) = (leading.clone(), led.clone());
        tokio::spawn(async move {
            let lead = || async move {
                assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two lead");
                tokio::time::sleep(Duration::from_millis(100)).await;
                leading.fetch_sub(1, Ordering::SeqCst);
                led.fetch_add(1, Ordering::SeqCst);
            };
            candidate.run(lead).await
        });
    }
    until("all have led", || async { (led.load(Ordering::SeqCst) == 5).then_some(()) }).await;
}
