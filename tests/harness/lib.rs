//! What the end-to-end tests share: real clusters, the API, kubectl, pods, and a look at the host.
//!
//! Tests need root. Without it, [`cluster!`] prints why and the test ends at once.

mod api;
mod build;
mod cluster;
mod host;
mod image;
mod kubectl;
mod pods;
mod terminal;
mod wait;

pub use api::{Answer, Api, MERGE, PatchType, STRATEGIC, Watch, define};
pub use build::{built, built_test};
pub use cluster::{Cluster, shared};
/// Whether clusters can be made here; says why not.
pub use coracle_testing::is_root as can_run;
pub use coracle_testing::{Lacks, skip};
pub use host::{Host, cgroups_of, nftables, processes_of};
pub use image::write_archive;
pub use kubectl::{Kubectl, Ran, kubectls};
pub use pods::{Namespace, Run, container, pod};
pub use terminal::Terminal;
pub use wait::{PATIENCE, eventually, never};

/// The cluster that all tests of a binary share; ends the test when there can be none.
#[macro_export]
macro_rules! cluster {
    () => {
        match $crate::shared(env!("CARGO_CRATE_NAME")) {
            Some(cluster) => cluster,
            None => return,
        }
    };
}

/// The first kubectl on PATH, set up for a cluster; ends the test when there is none.
#[macro_export]
macro_rules! kubectl {
    ($cluster:expr, $namespace:expr) => {
        match $crate::kubectls().into_iter().next() {
            Some(program) => $crate::Kubectl::new($cluster, &program, &$namespace.name),
            None => {
                $crate::skip($crate::Lacks::Tool("there is no kubectl on PATH"));
                return;
            }
        }
    };
}
