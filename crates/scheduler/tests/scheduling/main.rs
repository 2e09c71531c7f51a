//! What the scheduler makes of pods, asked of a real API server in this process: no node, no root.

mod cluster;
mod differential;
mod election;
mod extenders;
mod many;
mod preemption;
mod profiles;
mod volumes;
