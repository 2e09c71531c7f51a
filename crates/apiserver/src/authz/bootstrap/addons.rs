//! Roles of parts that are add-ons upstream and built in here, and what nodes need to join, which administrators bind
//! there.

use super::table::Subject::{Group, ServiceAccount};
use super::table::{Binding, EVENTS, READ, Role, bind, role, rule};

/// The roles.
pub(super) const ROLES: &[Role] = &[
    role(
        "system:coredns",
        &[
            rule("list watch", "core", "endpoints services pods namespaces"),
            rule("list watch", "discovery.k8s.io", "endpointslices"),
        ],
    ),
    role("system:aggregated-metrics-reader", &[rule("get list watch", "metrics.k8s.io", "pods nodes")])
        .given_to("view"),
    // It removes what is released, lets claims grow, and takes those that no node was selected for.
    role(
        "system:local-directory-provisioner",
        &[
            rule("create delete get list update watch", "core", "persistentvolumes"),
            rule("get list update watch", "core", "persistentvolumeclaims"),
            rule("update", "core", "persistentvolumeclaims/status"),
            rule(READ, "core", "nodes"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            EVENTS,
        ],
    ),
    // What of pods is not said by policies and labels is not kept by whoever has it.
    role(
        "system:network-policy",
        &[rule("list watch", "core", "namespaces pods"), rule("list watch", "networking.k8s.io", "networkpolicies")],
    ),
];

/// Who has them.
pub(super) const BINDINGS: &[Binding] = &[
    bind("system:coredns", "system:coredns", &[ServiceAccount("kube-system", "coredns")]),
    bind(
        "system:local-directory-provisioner",
        "system:local-directory-provisioner",
        &[ServiceAccount("kube-system", "local-directory-provisioner")],
    ),
    bind("system:network-policy", "system:network-policy", &[ServiceAccount("kube-system", "network-policy")]),
    // By the names that the documentation of kubelets' bootstrapping gives them.
    bind("create-csrs-for-bootstrapping", "system:node-bootstrapper", &[Group("system:bootstrappers")]),
    bind(
        "auto-approve-csrs-for-group",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[Group("system:bootstrappers")],
    ),
    bind(
        "auto-approve-renewals-for-nodes",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[Group("system:nodes")],
    ),
];
