//! Clusters of several nodes: local ones, hosts that join, and networks between them.

mod cni;
mod cut_off;
mod hollow;
mod joining;
mod links;
mod load;
mod local;
mod machine;
mod overlay;
mod policies;
mod upstream;
