//! The embedded engine as its callers see it, with disks that fail, lose power and rot.

mod sim;

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use coracle_store::{Compare, Embedded, Error, Op, Options, Outcome, Store, Txn, Value};
use proptest::prelude::*;
use sim::SimDisk;

const SMALL: Options = Options { segment_bytes: 4096, snapshot_after: 16 << 10 };

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: value.into(), expires: None }
}

fn write(ops: Vec<Op>) -> Txn {
    Txn { compares: vec![], ops }
}

fn open(disk: &SimDisk) -> Embedded {
    Embedded::on(Box::new(disk.clone()), SMALL).unwrap()
}

async fn revision(store: &Embedded, txn: Txn) -> u64 {
    match store.txn(txn).await.unwrap() {
        Outcome::Committed { revision, .. } => revision,
        Outcome::Conflict { .. } => panic!("conflict"),
    }
}

async fn value(store: &Embedded, key: &str) -> Option<String> {
    let kv = store.get(key, None).await.unwrap()?;
    Some(String::from_utf8(kv.value.to_vec()).unwrap())
}

#[tokio::test]
async fn a_create_conflicts_with_an_existing_key() {
    let store = open(&SimDisk::default());
    let create = |value| Txn { compares: vec![Compare::ModRevision("/a".into(), 0)], ops: vec![put("/a", value)] };
    assert_eq!(revision(&store, create("1")).await, 2);
    match store.txn(create("2")).await.unwrap() {
        Outcome::Conflict { current } => assert_eq!(current[0].as_ref().unwrap().mod_revision, 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(value(&store, "/a").await.unwrap(), "1");
}

#[tokio::test]
async fn the_revision_is_stamped_into_the_value() {
    let store = open(&SimDisk::default());
    let value_with_hole = Value { bytes: br#"{"rv":""}"#.to_vec(), stamp_at: Some(7) };
    revision(&store, write(vec![Op::Put { key: "/a".into(), value: value_with_hole, expires: None }])).await;
    assert_eq!(value(&store, "/a").await.unwrap(), r#"{"rv":"2"}"#);
}

#[tokio::test]
async fn lists_at_a_revision_are_exact_and_paged() {
    let store = open(&SimDisk::default());
    for n in 0..10 {
        revision(&store, write(vec![put(&format!("/p/{n}"), "old")])).await;
    }
    let at = store.revision();
    revision(&store, write(vec![Op::Delete { key: "/p/3".into() }, put("/p/4", "new"), put("/p/45", "x")])).await;
    let first = store.list("/p/", Some(at), None, Some(5)).await.unwrap();
    assert!(first.more);
    let second = store.list("/p/", Some(at), Some(&first.items[4].key), None).await.unwrap();
    let keys: Vec<_> =
        first.items.iter().chain(&second.items).map(|kv| (kv.key.to_string(), kv.value.clone())).collect();
    assert_eq!(keys.len(), 10);
    assert!(keys.iter().all(|(_, value)| value == "old"));
    assert_eq!(store.list("/p/", None, None, None).await.unwrap().items.len(), 10);
}

#[tokio::test]
async fn compacted_and_future_revisions_are_errors() {
    let store = open(&SimDisk::default());
    for _ in 0..5 {
        revision(&store, write(vec![put("/a", "x")])).await;
    }
    store.compact(4).await.unwrap();
    assert!(matches!(store.get("/a", Some(3)).await, Err(Error::Compacted { requested: 3, .. })));
    assert!(matches!(store.get("/a", Some(99)).await, Err(Error::Future { .. })));
    assert_eq!(store.changes("/", 4).await.unwrap().len(), 2);
}

#[tokio::test]
async fn keys_expire_and_the_feed_sees_it() {
    let store = open(&SimDisk::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    store.subscribe(
        &mut |_| (),
        Box::new(move |events| sink.lock().unwrap().extend(events.iter().map(|e| e.now.is_some()))),
    );
    let expires = Some(SystemTime::now() + Duration::from_millis(30));
    revision(&store, write(vec![Op::Put { key: "/t".into(), value: "x".into(), expires }])).await;
    let gone = async {
        while value(&store, "/t").await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [true, false]);
}

#[tokio::test]
async fn state_history_and_revision_survive_a_restart_with_snapshots() {
    let disk = SimDisk::default();
    let store = open(&disk);
    for n in 0..400 {
        revision(&store, write(vec![put(&format!("/k/{}", n % 50), &format!("{n:0100}"))])).await;
    }
    store.snapshot().await.unwrap();
    let last = revision(&store, write(vec![put("/k/1", "last")])).await;
    drop(store);
    let store = open(&disk.after_kill());
    assert_eq!(store.revision(), last);
    assert_eq!(store.list("/k/", None, None, None).await.unwrap().items.len(), 50);
    assert_eq!(value(&store, "/k/1").await.unwrap(), "last");
    assert_eq!(store.changes("/", last - 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    let disk = SimDisk::default();
    let store = open(&disk);
    revision(&store, write(vec![put("/a", "1")])).await;
    disk.fail_after(0, ErrorKind::StorageFull);
    assert!(matches!(store.txn(write(vec![put("/a", "2")])).await, Err(Error::DiskFull { .. })));
    assert_eq!(value(&store, "/a").await.unwrap(), "1");
    disk.heal();
    revision(&store, write(vec![put("/a", "3")])).await;
    drop(store);
    assert_eq!(value(&open(&disk.after_power_loss(0, 0)), "/a").await.unwrap(), "3");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_more_is_accepted() {
    let disk = SimDisk::default();
    let store = open(&disk);
    disk.fail_after(1, ErrorKind::Other);
    assert!(matches!(store.txn(write(vec![put("/a", "1")])).await, Err(Error::Io { .. })));
    disk.heal();
    assert!(store.failure().is_some());
    assert!(matches!(store.txn(write(vec![put("/a", "2")])).await, Err(Error::Closed(_))));
    assert_eq!(value(&store, "/a").await, None);
}

#[test]
fn a_second_process_is_told_that_the_directory_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Embedded::open(dir.path(), Options::default()).unwrap();
    assert!(matches!(Embedded::open(dir.path(), Options::default()), Err(Error::Locked { .. })));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a power loss keeps of unsynced writes, every acknowledged write is there afterwards.
    #[test]
    fn power_loss_loses_no_acknowledged_write(
        writes in proptest::collection::vec((0u8..20, 1usize..600), 1..60), kept in any::<u64>(), cut in 0usize..2000, fuse in 0u32..200,
    ) {
        block_on(async {
            let disk = SimDisk::default();
            let store = open(&disk);
            disk.fail_after(fuse, ErrorKind::Other);
            let mut acknowledged = std::collections::BTreeMap::new();
            let mut unsure = std::collections::BTreeSet::new();
            for (n, (key, length)) in writes.iter().enumerate() {
                let (key, text) = (format!("/k/{key}"), format!("{n}:{}", "x".repeat(*length)));
                match store.txn(write(vec![put(&key, &text)])).await {
                    Ok(_) => { acknowledged.insert(key, text); }
                    Err(_) => { unsure.insert((key, text)); }
                }
            }
            drop(store);
            let store = open(&disk.after_power_loss(kept, cut));
            for (key, text) in acknowledged {
                let found = value(&store, &key).await.unwrap();
                assert!(found == text || unsure.contains(&(key, found)));
            }
        });
    }

    /// A flipped bit anywhere in acknowledged data is found, never served.
    #[test]
    fn a_flipped_bit_is_an_error_with_file_and_offset_or_cuts_only_the_last_frame(at in 20usize..3000, bit in 0u8..8) {
        block_on(async {
            let disk = SimDisk::default();
            let store = open(&disk);
            for n in 0..10 {
                revision(&store, write(vec![put(&format!("/k/{n}"), &"v".repeat(200))])).await;
            }
            drop(store);
            disk.flip("log-0000000000000001", at, bit);
            match Embedded::on(Box::new(disk.after_kill()), SMALL) {
                Err(Error::Corrupt { path, .. }) => assert!(path.ends_with("log-0000000000000001")),
                Err(other) => panic!("{other}"),
                Ok(store) => {
                    let page = store.list("/k/", None, None, None).await.unwrap();
                    assert!(page.items.len() >= 9, "{} keys are left", page.items.len());
                    assert!(page.items.iter().all(|kv| kv.value == "v".repeat(200)));
                }
            }
        });
    }
}
