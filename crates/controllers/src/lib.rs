//! Kubernetes' controllers: each brings what it sees in the API closer to what was asked for, one module each.
//!
//! They share one set of informers and one leader lease, run against any Kubernetes API server, and keep nothing
//! that the API does not keep: killed at any instant they go on from what they read.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod adoption;
mod common;
mod deployment;
mod discovery;
mod endpoints;
mod expectations;
mod gc;
mod hash;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_control;
mod pod_gc;
mod replicaset;
mod root_ca;
mod service_account;

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use coracle_client::{Informers, LeaderElection};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::ReplicationController;
use kube::Client;
use tokio::task::JoinSet;

use common::Context;

/// What the controllers need to know of the cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where nodes get their pod ranges from.
    pub cluster_cidr: Ipv4Net,
    /// The prefix length of one node's range.
    pub node_cidr_mask: u8,
    /// The certificate (PEM) that clients in pods verify the API server with.
    pub root_ca: String,
    /// Whether several processes compete for the lease `kube-system/kube-controller-manager`.
    pub leader_elect: bool,
    /// The name of this process in the lease.
    pub identity: String,
    /// How many finished pods are kept before the oldest are deleted; 0 keeps all.
    pub terminated_pod_threshold: usize,
}

/// Runs all controllers. Returns only with an error: the lease was lost, or a controller ended.
pub async fn run(client: Client, config: Config) -> anyhow::Result<()> {
    let config = Arc::new(config);
    if !config.leader_elect {
        return run_all(client, config).await;
    }
    let election = LeaderElection::new(client.clone(), "kube-system", "kube-controller-manager", &config.identity);
    election.run(move || run_all(client, config)).await?
}

async fn run_all(client: Client, config: Arc<Config>) -> anyhow::Result<()> {
    let context = Context { informers: Informers::new(client.clone()), client, config };
    let mut tasks = JoinSet::new();
    let c = &context;
    start(&mut tasks, "deployment", deployment::run(c.clone()));
    start(&mut tasks, "replicaset", replicaset::run(c.clone(), c.replica_sets(), "replicaset-controller"));
    let controllers = c.informers.all::<ReplicationController>();
    start(&mut tasks, "replicationcontroller", replicaset::run(c.clone(), controllers, "replication-controller"));
    start(&mut tasks, "serviceaccount", service_account::run(c.clone()));
    start(&mut tasks, "root-ca-certificate-publisher", root_ca::run(c.clone()));
    start(&mut tasks, "endpoint", endpoints::legacy::run(c.clone()));
    start(&mut tasks, "endpointslice", endpoints::slices::run(c.clone()));
    start(&mut tasks, "endpointslicemirroring", endpoints::mirroring::run(c.clone()));
    start(&mut tasks, "namespace", namespace::run(c.clone()));
    start(&mut tasks, "node-ipam", node_ipam::run(c.clone()));
    start(&mut tasks, "pod-garbage-collector", pod_gc::run(c.clone()));
    start(&mut tasks, "garbage-collector", gc::run(c.clone()));
    start(&mut tasks, "node-lifecycle", node_lifecycle::run(c.clone()));
    match tasks.join_next().await {
        Some(ended) => ended.context("a controller panicked")?,
        None => Ok(()),
    }
}

/// Starts one controller. It runs until it fails, which ends the others with it.
fn start(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    name: &'static str,
    controller: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    tasks.spawn(async move {
        controller.await.with_context(|| format!("controller {name}"))?;
        anyhow::bail!("controller {name} ended")
    });
}
