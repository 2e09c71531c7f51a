//! What kubelets may do: users `system:node:NAME` in the group `system:nodes`. Each may what the role `system:node` says, but
//! of what pods need only that of the pods that are bound to its node, and of nodes and what belongs to one only its own.
//! <https://kubernetes.io/docs/reference/access-authn-authz/node/>

mod graph;
mod references;

use std::sync::Arc;

use coracle_api::{kinds, meta};
use serde_json::Value;

use super::rbac::Rule;
use super::{Answer, Attributes, Authorizer, Decision, Rules, bootstrap};
use crate::auth::User;
use crate::cache::{Cache, Caches};
use crate::index::Index;
use crate::object::Object;
use crate::storage::key;

use graph::{Graph, Source};
pub use references::{Referent, names, of_pod};

/// Where leases of nodes are.
pub const LEASES: &str = "kube-node-lease";

/// Allows kubelets what the role `system:node` allows, which is bound to nobody, of what concerns their nodes.
pub struct Node {
    rules: Vec<Rule>,
    graph: Index<Graph>,
    pods: Option<Arc<Cache>>,
    volumes: Option<Arc<Cache>>,
    attachments: Option<Arc<Cache>>,
    slices: Option<Arc<Cache>>,
}

impl Node {
    /// One that follows the default role, and the pods and volumes of the caches.
    pub(crate) fn follow(caches: &Caches) -> Node {
        let kind = |group: &str, plural: &str| kinds::by_resource(group, "v1", plural);
        let cache = |group: &str, plural: &str| kind(group, plural).and_then(|kind| caches.of(kind));
        let sources = [(Source::Pods, "pods"), (Source::Volumes, "persistentvolumes")];
        let sources = sources.into_iter().filter_map(|(source, plural)| Some((source, &**kind("", plural)?)));
        Node {
            rules: bootstrap::rules_of("system:node"),
            graph: Index::follow(caches, Graph::default(), sources),
            pods: cache("", "pods"),
            volumes: cache("", "persistentvolumes"),
            attachments: cache("storage.k8s.io", "volumeattachments"),
            slices: cache("resource.k8s.io", "resourceslices"),
        }
    }

    fn decide(&self, node: &str, what: &Attributes<'_>) -> Decision {
        if !what.is_resource {
            return self.by_role(what);
        }
        match (what.group, what.resource) {
            ("", "secrets") => self.read_of_namespace(node, what, Referent::Secret),
            ("", "configmaps") => self.read_of_namespace(node, what, Referent::ConfigMap),
            ("", "persistentvolumeclaims") => self.claim(node, what),
            ("", "persistentvolumes") => self.get(what, || self.has_volume(node, what.name), node),
            ("resource.k8s.io", "resourceclaims") => {
                self.get(what, || self.is_used(node, Referent::ResourceClaim, what), node)
            }
            ("storage.k8s.io", "volumeattachments") => {
                self.get(what, || names_node(&self.attachments, what.name, node), node)
            }
            ("", "serviceaccounts") => self.service_account(node, what),
            ("coordination.k8s.io", "leases") => lease(node, what),
            ("storage.k8s.io", "csinodes") => csi_node(node, what),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(node, what),
            ("", "nodes") => own_node(node, what),
            ("", "pods") => self.pod(node, what),
            _ => self.by_role(what),
        }
    }

    fn by_role(&self, what: &Attributes<'_>) -> Decision {
        if self.rules.iter().any(|rule| rule.allows(what)) { Decision::ALLOW } else { Decision::NO_OPINION }
    }

