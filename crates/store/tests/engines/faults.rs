//! Members are killed and stopped, and connections are cut and fall silent, under load: what was acknowledged is there, and
//! every feed is told every change once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coracle_store::etcd::{Config, Etcd};
use coracle_store::{Compare, Error, Outcome, Revision, Store, Txn};
use coracle_testing::etcd::Cluster;
use tokio::time::{sleep, timeout};

use crate::proxy::{Network, Proxy};
use crate::semantics::Told;
use crate::{config, put};

const WRITERS: usize = 6;
/// How long things go wrong, unless `CORACLE_FAULT_SECONDS` says otherwise.
const SECONDS: u64 = 20;

/// What a writer was told.
#[derive(Default)]
struct Written {
    acknowledged: Vec<(Revision, String, String)>,
    /// Nobody knows of these.
    unknown: usize,
    refused: usize,
}

/// Changes one key again and again, each time only if it is as it was last seen.
async fn writer(store: Arc<Etcd>, key: String, stop: Arc<AtomicBool>) -> Written {
    let (mut written, mut at, mut n) = (Written::default(), 0, 0);
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        let value = n.to_string();
        let txn = Txn { compares: vec![Compare::ModRevision(key.as_str().into(), at)], ops: vec![put(&key, &value)] };
        match store.txn(txn).await {
            Ok(Outcome::Committed { revision }) => {
                at = revision;
                written.acknowledged.push((revision, key.clone(), value));
            }
            Ok(Outcome::Conflict { current, .. }) => at = current[0].as_ref().map_or(0, |kv| kv.mod_revision()),
            Err(Error::Unknown(_)) => written.unknown += 1,
            Err(Error::Unavailable(_)) => written.refused += 1,
            Err(error) => panic!("{error}"),
        }
        sleep(Duration::from_millis(2)).await;
    }
    written
}

/// A number that looks like chance and is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

async fn faults(cluster: &mut Cluster, proxies: &[Proxy], seconds: u64) -> usize {
    let (mut dice, start, mut count) = (Dice(7), Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        let member = dice.below(3) as usize;
        let a_while = Duration::from_millis(200 + dice.below(2_500));
        match dice.below(4) {
            0 => {
                cluster.kill(member);
                sleep(a_while).await;
                cluster.restart(member);
            }
            1 => {
                cluster.freeze(member, true);
                sleep(a_while).await;
                cluster.freeze(member, false);
            }
            2 => proxies.iter().for_each(Proxy::cut),
            _ => {
                proxies[member].set(Network::Silent);
                sleep(a_while).await;
                proxies[member].set(Network::Works);
            }
        }
        count += 1;
        sleep(Duration::from_millis(300 + dice.below(700))).await;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_lost_and_no_change_is_told_twice() {
    let Some(mut cluster) = Cluster::start(3, &[]) else { return };
    let seconds = std::env::var("CORACLE_FAULT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let mut proxies = Vec::new();
    for member in 0..3 {
        proxies.push(Proxy::to(cluster.port(member)).await);
    }
    let urls: Vec<String> = proxies.iter().map(Proxy::url).collect();
    let kept = Config { compaction: Duration::ZERO, ..config(urls) };
    let stores = [Arc::new(Etcd::connect(&kept).await.unwrap()), Arc::new(Etcd::connect(&kept).await.unwrap())];
    let begin = stores[0].current_revision().await.unwrap();
    let (mut feeds, mut subscriptions) = (Vec::new(), Vec::new());
    for store in stores.iter().cycle().take(4) {
        let told = Told::default();
        subscriptions.push(store.subscribe("/registry/k/", begin, told.feed()).await.unwrap());
        feeds.push(told);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| tokio::spawn(writer(stores[n % 2].clone(), format!("/registry/k/{n}"), stop.clone())))
        .collect();
    let count = faults(&mut cluster, &proxies, seconds).await;
    stop.store(true, Ordering::SeqCst);
    let (mut acknowledged, mut unknown, mut refused) = (Vec::new(), 0, 0);
    for writer in writers {
        let written = writer.await.unwrap();
        acknowledged.extend(written.acknowledged);
        unknown += written.unknown;
        refused += written.refused;
    }
    eprintln!("{count} faults, {} writes acknowledged, {unknown} unknown, {refused} refused", acknowledged.len());

    // The network is whole again: what a new feed is told is what happened.
    let truth = Told::default();
    let newest = timeout(Duration::from_secs(60), newest(&stores[0])).await.unwrap();
    let _truth = stores[1].subscribe("/registry/k/", begin, truth.feed()).await.unwrap();
    let history = truth.until(newest).await;
    let by_revision: HashMap<Revision, (&str, Option<&str>)> =
        history.iter().map(|(revision, key, value)| (*revision, (&**key, value.as_deref()))).collect();
    assert_eq!(by_revision.len(), history.len());
    for (revision, key, value) in &acknowledged {
        assert_eq!(by_revision.get(revision), Some(&(&**key, Some(&**value))), "{key} = {value} at {revision}");
    }
    assert!(history.len() <= acknowledged.len() + unknown, "a write was made that was refused");
    for feed in &feeds {
        assert_eq!(feed.until(newest).await, history);
    }
}

/// The revision of a write that all feeds see.
async fn newest(store: &Etcd) -> Revision {
    loop {
        if let Ok(Outcome::Committed { revision }) =
            store.txn(Txn { compares: vec![], ops: vec![put("/registry/last", "")] }).await
        {
            return revision;
        }
        sleep(Duration::from_millis(100)).await;
    }
}
