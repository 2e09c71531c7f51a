//! The cluster roles that every cluster has, and whom they are bound to.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>

use super::table::Subject::{Group, ServiceAccount, User};
use super::table::{Binding, EVENTS, READ, READ_WRITE, Role, WRITE, bind, role, rule, urls};

/// The roles of people, components and add-ons.
pub(super) const ROLES: &[Role] = &[
    role("admin", &[]).gathers("admin"),
    role("cluster-admin", &[rule("*", "*", "*"), urls("*", "*")]),
    role("edit", &[]).gathers("edit").given_to("admin"),
    role(
        "system:aggregate-to-admin",
        &[
            rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            rule(READ_WRITE, "rbac.authorization.k8s.io", "rolebindings roles"),
        ],
    )
    .given_to("admin"),
    role(
        "system:aggregate-to-edit",
        &[
            rule(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
            rule("impersonate", "core", "serviceaccounts"),
            rule(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
            rule("create", "core", "pods/eviction"),
            rule(
                WRITE,
                "core",
                "configmaps persistentvolumeclaims replicationcontrollers \
                replicationcontrollers/scale secrets serviceaccounts services services/proxy",
            ),
            rule("create", "core", "serviceaccounts/token"),
            rule(WRITE, "core events.k8s.io", "events"),
            rule(
                WRITE,
                "apps",
                "daemonsets deployments deployments/rollback deployments/scale replicasets \
                replicasets/scale statefulsets statefulsets/scale",
            ),
            rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
            rule(WRITE, "batch", "cronjobs jobs"),
            rule(
                WRITE,
                "extensions",
                "daemonsets deployments deployments/rollback deployments/scale ingresses \
                networkpolicies replicasets replicasets/scale replicationcontrollers/scale",
            ),
            rule(WRITE, "policy", "poddisruptionbudgets"),
            rule(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
            rule(READ_WRITE, "coordination.k8s.io", "leases"),
            rule(WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
        ],
    )
    .given_to("edit"),
    role(
        "system:aggregate-to-view",
        &[
            rule(
                READ,
                "core",
                "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods \
                replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
            ),
            rule(
                READ,
                "core",
                "bindings limitranges namespaces/status pods/log pods/status \
                replicationcontrollers/status resourcequotas resourcequotas/status",
            ),
            rule(READ, "core", "namespaces"),
            rule(READ, "core events.k8s.io", "events"),
            rule(READ, "discovery.k8s.io", "endpointslices"),
            rule(
                READ,
                "apps",
                "controllerrevisions daemonsets daemonsets/status deployments deployments/scale \
                deployments/status replicasets replicasets/scale replicasets/status statefulsets \
                statefulsets/scale statefulsets/status",
            ),
            rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
            rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
            rule(
                READ,
                "extensions",
                "daemonsets daemonsets/status deployments deployments/scale \
                deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale \
                replicasets/status replicationcontrollers/scale",
            ),
            rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
            rule(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
            rule(READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
        ],
    )
    .given_to("view"),
    role(
        "system:auth-delegator",
        &[
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:basic-user",
        &[
            rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            rule("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[rule("approve", "certificates.k8s.io", "signers").named("kubernetes.io/kube-apiserver-client")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[rule("approve", "certificates.k8s.io", "signers").named("kubernetes.io/kube-apiserver-client-kubelet")],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[rule("approve", "certificates.k8s.io", "signers").named("kubernetes.io/kubelet-serving")],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[rule("approve", "certificates.k8s.io", "signers").named("kubernetes.io/legacy-unknown")],
    ),
    role(
        "system:discovery",
        &[urls("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")],
    ),
    role(
        "system:heapster",
        &[rule(READ, "core", "events namespaces nodes pods"), rule(READ, "extensions", "deployments")],
    ),
    role("system:kube-aggregator", &[rule(READ, "core", "endpoints services")]),
    role(
        "system:kube-controller-manager",
        &[
            EVENTS,
            rule("create", "coordination.k8s.io", "leases"),
            rule("get update", "coordination.k8s.io", "leases").named("kube-controller-manager"),
            rule("create", "core", "secrets serviceaccounts"),
            rule("delete", "core", "secrets"),
            rule("get", "core", "configmaps namespaces secrets serviceaccounts"),
            rule("update", "core", "secrets serviceaccounts"),
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
            rule("list watch", "*", "*"),
            rule("create", "core", "serviceaccounts/token"),
        ],
    ),
    role("system:kube-dns", &[rule("list watch", "core", "endpoints services")]),
    role(
        "system:kube-scheduler",
        &[
            EVENTS,
            rule("create", "coordination.k8s.io", "leases"),
            rule("get list update watch", "coordination.k8s.io", "leases").named("kube-scheduler"),
            rule(READ_WRITE, "coordination.k8s.io", "leasecandidates"),
            rule(READ, "core", "nodes"),
            rule("delete get list watch", "core", "pods"),
            rule("create", "core", "bindings pods/binding"),
            rule("patch update", "core", "pods/status"),
            rule(READ, "core", "replicationcontrollers services"),
            rule(READ, "apps extensions", "replicasets"),
            rule(READ, "apps", "statefulsets"),
            rule(READ, "policy", "poddisruptionbudgets"),
            rule(READ, "core", "persistentvolumeclaims persistentvolumes"),
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
            rule(READ, "storage.k8s.io", "csinodes"),
            rule(READ, "storage.k8s.io", "volumeattachments"),
            rule(READ, "core", "namespaces"),
            rule(READ, "storage.k8s.io", "csidrivers"),
            rule(READ, "storage.k8s.io", "csistoragecapacities"),
            rule(READ, "resource.k8s.io", "deviceclasses"),
            rule("get list patch update watch", "resource.k8s.io", "resourceclaims"),
            rule("get list patch update watch", "resource.k8s.io", "resourceclaims/status"),
            rule("update", "core", "pods/finalizers"),
            rule(READ, "resource.k8s.io", "resourceslices"),
        ],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            rule(READ, "core", "nodes"),
            rule("proxy", "core", "nodes"),
            rule("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
            rule("*", "core", "nodes/configz nodes/healthz nodes/pods"),
        ],
    ),
    role(
        "system:monitoring",
        &[
            urls("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),
            rule("get", "core", "nodes/metrics"),
        ],
    ),
    role(
        "system:node",
        &[
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
            rule(READ, "core", "services"),
            rule("create get list watch", "core", "nodes"),
            rule("patch update", "core", "nodes/status"),
            rule("patch update", "core", "nodes"),
            EVENTS,
            rule(READ, "core", "pods"),
            rule("create delete", "core", "pods"),
            rule("patch update", "core", "pods/status"),
            rule("create", "core", "pods/eviction"),
            rule(READ, "core", "configmaps secrets"),
            rule("get", "core", "persistentvolumeclaims persistentvolumes"),
            rule("get", "core", "endpoints"),
            rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
            rule("create delete get patch update", "coordination.k8s.io", "leases"),
            rule("get", "storage.k8s.io", "volumeattachments"),
            rule("create", "core", "serviceaccounts/token"),
            rule("get patch update", "core", "persistentvolumeclaims/status"),
            rule(READ, "storage.k8s.io", "csidrivers"),
            rule("create delete get patch update", "storage.k8s.io", "csinodes"),
            rule(READ, "node.k8s.io", "runtimeclasses"),
            rule("get", "resource.k8s.io", "resourceclaims"),
            rule("deletecollection", "resource.k8s.io", "resourceslices"),
            rule("get", "core", "serviceaccounts"),
        ],
    ),
    role(
        "system:node-bootstrapper",
        &[rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests")],
    ),
    role(
        "system:node-problem-detector",
        &[rule("get", "core", "nodes"), rule("patch", "core", "nodes/status"), EVENTS],
    ),
    role(
        "system:node-proxier",
        &[
            rule("list watch", "core", "endpoints services"),
            rule(READ, "core", "nodes"),
            EVENTS,
            rule("list watch", "networking.k8s.io", "servicecidrs"),
            rule("list watch", "discovery.k8s.io", "endpointslices"),
        ],
    ),
    role(
        "system:persistent-volume-provisioner",
        &[
            rule("create delete get list watch", "core", "persistentvolumes"),
            rule("get list update watch", "core", "persistentvolumeclaims"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("watch", "core", "events"),
            EVENTS,
        ],
    ),
    role("system:public-info-viewer", &[urls("get", "/healthz /livez /readyz /version /version/")]),
    role(
        "system:service-account-issuer-discovery",
        &[urls(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks \
                /openid/v1/jwks/",
        )],
    ),
    role(
        "system:volume-scheduler",
        &[
            rule("get list patch update watch", "core", "persistentvolumes"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("get list patch update watch", "core", "persistentvolumeclaims"),
        ],
    ),
    role("view", &[]).gathers("view").given_to("edit"),
];

/// Who has them.
pub(super) const BINDINGS: &[Binding] = &[
    bind("cluster-admin", "cluster-admin", &[Group("system:masters")]),
    bind("system:basic-user", "system:basic-user", &[Group("system:authenticated")]),
    bind("system:discovery", "system:discovery", &[Group("system:authenticated")]),
    bind("system:kube-controller-manager", "system:kube-controller-manager", &[User("system:kube-controller-manager")]),
    bind("system:kube-dns", "system:kube-dns", &[ServiceAccount("kube-system", "kube-dns")]),
    bind("system:kube-scheduler", "system:kube-scheduler", &[User("system:kube-scheduler")]),
    bind("system:monitoring", "system:monitoring", &[Group("system:monitoring")]),
    bind("system:node", "system:node", &[]),
    bind("system:node-proxier", "system:node-proxier", &[User("system:kube-proxy")]),
    bind(
        "system:public-info-viewer",
        "system:public-info-viewer",
        &[Group("system:authenticated"), Group("system:unauthenticated")],
    ),
    bind(
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &[Group("system:serviceaccounts")],
    ),
    bind("system:volume-scheduler", "system:volume-scheduler", &[User("system:kube-scheduler")]),
];
