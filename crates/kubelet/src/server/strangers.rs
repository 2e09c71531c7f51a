//! Connections of those who have not shown yet, or cannot show, that they may use the API. Any pod can open them, so
//! they are few, and the oldest makes room for the next: who has a certificate is a stranger for one handshake only.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Most strangers at the same time, and most of one address.
const MOST: usize = 256;
const MOST_OF_ADDRESS: usize = 32;

/// All strangers, the oldest first.
#[derive(Clone, Default)]
pub(super) struct Strangers(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// One of them, until it is dropped.
pub(super) struct Stranger {
    all: Strangers,
    number: u64,
    evicted: CancellationToken,
}

impl Strangers {
    /// Lets a client in. Where there is no place, the oldest has to go: of the same address if that has its share, else of all.
    pub(super) fn admit(&self, address: IpAddr) -> Stranger {
        let mut table = self.0.lock();
        let own: Vec<u64> =
            table.open.iter().filter(|(_, (other, _))| *other == address).map(|(number, _)| *number).collect();
        let oldest = match own.first() {
            Some(oldest) if own.len() >= MOST_OF_ADDRESS => Some(*oldest),
            _ if table.open.len() >= MOST => table.open.keys().next().copied(),
            _ => None,
        };
        if let Some((_, token)) = oldest.and_then(|oldest| table.open.remove(&oldest)) {
            token.cancel();
        }
        table.next += 1;
        let (number, evicted) = (table.next, CancellationToken::new());
        table.open.insert(number, (address, evicted.clone()));
        drop(table);
        Stranger { all: self.clone(), number, evicted }
    }
}

impl Stranger {
    /// It has shown that it may use the API, and makes room for nobody.
    pub(super) fn is_known(&self) {
        self.all.0.lock().open.remove(&self.number);
    }

    /// Waits until it has to make room for another.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.is_known();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(strangers: &[Stranger]) -> usize {
        strangers.iter().filter(|stranger| !stranger.evicted.is_cancelled()).count()
    }

    #[test]
    fn one_address_takes_places_from_itself_only() {
        let all = Strangers::default();
        let other = all.admit(IpAddr::from([10, 0, 0, 2]));
        let own: Vec<_> = (0..1000).map(|_| all.admit(IpAddr::from([10, 0, 0, 1]))).collect();
        assert_eq!(left(&own), MOST_OF_ADDRESS);
        assert!(!other.evicted.is_cancelled() && !own[999].evicted.is_cancelled());
        drop((own, other));
        assert!(all.0.lock().open.is_empty());
    }

    #[test]
    fn many_addresses_take_no_place_of_who_may_use_the_api() {
        let all = Strangers::default();
        let known = all.admit(IpAddr::from([10, 0, 0, 1]));
        known.is_known();
        let many: Vec<_> = (0..1000u32).map(|n| all.admit(IpAddr::from(n.to_be_bytes()))).collect();
        assert!(left(&many) == MOST && !known.evicted.is_cancelled());
    }
}
