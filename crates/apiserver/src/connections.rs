//! Who is connected: a place for each connection, so that no address, and nobody without credentials, takes them all.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use coracle_api::addresses;
use coracle_api::status::Status;
use ipnet::IpNet;
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio_util::sync::CancellationToken;

use crate::auth::User;
use crate::authz::is_system;

/// Of how many nodes it is remembered where they were last.
const NODES: usize = 10_000;

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
    /// With credentials, in all. Administrators and the system's own parts are not counted, so that there is room for them.
    pub proven: usize,
    /// The same from one address.
    pub proven_of_address: usize,
    /// With the credentials of one node, from wherever.
    pub of_node: usize,
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
            proven: all / 2,
            proven_of_address: (all / 4).min(1000),
            of_node: (all / 4).min(1000),
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
    /// Those with credentials that count for their address.
    proven: usize,
    /// Connections with the credentials of each node.
    nodes: HashMap<String, usize>,
    /// Where each node was last, if others have addresses that would count as one with its own.
    seen: HashMap<String, IpAddr>,
    /// The same addresses, each of which counts for itself.
    apart: HashMap<IpAddr, String>,
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
    counted: OnceLock<Counted>,
}

/// For whom a connection with credentials counts.
enum Counted {
    Address,
    Node(String),
}

impl Connections {
    /// None yet. In these networks each address of IPv6 counts for itself, elsewhere the network of it, but for addresses
    /// from which nodes came: who is on a node's network cannot take what is the node's.
    pub fn new(limits: Limits, inside: Vec<IpNet>) -> Connections {
        Connections(Arc::new(Shared { limits, inside, table: Mutex::default() }))
    }

