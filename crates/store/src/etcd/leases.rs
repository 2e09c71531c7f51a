//! Leases of keys that go by themselves. Keys that live equally long and are written about the same time share one: the
//! cluster looks after every lease.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Client, Repeat};
use super::failure::Failure;
use super::messages::{LeaseGrantRequest, LeaseGrantResponse};

/// How much longer keys may live that share a lease: a twentieth of their time, and a minute at most.
const SHARE: u32 = 20;
const LONGEST_SHARE: Duration = Duration::from_secs(60);
/// Keys of one lease, which are removed at once when it ends.
const KEYS: usize = 1_000;
/// Lengths of life for which leases are kept.
const LENGTHS: usize = 64;

/// The leases in use.
#[derive(Default)]
pub struct Leases(Mutex<HashMap<Duration, Lease>>);

#[derive(Clone, Copy)]
struct Lease {
    id: i64,
    /// Until when it may be given to further keys.
    until: Instant,
    keys: usize,
}

impl Leases {
    /// A lease that does not end before a time has passed.
    ///
    /// # Errors
    /// The cluster does not grant one.
    pub async fn of(&self, client: &Client, ttl: Duration) -> Result<i64, Failure> {
        let mut leases = self.0.lock().await;
        let now = Instant::now();
        if let Some(lease) = leases.get_mut(&ttl).filter(|lease| lease.until > now && lease.keys < KEYS) {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let seconds = (ttl + (ttl / SHARE).min(LONGEST_SHARE)).as_secs_f64().ceil().max(1.0) as i64;
        let request = LeaseGrantRequest { ttl: seconds };
        // One that is granted twice ends by itself.
        let granted: LeaseGrantResponse =
            client.ask("/etcdserverpb.Lease/LeaseGrant", request, Repeat::Freely, 0).await?;
        let granted_ttl = Duration::from_secs(u64::try_from(granted.ttl).unwrap_or_default());
        let until = now + granted_ttl.saturating_sub(ttl);
        leases.retain(|_, lease| lease.until > now);
        if leases.len() < LENGTHS {
            leases.insert(ttl, Lease { id: granted.id, until, keys: 1 });
        }
        Ok(granted.id)
    }

    /// Forgets leases: one of them is not known any more.
    pub async fn forget(&self) {
        self.0.lock().await.clear();
    }
}
