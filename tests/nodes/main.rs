//! Clusters of several nodes: local ones, hosts that join, and networks between them.

mod cni;
mod hollow;
mod joining;
mod local;
mod machine;
mod overlay;
mod policies;
mod upstream;
