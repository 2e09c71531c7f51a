//! How many connections and requests there may be at once, and what goes on in a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;

use crate::metrics::METRICS;

/// Connections at once, and requests at once, where there are descriptors enough.
const MOST: usize = 16_384;
/// Connections to backends that wait for a request, likewise.
const MOST_IDLE: usize = 4_096;
/// How long a connection may ask for nothing, or be at one request's head.
pub const IDLE: Duration = Duration::from_secs(60);

/// How much there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of clients.
    pub connections: usize,
    /// Requests, each of which may have a connection to a backend.
    pub requests: usize,
    /// Of either, those of one address.
    pub of_address: usize,
    /// Connections to backends that wait for a request.
    pub idle: usize,
}

impl Limits {
    /// The limits of this process: all connections take no more than a quarter of its descriptors.
    pub fn of_process() -> Limits {
        Limits::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn of(descriptors: u64) -> Limits {
        let quarter = usize::try_from(descriptors / 4).unwrap_or(usize::MAX);
        let places = (quarter / 8 * 3).min(MOST);
        Limits { connections: places, requests: places, of_address: places / 8, idle: (quarter / 4).min(MOST_IDLE) }
    }
}

/// Who is connected.
pub struct Places {
    /// How much there may be.
    pub limits: Limits,
    by_address: Mutex<HashMap<IpAddr, Own>>,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// What one address has.
#[derive(Default)]
struct Own {
    connections: usize,
    requests: Arc<AtomicUsize>,
}

impl Default for Places {
    fn default() -> Places {
        Places::of(Limits::of_process())
    }
}

impl Places {
    /// None is taken.
    pub fn of(limits: Limits) -> Places {
        Places { limits, by_address: Mutex::default(), connections: AtomicUsize::new(0), requests: AtomicUsize::new(0) }
    }

    /// A place for a connection, if there is one.
    pub fn admit(self: &Arc<Places>, address: IpAddr) -> Option<Place> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.limits.connections {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            METRICS.refused.inc();
            return None;
        }
        let mut by_address = self.by_address.lock();
        let own = by_address.entry(address).or_default();
        own.connections += 1;
        let is_too_many = own.connections > self.limits.of_address;
        let place = Place { places: self.clone(), address, requests: own.requests.clone() };
        drop(by_address);
        METRICS.connections.add(1);
        if is_too_many {
            METRICS.refused.inc();
            return None;
        }
        Some(place)
    }

    /// A place for a request, if there is one.
    pub fn begin(self: &Arc<Places>, activity: &Arc<Activity>) -> Option<Busy> {
        let busy = Busy { places: self.clone(), activity: activity.clone() };
        activity.requests.fetch_add(1, Ordering::AcqRel);
        let of_address = activity.of_address.fetch_add(1, Ordering::Relaxed);
        let of_all = self.requests.fetch_add(1, Ordering::Relaxed);
        (of_all < self.limits.requests && of_address < self.limits.of_address).then_some(busy)
    }

    /// How many are connected.
    #[cfg(test)]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many requests are going on.
    #[cfg(test)]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// The place of a connection, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
    requests: Arc<AtomicUsize>,
}

impl Place {
    /// What goes on in the connection: nothing yet.
    pub fn activity(&self) -> Activity {
        Activity { of_address: self.requests.clone(), ..Activity::default() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.connections.fetch_sub(1, Ordering::Relaxed);
        METRICS.connections.add(-1);
        let mut by_address = self.places.by_address.lock();
        if let Some(own) = by_address.get_mut(&self.address) {
            own.connections -= 1;
            if own.connections == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// A request that is going on, until it is dropped.
pub struct Busy {
    places: Arc<Places>,
    activity: Arc<Activity>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.places.requests.fetch_sub(1, Ordering::Relaxed);
        self.activity.of_address.fetch_sub(1, Ordering::Relaxed);
        *self.activity.since.lock() = Some(Instant::now());
        self.activity.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What goes on in a connection.
#[derive(Default)]
pub struct Activity {
    requests: AtomicUsize,
    /// Requests of all connections of the same address.
    of_address: Arc<AtomicUsize>,
    /// When the last request ended; `None` before that, which is when the connection began.
    since: Mutex<Option<Instant>>,
}

impl Activity {
    /// Waits until nothing was asked for too long: no request has ended and none is going on.
    pub async fn idle(&self) {
        let begun = Instant::now();
        loop {
            let left = match self.requests.load(Ordering::Acquire) {
                0 => IDLE.saturating_sub(self.since.lock().unwrap_or(begun).elapsed()),
                _ => IDLE,
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_take_a_quarter_of_the_descriptors() {
        for descriptors in [0, 1 << 10, 1 << 16, 1 << 18, 1 << 20, u64::MAX] {
            let limits = Limits::of(descriptors);
            let all = limits.connections + limits.requests + limits.idle;
            assert!(all as u64 <= descriptors / 4, "{descriptors}: {limits:?}");
        }
        assert_eq!(Limits::of(1 << 10), Limits { connections: 96, requests: 96, of_address: 12, idle: 64 });
        assert_eq!((Limits::of(1 << 20).connections, Limits::of(1 << 20).of_address), (MOST, 2_048));
    }

    #[test]
    fn one_address_does_not_take_all_places() {
        let limits = Limits::of(1 << 20);
        let places = Arc::new(Places::of(limits));
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut taken: Vec<Place> = (0..limits.of_address).map(|_| places.admit(address(1)).unwrap()).collect();
        assert!(places.admit(address(1)).is_none());
        taken.push(places.admit(address(2)).unwrap());
        taken.remove(0);
        assert!(places.admit(address(1)).is_some());
        let (one, other) = (taken[0].activity(), taken[1].activity());
        let (one, other) = (Arc::new(one), Arc::new(other));
        let requests: Vec<Busy> = (0..limits.of_address).map(|_| places.begin(&one).unwrap()).collect();
        assert!(places.begin(&other).is_none(), "another connection of the same address");
        assert!(places.begin(&Arc::new(taken.last().unwrap().activity())).is_some());
        drop(requests);
        assert!(places.begin(&other).is_some());
        assert_eq!(places.requests(), 0);
        drop(taken);
        assert!(places.by_address.lock().is_empty());
        assert_eq!(places.connections.load(Ordering::Relaxed), 0);
    }
}
