//! The embedded engine with disks that fail, lose power and rot, and what it does besides what every engine does
//! (`engines/semantics.rs`).

mod sim;

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coracle_store::{Embedded, Error, Feed, Op, Options, Outcome, Revision, Store, Subscription, Txn, Update};
use proptest::prelude::*;
use sim::SimDisk;

const SMALL: Options = Options { segment_bytes: 4096, snapshot_after: 16 << 10 };

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: value.to_owned().into(), ttl: None }
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
    Some(String::from_utf8(kv.value().to_vec()).unwrap())
}

/// A revision that a feed was told, and of a change whether the key is there since.
type Word = (Revision, Option<bool>);

/// What a feed was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Word>>>);

impl Told {
    fn feed(&self) -> Feed {
        let told = self.0.clone();
        Box::new(move |update| {
            let mut told = told.lock().unwrap();
            match update {
                Update::Changes(events) => {
                    told.extend(events.iter().map(|event| (event.revision, Some(event.now().is_some()))));
                }
                Update::Progress(revision) => told.push((revision, None)),
                Update::Ended(error) => panic!("{error}"),
            }
        })
    }

    async fn of(store: &Embedded, prefix: &str, after: Revision) -> (Told, Subscription) {
        let told = Told::default();
        let subscription = store.subscribe(prefix, after, told.feed()).await.unwrap();
        (told, subscription)
    }

    fn all(&self) -> Vec<Word> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn keys_expire_and_the_feed_sees_it() {
    let store = open(&SimDisk::default());
    let (told, _subscription) = Told::of(&store, "/", 1).await;
    let ttl = Some(Duration::from_millis(30));
    revision(&store, write(vec![Op::Put { key: "/t".into(), value: "x".into(), ttl }])).await;
    let gone = async {
        while value(&store, "/t").await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    assert_eq!(told.all(), [(2, Some(true)), (3, Some(false))]);
}

#[tokio::test]
async fn a_feed_is_told_of_progress_where_changes_do_not_concern_it() {
    let store = open(&SimDisk::default());
    let (pods, _pods) = Told::of(&store, "/pods/", 1).await;
    let (all, _all) = Told::of(&store, "/", 1).await;
    revision(&store, write(vec![put("/pods/a", "x")])).await;
    revision(&store, write(vec![put("/nodes/a", "x")])).await;
    revision(&store, write(vec![put("/nodes/b", "x"), put("/pods/b", "x")])).await;
    assert_eq!(pods.all(), [(2, Some(true)), (3, None), (4, Some(true)), (4, None)]);
    assert_eq!(all.all(), [(2, Some(true)), (3, Some(true)), (4, Some(true)), (4, Some(true))]);
    assert_eq!((store.settled_revision(), store.current_revision().await.unwrap()), (Some(4), 4));
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
    let (told, _subscription) = Told::of(&store, "/", last - 1).await;
    assert_eq!(told.all(), [(last, Some(true))]);
}

/// Also when nobody writes.
async fn until_healthy(store: &Embedded) {
    let healthy = async {
        while store.failure().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), healthy).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    let disk = SimDisk::default();
    let store = open(&disk);
    revision(&store, write(vec![put("/a", "1")])).await;
    disk.fail_after(0, ErrorKind::StorageFull);
    assert!(matches!(store.txn(write(vec![put("/a", "2")])).await, Err(Error::DiskFull { .. })));
    assert_eq!(value(&store, "/a").await.unwrap(), "1");
    assert!(matches!(store.failure(), Some(Error::DiskFull { .. })));
    disk.heal();
    revision(&store, write(vec![put("/a", "3")])).await;
    until_healthy(&store).await;
    drop(store);
    assert_eq!(value(&open(&disk.after_power_loss(0)), "/a").await.unwrap(), "3");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_more_is_accepted() {
    let disk = SimDisk::default();
    let store = open(&disk);
    disk.fail_once_after(1, ErrorKind::Other);
    assert!(matches!(store.txn(write(vec![put("/a", "1")])).await, Err(Error::Io { .. })));
    assert!(store.failure().is_some());
    assert!(matches!(store.failed().await, Error::Io { .. }));
    assert!(matches!(store.txn(write(vec![put("/a", "2")])).await, Err(Error::Closed(_))));
    assert_eq!(value(&store, "/a").await, None);
}

/// What queued up behind the sync that fails is refused too, and keys that expire later stay.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_failing_sync_is_not_acknowledged() {
    let disk = SimDisk::default();
    let store = Arc::new(open(&disk));
    let ttl = Some(Duration::from_millis(50));
    revision(&store, write(vec![Op::Put { key: "/t".into(), value: "x".into(), ttl }])).await;
    disk.hold_syncs();
    let later = |key: &'static str| {
        let store = store.clone();
        tokio::spawn(async move { store.txn(write(vec![put(key, "1")])).await })
    };
    let first = later("/a");
    disk.wait_for_a_held_sync();
    let behind: Vec<_> = ["/b", "/c", "/d"].map(later).into();
    tokio::time::sleep(Duration::from_millis(60)).await;
    disk.fail_once_after(0, ErrorKind::Other);
    disk.let_syncs_go();
    assert!(matches!(first.await.unwrap(), Err(Error::Io { .. })));
    for answer in behind {
        assert!(matches!(answer.await.unwrap(), Err(Error::Closed(_))));
    }
    assert!(store.failure().is_some());
    assert_eq!(value(&store, "/t").await.unwrap(), "x");
    drop(store);
    open(&disk.after_kill());
}

