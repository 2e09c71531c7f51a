//! How a controller runs: its caches fill, then workers reconcile the keys of its queue until that is closed.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Cached, Informer, WorkQueue};
use futures::future::{BoxFuture, FutureExt, join_all};

/// Brings what there is closer to what was asked for, one key at a time.
pub(crate) trait Controller: Send + Sync + 'static {
    /// What is reconciled at once, most often the key of one object.
    type Key: Hash + Eq + Clone + Debug + Send + Sync + 'static;
    /// How many keys are worked on at the same time.
    const WORKERS: usize;

    /// The keys to work on. What fills it subscribes before the controller runs.
    fn queue(&self) -> &WorkQueue<Self::Key>;

    /// What `reconcile` reads: it is not called before all of it is there.
    fn caches(&self) -> Vec<&dyn Cache>;

    /// Looks at one key. An error is tried again with backoff; a delay calls again after it, even without a change.
    fn reconcile(&self, key: Self::Key) -> impl Future<Output = anyhow::Result<Option<Duration>>> + Send;
}

/// What has to be read once before anything may be concluded from it.
pub(crate) trait Cache: Sync {
    /// Returns once the first list is there.
    fn filled(&self) -> BoxFuture<'_, ()>;
}

impl<K> Cache for Informer<K>
where
    K: Cached,
{
    fn filled(&self) -> BoxFuture<'_, ()> {
        self.synced().boxed()
    }
}

/// Runs a controller until its queue is closed.
pub(crate) async fn run<C: Controller>(controller: Arc<C>) -> anyhow::Result<()> {
    let c = controller.clone();
    let reconcile = move |key| {
        let controller = c.clone();
        async move { controller.reconcile(key).await }
    };
    reconcile_all(&controller.caches(), controller.queue(), C::WORKERS, reconcile).await
}

/// As [`run`], for a controller that is only a function.
pub(crate) async fn reconcile_all<K, F, Fut, E>(
    caches: &[&dyn Cache],
    queue: &WorkQueue<K>,
    workers: usize,
    reconcile: F,
) -> anyhow::Result<()>
where
    K: Hash + Eq + Clone + Debug + Send + Sync + 'static,
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<Duration>, E>> + Send + 'static,
    E: Display + Send + 'static,
{
    join_all(caches.iter().map(|cache| cache.filled())).await;
    coracle_client::run(queue.clone(), workers, reconcile).await;
    Ok(())
}
