use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use proptest::prelude::*;

use super::*;
use crate::{Embedded, KeyValue, Op, Options, Store, Txn, check, format};

const ROOT: &str = "/registry/";

fn fate(key: &str) -> Fate {
    match key {
        "/registry/lease" => Fate::LeaveOut,
        "/registry/event" => Fate::Expire(Duration::from_secs(3600)),
        _ => Fate::Keep,
    }
}

fn open(dir: &Path) -> Arc<dyn Store> {
    Arc::new(Embedded::open(dir, Options::default()).unwrap())
}

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    let op = Op::Put { key: key.into(), value: value.to_owned().into(), ttl: None };
    store.txn(Txn { compares: vec![], ops: vec![op] }).await.unwrap();
    store.current_revision().await.unwrap()
}

async fn backed_up(store: &Arc<dyn Store>) -> Vec<u8> {
    let all: Vec<bytes::Bytes> = pieces(store.clone(), ROOT, fate).try_collect().await.unwrap();
    all.concat()
}

/// A store with some keys, as many as several frames have, and a backup of it.
async fn example(dir: &Path) -> (Arc<dyn Store>, PathBuf, Revision) {
    let store = open(&dir.join("store"));
    for n in 0..40 {
        put(&*store, &format!("/registry/k/{n:02}"), &"x".repeat(60_000)).await;
    }
    put(&*store, "/registry/k/00", "changed").await;
    put(&*store, "/registry/lease", "l").await;
    put(&*store, "/elsewhere", "e").await;
    let revision = put(&*store, "/registry/event", "e").await;
    let path = dir.join("backup");
    fs::write(&path, backed_up(&store).await).unwrap();
    (store, path, revision)
}

#[tokio::test]
async fn what_is_backed_up_comes_back_at_later_revisions() {
    let dir = tempfile::tempdir().unwrap();
    let (store, path, revision) = example(dir.path()).await;
    let summary = verify(&path).unwrap();
    assert_eq!((summary.revision, summary.keys), (revision, 41));
    assert_eq!(summary.bytes, fs::metadata(&path).unwrap().len());
    // What comes later is no part of it.
    put(&*store, "/registry/later", "x").await;
    let to = dir.path().join("new");
    let restored = into_directory(&path, &to).unwrap();
    assert_eq!(restored, Restored { keys: 41, backup: revision, revision: revision + LEAP });
    assert_eq!(check(&to, |_| ()).unwrap().keys, 41);
    let new = open(&to);
    for key in ["/registry/k/00", "/registry/k/39"] {
        assert_eq!(new.get(key, None).await.unwrap(), store.get(key, None).await.unwrap());
    }
    assert!(new.get("/registry/event", None).await.unwrap().unwrap().expires().is_some());
    for gone in ["/registry/lease", "/elsewhere", "/registry/later"] {
        assert!(new.get(gone, None).await.unwrap().is_none(), "{gone}");
    }
    let old = new.subscribe(ROOT, revision + 5, Box::new(|_| ())).await;
    assert!(matches!(old, Err(crate::Error::Compacted { .. })), "{old:?}");
    assert_eq!(put(&*new, "/registry/next", "x").await, revision + LEAP + 1);
    drop(new);
    assert_eq!(check(&to, |_| ()).unwrap().revision, revision + LEAP + 1);
}

#[tokio::test]
async fn writes_go_on_while_a_backup_is_made_and_are_no_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, before) = example(dir.path()).await;
    let mut pieces = std::pin::pin!(pieces(store.clone(), ROOT, fate));
    let mut bytes = Vec::new();
    let mut writes = 0;
    while let Some(piece) = pieces.try_next().await.unwrap() {
        bytes.extend_from_slice(&piece);
        put(&*store, "/registry/k/39", "later").await;
        writes += 1;
    }
    assert!(writes > 2);
    let path = dir.path().join("other");
    fs::write(&path, bytes).unwrap();
    assert_eq!(verify(&path).unwrap().revision, before);
    into_directory(&path, &dir.path().join("new")).unwrap();
    let new = open(&dir.path().join("new"));
    assert_eq!(new.get("/registry/k/39", None).await.unwrap().unwrap().value().len(), 60_000);
}

