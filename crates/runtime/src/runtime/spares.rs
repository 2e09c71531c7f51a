//! Shims that are started before a pod needs them: a process, its namespaces and its connection, which are a third of what a pod
//! takes to start. Only a node that has started a pod keeps some, as each costs half a megabyte.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::client::{self, Listener, ShimClient};
use super::{Runtime, blocking, internal, new_id};
use crate::cri::{CriError, Result};
use crate::shim::proto::{NamespacesSpec, Request};

/// How many are kept.
const SPARES: usize = 2;
/// How long no pod is started before more are made: whoever starts many at once needs the processor for them.
const PAUSE: Duration = Duration::from_millis(20);

/// A shim in its namespaces.
pub(super) struct Started {
    /// The sandbox that it is for.
    pub id: String,
    pub shim: Arc<ShimClient>,
}

/// Shims for the common kind of pod, which keeps neither the node's network nor its IPC namespace.
pub(super) struct Spares {
    ready: Mutex<VecDeque<Started>>,
    taken: watch::Sender<()>,
}

impl Spares {
    /// None yet.
    pub fn new() -> Self {
        Self { ready: Mutex::default(), taken: watch::Sender::new(()) }
    }

    /// Told each time that one is wanted.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.taken.subscribe()
    }

    /// The oldest one that lives; whether there is one or not, more are made later.
    pub fn take(&self) -> Option<Started> {
        self.taken.send_replace(());
        let mut ready = self.ready.lock();
        let place = ready.iter().position(|started| !started.shim.is_closed())?;
        ready.remove(place)
    }

    /// Those that live, and the IDs of those that do not.
    fn count(&self) -> (usize, Vec<String>) {
        let mut ready = self.ready.lock();
        let (dead, living): (VecDeque<_>, _) =
            std::mem::take(&mut *ready).into_iter().partition(|one| one.shim.is_closed());
        *ready = living;
        (ready.len(), dead.into_iter().map(|started: Started| started.id).collect())
    }
}

/// Makes shims when some have been taken, until the runtime ends.
pub(super) async fn keep(runtime: Weak<Runtime>, mut taken: watch::Receiver<()>) {
    while taken.changed().await.is_ok() {
        while let Ok(Ok(())) = timeout(PAUSE, taken.changed()).await {}
        let Some(runtime) = runtime.upgrade() else { return };
        let (living, mut failed) = runtime.spares.count();
        for _ in living..SPARES {
            let id = new_id();
            match runtime.start_shim(&id, false, false).await {
                Ok(started) => runtime.spares.ready.lock().push_back(started),
                Err(error) => {
                    tracing::debug!(%error, "no shim could be started for a later pod");
                    failed.push(id);
                    break;
                }
            }
        }
        for id in failed {
            let dir = runtime.config.sandboxes_dir().join(id);
            let removed = blocking(move || crate::tree::remove(&dir).map_err(internal("removing what a shim left")));
            if let Err(error) = removed.await {
                tracing::warn!(%error, "a shim that was for no pod yet is gone");
            }
        }
    }
}

impl Runtime {
    /// Starts a shim for the sandbox of an ID, and has it make its namespaces.
    pub(super) async fn start_shim(&self, id: &str, host_network: bool, host_ipc: bool) -> Result<Started> {
        let (runtime, name) = (self.strong()?, id.to_owned());
        let dir = self.config.sandboxes_dir().join(id);
        let at = dir.clone();
        let (socket, mut child) = blocking(move || {
            let failed = |what: &'static str| internal(format!("failed to create pod sandbox: {what}"));
            std::fs::create_dir_all(at.join("shm")).map_err(failed("making its directory"))?;
            client::spawn(&runtime.program.path(), &name, &at).map_err(failed("shim"))
        })
        .await?;
        // The child ends as soon as the shim has left our process tree.
        tokio::task::spawn_blocking(move || child.wait());
        let listener: Weak<dyn Listener> = self.me.clone();
        let shim = ShimClient::new(socket, id.to_owned(), listener).map_err(internal("talking to the shim"))?;
        let spec = NamespacesSpec { dir, host_network, host_ipc, cgroup: self.cgroups.join("shims") };
        let prepared = shim.call(Request::Prepare(Box::new(spec)), &[]).await;
        prepared.map_err(|error| CriError::Internal(format!("failed to create pod sandbox: {error}")))?;
        Ok(Started { id: id.to_owned(), shim: Arc::new(shim) })
    }
}
