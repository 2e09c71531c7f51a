//! The pod network of a node, its service proxy, and the links of local clusters.
//!
//! Owns: bridge, veth pairs, addresses and the ways to other nodes ([`NodeNetwork`]), services as nftables maps ([`proxy`]), network
//! policies ([`policies`]), addresses of load balancers on the node's network ([`announce`]), and what `coracle up` needs on the
//! host ([`host`]). The kernel is reached by netlink only.
//! Never: decides which pods or endpoints there are.
#![cfg_attr(not(test), deny(unsafe_code))]

pub mod announce;
pub mod bench;
mod conntrack;
mod foreign;
mod frames;
pub mod host;
mod ipam;
mod mailbox;
mod neighbours;
mod netlink;
mod nft;
mod node;
mod peers;
pub mod policies;
pub mod proxy;
mod room;
mod takeover;
#[cfg(test)]
mod testing;
#[allow(unsafe_code, reason = "it makes a system call that no crate has")]
mod wire;

pub use foreign::{ForeignConfig, ForeignPods};
pub use node::{HostPort, NodeNetwork, NodeNetworkConfig, TrafficLimits};
pub use peers::Peer;
