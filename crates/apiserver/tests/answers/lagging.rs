//! Servers on a store that others write to as well, and that tells of changes later than it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use coracle_store::{
    Error, Event, Feed, KeyValue, Op, Outcome, Page, Result, Revision, Store, Subscription, Txn, Update,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::Api;

const LAG: Duration = Duration::from_millis(20);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A store as one of several processes sees it.
struct Lagging {
    store: Arc<dyn Store>,
    lag: Duration,
    hastened: AtomicUsize,
    /// The next change is lost, and with it what follows.
    loses: Arc<AtomicBool>,
}

#[async_trait]
impl Store for Lagging {
    fn settled_revision(&self) -> Option<Revision> {
        None
    }

    async fn current_revision(&self) -> Result<Revision> {
        self.store.current_revision().await
    }

    async fn hasten(&self) -> Result<()> {
        self.hastened.fetch_add(1, Ordering::SeqCst);
        let op = Op::Put { key: "/registry/coracle/progress".into(), value: Default::default(), ttl: None };
        self.store.txn(Txn { compares: Vec::new(), ops: vec![op] }).await.map(|_| ())
    }

    fn failure(&self) -> Option<Error> {
        self.store.failure()
    }

    async fn failed(&self) -> Error {
        self.store.failed().await
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<KeyValue>> {
        self.store.get(key, at).await
    }

    async fn list(
        &self,
        prefix: &str,
        at: Option<Revision>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Page> {
        self.store.list(prefix, at, after, limit).await
    }

    async fn txn(&self, txn: Txn) -> Result<Outcome> {
        self.store.txn(txn).await
    }

    async fn subscribe(&self, prefix: &str, after: Revision, feed: Feed) -> Result<Subscription> {
        let (sender, mut changes) = mpsc::unbounded_channel::<Vec<Event>>();
        let (loses, lag) = (self.loses.clone(), self.lag);
        tokio::spawn(async move {
            while let Some(mut events) = changes.recv().await {
                tokio::time::sleep(lag).await;
                // What came meanwhile is not later still.
                while let Ok(more) = changes.try_recv() {
                    events.extend(more);
                }
                if loses.swap(false, Ordering::SeqCst) {
                    return feed(Update::Ended(Error::Compacted { requested: events[0].revision, oldest: 1 << 40 }));
                }
                feed(Update::Changes(&events));
            }
        });
        let feed = move |update: Update<'_>| {
            if let Update::Changes(events) = update {
                let _ = sender.send(events.to_vec());
            }
        };
        self.store.subscribe(prefix, after, Box::new(feed)).await
    }
}

impl Lagging {
    fn on(store: &Arc<dyn Store>) -> Arc<Lagging> {
        Lagging::by(LAG, store)
    }

