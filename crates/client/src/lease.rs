//! The lease by which a node says that it lives.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::patch::{is_conflict, is_not_found};

/// Where node leases live.
const NAMESPACE: &str = "kube-node-lease";

/// Renews the Lease of a node: 40 s long, renewed every 10 s, as the kubelet does.
pub struct NodeLease {
    node_name: String,
    owner: Option<OwnerReference>,
    last: Option<Lease>,
}

impl NodeLease {
    /// How often to renew.
    pub const PERIOD: Duration = Duration::from_secs(10);
    /// How long a renewal holds, in seconds.
    pub const DURATION_SECONDS: i32 = 40;

    /// The lease of a node; `node_uid` makes it the lease's owner.
    pub fn new(node_name: &str, node_uid: Option<String>) -> NodeLease {
        let owner = node_uid.map(|uid| OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: node_name.into(),
            uid,
            ..Default::default()
        });
        NodeLease { node_name: node_name.into(), owner, last: None }
    }

    /// Renews once as the node, creating the lease when there is none.
    pub async fn renew(&mut self, client: Client) -> kube::Result<()> {
        let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
        for _ in 0..5 {
            let current = match self.last.take() {
                Some(lease) => Some(lease),
                None => api.get_opt(&self.node_name).await?,
            };
            let lease = self.renewed(current.clone());
            let written = match current {
                Some(_) => api.replace(&self.node_name, &PostParams::default(), &lease).await,
                None => api.create(&PostParams::default(), &lease).await,
            };
            match written {
                Ok(mut lease) => {
                    // A server keeps those of what is written without.
                    lease.metadata.managed_fields = None;
                    self.last = Some(lease);
                    return Ok(());
                }
                Err(error) if is_conflict(&error) => {}
                // Either the lease was deleted meanwhile, or its namespace is not there yet.
                Err(error) if is_not_found(&error) && current.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        api.get(&self.node_name).await.map(|_| ())
    }

    /// Renews for ever; failures are tried again with backoff up to 7 s.
    pub async fn run(mut self, client: Client) {
        let mut backoff = crate::Backoff::new(Duration::from_millis(100), Duration::from_secs(4));
        loop {
            match self.renew(client.clone()).await {
                Ok(()) => {
                    backoff.reset();
                    tokio::time::sleep(Self::PERIOD).await;
                }
                Err(error) => {
                    tracing::warn!(node = %self.node_name, %error, "failed to renew the node's lease");
                    backoff.sleep().await;
                }
            }
        }
    }

    fn renewed(&self, current: Option<Lease>) -> Lease {
        let mut lease = current.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.node_name.clone()),
                namespace: Some(NAMESPACE.into()),
                ..Default::default()
            },
            spec: None,
        });
        if lease.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
            lease.metadata.owner_references = self.owner.clone().map(|owner| vec![owner]);
        }
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.node_name.clone());
        spec.lease_duration_seconds = Some(Self::DURATION_SECONDS);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        lease
    }
}