/// After a failed sync the kernel has pages that are not on the disk and never will be. The next process reads them,
/// so it must write them again before anything follows.
#[tokio::test]
async fn what_only_the_cache_has_after_a_failed_sync_is_written_again() {
    let disk = SimDisk::default();
    let store = open(&disk);
    revision(&store, write(vec![put("/a", "1")])).await;
    disk.fail_once_after(1, ErrorKind::Other);
    assert!(store.txn(write(vec![put("/b", "2")])).await.is_err());
    drop(store);
    let store = open(&disk);
    revision(&store, write(vec![put("/c", "3")])).await;
    for seed in 0..20 {
        assert_eq!(value(&open(&disk.after_power_loss(seed)), "/c").await.unwrap(), "3");
    }
}

#[tokio::test]
async fn a_panic_of_the_feed_is_a_failure_that_everybody_is_told() {
    let store = open(&SimDisk::default());
    let feed: Feed = Box::new(|update| {
        if matches!(update, Update::Changes(_)) {
            panic!("a reader of changes went wrong")
        }
    });
    let _subscription = store.subscribe("/", 1, feed).await.unwrap();
    assert!(matches!(store.txn(write(vec![put("/a", "1")])).await, Err(Error::Closed(_))));
    assert!(matches!(store.failed().await, Error::Closed(_)));
    assert!(matches!(store.txn(write(vec![put("/a", "2")])).await, Err(Error::Closed(_))));
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
        writes in proptest::collection::vec((0u8..20, 1usize..600), 1..60), seed in any::<u64>(), fuse in 0u32..200,
        once in any::<bool>(),
    ) {
        block_on(async {
            let disk = SimDisk::default();
            let store = open(&disk);
            if once { disk.fail_once_after(fuse, ErrorKind::Other) } else { disk.fail_after(fuse, ErrorKind::Other) }
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
            let store = open(&disk.after_power_loss(seed));
            for (key, text) in acknowledged {
                let found = value(&store, &key).await.unwrap();
                assert!(found == text || unsure.contains(&(key, found)));
            }
        });
    }

    /// A flipped bit anywhere in acknowledged data is found, never served.
    #[test]
    fn a_flipped_bit_is_an_error_with_file_and_offset(at in 0usize..2600, bit in 0u8..8) {
        block_on(async {
            let disk = SimDisk::default();
            let store = ten_keys(&disk).await;
            drop(store);
            disk.damage(SEGMENT, |bytes| bytes[at] ^= 1 << bit);
            corrupt(&disk, SEGMENT);
        });
    }

    /// However a log is cut, what was acknowledged behind the cut is missed.
    #[test]
    fn a_cut_log_is_an_error_with_file_and_offset(at in 0usize..2600, zeros in any::<bool>()) {
        block_on(async {
            let disk = SimDisk::default();
            drop(ten_keys(&disk).await);
            disk.damage(SEGMENT, |bytes| {
                let length = bytes.len();
                bytes.truncate(at);
                bytes.resize(if zeros { length } else { at }, 0);
            });
            corrupt(&disk, SEGMENT);
        });
    }
}