    fn by(lag: Duration, store: &Arc<dyn Store>) -> Arc<Lagging> {
        Arc::new(Lagging { store: store.clone(), lag, hastened: AtomicUsize::new(0), loses: Arc::default() })
    }
}

/// Two servers of one cluster, and how each sees the store.
async fn two() -> ([Api; 2], [Arc<Lagging>; 2]) {
    let mut first = None;
    let api = Api::over(|store| first.insert(Lagging::on(&store)).clone()).await;
    let first = first.expect("a store");
    let second = Lagging::on(&first.store);
    let other = Api::on(tempfile::tempdir().expect("a directory"), second.clone()).await;
    ([api, other], [first, second])
}

fn named(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": value}})
}

#[tokio::test]
async fn what_one_server_wrote_the_other_reads_at_once() {
    let ([a, b], _) = two().await;
    for n in 0..5 {
        let name = format!("m{n}");
        let made = a.post(MAPS, &named(&name, "1")).await.ok();
        let path = format!("{MAPS}/{name}");
        assert_eq!(b.get(&path).await.ok()["metadata"]["uid"], made["metadata"]["uid"]);
        b.put(&path, &named(&name, "2")).await.ok();
        assert_eq!(a.get(&path).await.ok()["data"]["k"], "2");
        assert_eq!(a.get(MAPS).await.ok()["items"].as_array().unwrap().len(), n + 1);
        let patched = a.patch("merge-patch", &path, &json!({"data": {"k": "3"}})).await.ok();
        let version = patched["metadata"]["resourceVersion"].as_str().unwrap();
        let same = b.get(&format!("{path}?resourceVersion={version}")).await.ok();
        assert_eq!(same["data"]["k"], "3");
    }
    a.delete(&format!("{MAPS}/m0")).await.ok();
    assert_eq!(b.get(&format!("{MAPS}/m0")).await.status, 404);
    assert_eq!(b.delete(&format!("{MAPS}/m0")).await.status, 404);
    b.post(MAPS, &named("m0", "4")).await.ok();
    assert_eq!(a.post(MAPS, &named("m0", "5")).await.status, 409);
}

/// What was written is not seen for longer than anybody waits for it.
#[tokio::test]
async fn a_server_begins_on_a_store_that_tells_of_changes_very_late() {
    let api = Api::over(|store| Lagging::by(Duration::from_secs(4), &store)).await;
    let range = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    assert_eq!(api.get(range).await.ok()["spec"]["cidrs"], json!(["10.96.0.0/16"]));
}

/// A read need not wait for what changes elsewhere, or for ever.
#[tokio::test]
async fn a_store_that_others_use_for_other_things_is_asked_how_far_it_is() {
    let ([a, b], [_, second]) = two().await;
    a.post(MAPS, &named("m", "1")).await.ok();
    let path = format!("{MAPS}/m");
    b.get(&path).await.ok();
    let before = second.hastened.load(Ordering::SeqCst);
    let op = Op::Put { key: "/other/k".into(), value: Default::default(), ttl: None };
    second.store.txn(Txn { compares: Vec::new(), ops: vec![op] }).await.expect("it is written");
    b.get(&path).await.ok();
    assert_eq!(second.hastened.load(Ordering::SeqCst), before + 1);
    b.get(&format!("{path}?resourceVersion=0")).await.ok();
    let future = b.get(&format!("{path}?resourceVersion=999999999")).await;
    assert!(future.text.contains("Too large resource version: 999999999, current: "), "{}", future.text);
    assert_eq!(future.status, 504);
}

/// Two servers that change one object again and again: no change is lost, and none of them gives up for want of news.
#[tokio::test]
async fn servers_that_outrun_each_other_lose_nothing() {
    let ([a, b], _) = two().await;
    let path = &format!("{MAPS}/m");
    a.post(MAPS, &named("m", "0")).await.ok();
    let patches = |api: Api, who: &'static str| async move {
        for n in 0..15 {
            let key = format!("{who}{n}");
            api.patch("merge-patch", path, &json!({"data": {key: "x"}})).await.ok();
        }
        api
    };
    let (a, _) = tokio::join!(patches(a, "a"), patches(b, "b"));
    assert_eq!(a.get(path).await.ok()["data"].as_object().unwrap().len(), 31);
}

#[tokio::test]
async fn a_server_that_lost_its_place_reads_everything_anew_and_tells_its_watchers() {
    let ([a, b], [_, second]) = two().await;
    let made = a.post(MAPS, &named("before", "1")).await.ok();
    b.get(MAPS).await.ok();
    let version = made["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    second.loses.store(true, Ordering::SeqCst);
    let watched = format!("{MAPS}?watch=true&resourceVersion={version}&timeoutSeconds=30");
    let (event, _) = tokio::join!(b.first_event(&watched), async {
        a.post(MAPS, &named("lost", "1")).await.ok();
        a.delete(&format!("{MAPS}/before")).await.ok();
    });
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    let names: Vec<Value> =
        b.get(MAPS).await.ok()["items"].as_array().unwrap().iter().map(|map| map["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["lost"]);
    // And it goes on from there.
    a.post(MAPS, &named("after", "1")).await.ok();
    assert_eq!(b.get(MAPS).await.ok()["items"].as_array().unwrap().len(), 2);
}
