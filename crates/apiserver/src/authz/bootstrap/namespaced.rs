//! The roles in the namespaces of the system, and whom they are bound to.

use super::table::Subject::{ServiceAccount, User};
use super::table::{Binding, EVENTS, READ, Role, bind, role, rule};

/// The roles, with their namespaces.
pub(super) const ROLES: &[(&str, Role)] = &[
    (
        "kube-public",
        role(
            "system:controller:bootstrap-signer",
            &[rule(READ, "core", "configmaps"), rule("update", "core", "configmaps").named("cluster-info"), EVENTS],
        ),
    ),
    // By the name that kubeadm gives it.
    (
        "kube-public",
        role("kubeadm:bootstrap-signer-clusterinfo", &[rule("get", "core", "configmaps").named("cluster-info")]),
    ),
    (
        "kube-system",
        role(
            "extension-apiserver-authentication-reader",
            &[rule(READ, "core", "configmaps").named("extension-apiserver-authentication")],
        ),
    ),
    (
        "kube-system",
        role(
            "system::leader-locking-kube-controller-manager",
            &[
                rule("create get list update watch", "coordination.k8s.io", "leases"),
                rule("create get list update watch", "coordination.k8s.io", "leasecandidates"),
            ],
        ),
    ),
    (
        "kube-system",
        role(
            "system::leader-locking-kube-scheduler",
            &[
                rule("create get list update watch", "coordination.k8s.io", "leases"),
                rule("create get list update watch", "coordination.k8s.io", "leasecandidates"),
            ],
        ),
    ),
    // The services by which Ingresses and Gateways are reached are all there.
    (
        "kube-system",
        role(
            "system:ingress",
            &[
                rule("create delete list patch", "core", "services"),
                rule("create delete patch", "discovery.k8s.io", "endpointslices"),
                // What is created has no name yet.
                rule("create", "coordination.k8s.io", "leases"),
                rule("get update", "coordination.k8s.io", "leases").named("coracle-ingress coracle-gateway-class"),
            ],
        ),
    ),
    ("kube-system", role("system:controller:bootstrap-signer", &[rule(READ, "core", "secrets")])),
    ("kube-system", role("system:controller:cloud-provider", &[rule("create get list watch", "core", "configmaps")])),
    (
        "kube-system",
        role("system:controller:token-cleaner", &[rule("delete get list watch", "core", "secrets"), EVENTS]),
    ),
];

/// Who has them. All name a role of their own namespace.
pub(super) const BINDINGS: &[(&str, Binding)] = &[
    ("kube-system", bind("system:ingress", "system:ingress", &[ServiceAccount("kube-system", "ingress-controller")])),
    (
        "kube-public",
        bind(
            "system:controller:bootstrap-signer",
            "system:controller:bootstrap-signer",
            &[ServiceAccount("kube-system", "bootstrap-signer")],
        ),
    ),
    (
        "kube-public",
        bind(
            "kubeadm:bootstrap-signer-clusterinfo",
            "kubeadm:bootstrap-signer-clusterinfo",
            &[User("system:anonymous")],
        ),
    ),
    (
        "kube-system",
        bind(
            "system::extension-apiserver-authentication-reader",
            "extension-apiserver-authentication-reader",
            &[User("system:kube-controller-manager"), User("system:kube-scheduler")],
        ),
    ),
    (
        "kube-system",
        bind(
            "system::leader-locking-kube-controller-manager",
            "system::leader-locking-kube-controller-manager",
            &[
                User("system:kube-controller-manager"),
                ServiceAccount("kube-system", "kube-controller-manager"),
                ServiceAccount("kube-system", "leader-election-controller"),
            ],
        ),
    ),
    (
        "kube-system",
        bind(
            "system::leader-locking-kube-scheduler",
            "system::leader-locking-kube-scheduler",
            &[User("system:kube-scheduler"), ServiceAccount("kube-system", "kube-scheduler")],
        ),
    ),
    (
        "kube-system",
        bind(
            "system:controller:bootstrap-signer",
            "system:controller:bootstrap-signer",
            &[ServiceAccount("kube-system", "bootstrap-signer")],
        ),
    ),
    (
        "kube-system",
        bind(
            "system:controller:cloud-provider",
            "system:controller:cloud-provider",
            &[ServiceAccount("kube-system", "cloud-provider")],
        ),
    ),
    (
        "kube-system",
        bind(
            "system:controller:token-cleaner",
            "system:controller:token-cleaner",
            &[ServiceAccount("kube-system", "token-cleaner")],
        ),
    ),
];