    /// Secrets and config maps are read, listed and watched one by one.
    fn read_of_namespace(&self, node: &str, what: &Attributes<'_>, kind: Referent) -> Decision {
        if !matches!(what.verb, "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !what.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if what.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        related(node, what, || self.is_used(node, kind, what))
    }

    fn get(&self, what: &Attributes<'_>, is_related: impl FnOnce() -> bool, node: &str) -> Decision {
        if what.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !what.subresource.is_empty() {
            return no("cannot get subresource");
        }
        related(node, what, is_related)
    }

    fn claim(&self, node: &str, what: &Attributes<'_>) -> Decision {
        let is_related = || self.is_used(node, Referent::Claim, what);
        match (what.subresource, what.verb) {
            ("status", "update" | "patch") => related(node, what, is_related),
            ("status", _) => no("can only get/update/patch this type"),
            _ => self.get(what, is_related, node),
        }
    }

    /// Service accounts of its pods are read, and tokens of them asked for.
    fn service_account(&self, node: &str, what: &Attributes<'_>) -> Decision {
        if (what.verb, what.subresource) == ("get", "") {
            return self.read_of_namespace(node, what, Referent::ServiceAccount);
        }
        if what.verb != "create" || what.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if what.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        related(node, what, || self.is_used(node, Referent::ServiceAccount, what))
    }

    fn resource_slice(&self, node: &str, what: &Attributes<'_>) -> Decision {
        if !what.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match what.verb {
            // Whose it is to be, admission sees.
            "create" => Decision::ALLOW,
            "get" | "update" | "patch" | "delete" => related(node, what, || names_node(&self.slices, what.name, node)),
            "watch" | "list" | "deletecollection" if what.selects("spec.nodeName", node) => Decision::ALLOW,
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    /// Pods of its node are read. Which ones it makes, deletes, evicts and tells the status of, admission sees.
    fn pod(&self, node: &str, what: &Attributes<'_>) -> Decision {
        let is_related = || names_node(&self.pods, &key(Some(what.namespace), what.name), node);
        match (what.subresource, what.verb) {
            ("", "get") => related(node, what, is_related),
            ("", "list" | "watch") if what.selects("spec.nodeName", node) => Decision::ALLOW,
            ("", "list" | "watch") if !what.name.is_empty() => related(node, what, is_related),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Decision::ALLOW,
            _ => Decision::NO_OPINION,
        }
    }

    /// Whether a pod of the node refers to the object.
    fn is_used(&self, node: &str, kind: Referent, what: &Attributes<'_>) -> bool {
        let (graph, key) = (self.graph.current(), key(Some(what.namespace), what.name));
        if kind == Referent::Secret { graph.is_secret_used(node, &key) } else { graph.is_used(node, kind, &key) }
    }

    /// Whether a pod of the node refers to the claim that a volume is bound to.
    fn has_volume(&self, node: &str, name: &str) -> bool {
        let Some(volume) = object(&self.volumes, name) else { return false };
        let claim = references::of_volume(&volume.value()).map(|(claim, _)| claim);
        claim.is_some_and(|claim| self.graph.current().is_used(node, Referent::Claim, &claim))
    }
}

fn no(why: &str) -> Decision {
    Decision::NoOpinion(why.to_owned().into())
}

fn related(node: &str, what: &Attributes<'_>, is_related: impl FnOnce() -> bool) -> Decision {
    if what.name.is_empty() {
        return no("No Object name found");
    }
    if is_related() {
        return Decision::ALLOW;
    }
    no(&format!("no relationship found between node '{node}' and this object"))
}

fn object(cache: &Option<Arc<Cache>>, key: &str) -> Option<Object> {
    cache.as_ref().and_then(|cache| cache.get(key).ok().flatten())
}

/// Whether an object says that it belongs to the node.
fn names_node(cache: &Option<Arc<Cache>>, key: &str, node: &str) -> bool {
    let Some((cache, object)) = cache.as_ref().zip(object(cache, key)) else { return false };
    match object.field(&cache.kind, "spec.nodeName") {
        Some(own) => own == node,
        None => {
            let value: Value = object.value();
            meta::text(&value, &["spec", "nodeName"]) == node
        }
    }
}

fn lease(node: &str, what: &Attributes<'_>) -> Decision {
    if !matches!(what.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if what.namespace != LEASES {
        return no(&format!("can only access leases in the \"{LEASES}\" system namespace"));
    }
    if what.verb != "create" && what.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    Decision::ALLOW
}

fn csi_node(node: &str, what: &Attributes<'_>) -> Decision {
    if !matches!(what.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !what.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if what.verb != "create" && what.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    Decision::ALLOW
}

/// Its own Node is read, also before it is there. Which one it makes and changes, admission sees.
fn own_node(node: &str, what: &Attributes<'_>) -> Decision {
    match (what.subresource, what.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Decision::ALLOW,
        ("", "get" | "list" | "watch") => match what.name {
            own if own == node => Decision::ALLOW,
            "" => no(&format!("node '{node}' cannot read all nodes, only its own Node object")),
            other => no(&format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => Decision::NO_OPINION,
    }
}

impl Authorizer for Node {
    fn authorize<'a>(&'a self, user: &'a User, what: &'a Attributes<'a>) -> Answer<'a> {
        Answer::Now(match user.node() {
            None => Decision::NO_OPINION,
            Some("") => Decision::NoOpinion(format!("unknown node for user \"{}\"", user.name).into()),
            Some(node) => self.decide(node, what),
        })
    }

    fn rules(&self, user: &User, _: &str) -> Rules {
        match user.node() {
            None => Rules::default(),
            Some(_) => Rules {
                incomplete: true,
                errors: vec!["node authorizer does not support user rule resolution".into()],
                ..Rules::default()
            },
        }
    }
}
