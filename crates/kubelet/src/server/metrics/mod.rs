//! The pages for Prometheus: of the kubelet itself and its health, of resources, and of containers under the names that cAdvisor gave
//! them.

mod cadvisor;
mod kubelet;
mod resource;
mod slis;

pub(super) use cadvisor::cadvisor;
pub(super) use kubelet::kubelet;
pub(super) use resource::resource;
pub(super) use slis::slis;
