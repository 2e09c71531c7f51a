//! What every engine does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use coracle_store::{Compare, Error, Event, Feed, Op, Outcome, Revision, Store, Txn, Update};
use tokio::time::{sleep, timeout};

use crate::{Engine, engines, put, write};

const LONG: Duration = Duration::from_secs(30);

async fn revision(store: &dyn Store, txn: Txn) -> Revision {
    match store.txn(txn).await.unwrap() {
        Outcome::Committed { revision } => revision,
        Outcome::Conflict { .. } => panic!("conflict"),
    }
}

async fn value(store: &dyn Store, key: &str) -> Option<String> {
    let kv = store.get(key, None).await.unwrap()?;
    Some(String::from_utf8(kv.value().to_vec()).unwrap())
}

/// What a feed was told: changes, and how far it is.
#[derive(Clone, Default)]
pub struct Told {
    events: Arc<Mutex<Vec<Event>>>,
    progress: Arc<Mutex<Revision>>,
    end: Arc<Mutex<Option<Error>>>,
}

impl Told {
    pub fn feed(&self) -> Feed {
        let told = self.clone();
        Box::new(move |update| {
            let mut progress = told.progress.lock().unwrap();
            let now = match update {
                Update::Changes(events) => {
                    told.events.lock().unwrap().extend(events.iter().cloned());
                    events.last().unwrap().revision
                }
                Update::Progress(revision) => revision,
                Update::Ended(error) => return drop(told.end.lock().unwrap().replace(error)),
            };
            assert!(now >= *progress, "{now} is told after {progress}");
            *progress = now;
        })
    }

