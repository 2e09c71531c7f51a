//! The scheduler: finds a node for every pod that has none.
//!
//! Upstream's filters and scores are pure functions over a node table that is kept up to date change by change;
//! pods of one template share results; a pod is bound in the background while the next one is scheduled. It runs
//! against any Kubernetes API server.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod core;
mod cycle;
mod plugins;
mod pod;
mod preemption;
mod queue;
mod resources;
mod run;
mod table;

pub use run::{Config, run};

/// Ways into the pure part, for benchmarks.
pub mod bench {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{Node, Pod};

    use crate::core::{Core, Decision};

    /// The scheduler without an API.
    pub struct Offline(Core);

    impl Offline {
        /// A scheduler that has seen these nodes.
        pub fn new(nodes: &[Node]) -> Offline {
            let mut core = Core::new("default-scheduler", 1);
            nodes.iter().for_each(|node| core.node_changed(None, node));
            Offline(core)
        }

        /// Takes in a pod.
        pub fn add(&mut self, pod: Pod) {
            self.0.pod_changed(None, &Arc::new(pod));
        }
    }

    /// Schedules pod after pod: each yields its node's name, or why there is none.
    impl Iterator for Offline {
        type Item = Result<String, String>;

        fn next(&mut self) -> Option<Self::Item> {
            Some(match self.0.next(Vec::new)? {
                Decision::Bind { pod, node } => {
                    self.0.bound(&pod.uid);
                    Ok(node)
                }
                Decision::Unfit { message, .. } => Err(message),
            })
        }
    }
}
