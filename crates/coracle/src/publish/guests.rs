//! Who is connected by published ports. A port is full when it has so many connections, and all are when they have taken their part of
//! the descriptors: then whoever has most is shown out for who has fewer, and who was silent for long for anyone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use super::places::{Place, Places};

/// Most connections of one port.
const MAX_CONNECTIONS: usize = 2000;
/// After how much silence a connection may be ended for want of room.
const SILENT: Duration = Duration::from_secs(30);
/// How long the place of one that was shown out takes to be free.
const SOON: Duration = Duration::from_secs(1);
/// Of IPv6 a network counts as one, as everybody in it can have any address there.
const NETWORK: u128 = !0 << 64;

/// All connections of published ports.
#[derive(Clone, Debug)]
pub(super) struct Guests {
    places: Places,
    most: usize,
    since: Instant,
    all: Arc<Mutex<All>>,
}

#[derive(Debug, Default)]
struct All {
    guests: HashMap<u64, Guest>,
    /// How many each port has.
    of_port: HashMap<u16, usize>,
    next: u64,
}

impl All {
    fn add(&mut self, guest: Guest) -> u64 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        *self.of_port.entry(guest.port).or_default() += 1;
        self.guests.insert(number, guest);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Guest> {
        let guest = self.guests.remove(&number)?;
        if let Some(count) = self.of_port.get_mut(&guest.port) {
            *count = count.saturating_sub(1);
        }
        Some(guest)
    }
}

#[derive(Debug)]
struct Guest {
    port: u16,
    source: IpAddr,
    heard: Arc<AtomicU64>,
    leave: CancellationToken,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Entered {
    guests: Guests,
    number: u64,
    heard: Arc<AtomicU64>,
    leave: CancellationToken,
    _place: Place,
}

impl Guests {
    pub fn new(places: Places) -> Guests {
        Guests { places, most: MAX_CONNECTIONS, since: Instant::now(), all: Arc::default() }
    }

    /// Lets somebody in by a port, if there is room or somebody is shown out.
    pub async fn enter(&self, port: u16, source: IpAddr) -> Option<Entered> {
        let source = network(source);
        let is_full = self.all.lock().of_port.get(&port).is_some_and(|count| *count >= self.most);
        if is_full && !self.make_room(source, |guest| guest.port == port) {
            return None;
        }
        let place = match self.places.connection() {
            Some(place) => place,
            None if !self.make_room(source, |_| true) => return None,
            None => tokio::time::timeout(SOON, self.places.next_connection()).await.ok()?.ok()?,
        };
        let (heard, leave) = (Arc::new(AtomicU64::new(self.now())), CancellationToken::new());
        let number = self.all.lock().add(Guest { port, source, heard: heard.clone(), leave: leave.clone() });
        Some(Entered { guests: self.clone(), number, heard, leave, _place: place })
    }

    /// Shows somebody out: of those whose source has most, who was silent for longest, unless the newcomer's has as many and
    /// nobody was silent for long.
    fn make_room(&self, newcomer: IpAddr, among: impl Fn(&Guest) -> bool) -> bool {
        let now = self.now();
        let mut all = self.all.lock();
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for guest in all.guests.values().filter(|guest| among(guest)) {
            *counts.entry(guest.source).or_default() += 1;
        }
        let most = counts.values().max().copied().unwrap_or_default();
        let theirs = all.guests.iter().filter(|(_, guest)| among(guest) && counts.get(&guest.source) == Some(&most));
        let oldest = theirs.map(|(number, guest)| (guest.heard.load(Ordering::Relaxed), *number)).min();
        let Some((heard, number)) = oldest else { return false };
        let is_silent = Duration::from_millis(now.saturating_sub(heard)) >= SILENT;
        let has_fewer = counts.get(&newcomer).copied().unwrap_or_default().saturating_add(1) < most;
        if !is_silent && !has_fewer {
            return false;
        }
        if let Some(guest) = all.remove(number) {
            guest.leave.cancel();
        }
        true
    }

    /// In milliseconds.
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & NETWORK).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Entered {
    /// Ends when it is shown out.
    pub async fn shown_out(&self) {
        self.leave.cancelled().await;
    }

    /// A stream of it: what is read there is heard.
    pub fn listen<S: AsyncRead>(&self, stream: S) -> InspectReader<S, impl FnMut(&[u8])> {
        InspectReader::new(stream, |_: &[u8]| self.heard.store(self.guests.now(), Ordering::Relaxed))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.guests.all.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    /// A port has place for four, and all together for six.
    fn guests() -> Guests {
        Guests { most: 4, ..Guests::new(Places::of(6 * 2 * 8)) }
    }

    #[tokio::test]
    async fn who_has_most_is_shown_out_for_who_has_fewer() {
        let guests = guests();
        let mut mine = Vec::new();
        for _ in 0..4 {
            mine.push(guests.enter(80, source(1)).await.unwrap());
        }
        assert!(guests.enter(80, source(1)).await.is_none(), "nobody is shown out for one of the same");
        let other = guests.enter(80, source(2)).await.expect("there is room for another");
        assert_eq!(mine.iter().filter(|guest| guest.leave.is_cancelled()).count(), 1);
        let _two = guests.enter(80, source(2)).await.expect("two of each");
        assert!(guests.enter(80, source(2)).await.is_none(), "but not three");
        assert!(!other.leave.is_cancelled());
        drop(mine);
        assert!(guests.enter(80, source(2)).await.is_some());
    }

    #[tokio::test]
    async fn who_was_silent_for_long_is_shown_out_for_anyone() {
        let guests = guests();
        let mut mine = Vec::new();
        for _ in 0..4 {
            mine.push(guests.enter(80, source(1)).await.unwrap());
        }
        let spoke = guests.now().saturating_add(1);
        let long = Guests { since: guests.since.checked_sub(SILENT).unwrap(), ..guests.clone() };
        mine.iter().take(3).for_each(|guest| guest.heard.store(long.now() + spoke, Ordering::Relaxed));
        assert!(long.enter(80, source(1)).await.is_some());
        assert!(mine[3].leave.is_cancelled() && !mine[0].leave.is_cancelled());
    }

    #[tokio::test]
    async fn a_port_that_takes_all_descriptors_keeps_no_other_port_from_its_clients() {
        let guests = guests();
        let mut idle = Vec::new();
        for port in [80, 80, 80, 443, 443, 443] {
            idle.push(guests.enter(port, source(1)).await.unwrap());
        }
        assert!(guests.enter(22, source(1)).await.is_none());
        let mut waiting = std::pin::pin!(guests.enter(22, source(2)));
        tokio::select! {
            _ = &mut waiting => unreachable!("no descriptor is free yet"),
            () = async {
                let shown_out = idle.iter().map(|guest| Box::pin(guest.shown_out()));
                futures::future::select_all(shown_out).await;
            } => {}
        }
        idle.retain(|guest| !guest.leave.is_cancelled());
        assert!(waiting.await.is_some());
    }

    #[test]
    fn everybody_in_a_network_of_ipv6_is_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), source(1));
    }
}
