//! A store whose next transaction waits in the queue, as under load, while others pass it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use coracle_store::{Error, Feed, KeyValue, Outcome, Page, Result, Revision, Store, Subscription, Txn};
use tokio::sync::Notify;

use crate::Api;

/// A server whose next write can be held, and what holds it.
pub async fn api() -> (Arc<Api>, Arc<Held>) {
    let mut held = None;
    let api = Api::over(|store| held.insert(Arc::new(Held::new(store))).clone()).await;
    (Arc::new(api), held.expect("a store"))
}

pub struct Held {
    store: Arc<dyn Store>,
    hold: AtomicBool,
    held: Notify,
    released: Arc<Notify>,
    done: Arc<Notify>,
}

impl Held {
    pub fn new(store: Arc<dyn Store>) -> Held {
        Held {
            store,
            hold: AtomicBool::new(false),
            held: Notify::new(),
            released: Arc::default(),
            done: Arc::default(),
        }
    }

    /// Holds the next transaction.
    pub fn hold(&self) {
        self.hold.store(true, Ordering::SeqCst);
    }

    /// Waits until there is a transaction to hold.
    pub async fn holds(&self) {
        self.held.notified().await;
    }

    /// Lets it be committed, and waits until that was tried.
    pub async fn release(&self) {
        self.released.notify_one();
        self.done.notified().await;
    }
}

#[async_trait]
impl Store for Held {
    fn settled_revision(&self) -> Option<Revision> {
        self.store.settled_revision()
    }

    async fn current_revision(&self) -> Result<Revision> {
        self.store.current_revision().await
    }

    async fn hasten(&self) -> Result<()> {
        self.store.hasten().await
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
        if !self.hold.swap(false, Ordering::SeqCst) {
            return self.store.txn(txn).await;
        }
        // What is in the queue is committed whether or not anyone still waits for the answer.
        let (store, released, done) = (self.store.clone(), self.released.clone(), self.done.clone());
        let task = tokio::spawn(async move {
            released.notified().await;
            let outcome = store.txn(txn).await;
            done.notify_one();
            outcome
        });
        self.held.notify_one();
        task.await.expect("the task ends")
    }

    async fn subscribe(&self, prefix: &str, after: Revision, feed: Feed) -> Result<Subscription> {
        self.store.subscribe(prefix, after, feed).await
    }
}
