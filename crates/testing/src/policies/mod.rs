//! Nine pods and policies made up from a seed, and which connections the documented rules allow then.

#![allow(clippy::unwrap_used, reason = "what is made here is as it is made")]

mod interpreter;
mod world;

use serde_json::Value;

pub use interpreter::{Connection, is_allowed};
pub use world::{Dice, Labels, PODS, World, forget};

/// The definitions of administrators' policies, as users apply them.
pub fn definitions() -> Vec<Value> {
    let file = include_str!("../../../../docs/adminnetworkpolicies.yaml");
    file.split("\n---\n").skip(1).map(|definition| serde_saphyr::from_str(definition).unwrap()).collect()
}

/// The protocols and ports of connections: TCP, UDP and SCTP.
pub const PROTOCOLS: [u8; 3] = [6, 17, 132];
/// Those that pods may have names for.
pub const PORTS: [u16; 2] = [80, 81];

/// Every connection that there can be.
pub fn connections() -> impl Iterator<Item = Connection> {
    let pairs = (0..PODS).flat_map(|client| (0..PODS).map(move |server| (client, server)));
    let protocols = pairs.flat_map(|(client, server)| PROTOCOLS.map(|protocol| (client, server, protocol)));
    protocols.flat_map(|(client, server, protocol)| PORTS.map(|port| Connection { client, server, protocol, port }))
}
