//! The leases of all hollow nodes: spread over the time between two renewals, and in each part of it as many at once as there
//! are, so that the store writes them together.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{NodeLease, later};
use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use super::nodes::Nodes;
use crate::message_of;

/// Into how many parts the time between two renewals is divided, at most.
const PARTS: u32 = 100;
/// Renewals at the same time.
const AT_ONCE: usize = 64;

/// Renews for ever.
pub(super) async fn run(nodes: Arc<Nodes>) {
    let mut next = Instant::now();
    loop {
        // Few nodes wake the process seldom.
        let parts = nodes.count().clamp(1, PARTS);
        for part in 0..parts {
            sleep_until(next).await;
            renew(&nodes, part, parts).await;
            // Who has fallen behind does not hurry: everyone's turn comes later.
            next = later(next, NodeLease::PERIOD / parts).max(Instant::now());
        }
        if nodes.count() == 0 {
            next = later(next, Duration::from_secs(1));
        }
    }
}

async fn renew(nodes: &Nodes, part: u32, parts: u32) {
    let due = nodes.numbers().into_iter().filter(|number| number % parts == part);
    futures::stream::iter(due)
        .for_each_concurrent(AT_ONCE, async |number| {
            if let Err(error) = nodes.renew(number).await {
                tracing::warn!(node = nodes.name(number), "failed to renew the node's lease: {}", message_of(&error));
            }
        })
        .await;
}
