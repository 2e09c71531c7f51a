//! The room of bodies that are held because they may be sent more than once.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::route::ObjectName;

/// How many bytes a body may have that is held.
const BODY: u64 = 1 << 20;
/// What each sending takes besides the body.
const HEAD: usize = 16 << 10;
/// How many bytes all take at once. What has no room is sent once, and to no other backend.
const ALL: usize = 32 << 20;
/// Of these, one client's and one route's.
const OF_CLIENT: usize = ALL / 8;
const OF_ROUTE: usize = ALL / 2;
/// How long a body may take to come; then it is sent once, with what comes yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// What such bodies take of the memory.
pub struct Room {
    /// How long a body may take to come.
    pub patience: Duration,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    all: usize,
    clients: HashMap<IpAddr, usize>,
    routes: HashMap<ObjectName, usize>,
}

impl Default for Room {
    fn default() -> Room {
        Room::with(PATIENCE)
    }
}

impl Room {
    /// All of it is free.
    pub fn with(patience: Duration) -> Room {
        Room { patience, used: Mutex::default() }
    }

    /// Room for a body of so many bytes that may be sent so often besides, if there is some.
    pub fn take(self: &Arc<Room>, client: IpAddr, route: &ObjectName, copies: usize, body: u64) -> Option<Arc<Taken>> {
        let body = usize::try_from(body).ok().filter(|_| body <= BODY)?;
        let bytes = copies.checked_mul(HEAD)?.checked_add(body)?;
        let mut used = self.used.lock();
        let of = |taken: Option<&usize>| taken.copied().unwrap_or_default().saturating_add(bytes);
        let has_room = of(Some(&used.all)) <= ALL
            && of(used.clients.get(&client)) <= OF_CLIENT
            && of(used.routes.get(route)) <= OF_ROUTE;
        if !has_room {
            return None;
        }
        used.all += bytes;
        *used.clients.entry(client).or_default() += bytes;
        *used.routes.entry(route.clone()).or_default() += bytes;
        drop(used);
        Some(Arc::new(Taken { room: self.clone(), client, route: route.clone(), bytes }))
    }
}

/// A part of the room, until it is dropped.
pub struct Taken {
    room: Arc<Room>,
    client: IpAddr,
    route: ObjectName,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut used = self.room.used.lock();
        used.all -= self.bytes;
        give_back(&mut used.clients, &self.client, self.bytes);
        give_back(&mut used.routes, &self.route, self.bytes);
    }
}

fn give_back<K: Eq + Hash>(shares: &mut HashMap<K, usize>, whose: &K, bytes: usize) {
    if let Some(share) = shares.get_mut(whose) {
        *share -= bytes;
        if *share == 0 {
            shares.remove(whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_a_bound_and_no_client_or_route_takes_it_all() {
        let room = Arc::new(Room::default());
        let (client, one, other) = (|last: u8| IpAddr::from([192, 0, 2, last]), "n/one".into(), "n/other".into());
        assert!(room.take(client(1), &one, 1, BODY + 1).is_none());
        let fill = |number: u8, route: &ObjectName| -> Vec<_> {
            std::iter::from_fn(|| room.take(client(number), route, 1, BODY)).collect()
        };
        let mut taken = fill(1, &one);
        assert_eq!(taken.len(), OF_CLIENT / (HEAD + BODY as usize));
        assert!(room.take(client(2), &one, 1, BODY).is_some(), "another client has room");
        (2..20).for_each(|number| taken.extend(fill(number, &one)));
        assert!(room.take(client(20), &one, 1, BODY).is_none() && room.take(client(20), &other, 1, BODY).is_some());
        (20..40).for_each(|number| taken.extend(fill(number, &other)));
        taken.extend(fill(40, &"n/third".into()));
        assert_eq!(taken.len(), ALL / (HEAD + BODY as usize));
        taken.clear();
        assert!(room.take(client(1), &one, 1, 0).is_some());
        let used = room.used.lock();
        assert!(used.all == 0 && used.clients.is_empty() && used.routes.is_empty());
    }
}
