//! Roles of parts that are add-ons upstream and built in here, by the names that kubeadm gives them.

use super::table::Subject::ServiceAccount;
use super::table::{Binding, Role, bind, role, rule};

/// The roles.
pub(super) const ROLES: &[Role] = &[role(
    "system:coredns",
    &[
        rule("list watch", "core", "endpoints services pods namespaces"),
        rule("list watch", "discovery.k8s.io", "endpointslices"),
    ],
)];

/// Who has them.
pub(super) const BINDINGS: &[Binding] =
    &[bind("system:coredns", "system:coredns", &[ServiceAccount("kube-system", "coredns")])];
