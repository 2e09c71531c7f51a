//! The scheduler: finds a node for every pod that has none.
//!
//! Upstream's plugins ([`plugins`]) look at a node table that is kept up to date change by change; pods of one template share
//! results; a pod is bound in the background while the next one is scheduled. Profiles come from upstream's configuration
//! ([`SchedulerConfiguration`]). It runs against any Kubernetes API server.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod api;
mod config;
mod core;
mod cycle;
mod explain;
mod extender;
mod filters;
mod framework;
#[cfg(test)]
mod kept;
mod metrics;
mod plugins;
mod pod;
mod preemption;
mod queue;
mod resources;
mod run;
mod table;
#[cfg(test)]
mod testing;
mod topology;

pub use config::SchedulerConfiguration;
pub use explain::{NodeVerdict, Seen, explain};
pub use run::{Config, run};

/// Ways into the pure part, for benchmarks and comparisons.
pub mod bench {
    use std::sync::Arc;

    use anyhow::Result;
    use futures::executor::block_on;
    use k8s_openapi::api::core::v1::{Node, Pod, Service};

    use crate::SchedulerConfiguration;
    use crate::config::profile;
    use crate::core::{Core, Decision, Nomination};
    use crate::extender::Extenders;
    use crate::pod::PodInfo;
    use crate::queue::Backoff;

    /// The scheduler without an API.
    pub struct Offline(Core);

    impl Offline {
        /// A scheduler that has seen these nodes.
        ///
        /// # Errors
        /// The default profile is not well.
        pub fn new(nodes: &[Node]) -> Result<Offline> {
            let profiles = vec![profile(&SchedulerConfiguration::default(), 0)?];
            let mut core = Core::new(profiles, Backoff::default(), Arc::new(Extenders::none()), None, 1);
            nodes.iter().for_each(|node| core.node_changed(None, node));
            Ok(Offline(core))
        }

        /// The nodes that are best for a pod, or why there is none.
        ///
        /// # Errors
        /// What is said of the nodes.
        pub fn evaluate(&mut self, pod: Pod) -> std::result::Result<Vec<String>, String> {
            block_on(self.0.evaluate(Arc::new(PodInfo::new(Arc::new(pod)))))
        }

        /// Takes in a service.
        pub fn service(&mut self, service: &Service) {
            self.0.set_service(service, true);
        }

        /// Forgets a pod.
        pub fn remove(&mut self, uid: &str) {
            self.0.pod_gone(uid);
        }

        /// Takes in a pod.
        pub fn add(&mut self, pod: Pod) {
            self.0.pod_changed(Arc::new(PodInfo::new(Arc::new(pod))));
        }
    }

    /// Schedules pod after pod: each yields its node's name, or why there is none. Victims of preemption go at once.
    impl Iterator for Offline {
        type Item = Result<String, String>;

        fn next(&mut self) -> Option<Self::Item> {
            Some(match block_on(self.0.next(Vec::new))? {
                Decision::Bind { pod, node, .. } => {
                    self.0.bound(&pod.uid);
                    Ok(node)
                }
                Decision::Unfit { message, nomination, .. } => {
                    if let Nomination::Preempt(preemption) = nomination {
                        preemption.victims.iter().for_each(|victim| self.0.pod_gone(&victim.uid));
                    }
                    Err(message)
                }
                Decision::Failed { message, .. } => Err(message),
            })
        }
    }
}
