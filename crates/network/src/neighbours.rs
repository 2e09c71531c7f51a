//! A bound on how many neighbours one sender has the kernel look for: its table of them is one for all namespaces of the machine,
//! and who sends to each address of a network fills it.
//!
//! Who is reached through a gateway adds none. A connection that was answered goes on whatever comes.

use std::time::Duration;

use crate::nft::{self, Batch, Expr, Family, Hook, InPackets};

/// Neighbours that a sender may begin with at once, and then each second.
const AT_ONCE: u32 = 64;
const PER_SECOND: u64 = 5;
/// For how long it may begin something with the same neighbour again.
const KNOWN: Duration = Duration::from_secs(30);
/// How many the sets have room for. What finds none passes.
const ROOM: u32 = 16_384;

const CHAIN: &str = "neighbours";
const REACHED: &str = "neighbours-reached";
const SENDERS: &str = "neighbours-senders";

/// Bounds those who come by a link. What satisfies one of the exceptions passes.
pub fn bound(batch: &mut Batch, table: &str, family: Family, from: &str, exceptions: &[Vec<Expr>]) {
    batch.memory(table, REACHED, family.address_pair(), None, KNOWN, ROOM);
    batch.memory(table, SENDERS, family.address(), None, KNOWN, ROOM);
    batch.base_chain(table, CHAIN, "filter", Hook::Forward, nft::PRIORITY_FILTER + 5);
    let others = [Expr::link_is(from, false, false), Expr::answered()];
    for pass in others.iter().chain(exceptions) {
        batch.rule(table, CHAIN, &[&pass[..], &[Expr::Accept]].concat());
    }
    let pair = [family.source(0), Expr::NextHop { family, into: family.registers() }];
    // What is in use stays known, whoever else of the same sender takes all that it may begin with.
    let again = Expr::RememberKey { set: REACHED.into() };
    batch.rule(table, CHAIN, &[&pair[..], &[Expr::InSet(REACHED.into()), again.clone(), Expr::Accept]].concat());
    let too_often = Expr::TooOften { set: SENDERS.into(), per_second: PER_SECOND, burst: AT_ONCE };
    batch.rule(table, CHAIN, &[family.source(0), too_often, Expr::Drop]);
    batch.rule(table, CHAIN, &[&pair[..], &[again]].concat());
}
