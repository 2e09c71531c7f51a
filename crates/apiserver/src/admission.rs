//! Admission: what the server adds to or refuses of a write beyond the validity of the object. Each plugin is asked in turn,
//! first to change the object, and once that is valid, to refuse it.
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/>

mod asked;
mod bound_policies;
mod certificate_requester;
mod certificates;
mod claim_resize;
mod configured;
mod default_ingress_class;
mod default_storage_class;
mod default_tolerations;
mod foreign_network;
mod in_use_protection;
mod limit_ranger;
mod mutating_policy;
mod namespace_lifecycle;
mod node_restriction;
mod owner_references;
mod pod_security;
mod priority;
mod rbac_escalation;
mod resource_quota;
mod rounds;
mod runtime_class;
mod selection;
mod service_account;
mod step;
mod target;
mod validating_policy;
mod webhook;

use std::future::ready;
use std::sync::Arc;

use coracle_api::status::Status;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::authz::{Chain, Rbac};
use crate::conversion::Conversions;
use crate::operation::{Operation, Verb};
use crate::storage::Storage;

pub(crate) use resource_quota::ResourceQuota;
use rounds::Rounds;
pub use selection::Options;
use selection::RESOURCE_QUOTA;
use step::Step;

/// Namespaces that every cluster has.
pub const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// What plugins are asked about. Objects are in the version in which the write is done.
pub(crate) struct Request<'a> {
    pub op: &'a Operation,
    /// The object as it is; a new one is not there yet.
    pub old: Option<&'a Value>,
    /// How often webhooks were asked.
    rounds: Rounds,
}

impl<'a> Request<'a> {
    /// One that nobody was asked about yet.
    pub fn new(op: &'a Operation, old: Option<&'a Value>) -> Request<'a> {
        Request { op, old, rounds: Rounds::default() }
    }
}

/// What a plugin says, now or once it knows.
pub(crate) type Verdict<'a> = BoxFuture<'a, Result<(), Status>>;

/// A part of admission.
pub(crate) trait Plugin: Send + Sync {
    /// What upstream calls it; nothing for what is no plugin there, and is always asked.
    fn name(&self) -> &'static str {
        ""
    }

    /// Whether it has a say in such a write at all. Asked of every write, so it is quick.
    fn handles(&self, op: &Operation) -> bool;

    /// Whether it shows objects to somebody who may look at all of them, and so at the managed fields.
    fn shows_all(&self) -> bool {
        false
    }

    /// Changes an object that is not validated yet, or refuses it at once.
    fn admit<'a>(&'a self, _request: &'a Request<'a>, _object: &'a mut Value) -> Verdict<'a> {
        at_once(Ok(()))
    }

    /// Refuses a valid object, or the deletion of one.
    fn validate<'a>(&'a self, _request: &'a Request<'a>, _object: &'a Value) -> Verdict<'a> {
        at_once(Ok(()))
    }
}

/// All plugins, in the order in which they are asked.
pub(crate) struct Admission {
    plugins: Vec<Box<dyn Plugin>>,
    /// Whether what namespaces use is counted.
    pub counts_quotas: bool,
}

impl Admission {
    /// Those of this server that options select.
    ///
    /// # Errors
    /// The options name what is none.
    pub fn new(
        options: &Options,
        storage: &Arc<Storage>,
        conversions: &Arc<Conversions>,
        authorizer: &Arc<Chain>,
        rbac: &Arc<Rbac>,
    ) -> anyhow::Result<Admission> {
        let mut plugins = Admission::all(storage, conversions, authorizer, rbac);
        let names = plugins.iter().map(|plugin| plugin.name()).filter(|name| !name.is_empty());
        options.check(&names.chain([RESOURCE_QUOTA]).collect::<Vec<_>>())?;
        plugins.retain(|plugin| options.selects(plugin.name()));
        if options.foreign_network {
            plugins.push(Box::new(foreign_network::ForeignNetwork));
        }
        Ok(Admission { plugins, counts_quotas: options.selects(RESOURCE_QUOTA) })
    }

