//! Hollow nodes: nodes without a machine, for rehearsals of large clusters. They speak the kubelet's whole protocol, and start
//! nothing.
//!
//! One process has all of them: one watch of pods and one of nodes, a few hundred bytes a node and a pod at rest, and
//! workers that take turns. What is written for a node is written as its user (`system:node:NAME`), and a pod's status is
//! what the kubelet's own functions make of it ([`crate::sync`], [`crate::status`]). What runs is known from the status alone
//! (`play`), so that another process goes on where one was killed.

mod leases;
mod lifetime;
mod nodes;
mod play;
mod pods;
mod room;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use coracle_client::{EventRecorder, user_agent};
use coracle_values::addresses::Family;
use coracle_values::hollow;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::watch;

use nodes::{Nodes, Registered};
use pods::Pods;

/// The service account of `kube-system` that follows the pods and nodes, and deletes nodes that are not wanted any more.
pub const ACCOUNT: &str = "hollow-nodes";

/// Makes the client of a node, by its name.
pub type Clients = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct HollowConfig {
    /// What the names of nodes begin with.
    pub server: String,
    /// The families of the cluster's addresses, the primary one first.
    pub families: Vec<Family>,
    /// The version that nodes report (`v1.35.0`).
    pub kubernetes_version: String,
}

/// Which nodes there are to be.
#[derive(Clone, Debug, PartialEq)]
pub struct HollowNodes {
    /// How many; they are numbered from 1 on.
    pub count: u32,
    /// What each has, all of which pods can have.
    pub capacity: BTreeMap<String, Quantity>,
    /// Whether pods without a toleration of [`hollow::TAINT`] are kept away.
    pub tainted: bool,
}

/// What the parts share.
struct Shared {
    config: HollowConfig,
    account: Client,
    clients: Clients,
    recorder: EventRecorder,
    wanted: watch::Receiver<HollowNodes>,
    /// The nodes that are registered, by number.
    registered: Mutex<HashMap<u32, Registered>>,
}

impl Shared {
    fn wanted(&self) -> HollowNodes {
        self.wanted.borrow().clone()
    }

    fn name(&self, node: u32) -> String {
        hollow::name(&self.config.server, node)
    }

    /// The number of a node that there is to be.
    fn number(&self, name: &str) -> Option<u32> {
        hollow::number(&self.config.server, name).filter(|number| *number <= self.wanted.borrow().count)
    }

    fn addresses(&self, node: u32) -> Vec<IpAddr> {
        self.config.families.iter().map(|family| hollow::address(*family, node)).collect()
    }

    fn client_of(&self, node: u32) -> Client {
        (self.clients)(&self.name(node))
    }
}

/// The taint of hollow nodes.
fn taint() -> Taint {
    Taint { key: hollow::TAINT.into(), effect: "NoSchedule".into(), value: None, time_added: None }
}

/// Keeps the nodes that are wanted until the future is dropped, and removes others of this server. `account` is the client of
/// [`ACCOUNT`]; `registered` is told how many there are.
pub fn run(
    config: HollowConfig,
    wanted: watch::Receiver<HollowNodes>,
    account: Client,
    clients: Clients,
    registered: watch::Sender<u32>,
) -> BoxFuture<'static, ()> {
    Box::pin(keep(config, wanted, account, clients, registered))
}

async fn keep(
    config: HollowConfig,
    mut wanted: watch::Receiver<HollowNodes>,
    account: Client,
    clients: Clients,
    registered: watch::Sender<u32>,
) {
    let account = user_agent(account, "kubelet");
    // Most clusters have none: then nothing is followed.
    if wanted.borrow_and_update().count == 0 {
        nodes::remove_left(&config.server, &account).await;
        if wanted.wait_for(|wanted| wanted.count > 0).await.is_err() {
            return std::future::pending().await;
        }
    }
    let recorder = EventRecorder::new(account.clone(), "kubelet", "");
    let shared = Arc::new(Shared { config, account, clients, recorder, wanted, registered: Mutex::default() });
    let pods = Pods::new(shared.clone());
    let nodes = Nodes::new(shared, pods.clone(), registered);
    tokio::join!(nodes.clone().run(), pods.run(), leases::run(nodes));
}
