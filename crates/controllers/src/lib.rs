//! Kubernetes' controllers: each brings what it sees in the API closer to what was asked for, one module each.
//!
//! They share one set of informers and one leader lease, run against any Kubernetes API server, and keep nothing
//! that the API does not keep: killed at any instant they go on from what they read.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod adoption;
mod autoscaling;
mod bootstrap_tokens;
mod certificates;
mod cluster_role_aggregation;
mod common;
mod cronjob;
mod daemonset;
mod dependents;
mod deployment;
mod discovery;
mod disruption;
mod endpoints;
mod expectations;
mod gc;
mod hash;
mod history;
mod job;
mod legacy_tokens;
mod load_balancer;
mod metrics;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod placement;
mod pod_control;
mod pod_gc;
mod replicaset;
mod resource_quota;
mod root_ca;
mod run;
mod scale;
mod service_account;
mod service_account_tokens;
mod statefulset;
mod ttl_after_finished;
mod volumes;
mod written;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use coracle_api::addresses::Ranges;
use coracle_client::{Election, Informers, LeaderElection};
use coracle_pki::{Authority, TokenKey};
use futures::future::BoxFuture;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::ReplicationController;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use common::Context;
pub use node_ipam::NodeMasks;

/// What the controllers need to know of the cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where nodes get their pod ranges from.
    pub cluster_cidr: Ranges,
    /// The prefix lengths of one node's ranges.
    pub node_cidr_masks: NodeMasks,
    /// The certificate (PEM) that clients in pods verify the API server with.
    pub root_ca: String,
    /// By which names and addresses clients know the API server, as its certificate has them.
    pub api_server_names: Vec<String>,
    /// See `api_server_names`.
    pub api_server_addresses: Vec<IpAddr>,
    /// Signs certificates that are requested and approved; without it no one is signed.
    pub authority: Option<Arc<Authority>>,
    /// Signs the tokens of service accounts that secrets hold; without it, these stay empty.
    pub service_account_key: Option<Arc<TokenKey>>,
    /// Addresses for services of type LoadBalancer; without any, others have to see to these.
    pub load_balancer_pool: Vec<Ipv4Net>,
    /// How several processes compete for the lease `kube-controller-manager`.
    pub election: Election,
    /// The name of this process in the lease.
    pub identity: String,
    /// How many finished pods are kept before the oldest are deleted; 0 keeps all.
    pub terminated_pod_threshold: usize,
    /// Whether the controllers begin that nothing waits for while the process starts; until then only the first few run.
    pub others: watch::Receiver<bool>,
    /// How long nobody may use a token that was made for a service account until it is refused, and then until it is deleted.
    pub legacy_token_clean_up_period: Duration,
}

/// Gives the client of a controller, which is the service account of this name in `kube-system`.
pub type Clients = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// Runs all controllers. What there is they see by `manager`, which may list and watch everything; what they change they
/// change as themselves, by `clients`. Returns only with an error: the lease was lost, or a controller ended.
pub fn run(manager: Client, clients: Clients, config: Config) -> BoxFuture<'static, anyhow::Result<()>> {
    let config = Arc::new(config);
    Box::pin(async move {
        if !config.election.elect {
            return run_all(manager, clients, config).await;
        }
        let election =
            LeaderElection::new(manager.clone(), config.election.clone(), "kube-controller-manager", &config.identity);
        election.run(move || run_all(manager, clients, config)).await?
    })
}

