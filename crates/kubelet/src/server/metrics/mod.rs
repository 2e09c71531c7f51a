//! The pages for Prometheus: of the kubelet itself, of resources, and of containers under the names that cAdvisor gave
//! them.

mod cadvisor;
mod kubelet;
mod page;
mod resource;

pub(super) use cadvisor::cadvisor;
pub(super) use kubelet::kubelet;
pub(super) use resource::resource;
