//! Bounds of what namespaces may take of nodes, for those who warn of them and those who keep them.

/// Most that the services of a namespace take of a node: ports, each as often as there are addresses and endpoints of its service.
pub const SERVICES: usize = 200_000;