    /// Those that there are, in upstream's order.
    fn all(
        storage: &Arc<Storage>,
        conversions: &Arc<Conversions>,
        authorizer: &Arc<Chain>,
        rbac: &Arc<Rbac>,
    ) -> Vec<Box<dyn Plugin>> {
        let storage = || storage.clone();
        let asking = || Asking { storage: storage(), conversions: conversions.clone(), authorizer: authorizer.clone() };
        vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle(storage())),
            Box::new(certificate_requester::CertificateRequester),
            Box::new(limit_ranger::LimitRanger(storage())),
            Box::new(service_account::ServiceAccount(storage())),
            Box::new(node_restriction::NodeRestriction { storage: storage(), authorizer: authorizer.clone() }),
            Box::new(pod_security::PodSecurity(storage())),
            Box::new(default_tolerations::DefaultTolerationSeconds),
            Box::new(priority::Priority(storage())),
            Box::new(runtime_class::RuntimeClass(storage())),
            Box::new(certificates::CertificateApproval(authorizer.clone())),
            Box::new(certificates::CertificateSigning(authorizer.clone())),
            Box::new(certificates::CertificateSubjectRestriction),
            Box::new(default_storage_class::DefaultStorageClass(storage())),
            Box::new(owner_references::OwnerReferencesPermissionEnforcement {
                storage: storage(),
                authorizer: authorizer.clone(),
            }),
            Box::new(in_use_protection::StorageObjectInUseProtection),
            Box::new(claim_resize::PersistentVolumeClaimResize(storage())),
            Box::new(default_ingress_class::DefaultIngressClass(storage())),
            Box::new(rbac_escalation::RbacEscalation { authorizer: authorizer.clone(), rbac: rbac.clone() }),
            Box::new(mutating_policy::MutatingAdmissionPolicy::new(asking())),
            Box::new(webhook::MutatingAdmissionWebhook::new(asking())),
            Box::new(validating_policy::ValidatingAdmissionPolicy::new(asking())),
            Box::new(webhook::ValidatingAdmissionWebhook::new(asking())),
        ]
    }

    /// Whether somebody who is asked about a write looks at managed fields.
    pub fn shows_all(&self, op: &Operation) -> bool {
        self.plugins.iter().any(|plugin| plugin.shows_all() && plugin.handles(op))
    }

    /// Lets the plugins change a new object, or the new state of one.
    pub async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let step = Step::begin("admit", request.op);
        loop {
            for plugin in self.plugins.iter().filter(|plugin| plugin.handles(request.op)) {
                step.asked(&**plugin, plugin.admit(request, object)).await?;
            }
            // What a policy or webhook changed may concern those that were asked before.
            if !request.rounds.is_next() {
                return step.passed();
            }
        }
    }

    /// Lets the plugins refuse a valid object. One that is to be deleted is given as it is.
    pub async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let step = Step::begin("validate", request.op);
        for plugin in self.plugins.iter().filter(|plugin| plugin.handles(request.op)) {
            step.asked(&**plugin, plugin.validate(request, object)).await?;
        }
        step.passed()
    }
}

/// What policies and webhooks are asked with.
struct Asking {
    storage: Arc<Storage>,
    conversions: Arc<Conversions>,
    authorizer: Arc<Chain>,
}

/// What needs nobody else.
fn at_once<'a>(verdict: Result<(), Status>) -> Verdict<'a> {
    Box::pin(ready(verdict))
}

/// Whether others than this server are asked about such a write. What follows from a binding or an eviction is not asked
/// about once more.
fn asks_others(op: &Operation) -> bool {
    !op.is_own && !matches!((op.verb, op.subresource), (Verb::Update, "binding") | (Verb::Delete, "eviction"))
}

/// Whether objects of a kind are made.
fn makes(op: &Operation, group: &str, kind: &str) -> bool {
    op.verb == Verb::Create && op.subresource.is_empty() && op.kind.is(group, kind)
}
