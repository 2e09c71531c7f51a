//! Members are killed and stopped, connections are cut and fall silent, and servers are killed, under load: what was
//! acknowledged is there, and every feed is told every change once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coracle_store::etcd::{Config, Etcd};
use coracle_store::{Compare, Error, Outcome, Revision, Store, Subscription, Txn};
use coracle_testing::etcd::Cluster;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::proxy::{Network, Proxy};
use crate::semantics::Told;
use crate::{config, put};

const WRITERS: usize = 6;
const SERVERS: usize = 2;
/// Feeds of each server.
const FEEDS: usize = 2;
/// How long things go wrong, unless `CORACLE_FAULT_SECONDS` says otherwise.
const SECONDS: u64 = 20;

/// What a writer was told.
#[derive(Default)]
struct Written {
    acknowledged: Vec<(Revision, String, String)>,
    /// Nobody knows of these.
    unknown: usize,
    /// Keys and values of what was surely not done.
    refused: Vec<(String, String)>,
}

impl Written {
    /// Notes the answer to a write; answers with the revision at which the key is then, if that is known.
    fn note(&mut self, answer: Result<Outcome, Error>, key: &str, value: String) -> Option<Revision> {
        self.unknown -= 1;
        match answer {
            Ok(Outcome::Committed { revision }) => {
                self.acknowledged.push((revision, key.to_owned(), value));
                return Some(revision);
            }
            Ok(Outcome::Conflict { current, .. }) => {
                self.refused.push((key.to_owned(), value));
                return Some(current[0].as_ref().map_or(0, |kv| kv.mod_revision()));
            }
            Err(Error::Unknown(_)) => self.unknown += 1,
            Err(Error::Unavailable(_)) => self.refused.push((key.to_owned(), value)),
            Err(error) => panic!("{error}"),
        }
        None
    }
}

