//! Ports of the host that lead to nodes of a local cluster (`up --publish`).
//!
//! A socket belongs to the network namespace in which it was made. So `up` opens the sockets on the host, where a port that is
//! taken is an error before anything was changed; they go to the node's first process, which keeps them and hands them to
//! each daemon that it starts. The daemon takes connections and datagrams on, from within the node, to the node's own
//! address. There are no rules of the host's firewall for that, and nothing is left to take back: a port is free again when the
//! node's processes have ended. While a daemon is started anew, connections wait in the socket.

mod behind;
mod datagrams;
mod forward;
mod grammar;
mod guests;
mod places;
mod sockets;

pub use forward::run;
pub use grammar::{Port, Publish, resolve};
pub use sockets::{Listening, Sockets, Told};
