//! Copies of requests for other backends, whose answers nobody reads, and the room of all bodies that are held.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::RequestBody;
use super::pool::Key;
use super::{Worker, forward};
use crate::route::action::{Mirror, Policy};

/// How many bytes a body may have that is copied.
const BODY: u64 = 1 << 20;
/// What a copy takes besides its body.
const HEAD: usize = 16 << 10;
/// How many bytes all copies take at once that are not yet sent. What has no room is not copied.
const ROOM: usize = 32 << 20;

/// What copies take of the memory.
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Room {
        Room(Arc::new(Semaphore::new(ROOM)))
    }
}

impl Room {
    /// Room for a body that may be sent more than once; none for one that is empty.
    pub fn of(&self, body: &Incoming) -> Option<OwnedSemaphorePermit> {
        let length = body.size_hint().upper().filter(|_| !body.is_end_stream())?;
        self.take(1, length)
    }

    fn take(&self, copies: usize, body: u64) -> Option<OwnedSemaphorePermit> {
        let body = usize::try_from(body).ok().filter(|_| body <= BODY)?;
        let bytes = u32::try_from(copies.checked_mul(HEAD)?.checked_add(body)?).ok()?;
        self.0.clone().try_acquire_many_owned(bytes).ok()
    }
}

/// Where copies of a request go, and the room that they have.
pub struct Copies {
    to: Vec<Key>,
    room: Arc<OwnedSemaphorePermit>,
}

impl Worker {
    /// The copies of this request, if there are any and there is room for them.
    pub(super) fn copies(&self, policy: &Policy, body: &Incoming) -> Option<Copies> {
        if policy.mirrors.is_empty() || self.shared.places.requests() > 1024 {
            return None;
        }
        let to: Vec<Key> = policy.mirrors.iter().filter_map(taken).collect();
        let length = body.size_hint().upper().filter(|_| !to.is_empty())?;
        let room = Arc::new(self.shared.room.take(to.len(), length)?);
        Some(Copies { to, room })
    }

    /// Sends copies of a request; nobody waits for the answers.
    pub(super) fn mirror(&self, copies: Copies, parts: &Parts, body: &Bytes, path: &str, query: Option<&str>) {
        for key in copies.to {
            let mut parts = parts.clone();
            if forward::address(&mut parts, key.1, path, query).is_err() {
                continue;
            }
            let (pool, body, room) = (self.pool.clone(), body.clone(), copies.room.clone());
            tokio::spawn(async move {
                let copied = async {
                    let mut sender = match pool.take(key) {
                        Some(sender) => sender,
                        None => pool.connect(key, Duration::from_secs(5)).await.ok()?,
                    };
                    let response = sender.send(Request::from_parts(parts, RequestBody::of(body))).await.ok()?;
                    let mut answer = response.into_body();
                    while answer.frame().await?.is_ok() {}
                    Some(())
                };
                let _ = tokio::time::timeout(Duration::from_secs(15), copied).await;
                drop(room);
            });
        }
    }
}

/// Where this turn's copy goes. They are spread evenly: of each `denominator` turns, `numerator` are taken.
fn taken(mirror: &Mirror) -> Option<Key> {
    let endpoints = mirror.backend.endpoints();
    let turn = mirror.backend.next(usize::MAX) as u64;
    let (numerator, denominator) = (u64::from(mirror.numerator), u64::from(mirror.denominator.max(1)));
    let is_taken = (turn + 1).wrapping_mul(numerator) / denominator > turn.wrapping_mul(numerator) / denominator;
    let address = endpoints.addresses.get(turn as usize % endpoints.addresses.len().max(1)).copied()?;
    is_taken.then_some((address, endpoints.protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_copies_together_have_a_bound() {
        let room = Room::default();
        assert!(room.take(1, BODY + 1).is_none());
        let taken: Vec<_> = std::iter::from_fn(|| room.take(1, BODY)).collect();
        assert_eq!(taken.len(), ROOM / (HEAD + BODY as usize));
        drop(taken);
        assert!(room.take(1, 0).is_some());
    }
}
