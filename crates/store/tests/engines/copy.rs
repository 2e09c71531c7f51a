//! From one engine to another.

use std::time::Duration;

use coracle_store::Embedded;
use coracle_store::{Error, Op, Options, Store, copy};

use crate::{Engine, engines, put, write};

async fn source() -> (Embedded, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    for first in (0..2_500).step_by(50) {
        let ops = (first..first + 50).map(|n| put(&format!("/registry/k/{n:04}"), &n.to_string())).collect();
        store.txn(write(ops)).await.unwrap();
    }
    let large = "x".repeat(400_000);
    store.txn(write((0..4).map(|n| put(&format!("/registry/large/{n}"), &large)).collect())).await.unwrap();
    let key = "/registry/event".into();
    let event = Op::Put { key, value: "e".into(), ttl: Some(Duration::from_secs(3_600)) };
    store.txn(write(vec![event, put("/elsewhere", "x")])).await.unwrap();
    (store, dir)
}

async fn all(store: &dyn Store, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let page = store.list(prefix, None, None, None).await.unwrap();
    page.items.iter().map(|kv| (kv.key().to_owned(), kv.value().to_vec())).collect()
}

#[tokio::test]
async fn everything_is_copied_and_what_was_interrupted_goes_on() {
    let (from, _dir) = source().await;
    let expected = all(&from, "/registry/").await;
    for Engine { store: to, .. } in engines().await {
        to.txn(write(vec![put("/registry/k/0003", "3"), put("/registry/k/2400", "2400")])).await.unwrap();
        for _ in 0..2 {
            assert_eq!(copy(&from, &*to, "/registry/").await.unwrap(), expected.len());
            assert_eq!(all(&*to, "/registry/").await, expected);
        }
        assert!(to.get("/elsewhere", None).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn what_another_has_written_there_is_left_as_it_is() {
    let (from, _dir) = source().await;
    for Engine { store: to, .. } in engines().await {
        to.txn(write(vec![put("/registry/k/0100", "other")])).await.unwrap();
        let refused = copy(&from, &*to, "/registry/").await.unwrap_err();
        assert!(matches!(&refused, Error::Refused(why) if why.contains("/registry/k/0100")), "{refused}");
        assert_eq!(to.get("/registry/k/0100", None).await.unwrap().unwrap().value(), b"other");
    }
}
