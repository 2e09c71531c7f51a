//! Roles of parts that are add-ons upstream and built in here, and what nodes need to join, which administrators bind
//! there.

use super::table::Subject::{Group, ServiceAccount, User};
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
        &[
            rule("list watch", "core", "namespaces nodes pods"),
            rule("list watch", "networking.k8s.io", "networkpolicies"),
            rule("list watch", "policy.networking.k8s.io", "adminnetworkpolicies baselineadminnetworkpolicies"),
            rule("list watch", "apiextensions.k8s.io", "customresourcedefinitions").named(
                "adminnetworkpolicies.policy.networking.k8s.io baselineadminnetworkpolicies.policy.networking.k8s.io",
            ),
        ],
    ),
    // Which secrets Ingresses and Gateways name is known only from these, so that any may be read; those that none names are not.
    role(
        "system:ingress",
        &[
            rule("list watch", "networking.k8s.io", "ingresses ingressclasses"),
            rule("get", "networking.k8s.io", "ingresses"),
            rule("patch", "networking.k8s.io", "ingresses/status"),
            rule(READ, "core", "secrets"),
            rule("list watch", "core", "namespaces"),
            rule("list watch", "apiextensions.k8s.io", "customresourcedefinitions"),
            rule(
                "list watch",
                "gateway.networking.k8s.io",
                "gatewayclasses gateways grpcroutes httproutes referencegrants tlsroutes",
            ),
            rule("create", "gateway.networking.k8s.io", "gatewayclasses"),
            rule(
                "patch",
                "gateway.networking.k8s.io",
                "gatewayclasses/status gateways/status grpcroutes/status httproutes/status tlsroutes/status",
            ),
            EVENTS,
        ],
    ),
    // What hollow nodes write they write as nodes. No role can say "those nodes that are hollow".
    role(
        "system:hollow-nodes",
        &[rule("delete get list patch watch", "core", "nodes"), rule("list watch", "core", "pods"), EVENTS],
    ),
    // What admission lets a node make of it is about its own volumes.
    role(
        "system:local-directory-provisioner-of-nodes",
        &[
            rule("create delete get list update watch", "core", "persistentvolumes"),
            rule(READ, "core", "persistentvolumeclaims"),
            rule("update", "core", "persistentvolumeclaims/status"),
            rule(READ, "storage.k8s.io", "storageclasses"),
        ],
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
    bind("system:ingress", "system:ingress", &[ServiceAccount("kube-system", "ingress-controller")]),
    bind("system:hollow-nodes", "system:hollow-nodes", &[ServiceAccount("kube-system", "hollow-nodes")]),
    bind("system:network-policy", "system:network-policy", &[ServiceAccount("kube-system", "network-policy")]),
    bind(
        "system:local-directory-provisioner-of-nodes",
        "system:local-directory-provisioner-of-nodes",
        &[Group("system:nodes")],
    ),
    // Each node has a service proxy, a DNS server and ways to the others, which are the node's user. Upstream has the same said
    // of an account whose token each node has.
    bind("system:node-proxier-of-nodes", "system:node-proxier", &[Group("system:nodes")]),
    // So it has of its own what keeps its pods apart.
    bind("system:network-policy-of-nodes", "system:network-policy", &[Group("system:nodes")]),
    // An upstream kubelet asks this server what the server itself may do there.
    bind("system:kube-apiserver-kubelet-client", "system:kubelet-api-admin", &[User("kube-apiserver-kubelet-client")]),
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
