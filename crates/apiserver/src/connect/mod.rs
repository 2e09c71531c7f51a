//! What concerns a running pod or node goes on to it: logs, exec, attach and port-forward to its kubelet, `proxy` to an
//! address of its own.

pub mod aggregated;
pub mod kubelet;
mod options;
pub mod proxy;
mod tunnel;

pub use options::admit;
