//! How Coracle's components talk to a Kubernetes API server.
//!
//! Owns: the two transports of a [`kube::Client`] (a direct call in the server's process, or HTTPS), shared
//! [`Informer`]s, the [`WorkQueue`] of controllers, the [`EventRecorder`], leader election and node leases,
//! and patch helpers. All of it works against any Kubernetes API server; nothing here knows how ours is made.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod backoff;
mod cached;
mod decode;
mod definitions;
mod events;
mod follow;
mod informer;
mod leader;
mod lease;
mod metrics;
mod patch;
mod peer;
mod queue;
mod store;
mod stream;
mod time;
mod transport;

pub use backoff::Backoff;
pub use cached::{Cached, node_value, pod_value, replace_claim, replace_volume};
pub use decode::Decoded;
pub use definitions::Definitions;
pub use events::{EventRecorder, EventType, object_reference};
pub use follow::{Followed, Follower, Source, follow};
pub use informer::{Event, Informer, Informers};
pub use leader::{Election, InvalidElection, LeaderElection, LeadershipLost};
pub use lease::NodeLease;
pub use patch::{is_conflict, is_gone, is_not_found, merge_diff, patch_status, patch_status_strategic};
pub use peer::JsonPeer;
pub use queue::{WorkQueue, run, shrink};
pub use store::{Indexer, NoIndex, ObjectKey, Store};
pub use time::{from_now, later};
pub use transport::{Remote, in_process, observed, remote, unverified, user_agent};