const SEGMENT: &str = "log-0000000000000001";

/// Ten keys whose frames end behind offset 2600 of the first segment.
async fn ten_keys(disk: &SimDisk) -> Embedded {
    let store = open(disk);
    for n in 0..10 {
        revision(&store, write(vec![put(&format!("/k/{n}"), &"v".repeat(200))])).await;
    }
    store
}

fn corrupt(disk: &SimDisk, file: &str) {
    match Embedded::on(Box::new(disk.after_kill()), SMALL) {
        Err(Error::Corrupt { path, .. }) => assert!(path.ends_with(file), "{path}"),
        Err(other) => panic!("{other}"),
        Ok(store) => panic!("opened at revision {}", store.revision()),
    }
}

#[tokio::test]
async fn a_missing_last_segment_is_an_error_that_names_it() {
    let disk = SimDisk::default();
    let store = open(&disk);
    for n in 0..40 {
        revision(&store, write(vec![put(&format!("/k/{n}"), &"v".repeat(200))])).await;
    }
    drop(store);
    let last = disk.names().into_iter().filter(|name| name.starts_with("log-")).max().unwrap();
    assert_ne!(last, SEGMENT);
    disk.lose(&last);
    corrupt(&disk, &last);
}

#[tokio::test]
async fn a_missing_or_damaged_mark_is_an_error_that_names_it() {
    let disk = SimDisk::default();
    drop(ten_keys(&disk).await);
    disk.damage("mark", |bytes| bytes.fill(7));
    corrupt(&disk, "mark");
    disk.lose("mark");
    corrupt(&disk, "mark");
}

#[tokio::test]
async fn damage_to_a_snapshot_is_an_error_with_file_and_offset() {
    for at in [0, 9, 17, 30, 100, 2000] {
        let disk = SimDisk::default();
        let store = ten_keys(&disk).await;
        store.snapshot().await.unwrap();
        drop(store);
        let name = disk.names().into_iter().find(|name| name.starts_with("snapshot-")).unwrap();
        disk.damage(&name, |bytes| bytes[at] ^= 4);
        corrupt(&disk, &name);
    }
}