/// Changes one key again and again, each time only if it is as it was last seen. It may be ended at any moment.
async fn writer(store: Arc<Etcd>, key: String, mut n: u64, stop: Arc<AtomicBool>, written: Arc<Mutex<Written>>) {
    let mut at = 0;
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        let value = n.to_string();
        let txn = Txn { compares: vec![Compare::ModRevision(key.as_str().into(), at)], ops: vec![put(&key, &value)] };
        // Whoever is ended before the answer never knows.
        written.lock().unknown += 1;
        let answer = store.txn(txn).await;
        if let Some(revision) = written.lock().note(answer, &key, value) {
            at = revision;
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// What a server has of the store: connections, writes and feeds. It is killed as a process is, in the middle of whatever it does.
struct Server {
    number: usize,
    store: Arc<Etcd>,
    writers: Vec<JoinHandle<()>>,
    feeds: Vec<(Told, Revision)>,
    subscriptions: Vec<Subscription>,
}

impl Server {
    /// One that begins with what is there: as a server does, it reads at a revision and follows from there.
    async fn start(number: usize, urls: &[String], life: u64, load: &Load) -> Server {
        let kept = Config { compaction: Duration::ZERO, ..config(urls.to_vec()) };
        let (store, begin) = loop {
            if let Ok(store) = Etcd::connect(&kept).await
                && let Ok(page) = store.list("/registry/k/", None, None, None).await
            {
                break (Arc::new(store), page.revision);
            }
            sleep(Duration::from_millis(50)).await;
        };
        let (mut feeds, mut subscriptions) = (Vec::new(), Vec::new());
        while feeds.len() < FEEDS {
            let told = Told::default();
            match store.subscribe("/registry/k/", begin, told.feed()).await {
                Ok(subscription) => subscriptions.push(subscription),
                Err(Error::Unavailable(_) | Error::Unknown(_)) => continue,
                Err(error) => panic!("{error}"),
            }
            feeds.push((told, begin));
        }
        let own = (0..WRITERS).filter(|n| n % SERVERS == number);
        let writers = own.map(|n| {
            let key = format!("/registry/k/{n}");
            tokio::spawn(writer(store.clone(), key, life * 1_000_000, load.stop.clone(), load.written.clone()))
        });
        Server { number, writers: writers.collect(), store, feeds, subscriptions }
    }

    /// Ends it at once; what its feeds were told until now is kept.
    async fn kill(self, load: &Load) -> usize {
        self.writers.iter().for_each(JoinHandle::abort);
        for writer in self.writers {
            let _ = writer.await;
        }
        drop(self.subscriptions);
        load.ended.lock().extend(self.feeds);
        self.number
    }
}

/// What servers do and were told, also those that were killed.
#[derive(Default)]
struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<Written>>,
    ended: Mutex<Vec<(Told, Revision)>>,
}

/// A number that looks like chance and is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

async fn faults(
    cluster: &mut Cluster,
    proxies: &[Proxy],
    servers: &mut Vec<Server>,
    load: &Load,
    seconds: u64,
) -> [usize; 5] {
    let urls: Vec<String> = proxies.iter().map(Proxy::url).collect();
    let (mut dice, start, mut count) = (Dice(7), Instant::now(), [0; 5]);
    while start.elapsed() < Duration::from_secs(seconds) {
        let member = dice.below(3) as usize;
        let a_while = Duration::from_millis(200 + dice.below(2_500));
        let fault = dice.below(5) as usize;
        match fault {
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
            3 => {
                let server = servers.remove(dice.below(SERVERS as u64) as usize);
                let number = server.kill(load).await;
                sleep(a_while).await;
                servers.push(Server::start(number, &urls, count.iter().sum::<usize>() as u64 + 1, load).await);
            }
            _ => {
                proxies[member].set(Network::Silent);
                sleep(a_while).await;
                proxies[member].set(Network::Works);
            }
        }
        count[fault] += 1;
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
    let (load, mut servers) = (Load::default(), Vec::new());
    for number in 0..SERVERS {
        servers.push(Server::start(number, &urls, 0, &load).await);
    }
    let begin = servers[0].feeds[0].1;
    let count = faults(&mut cluster, &proxies, &mut servers, &load, seconds).await;
    load.stop.store(true, Ordering::SeqCst);
    for writer in servers.iter_mut().flat_map(|server| server.writers.drain(..)) {
        writer.await.unwrap();
    }
    let Written { acknowledged, unknown, refused } = std::mem::take(&mut *load.written.lock());
    let [members, frozen, cut, killed, silent] = count;
    eprintln!(
        "{members} members killed, {frozen} frozen, {cut} times all connections cut, {killed} servers killed, {silent} times the \
         network silent; {} writes acknowledged, {unknown} unknown, {} refused",
        acknowledged.len(),
        refused.len()
    );

    // The network is whole again: what a new feed is told is what happened.
    let truth = Told::default();
    let newest = timeout(Duration::from_secs(60), newest(&servers[0].store)).await.unwrap();
    let _truth = servers[1].store.subscribe("/registry/k/", begin, truth.feed()).await.unwrap();
    let history = truth.until(newest).await;
    let by_revision: HashMap<Revision, (&str, Option<&str>)> =
        history.iter().map(|(revision, key, value)| (*revision, (&**key, value.as_deref()))).collect();
    assert_eq!(by_revision.len(), history.len());
    for (revision, key, value) in &acknowledged {
        assert_eq!(by_revision.get(revision), Some(&(&**key, Some(&**value))), "{key} = {value} at {revision}");
    }
    // No value is written twice: a writer counts on, and the next one of its key begins far above.
    let made: HashSet<(&str, &str)> =
        history.iter().filter_map(|(_, key, value)| Some((&**key, value.as_deref()?))).collect();
    for (key, value) in &refused {
        assert!(!made.contains(&(&**key, &**value)), "{key} = {value} was made, though it was refused");
    }
    assert!(history.len() <= acknowledged.len() + unknown, "a write was made that nobody asked for");
    let since = |after: Revision| history.iter().filter(move |(revision, ..)| *revision > after).cloned();
    for (feed, after) in servers.iter().flat_map(|server| &server.feeds) {
        assert_eq!(feed.until(newest).await, since(*after).collect::<Vec<_>>());
    }
    // Servers that were killed were told everything in order up to some change.
    let ended = load.ended.into_inner();
    assert_eq!(ended.len(), killed * FEEDS);
    for (feed, after) in ended {
        let told = feed.all();
        assert_eq!(told, since(after).take(told.len()).collect::<Vec<_>>());
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
