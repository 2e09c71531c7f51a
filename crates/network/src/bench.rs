//! Services and policies without an API, in the network namespace of the process: what they cost at size is measured so.

use std::sync::Arc;

use anyhow::Result;
use coracle_client::ObjectKey;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;

use crate::netlink::Socket;
use crate::nft::Family;
use crate::policies;
use crate::proxy::{self, ProxyConfig};

/// The service proxy.
pub struct Services {
    /// One of each family.
    states: Vec<proxy::State>,
    socket: Socket,
}

impl Services {
    /// Without services.
    ///
    /// # Errors
    /// There can be no netlink socket.
    pub fn new(config: ProxyConfig) -> Result<Services> {
        let states = config.of_families().into_iter().map(proxy::State::new).collect();
        Ok(Services { states, socket: Socket::netfilter()? })
    }

    /// Adds or changes a service.
    pub fn set_service(&mut self, service: Service) {
        let service = Arc::new(service);
        self.states.iter_mut().for_each(|state| state.set_service(ObjectKey::of(&*service), Some(service.clone())));
    }

    /// Adds or changes a slice.
    pub fn set_slice(&mut self, slice: EndpointSlice) {
        let slice = Arc::new(slice);
        self.states.iter_mut().for_each(|state| state.set_slice(ObjectKey::of(&*slice), Some(slice.clone())));
    }

    /// Has the kernel take over what changed.
    ///
    /// # Errors
    /// It refuses.
    pub fn commit(&mut self) -> Result<()> {
        self.states.iter_mut().try_for_each(|state| state.commit(&mut self.socket).map_err(Into::into))
    }
}

/// The network policies of a node.
pub struct Policies {
    kernel: policies::Kernel,
    node: String,
}

impl Policies {
    /// Without policies.
    ///
    /// # Errors
    /// There can be no netlink socket, or the kernel refuses the table.
    pub fn new(node: &str) -> Result<Policies> {
        Ok(Policies { kernel: policies::Kernel::open(&[Family::V4], None)?, node: node.to_owned() })
    }

    /// Adds or changes a pod.
    ///
    /// # Errors
    /// It is none.
    pub fn set_pod(&mut self, pod: Value) -> Result<()> {
        self.kernel.set_pod(serde_json::from_value(pod)?, &self.node);
        Ok(())
    }

    /// Adds or changes a policy.
    pub fn set_policy(&mut self, policy: &NetworkPolicy) {
        self.kernel.set_policy(policy);
    }

    /// Has the kernel take over what changed.
    pub fn enforce(&mut self) {
        self.kernel.enforce();
    }

    /// Ends connections that came to be forbidden.
    pub fn end_forbidden(&mut self) {
        self.kernel.end_forbidden();
    }
}