    /// Makes a place for a connection. Where there is none, the oldest without credentials has to go: first of the
    /// same address, then of all; `None` when all have credentials.
    pub fn admit(&self, from: IpAddr) -> Option<Place> {
        let limits = self.0.limits;
        let mut table = self.0.table.lock();
        let address = if table.apart.contains_key(&from) { from } else { addresses::client(from, &self.0.inside) };
        let own = if address.is_loopback() { limits.unproven_of_loopback } else { limits.unproven_of_address };
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
        let (proven, counted) = (AtomicBool::new(false), OnceLock::new());
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

    /// A node is where it was seen last, and nowhere else.
    fn saw(&mut self, node: &str, at: IpAddr) {
        if self.seen.get(node) == Some(&at) {
            return;
        }
        // Nodes that are gone are not told here.
        if self.seen.len() >= NODES {
            self.seen.clear();
            self.apart.clear();
        }
        if let Some(before) = self.seen.insert(node.to_owned(), at)
            && self.apart.get(&before).is_some_and(|there| there == node)
        {
            self.apart.remove(&before);
        }
        self.apart.insert(at, node.to_owned());
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

    /// Someone on this connection has shown valid credentials. Administrators and parts of the system are always let in.
    ///
    /// # Errors
    /// 429 when their address, or their node, has too many connections.
    pub fn prove(&self, user: &User) -> Result<(), Status> {
        match user.node() {
            Some(node) => self.prove_as(Some(Counted::Node(node.to_owned()))),
            None if is_system(user) => self.prove_as(None),
            None => self.prove_as(Some(Counted::Address)),
        }
    }

    /// The same of a proxy that says who its users are.
    pub fn prove_proxy(&self) {
        let _ = self.prove_as(None);
    }

    fn prove_as(&self, whose: Option<Counted>) -> Result<(), Status> {
        if self.is_proven() {
            return Ok(());
        }
        let mut table = self.shared.table.lock();
        let limits = self.shared.limits;
        let has = match &whose {
            None => (0, usize::MAX),
            Some(Counted::Address) if table.proven >= limits.proven => (table.proven, limits.proven),
            Some(Counted::Node(node)) => (table.nodes.get(node).copied().unwrap_or(0), limits.of_node),
            Some(Counted::Address) => {
                (table.addresses.get(&self.address).map_or(0, |known| known.proven), limits.proven_of_address)
            }
        };
        if has.0 >= has.1 {
            let who = match whose {
                Some(Counted::Node(node)) => format!("node {node}"),
                _ => self.address.to_string(),
            };
            return Err(Status::too_many_requests(
                format!("{who} has too many connections, please try again later."),
                1,
            ));
        }
        if self.proven.swap(true, Ordering::AcqRel) || table.remove_unproven(self.number).is_none() {
            return Ok(());
        }
        match &whose {
            None => return Ok(()),
            Some(Counted::Node(node)) => {
                // Where nobody else counts as one with it, there is nothing to remember.
                if addresses::client(self.from, &self.shared.inside) != self.from {
                    table.saw(node, self.from);
                }
                let has = table.nodes.entry(node.clone()).or_default();
                *has = has.saturating_add(1);
            }
            Some(Counted::Address) => {
                table.proven = table.proven.saturating_add(1);
                let known = table.addresses.entry(self.address).or_default();
                known.proven = known.proven.saturating_add(1);
            }
        }
        whose.into_iter().for_each(|whose| _ = self.counted.set(whose));
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
        match self.counted.get() {
            None => {}
            Some(Counted::Address) => {
                table.proven = table.proven.saturating_sub(1);
                if let Some(known) = table.addresses.get_mut(&self.address) {
                    known.proven = known.proven.saturating_sub(1);
                    table.tidy(self.address);
                }
            }
            Some(Counted::Node(node)) => {
                if let Some(has) = table.nodes.get_mut(node) {
                    *has = has.saturating_sub(1);
                    if *has == 0 {
                        table.nodes.remove(node);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        all: 6,
        unproven: 4,
        unproven_of_address: 2,
        unproven_of_loopback: 3,
        proven: 3,
        proven_of_address: 2,
        of_node: 2,
    };

    fn user(name: &str, groups: &[&str]) -> User {
        User::new(name, groups)
    }

    fn node(name: &str) -> User {
        user(&format!("system:node:{name}"), &["system:nodes"])
    }

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
        proven.iter().for_each(|place| place.prove(&user("joe", &[])).unwrap());
        let more = from(&connections, "192.0.2.1").unwrap();
        assert_eq!(more.prove(&user("joe", &[])).unwrap_err().code, 429);
        more.prove(&user("root", &["system:masters"])).unwrap();
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
        let all: Vec<_> = (0..6).filter_map(|_| admit().inspect(|place| place.prove_proxy())).collect();
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

    #[test]
    fn a_node_has_its_own_places_whoever_is_on_its_network() {
        let connections = Connections::new(LIMITS, Vec::new());
        let first = from(&connections, "2001:db8::1").unwrap();
        first.prove(&node("a")).unwrap();
        let of_node = from(&connections, "2001:db8::1");
        let others: Vec<_> = (2..=4).map(|n| from(&connections, &format!("2001:db8::{n}"))).collect();
        assert_eq!(others.iter().map(is_evicted).collect::<Vec<_>>(), [true, false, false]);
        assert!(!is_evicted(&of_node), "others made room for each other");
        // Where it is now counts, and not where it was.
        drop((of_node, others));
        from(&connections, "2001:db8:0:1::1").unwrap().prove(&node("a")).unwrap();
        let table = connections.0.table.lock();
        assert_eq!(table.apart.keys().map(ToString::to_string).collect::<Vec<_>>(), ["2001:db8:0:1::1"]);
    }

    #[test]
    fn what_was_stolen_from_a_node_takes_no_more_than_a_nodes_share() {
        let connections = Connections::new(LIMITS, Vec::new());
        let admit = |n: u8| from(&connections, &format!("192.0.2.{n}")).unwrap();
        let of_a: Vec<_> = (1..=2).map(admit).inspect(|place| place.prove(&node("a")).unwrap()).collect();
        let more = admit(3);
        assert_eq!(more.prove(&node("a")).unwrap_err().code, 429);
        more.prove(&node("b")).unwrap();
        drop((of_a, more));
        let table = connections.0.table.lock();
        assert!(table.open == 0 && table.nodes.is_empty() && table.addresses.is_empty());
    }

    #[test]
    fn many_addresses_together_leave_room_for_nodes_and_administrators() {
        let connections = Connections::new(LIMITS, Vec::new());
        let prove = |n: u8| {
            let place = from(&connections, &format!("192.0.2.{n}")).unwrap();
            place.prove(&user("joe", &[])).map(|()| place)
        };
        let held: Vec<_> = (1..=3).map(|n| prove(n).unwrap()).collect();
        assert_eq!(prove(4).err().map(|status| status.code), Some(429));
        from(&connections, "192.0.2.5").unwrap().prove(&node("a")).unwrap();
        drop(held);
        assert!(prove(4).is_ok());
        assert_eq!(connections.0.table.lock().proven, 0);
    }
}