/// A disk that said a directory was synced and lost the names: what is missing is told, never left out in silence.
#[tokio::test]
async fn a_lost_directory_sync_is_an_error_or_loses_nothing() {
    let mut silent = 0;
    for seed in 0..40 {
        let disk = SimDisk::default();
        let store = open(&disk);
        for n in 0..17 {
            revision(&store, write(vec![put(&format!("/k/{n}"), &"v".repeat(200))])).await;
        }
        disk.lie_at_the_next_directory_sync();
        for n in 17..25 {
            revision(&store, write(vec![put(&format!("/k/{n}"), &"v".repeat(200))])).await;
        }
        drop(store);
        match Embedded::on(Box::new(disk.after_power_loss(seed)), SMALL) {
            Ok(store) if value(&store, "/k/24").await.is_some() => {}
            Ok(_) => silent += 1,
            Err(Error::Corrupt { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    // Where the power loss took the newest marks too, nothing can tell.
    assert!(silent <= 10, "{silent} of 40 losses were silent");
}

/// Whatever single operation fails while segments rotate and snapshots are written, the directory opens again and has
/// everything that was acknowledged.
#[tokio::test]
async fn one_failure_anywhere_in_rotation_or_snapshot_is_survived() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for fuse in 0..120 {
            let disk = SimDisk::default();
            let store = open(&disk);
            disk.fail_once_after(fuse, kind);
            let mut acknowledged = Vec::new();
            for n in 0..45 {
                let text = format!("{n}:{}", "x".repeat(200));
                if store.txn(write(vec![put(&format!("/k/{n}"), &text)])).await.is_ok() {
                    acknowledged.push((n, text));
                }
                if n % 15 == 14 {
                    let _ = store.snapshot().await;
                }
            }
            drop(store);
            for (how, disk) in [("kill", disk.after_kill()), ("power loss", disk.after_power_loss(fuse.into()))] {
                let store = Embedded::on(Box::new(disk), SMALL)
                    .unwrap_or_else(|error| panic!("{kind:?} at operation {fuse}, then {how}: {error}"));
                for (n, text) in &acknowledged {
                    assert_eq!(value(&store, &format!("/k/{n}")).await.as_ref(), Some(text), "{kind:?} {fuse} {how}");
                }
            }
        }
    }
}

/// A small disk whose log fills it although only a few keys live: snapshots let the log go.
#[tokio::test]
async fn a_small_disk_is_not_filled_by_old_log() {
    let disk = SimDisk::default();
    disk.limit(Some(16 << 10));
    let options = Options { segment_bytes: 4096, snapshot_after: 1 << 30 };
    let store = Embedded::on(Box::new(disk.clone()), options).unwrap();
    for n in 0..300 {
        revision(&store, write(vec![put("/one", &format!("{n}:{}", "x".repeat(200)))])).await;
    }
    drop(store);
    let store = Embedded::on(Box::new(disk.after_kill()), options).unwrap();
    assert!(value(&store, "/one").await.unwrap().starts_with("299:"));
}

/// On a disk that is full of what is alive, new keys are refused, and deletions go on until there is room again.
#[tokio::test]
async fn deletions_make_room_on_a_full_disk() {
    let disk = SimDisk::default();
    let store = open(&disk);
    disk.limit(Some(18 << 10));
    let mut n = 0;
    let refused = loop {
        match store.txn(write(vec![put(&format!("/k/{n}"), &"x".repeat(200))])).await {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, Error::DiskFull { path } if path == "/sim"), "{refused:?}");
    assert!(matches!(store.failure(), Some(Error::DiskFull { .. })));
    assert!(n > 20, "{n} keys fit");
    for gone in 0..n {
        let delete = || write(vec![Op::Delete { key: format!("/k/{gone}").as_str().into() }]);
        let deleted = async {
            while store.txn(delete()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), deleted).await.unwrap();
    }
    let room = async {
        while store.txn(write(vec![put("/new", "x")])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), room).await.unwrap();
    until_healthy(&store).await;
    drop(store);
    assert_eq!(value(&open(&disk.after_kill()), "/new").await.unwrap(), "x");
}

/// Keys whose time comes while the disk takes nothing go later.
#[tokio::test]
async fn what_expires_on_a_full_disk_goes_once_there_is_room() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let ttl = Some(Duration::from_millis(20));
    revision(&store, write(vec![Op::Put { key: "/t".into(), value: "x".into(), ttl }])).await;
    disk.fail_after(0, ErrorKind::StorageFull);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(value(&store, "/t").await.is_some());
    disk.heal();
    let gone = async {
        while value(&store, "/t").await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

/// A directory of the version before there was a mark.
#[tokio::test]
async fn a_log_without_a_mark_of_the_old_version_opens_and_gets_one() {
    let disk = SimDisk::default();
    drop(ten_keys(&disk).await);
    disk.lose("mark");
    disk.damage(SEGMENT, |bytes| {
        bytes[7] = b'1';
        let sum = crc32fast::hash(&bytes[..16]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    });
    let store = open(&disk);
    assert_eq!(store.list("/k/", None, None, None).await.unwrap().items.len(), 10);
    revision(&store, write(vec![put("/k/10", "x")])).await;
    drop(store);
    disk.damage(SEGMENT, |bytes| bytes[2632] ^= 1);
    corrupt(&disk, SEGMENT);
}
