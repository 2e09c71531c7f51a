//! The streaming protocols of exec, attach and port-forward: SPDY/3.1 and WebSocket.
//!
//! Whatever a client speaks ends as the same thing: for exec and attach the CRI's [`Streams`] and a place for
//! the final status, for port-forward pairs of a data and an error stream.

mod dictionary;
pub mod portforward;
pub mod remotecommand;
pub mod spdy;
pub mod websocket;

pub use coracle_runtime::cri::Streams;
