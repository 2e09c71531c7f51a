//! Pods are connected by plugins of the Container Network Interface: <https://www.cni.dev/docs/spec/>, versions 0.3.0 to 1.1.0.
//!
//! Owns: configurations of a folder ([`config`]), calls of plugins and what they answer (`plugin`, `result`), chains of them
//! (`chain`), what is written down of each attachment (`record`), and when each of it is done ([`Cni`]).
//! Never: makes links, addresses or rules itself; knows objects of the API.
#![cfg_attr(not(test), deny(unsafe_code))]

mod attachments;
mod bandwidth;
mod capabilities;
mod chain;
pub mod config;
mod folder;
mod netns;
mod plugin;
mod record;
mod result;
#[cfg(test)]
mod testing;
mod version;

pub use attachments::{Added, Cni, CniConfig};
pub use bandwidth::Bandwidth;
pub use capabilities::{HostPort, Pod};
pub use version::Version;
