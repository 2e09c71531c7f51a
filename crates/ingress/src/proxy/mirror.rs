//! Copies of requests for other backends, whose answers nobody reads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body_util::BodyExt;

use super::body::RequestBody;
use super::pool::Key;
use super::room::Taken;
use super::{Peer, Worker, forward};
use crate::route::action::{Mirror, Policy};

/// Where copies of this request go.
pub fn copies(policy: &Policy) -> Vec<Key> {
    policy.mirrors.iter().filter_map(taken).collect()
}

/// What is copied, and the room that it has.
pub struct Copied<'a> {
    /// The head of the request, without its address.
    pub parts: &'a Parts,
    /// Its body.
    pub body: &'a Bytes,
    /// Its path and query.
    pub to: (&'a str, Option<&'a str>),
    /// Held until the last copy is sent.
    pub room: &'a Arc<Taken>,
}

impl Worker {
    /// Sends copies of a request, those for which there is a place; nobody waits for the answers.
    pub(super) fn mirror(&self, peer: &Peer, copies: Vec<Key>, copied: &Copied<'_>) {
        for key in copies {
            let Some(busy) = self.shared.places.begin(&peer.activity) else { return };
            let mut parts = copied.parts.clone();
            if forward::address(&mut parts, key.1, copied.to.0, copied.to.1).is_err() {
                continue;
            }
            let (pool, body, room) = (self.pool.clone(), copied.body.clone(), copied.room.clone());
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
                drop((room, busy));
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