#[tokio::test]
async fn a_backup_is_restored_only_where_nothing_is_and_an_interrupted_restore_can_be_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (store, path, _) = example(dir.path()).await;
    let refused = into_directory(&path, &dir.path().join("store")).unwrap_err();
    assert!(matches!(refused, Error::NotEmpty { .. }), "{refused}");
    drop(store);
    let to = dir.path().join("new");
    fs::create_dir(dir.path().join("new.restoring")).unwrap();
    fs::write(dir.path().join("new.restoring/snapshot.tmp"), "half").unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(to.join("lock"), "").unwrap();
    into_directory(&path, &to).unwrap();
    assert!(!dir.path().join("new.restoring").exists());
    // What cannot be done leaves nothing.
    fs::write(dir.path().join("other.restoring"), "in the way").unwrap();
    let other = dir.path().join("other");
    assert!(into_directory(&path, &other).is_err() && !other.exists());
    assert!(matches!(into_directory(&path, &to).unwrap_err(), Error::NotEmpty { .. }));
}

#[tokio::test]
async fn a_backup_goes_into_an_empty_store_whose_revisions_are_not_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (store, path, revision) = example(dir.path()).await;
    let refused = into_store(&path, &*store, ROOT, true).await.unwrap_err();
    assert!(matches!(&refused, Error::NotEmpty { found, .. } if found == "/registry/event"), "{refused}");
    let to = open(&dir.path().join("to"));
    let refused = into_store(&path, &*to, ROOT, false).await.unwrap_err();
    assert!(matches!(refused, Error::Behind { now: 1, backup } if backup == revision), "{refused}");
    assert_eq!(into_store(&path, &*to, ROOT, true).await.unwrap().keys, 41);
    let values = |page: crate::Page| page.items.iter().map(|kv| kv.value().to_vec()).collect::<Vec<_>>();
    let expected = values(store.list("/registry/k/", None, None, None).await.unwrap());
    assert_eq!(values(to.list("/registry/k/", None, None, None).await.unwrap()), expected);
}

/// A store that takes some transactions and then no more, as one whose writer is killed.
struct Failing(Arc<dyn Store>, std::sync::atomic::AtomicUsize);

#[async_trait::async_trait]
impl Store for Failing {
    fn settled_revision(&self) -> Option<Revision> {
        self.0.settled_revision()
    }
    async fn current_revision(&self) -> crate::Result<Revision> {
        self.0.current_revision().await
    }
    async fn hasten(&self) -> crate::Result<()> {
        self.0.hasten().await
    }
    fn failure(&self) -> Option<crate::Error> {
        self.0.failure()
    }
    async fn failed(&self) -> crate::Error {
        self.0.failed().await
    }
    async fn get(&self, key: &str, at: Option<Revision>) -> crate::Result<Option<crate::KeyValue>> {
        self.0.get(key, at).await
    }
    async fn list(
        &self,
        prefix: &str,
        at: Option<Revision>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> crate::Result<crate::Page> {
        self.0.list(prefix, at, after, limit).await
    }
    async fn txn(&self, txn: Txn) -> crate::Result<crate::Outcome> {
        use std::sync::atomic::Ordering::SeqCst;
        match self.1.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => self.0.txn(txn).await,
            Err(_) => Err(crate::Error::Refused("it ends".into())),
        }
    }
    async fn subscribe(&self, prefix: &str, after: Revision, feed: crate::Feed) -> crate::Result<crate::Subscription> {
        self.0.subscribe(prefix, after, feed).await
    }
}

#[tokio::test]
async fn a_restore_that_was_interrupted_is_no_whole_cluster_and_goes_on_with_the_same_backup() {
    let dir = tempfile::tempdir().unwrap();
    let (store, path, _) = example(dir.path()).await;
    put(&*store, "/registry/later", "x").await;
    let other = dir.path().join("other");
    fs::write(&other, backed_up(&store).await).unwrap();
    let values = |page: crate::Page| page.items.iter().map(|kv| kv.value().to_vec()).collect::<Vec<_>>();
    // After the mark, after each portion of the keys, and before the mark goes.
    for interrupted in 1.. {
        let to = open(&dir.path().join(format!("to{interrupted}")));
        let failing = Failing(to.clone(), interrupted.into());
        if into_store(&path, &failing, ROOT, true).await.is_ok() {
            assert!(interrupted > 5, "{interrupted}");
            break;
        }
        let refused = check_finished(&*to, ROOT).await.unwrap_err().to_string();
        assert!(refused.contains("`coracle restore` with the backup of revision 45 with 41 keys"), "{refused}");
        let refused = into_store(&other, &*to, ROOT, true).await.unwrap_err();
        assert!(matches!(&refused, Error::Unfinished { .. }), "{refused}");
        assert_eq!(into_store(&path, &*to, ROOT, true).await.unwrap().keys, 41);
        check_finished(&*to, ROOT).await.unwrap();
        let expected = values(store.list("/registry/k/", None, None, None).await.unwrap());
        assert_eq!(values(to.list("/registry/k/", None, None, None).await.unwrap()), expected);
        assert_eq!(to.list(ROOT, None, None, None).await.unwrap().items.len(), 41);
        assert!(matches!(into_store(&path, &*to, ROOT, true).await.unwrap_err(), Error::NotEmpty { .. }));
    }
}

