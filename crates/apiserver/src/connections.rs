//! Who is connected: a place for each connection, so that no address, and nobody without credentials, takes them all.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coracle_api::addresses;
use coracle_api::status::Status;
use ipnet::IpNet;
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio_util::sync::CancellationToken;

/// How many connections are open at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub all: usize,
    /// Of those who have not shown valid credentials, in all.
    pub unproven: usize,
    /// The same from one address.
    pub unproven_of_address: usize,
    /// The same from the machine itself, where everyone may have the same address.
    pub unproven_of_loopback: usize,
    /// With credentials, from one address; administrators and the system's own parts are not counted.
    pub proven_of_address: usize,
}

impl Limits {
    /// The limits of this process: half of its descriptors are left to everything else.
    pub fn of_process() -> Limits {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let all = usize::try_from(descriptors / 2).unwrap_or(usize::MAX).min(10_000);
        Limits {
            all,
            unproven: all / 4,
            unproven_of_address: (all / 4).min(256),
            unproven_of_loopback: (all / 4).min(1000),
            proven_of_address: 1000,
        }
    }
}

/// All connections.
pub struct Connections(Arc<Shared>);

struct Shared {
    limits: Limits,
    inside: Vec<IpNet>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: usize,
    /// Those without credentials, the oldest first.
    unproven: BTreeMap<u64, IpAddr>,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Default)]
struct Address {
    unproven: BTreeMap<u64, CancellationToken>,
    proven: usize,
}

/// The place of one connection, which is free again when it is dropped.
pub struct Place {
    shared: Arc<Shared>,
    number: u64,
    from: IpAddr,
    /// What of that counts as one address.
    address: IpAddr,
    /// Cancelled when the connection has to make room.
    evicted: CancellationToken,
    proven: AtomicBool,
    counted: AtomicBool,
}

impl Connections {
    /// None yet. In these networks each address of IPv6 counts for itself, elsewhere the network of it.
    pub fn new(limits: Limits, inside: Vec<IpNet>) -> Connections {
        Connections(Arc::new(Shared { limits, inside, table: Mutex::default() }))
    }

    /// Makes a place for a connection. Where there is none, the oldest without credentials has to go: first of the
    /// same address, then of all; `None` when all have credentials.
    pub fn admit(&self, from: IpAddr) -> Option<Place> {
        let address = addresses::client(from, &self.0.inside);
        let limits = self.0.limits;
        let own = if address.is_loopback() { limits.unproven_of_loopback } else { limits.unproven_of_address };
        let mut table = self.0.table.lock();
        if let Some(known) = table.addresses.get(&address)
            && known.unproven.len() >= own
            && let Some(oldest) = known.unproven.keys().next().copied()
        {
            table.evict(oldest);
        } else if table.unproven.len() >= limits.unproven || table.open >= limits.all {
            let oldest = table.unproven.keys().next().copied()?;
            table.evict(oldest);
        }
        table.next = table.next.wrapping_add(1);
        table.open = table.open.saturating_add(1);
        let (number, evicted) = (table.next, CancellationToken::new());
        table.unproven.insert(number, address);
        table.addresses.entry(address).or_default().unproven.insert(number, evicted.clone());
        drop(table);
        let (proven, counted) = (AtomicBool::new(false), AtomicBool::new(false));
        Some(Place { shared: self.0.clone(), number, from, address, evicted, proven, counted })
    }
}

impl Table {
    /// Takes one without credentials out; `None` when it is not among them.
    fn remove_unproven(&mut self, number: u64) -> Option<CancellationToken> {
        let address = self.unproven.remove(&number)?;
        let known = self.addresses.get_mut(&address)?;
        let token = known.unproven.remove(&number);
        self.tidy(address);
        token
    }

    fn evict(&mut self, number: u64) {
        if let Some(token) = self.remove_unproven(number) {
            self.open = self.open.saturating_sub(1);
            token.cancel();
        }
    }

    fn tidy(&mut self, address: IpAddr) {
        if self.addresses.get(&address).is_some_and(|known| known.unproven.is_empty() && known.proven == 0) {
            self.addresses.remove(&address);
        }
    }
}

