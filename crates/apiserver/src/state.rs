//! What all requests share.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::aggregation::Aggregator;
use crate::audit::{Auditor, Counts};
use crate::auth::Authenticator;
use crate::auth::service_account::Issuer;
use crate::authz::Chain;
use crate::documents::Documents;
use crate::kubelet::Client;
use crate::objects::Objects;
use crate::resource_metrics::ResourceMetrics;

/// What all requests share.
pub(crate) struct State {
    pub objects: Arc<Objects>,
    pub aggregator: Arc<Aggregator>,
    pub documents: Documents,
    pub authenticator: Authenticator,
    pub authorizer: Arc<Chain>,
    pub issuer: Arc<Issuer>,
    pub kubelet: Client,
    /// What the audit log counts.
    pub audit: Counts,
    /// What nodes and pods use.
    pub resource_metrics: ResourceMetrics,
    /// Writes down who asked for what, where that is wanted.
    pub auditor: Option<Arc<Auditor>>,
    /// Where nodes and pods reach this server.
    pub endpoint: SocketAddr,
}
