//! A kubelet writes only what belongs to its node. The authorizer lets kubelets write objects of some kinds; which ones, it
//! cannot see ([`crate::authz::Node`]).
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>

mod claim;
mod node;
mod pod;
mod token;
mod volume;

use std::sync::Arc;

use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once};
use crate::auth::certificate_request;
use crate::authz::Chain;
use crate::authz::node::LEASES;
use crate::operation::{Operation, Verb};
use crate::storage::Storage;

/// Looks up pods and nodes, and asks whether a node may have tokens for an audience that none of its pods has.
pub(super) struct NodeRestriction {
    pub storage: Arc<Storage>,
    pub authorizer: Arc<Chain>,
}

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, op: &Operation) -> bool {
        op.verb != Verb::Connect && op.user.node().is_some()
    }

    fn admit<'a>(&'a self, request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        Box::pin(async move {
            self.check(request, object).await?;
            if (&*request.op.kind.group, &*request.op.kind.plural, request.op.subresource) == ("", "pods", "status") {
                pod::bound(request, object);
            }
            Ok(())
        })
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        match request.op.verb {
            Verb::Delete => Box::pin(self.check(request, object)),
            // These were checked as they came, before what they must not change was taken out of them.
            Verb::Create | Verb::Update | Verb::Connect => at_once(Ok(())),
        }
    }
}

/// One write of a kubelet.
struct Write<'a> {
    node: &'a str,
    op: &'a Operation,
    old: Option<&'a Value>,
    /// The new object; of a deletion the one that goes.
    object: &'a Value,
}

impl Write<'_> {
    /// The name of the object.
    fn name(&self) -> &str {
        if self.op.name.is_empty() { meta::name(self.object) } else { &self.op.name }
    }

    fn forbidden(&self, why: impl AsRef<str>) -> Result<(), Status> {
        let kind = &self.op.kind;
        Err(Status::forbidden(&kind.group, &kind.plural, self.name(), why.as_ref()))
    }
}

impl NodeRestriction {
    async fn check(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let op = request.op;
        let write = Write { node: op.user.node().unwrap_or_default(), op, old: request.old, object };
        if write.node.is_empty() {
            return write.forbidden(format!("could not determine node from user \"{}\"", op.user.name));
        }
        match (&*op.kind.group, &*op.kind.plural, op.subresource) {
            ("", "pods", "") => pod::main(&self.storage, &write),
            ("", "pods", "status") => pod::status(&write),
            ("", "pods", "eviction") => pod::eviction(&self.storage, &write),
            ("", "pods", other) => write
                .forbidden(format!("unexpected pod subresource \"{other}\", only 'status' and 'eviction' are allowed")),
            ("", "nodes", _) => node::check(&self.storage, &write),
            ("", "persistentvolumes", _) => volume::check(&self.storage, &write),
            ("", "persistentvolumeclaims", "status") => claim::status(&self.storage, &write),
            ("", "persistentvolumeclaims", _) => write.forbidden("may only update PVC status"),
            ("", "serviceaccounts", "token") if op.verb == Verb::Create => self.token(&write).await,
            ("coordination.k8s.io", "leases", _) => lease(&write),
            ("storage.k8s.io", "csinodes", _) if write.name() != write.node => {
                write.forbidden("can only access CSINode with the same name as the requesting node")
            }
            ("resource.k8s.io", "resourceslices", _) => resource_slice(&write),
            ("certificates.k8s.io", "certificatesigningrequests", _) => certificate(&write),
            _ => Ok(()),
        }
    }
}

fn lease(write: &Write<'_>) -> Result<(), Status> {
    if meta::namespace(write.object) != LEASES {
        return write.forbidden(format!("can only access leases in the \"{LEASES}\" system namespace"));
    }
    if write.name() != write.node {
        return write.forbidden("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

/// Which slices a kubelet changes, the authorizer sees; whether all of a collection are its own it does not.
fn resource_slice(write: &Write<'_>) -> Result<(), Status> {
    let verb = match write.op.verb {
        Verb::Create => "create",
        Verb::Delete => "delete",
        Verb::Update | Verb::Connect => return Ok(()),
    };
    if meta::text(write.object, &["spec", "nodeName"]) != write.node {
        return write.forbidden(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"));
    }
    Ok(())
}

/// Who asks for a node's certificate is that node.
fn certificate(write: &Write<'_>) -> Result<(), Status> {
    let signer = meta::text(write.object, &["spec", "signerName"]);
    let is_of_nodes = matches!(signer, "kubernetes.io/kubelet-serving" | "kubernetes.io/kube-apiserver-client-kubelet");
    if write.op.verb != Verb::Create || !is_of_nodes {
        return Ok(());
    }
    match certificate_request(meta::text(write.object, &["spec", "request"])) {
        Err(why) => write.forbidden(format!("unable to parse csr: {why}")),
        Ok(request) if request.identity.common_name == format!("system:node:{}", write.node) => Ok(()),
        Ok(_) => write.forbidden(format!("can only create a node CSR with CN=system:node:{}", write.node)),
    }
}

/// The answer to a write that is none of a kubelet's.
fn unexpected(write: &Write<'_>) -> Result<(), Status> {
    write.forbidden(format!("unexpected operation \"{}\"", operation(write.op.verb)))
}

fn operation(verb: Verb) -> &'static str {
    match verb {
        Verb::Create => "CREATE",
        Verb::Update => "UPDATE",
        Verb::Delete => "DELETE",
        Verb::Connect => "CONNECT",
    }
}
