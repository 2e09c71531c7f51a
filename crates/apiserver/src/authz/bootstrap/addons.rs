//! Roles of parts that are add-ons upstream and built in here, and what nodes need to join, which administrators bind
//! there.

use super::table::Subject::{Group, ServiceAccount};
use super::table::{Binding, Role, bind, role, rule};

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
];

/// Who has them.
pub(super) const BINDINGS: &[Binding] = &[
    bind("system:coredns", "system:coredns", &[ServiceAccount("kube-system", "coredns")]),
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