#[tokio::test]
async fn what_is_damaged_cut_foreign_or_of_a_newer_format_is_refused_with_where_and_what() {
    let dir = tempfile::tempdir().unwrap();
    let (_, path, _) = example(dir.path()).await;
    let whole = fs::read(&path).unwrap();
    let other = dir.path().join("other");
    let refused = |bytes: &[u8]| {
        fs::write(&other, bytes).unwrap();
        let to = dir.path().join("to");
        let error = into_directory(&other, &to).unwrap_err();
        assert!(!to.exists() && !dir.path().join("to.restoring").exists());
        assert_eq!(verify(&other).unwrap_err().to_string(), error.to_string());
        error
    };
    for length in [8, 19, 20, 43, 50, 100_000, whole.len() - 25, whole.len() - 24, whole.len() - 1] {
        let error = refused(&whole[..length]);
        assert!(matches!(error, Error::Cut { offset, .. } if offset == length as u64), "{length}: {error}");
    }
    for flipped in (0..whole.len()).step_by(9_973).chain([7, 8, 15, 16, 19, 20, 24, 32, 36, 40, whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[flipped] ^= 0x10;
        let error = refused(&bytes);
        let told = match &error {
            Error::Foreign { .. } => flipped < 7,
            Error::Newer { .. } => flipped == 7,
            Error::Damaged { offset, .. } => *offset <= flipped as u64,
            _ => false,
        };
        assert!(told, "{flipped}: {error}");
    }
    let newer = [b"CORABKP2", &whole[8..]].concat();
    assert!(refused(&newer).to_string().contains("format 2"));
    assert!(
        matches!(refused(&[&whole[..], b"x"].concat()), Error::Damaged { offset, .. } if offset == whole.len() as u64)
    );
    assert!(matches!(refused(b"PK"), Error::Foreign { .. }));
    assert!(matches!(refused(b""), Error::Foreign { .. }));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_panic(head in 0usize..3, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut start = Vec::new();
        match head {
            0 => {}
            1 => start.extend_from_slice(b"CORABKP1"),
            _ => crate::format::put_file_header(&mut start, b"CORABKP1", 7),
        }
        fs::write(&path, [start, bytes].concat()).unwrap();
        prop_assert!(verify(&path).is_err());
    }
}

/// A backup of one key that somebody made up.
fn made_up(revision: Revision, key: &str, made: Revision, changed: Revision) -> Vec<u8> {
    let mut bytes = Vec::new();
    let [a, b, c, d, e, f, g] = *MAGIC;
    format::put_file_header(&mut bytes, &[a, b, c, d, e, f, g, FORMAT], revision);
    let start = format::begin_frame(&mut bytes);
    format::put_kv(&mut bytes, &KeyValue::new(key, b"v", made, changed));
    format::end_frame(&mut bytes, start, 1);
    let start = format::begin_frame(&mut bytes);
    format::end_frame(&mut bytes, start, 2);
    bytes
}

#[tokio::test]
async fn what_no_store_has_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    for (revision, made, changed) in [(7, 0, 0), (7, 0, 7), (7, 5, 4), (7, 1, 8), (Revision::MAX - 5, 1, 1)] {
        fs::write(&path, made_up(revision, "/registry/a", made, changed)).unwrap();
        assert!(matches!(verify(&path), Err(Error::Damaged { .. })), "{revision} {made} {changed}");
    }
    fs::write(&path, made_up(7, "/other/a", 1, 7)).unwrap();
    verify(&path).unwrap();
    let store = open(&dir.path().join("store"));
    let refused = into_store(&path, &*store, ROOT, true).await.unwrap_err().to_string();
    assert!(refused.contains("/other/a is not below /registry/"), "{refused}");
    assert!(store.list("/", None, None, None).await.unwrap().items.is_empty());
}