impl Place {
    /// Whether someone on this connection has shown valid credentials.
    pub fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    /// Someone on this connection has shown valid credentials; `system` when they are always let in.
    ///
    /// # Errors
    /// 429 when their address has too many connections.
    pub fn prove(&self, system: bool) -> Result<(), Status> {
        if self.is_proven() {
            return Ok(());
        }
        let mut table = self.shared.table.lock();
        let has = table.addresses.get(&self.address).map_or(0, |known| known.proven);
        if !system && has >= self.shared.limits.proven_of_address {
            let why = format!("{} has too many connections, please try again later.", self.address);
            return Err(Status::too_many_requests(why, 1));
        }
        if self.proven.swap(true, Ordering::AcqRel) || table.remove_unproven(self.number).is_none() {
            return Ok(());
        }
        if !system {
            let known = table.addresses.entry(self.address).or_default();
            known.proven = known.proven.saturating_add(1);
            self.counted.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Where the connection comes from.
    pub fn from(&self) -> IpAddr {
        self.from
    }

    /// Waits until the connection has to make room for another.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.shared.table.lock();
        if table.remove_unproven(self.number).is_some() || (self.is_proven() && !self.evicted.is_cancelled()) {
            table.open = table.open.saturating_sub(1);
        }
        if self.counted.load(Ordering::Acquire)
            && let Some(known) = table.addresses.get_mut(&self.address)
        {
            known.proven = known.proven.saturating_sub(1);
            table.tidy(self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { all: 6, unproven: 4, unproven_of_address: 2, unproven_of_loopback: 3, proven_of_address: 2 };

    fn from(connections: &Connections, address: &str) -> Option<Place> {
        connections.admit(address.parse().unwrap())
    }

    fn is_evicted(place: &Option<Place>) -> bool {
        place.as_ref().unwrap().evicted.is_cancelled()
    }

    #[test]
    fn the_oldest_without_credentials_of_an_address_makes_room() {
        let connections = Connections::new(LIMITS, Vec::new());
        let a: Vec<_> = (0..3).map(|_| from(&connections, "192.0.2.1")).collect();
        let b = from(&connections, "192.0.2.2");
        assert_eq!(a.iter().map(is_evicted).collect::<Vec<_>>(), [true, false, false]);
        assert!(!is_evicted(&b));
        drop((a, b));
        let table = connections.0.table.lock();
        assert!(table.open == 0 && table.addresses.is_empty() && table.unproven.is_empty());
    }

    #[test]
    fn who_has_credentials_stays_whoever_comes() {
        let connections = Connections::new(LIMITS, Vec::new());
        let proven: Vec<_> = (0..2).map(|_| from(&connections, "192.0.2.1").unwrap()).collect();
        proven.iter().for_each(|place| place.prove(false).unwrap());
        let more = from(&connections, "192.0.2.1").unwrap();
        assert_eq!(more.prove(false).unwrap_err().code, 429);
        more.prove(true).unwrap();
        let others: Vec<_> = (1..=9).map(|n| from(&connections, &format!("198.51.100.{n}"))).collect();
        assert!(others.iter().all(Option::is_some));
        assert_eq!(others.iter().filter(|place| !is_evicted(place)).count(), 3, "three of six are left");
        assert!(proven.iter().all(|place| !place.evicted.is_cancelled()));
        drop((proven, more, others));
        let table = connections.0.table.lock();
        assert!(table.open == 0 && table.addresses.is_empty());
    }

    #[test]
    fn nobody_is_let_in_when_all_have_credentials() {
        let connections = Connections::new(LIMITS, Vec::new());
        let admit = || from(&connections, "127.0.0.1");
        let all: Vec<_> = (0..6).filter_map(|_| admit().inspect(|place| place.prove(true).unwrap())).collect();
        assert_eq!((all.len(), admit().is_none()), (6, true));
        drop(all);
        assert!(admit().is_some());
    }

    #[test]
    fn a_foreign_network_shares_its_places_and_each_pod_has_its_own() {
        let connections = Connections::new(LIMITS, vec!["fd00:10:244::/56".parse().unwrap()]);
        for (network, left) in [("2001:db8:", 2), ("fd00:10:244:", 3)] {
            let all: Vec<_> = (1..=3).map(|n| from(&connections, &format!("{network}:{n}"))).collect();
            assert_eq!(all.iter().filter(|place| !is_evicted(place)).count(), left, "{network}");
        }
    }
}