async fn run_all(manager: Client, clients: Clients, config: Arc<Config>) -> anyhow::Result<()> {
    let informers = Informers::new(manager);
    let context =
        |account: &str| Context { client: clients(account), informers: informers.clone(), config: config.clone() };
    let c = &context;
    let mut tasks = JoinSet::new();
    // What pods, and the node that runs this, need before anything else.
    start(&mut tasks, "serviceaccount", service_account::run(c("service-account-controller")));
    start(&mut tasks, "root-ca-certificate-publisher", root_ca::run(c("root-ca-cert-publisher")));
    start(&mut tasks, "node-ipam", node_ipam::run(c("node-controller")));
    let mut others = config.others.clone();
    tokio::select! {
        _ = others.wait_for(|begin| *begin) => {}
        Some(ended) = tasks.join_next() => ended.context("a controller panicked")??,
    }
    start(&mut tasks, "deployment", deployment::run(c("deployment-controller")));
    let sets = c("replicaset-controller");
    start(&mut tasks, "replicaset", replicaset::run(sets.clone(), sets.replica_sets(), "replicaset-controller"));
    start(&mut tasks, "daemonset", daemonset::run(c("daemon-set-controller")));
    start(&mut tasks, "statefulset", statefulset::run(c("statefulset-controller")));
    let controllers = informers.all::<ReplicationController>();
    let replication = c("replication-controller");
    start(&mut tasks, "replicationcontroller", replicaset::run(replication, controllers, "replication-controller"));
    start(&mut tasks, "job", job::run(c("job-controller")));
    start(&mut tasks, "cronjob", cronjob::run(c("cronjob-controller")));
    start(&mut tasks, "horizontal-pod-autoscaling", autoscaling::run(c("horizontal-pod-autoscaler")));
    start(&mut tasks, "disruption", disruption::run(c("disruption-controller")));
    let cleaner = ttl_after_finished::run(c("ttl-after-finished-controller"));
    start(&mut tasks, "ttl-after-finished", cleaner);
    start(&mut tasks, "endpoint", endpoints::legacy::run(c("endpoint-controller")));
    start(&mut tasks, "endpointslice", endpoints::slices::run(c("endpointslice-controller")));
    start(&mut tasks, "endpointslicemirroring", endpoints::mirroring::run(c("endpointslicemirroring-controller")));
    if !config.load_balancer_pool.is_empty() {
        start(&mut tasks, "service-lb", load_balancer::run(c("service-controller")));
    }
    start(&mut tasks, "namespace", namespace::run(c("namespace-controller")));
    start(&mut tasks, "pod-garbage-collector", pod_gc::run(c("pod-garbage-collector")));
    start(&mut tasks, "garbage-collector", gc::run(c("generic-garbage-collector")));
    let aggregation = c("clusterrole-aggregation-controller");
    start(&mut tasks, "clusterrole-aggregation", cluster_role_aggregation::run(aggregation));
    if let Some(key) = config.service_account_key.clone() {
        start(&mut tasks, "serviceaccount-token", service_account_tokens::run(c("service-account-controller"), key));
    }
    let cleaner = legacy_tokens::run(c("legacy-service-account-token-cleaner"));
    start(&mut tasks, "legacy-serviceaccount-token-cleaner", cleaner);
    start(&mut tasks, "resourcequota", resource_quota::run(c("resourcequota-controller")));
    if let Some(authority) = config.authority.clone() {
        let signer = certificates::signer::run(c("certificate-controller"), authority);
        start(&mut tasks, "certificatesigningrequest-signing", signer);
    }
    start(&mut tasks, "bootstrap-signer", bootstrap_tokens::signer::run(c("bootstrap-signer")));
    start(&mut tasks, "token-cleaner", bootstrap_tokens::cleaner::run(c("token-cleaner")));
    let approver = certificates::approver::run(c("certificate-controller"));
    start(&mut tasks, "certificatesigningrequest-approving", approver);
    let approver = certificates::serving::run(c("kubelet-serving-approver"));
    start(&mut tasks, "kubelet-serving-approving", approver);
    let cleaner = certificates::cleaner::run(c("certificate-controller"));
    start(&mut tasks, "certificatesigningrequest-cleaner", cleaner);
    start(&mut tasks, "node-lifecycle", node_lifecycle::run(c("node-controller")));
    start(&mut tasks, "persistentvolume-binder", volumes::binder::run(c("persistent-volume-binder")));
    let attachments = volumes::attach::run(c("attachdetach-controller"));
    start(&mut tasks, "persistentvolume-attach-detach", attachments);
    let protection = volumes::claim_protection::run(c("pvc-protection-controller"));
    start(&mut tasks, "persistentvolumeclaim-protection", protection);
    let protection = volumes::volume_protection::run(c("pv-protection-controller"));
    start(&mut tasks, "persistentvolume-protection", protection);
    let protection = volumes::attributes_protection::run(c("volumeattributesclass-protection-controller"));
    start(&mut tasks, "volumeattributesclass-protection", protection);
    start(&mut tasks, "ephemeral-volume", volumes::ephemeral::run(c("ephemeral-volume-controller")));
    start(&mut tasks, "persistentvolume-expander", volumes::expansion::run(c("expand-controller")));
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
    // Boxed, so that one program waits for all of them.
    let controller: BoxFuture<'static, anyhow::Result<()>> = Box::pin(controller);
    tasks.spawn(supervise(name, controller));
}

async fn supervise(name: &'static str, controller: BoxFuture<'static, anyhow::Result<()>>) -> anyhow::Result<()> {
    controller.await.with_context(|| format!("controller {name}"))?;
    anyhow::bail!("controller {name} ended")
}