    /// The changes until it has come to a revision: of each the revision, the key and the value.
    pub async fn until(&self, revision: Revision) -> Vec<(Revision, String, Option<String>)> {
        let reached = async {
            while *self.progress.lock().unwrap() < revision {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LONG, reached).await.expect("the feed comes to the revision");
        self.all()
    }

    pub fn all(&self) -> Vec<(Revision, String, Option<String>)> {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let events = self.events.lock().unwrap();
        let told = events.iter().map(|event| {
            let value = event.now().map(|now| text(now.value()));
            (event.revision, event.key().to_owned(), value)
        });
        told.collect()
    }

    pub async fn end(&self) -> Error {
        let ended = async {
            loop {
                if let Some(error) = self.end.lock().unwrap().take() {
                    return error;
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LONG, ended).await.expect("the feed ends")
    }
}

#[tokio::test]
async fn a_create_conflicts_with_an_existing_key() {
    for Engine { store, .. } in engines().await {
        let key: Arc<str> = "/registry/a".into();
        let create = |value| Txn { compares: vec![Compare::ModRevision(key.clone(), 0)], ops: vec![put(&key, value)] };
        let made = revision(&*store, create("1")).await;
        match store.txn(create("2")).await.unwrap() {
            Outcome::Conflict { revision, current } => {
                let current = current[0].as_ref().unwrap();
                assert_eq!((revision, current.mod_revision(), current.create_revision()), (made, made, made));
                assert_eq!((current.key(), current.value()), (&*key, &b"1"[..]));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(value(&*store, &key).await.unwrap(), "1");
        let change = |at, value| Txn {
            compares: vec![Compare::ModRevision(key.clone(), at), Compare::ModRevision("/registry/b".into(), 0)],
            ops: vec![put(&key, value), put("/registry/b", value)],
        };
        let changed = revision(&*store, change(made, "3")).await;
        assert_eq!(changed, made + 1);
        match store.txn(change(made, "4")).await.unwrap() {
            Outcome::Conflict { current, .. } => {
                let revisions = current.iter().map(|kv| kv.as_ref().unwrap().mod_revision()).collect::<Vec<_>>();
                assert_eq!(revisions, [changed, changed]);
            }
            other => panic!("{other:?}"),
        }
        let kv = store.get(&key, None).await.unwrap().unwrap();
        assert_eq!((kv.create_revision(), kv.mod_revision()), (made, changed));
    }
}

#[tokio::test]
async fn what_changes_nothing_makes_no_revision() {
    for Engine { store, .. } in engines().await {
        let made = revision(&*store, write(vec![put("/registry/a", "1")])).await;
        assert_eq!(revision(&*store, write(vec![Op::Delete { key: "/registry/none".into() }])).await, made);
        assert_eq!(revision(&*store, write(vec![])).await, made);
        assert_eq!(store.current_revision().await.unwrap(), made);
        assert!(store.get("/registry/none", None).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn lists_at_a_revision_are_exact_and_paged() {
    for Engine { store, .. } in engines().await {
        let mut at = 0;
        for n in 0..10 {
            at = revision(&*store, write(vec![put(&format!("/registry/p/{n}"), "old")])).await;
        }
        let delete = Op::Delete { key: "/registry/p/3".into() };
        let ops = vec![delete, put("/registry/p/4", "new"), put("/registry/p/45", "x"), put("/registry/p0", "other")];
        let newest = revision(&*store, write(ops)).await;
        let first = store.list("/registry/p/", Some(at), None, Some(5)).await.unwrap();
        assert!(first.more);
        let second = store.list("/registry/p/", Some(at), Some(first.items[4].key()), None).await.unwrap();
        assert!(!second.more);
        let all = first.items.iter().chain(&second.items);
        let keys: Vec<_> = all.map(|kv| (kv.key().to_owned(), kv.value().to_vec())).collect();
        let expected = (0..10).map(|n| (format!("/registry/p/{n}"), b"old".to_vec()));
        assert_eq!(keys, expected.collect::<Vec<_>>());
        let now = store.list("/registry/p/", None, None, None).await.unwrap();
        assert_eq!((now.items.len(), now.revision, now.more), (10, newest, false));
        let exact = store.list("/registry/p/", None, None, Some(10)).await.unwrap();
        assert_eq!((exact.items.len(), exact.more), (10, false));
        let old = store.get("/registry/p/4", Some(at)).await.unwrap().unwrap();
        assert_eq!(old.value(), b"old");
    }
}

#[tokio::test]
async fn compacted_and_future_revisions_are_errors() {
    for engine in engines().await {
        let store = &*engine.store;
        let mut last = 0;
        for _ in 0..5 {
            last = revision(store, write(vec![put("/registry/a", "x")])).await;
        }
        let oldest = last - 2;
        engine.compact(oldest).await;
        let gone = store.get("/registry/a", Some(oldest - 1)).await;
        assert!(matches!(gone, Err(Error::Compacted { requested, .. }) if requested == oldest - 1), "{gone:?}");
        let list = store.list("/registry/", Some(oldest - 1), None, None).await;
        assert!(matches!(list, Err(Error::Compacted { .. })), "{list:?}");
        assert!(matches!(store.get("/registry/a", Some(last + 90)).await, Err(Error::Future { .. })));
        let refused = store.subscribe("/registry/", oldest - 1, Told::default().feed()).await;
        assert!(matches!(refused, Err(Error::Compacted { .. })), "{refused:?}");
        let told = Told::default();
        let _subscription = store.subscribe("/registry/", oldest, told.feed()).await.unwrap();
        let events = told.until(last).await;
        assert_eq!(events.iter().map(|event| event.0).collect::<Vec<_>>(), [last - 1, last]);
    }
}

#[tokio::test]
async fn keys_expire_and_the_feed_sees_it() {
    for Engine { store, .. } in engines().await {
        let told = Told::default();
        let before = store.current_revision().await.unwrap();
        let _subscription = store.subscribe("/registry/", before, told.feed()).await.unwrap();
        let ttl = Some(Duration::from_secs(1));
        let op = |key: &str| Op::Put { key: key.into(), value: "x".into(), ttl };
        let made = revision(&*store, write(vec![op("/registry/t"), op("/registry/u")])).await;
        // Who writes it again gives it a new life, or one without end.
        revision(&*store, write(vec![put("/registry/u", "kept")])).await;
        let gone = async {
            while value(&*store, "/registry/t").await.is_some() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, gone).await.unwrap();
        let told = told.until(made + 2).await;
        assert_eq!(told.last().unwrap(), &(made + 2, "/registry/t".to_owned(), None));
        assert_eq!(value(&*store, "/registry/u").await.unwrap(), "kept");
    }
}

#[tokio::test]
async fn a_feed_resumes_at_a_revision_and_misses_nothing() {
    for Engine { store, .. } in engines().await {
        let begin = store.current_revision().await.unwrap();
        let writer = store.clone();
        let writes = tokio::spawn(async move {
            for n in 0..200 {
                revision(&*writer, write(vec![put(&format!("/registry/k/{}", n % 7), &n.to_string())])).await;
            }
        });
        let mut seen: Vec<(Revision, String)> = Vec::new();
        while seen.last().is_none_or(|last| last.0 < begin + 200) {
            let told = Told::default();
            let after = seen.last().map_or(begin, |last| last.0);
            let subscription = store.subscribe("/registry/", after, told.feed()).await.unwrap();
            sleep(Duration::from_millis(3)).await;
            drop(subscription);
            seen.extend(told.all().into_iter().map(|(revision, _, value)| (revision, value.unwrap())));
        }
        writes.await.unwrap();
        let expected = (0..200).map(|n| (begin + 1 + n, n.to_string()));
        assert_eq!(seen, expected.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_feed_is_told_of_progress_where_changes_do_not_concern_it() {
    for Engine { store, .. } in engines().await {
        let begin = store.current_revision().await.unwrap();
        let (pods, all) = (Told::default(), Told::default());
        let _pods = store.subscribe("/registry/pods/", begin, pods.feed()).await.unwrap();
        let _all = store.subscribe("/registry/", begin, all.feed()).await.unwrap();
        revision(&*store, write(vec![put("/registry/pods/a", "x")])).await;
        revision(&*store, write(vec![put("/registry/nodes/a", "x")])).await;
        let both = vec![put("/registry/nodes/b", "x"), put("/registry/pods/b", "x")];
        let last = revision(&*store, write(both)).await;
        let revisions = |told: Vec<(Revision, String, Option<String>)>| -> Vec<_> {
            told.into_iter().map(|told| (told.0 - begin, told.1)).collect()
        };
        let of_pods = [(1, "/registry/pods/a".to_owned()), (3, "/registry/pods/b".to_owned())];
        assert_eq!(revisions(pods.until(last).await), of_pods);
        assert_eq!(all.until(last).await.len(), 4);
        // What others change elsewhere is no news for a feed until someone wants to know.
        revision(&*store, write(vec![put("/elsewhere", "x")])).await;
        let newest = store.current_revision().await.unwrap();
        store.hasten().await.unwrap();
        all.until(newest).await;
        pods.until(newest).await;
        assert_eq!(pods.all().len(), 2);
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_changes_nothing() {
    for Engine { store, .. } in engines().await {
        let large = "x".repeat(9 << 20);
        let refused = store.txn(write(vec![put("/registry/large", &large)])).await;
        assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
        assert!(store.get("/registry/large", None).await.unwrap().is_none());
        revision(&*store, write(vec![put("/registry/small", "x")])).await;
        assert!(store.failure().is_none());
    }
}
