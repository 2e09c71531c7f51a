//! How much of the process' descriptors published ports may take, all together: the API server and the ways in have theirs of the
//! same table, and whoever reaches the ports is nobody that it knows.

use std::sync::Arc;

use anyhow::Result;
use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An eighth of the descriptors is theirs.
const PART: u64 = 8;
/// Most that they have use of.
const MOST: usize = 50_000;
/// What a connection takes: the client's half and the node's.
const HALVES: u32 = 2;

/// What is left for connections and sessions of all ports.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

/// A place, until it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    /// Those of this process.
    pub fn of_process() -> Places {
        Places::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    pub(super) fn of(descriptors: u64) -> Places {
        let all = usize::try_from(descriptors / PART).unwrap_or(usize::MAX);
        Places(Arc::new(Semaphore::new(all.clamp(HALVES as usize, MOST))))
    }

    /// One for a connection, if there is one now.
    pub fn connection(&self) -> Option<Place> {
        self.0.clone().try_acquire_many_owned(HALVES).ok()
    }

    /// One for a connection, once there is one.
    ///
    /// # Errors
    /// There will be none, which does not happen.
    pub async fn next_connection(&self) -> Result<Place> {
        Ok(self.0.clone().acquire_many_owned(HALVES).await?)
    }

    /// One for a session of datagrams, if there is one now.
    pub fn session(&self) -> Option<Place> {
        self.0.clone().try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn all_ports_together_take_a_part_of_the_descriptors() {
        let places = Places::of(40);
        let first = places.connection().expect("a place");
        let _second = places.connection().expect("a place");
        let _session = places.session().expect("a place");
        assert!(places.session().is_none() && places.connection().is_none());
        assert!(places.next_connection().now_or_never().is_none());
        drop(first);
        assert!(places.connection().is_some());
        assert!(Places::of(0).connection().is_some(), "however few there are");
        assert!(Places::of(u64::MAX).session().is_some());
    }
}
