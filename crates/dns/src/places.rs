//! A bounded number of places, of which no client has more than its share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Places and who has them.
pub struct Places {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A place of a client, given back when dropped.
pub struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

impl Places {
    /// So many places, and so many for each client.
    pub fn new(all: usize, each: usize) -> Arc<Places> {
        Arc::new(Places { all, each, taken: Mutex::default() })
    }

    /// A place for a client; `None` when it has its share, or none is left.
    pub fn take(self: &Arc<Places>, client: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock();
        let own = taken.by_client.get(&client).copied().unwrap_or(0);
        if taken.all >= self.all || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.by_client.insert(client, own + 1);
        Some(Place { places: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        match taken.by_client.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by_client.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_all_have_no_more_than_there_are() {
        let places = Places::new(3, 2);
        let client = |n: u8| IpAddr::from([10, 0, 0, n]);
        let (first, second) = (places.take(client(1)), places.take(client(1)));
        assert!(first.is_some() && second.is_some() && places.take(client(1)).is_none(), "its share");
        let third = places.take(client(2));
        assert!(third.is_some() && places.take(client(3)).is_none(), "none is left");
        drop(first);
        assert!(places.take(client(1)).is_some());
        drop((second, third));
        assert!(places.taken.lock().by_client.is_empty(), "those who left are forgotten");
    }
}
