//! Every built-in kind: what it is called, where it is served and stored, and what one can do with it.
//!
//! Names, verbs, subresources and storage paths are upstream's, because kubectl, etcd dumps and RBAC
//! rules depend on them.

use std::sync::{Arc, LazyLock};

use crate::kind::{Kind, Subresource};
use crate::registry::{Group, Registry};
use crate::schema::id as def;
use crate::strategy;

const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const ALL: &str = "all";
const EXTENSIONS: &str = "api-extensions";

fn sub(name: &'static str, group: &str, version: &str, kind: &str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, group: group.into(), version: version.into(), kind: kind.into(), verbs }
}

/// The subresource `status` alone.
fn status(group: &str, version: &str, kind: &str) -> [Subresource; 1] {
    [sub("status", group, version, kind, GET_PATCH_UPDATE)]
}

/// The subresources `scale` and `status`.
fn scale_and_status(group: &str, version: &str, kind: &str) -> [Subresource; 2] {
    [
        sub("scale", "autoscaling", "v1", "Scale", GET_PATCH_UPDATE),
        sub("status", group, version, kind, GET_PATCH_UPDATE),
    ]
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const APIEXTENSIONS: &str = "apiextensions.k8s.io";
const APIREGISTRATION: &str = "apiregistration.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";
const DISCOVERY: &str = "discovery.k8s.io";
const EVENTS: &str = "events.k8s.io";
const FLOWCONTROL: &str = "flowcontrol.apiserver.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const NODE: &str = "node.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const SCHEDULING: &str = "scheduling.k8s.io";
const STORAGE: &str = "storage.k8s.io";

#[rustfmt::skip]
fn in_one_version() -> Vec<Kind> {
    vec![
        Kind::new("", "v1", ("Binding", "bindings", "binding"), def::CORE_V1_BINDING, strategy::Plain).review(),
        Kind::new("", "v1", ("ComponentStatus", "componentstatuses", "componentstatus"), def::CORE_V1_COMPONENT_STATUS, strategy::component_status::ComponentStatus)
            .short(&["cs"]).cluster().verbs(&["get", "list"]),
        Kind::new("", "v1", ("ConfigMap", "configmaps", "configmap"), def::CORE_V1_CONFIG_MAP, strategy::config_map::ConfigMap).short(&["cm"]),
        Kind::new("", "v1", ("Endpoints", "endpoints", "endpoints"), def::CORE_V1_ENDPOINTS, strategy::endpoints::Endpoints)
            .short(&["ep"]).stored_at("services/endpoints"),
        Kind::new("", "v1", ("LimitRange", "limitranges", "limitrange"), def::CORE_V1_LIMIT_RANGE, strategy::limit_range::LimitRange).short(&["limits"]),
        Kind::new("", "v1", ("Namespace", "namespaces", "namespace"), def::CORE_V1_NAMESPACE, strategy::namespace::Namespace)
            .short(&["ns"]).cluster().verbs(NO_COLLECTION)
            .subresources([sub("finalize", "", "v1", "Namespace", &["update"]), sub("status", "", "v1", "Namespace", GET_PATCH_UPDATE)]),
        Kind::new("", "v1", ("Node", "nodes", "node"), def::CORE_V1_NODE, strategy::node::Node)
            .short(&["no"]).cluster().stored_at("minions")
            .subresources([sub("proxy", "", "v1", "NodeProxyOptions", PROXY), sub("status", "", "v1", "Node", GET_PATCH_UPDATE)]),
        Kind::new("", "v1", ("PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim"), def::CORE_V1_PERSISTENT_VOLUME_CLAIM, strategy::persistent_volume_claim::PersistentVolumeClaim)
            .short(&["pvc"]).subresources(status("", "v1", "PersistentVolumeClaim")),
        Kind::new("", "v1", ("PersistentVolume", "persistentvolumes", "persistentvolume"), def::CORE_V1_PERSISTENT_VOLUME, strategy::persistent_volume::PersistentVolume)
            .short(&["pv"]).cluster().subresources(status("", "v1", "PersistentVolume")),
        Kind::new("", "v1", ("Pod", "pods", "pod"), def::CORE_V1_POD, strategy::pod::Pod)
            .short(&["po"]).category(ALL)
            .subresources([
                sub("attach", "", "v1", "PodAttachOptions", CONNECT),
                sub("binding", "", "v1", "Binding", CREATE),
                sub("ephemeralcontainers", "", "v1", "Pod", GET_PATCH_UPDATE),
                sub("eviction", "policy", "v1", "Eviction", CREATE),
                sub("exec", "", "v1", "PodExecOptions", CONNECT),
                sub("log", "", "v1", "Pod", &["get"]),
                sub("portforward", "", "v1", "PodPortForwardOptions", CONNECT),
                sub("proxy", "", "v1", "PodProxyOptions", PROXY),
                sub("resize", "", "v1", "Pod", GET_PATCH_UPDATE),
                sub("status", "", "v1", "Pod", GET_PATCH_UPDATE),
            ]),
        Kind::new("", "v1", ("PodTemplate", "podtemplates", "podtemplate"), def::CORE_V1_POD_TEMPLATE, strategy::pod_template::PodTemplate),
        Kind::new("", "v1", ("ReplicationController", "replicationcontrollers", "replicationcontroller"), def::CORE_V1_REPLICATION_CONTROLLER, strategy::replica_set::ReplicationController)
            .short(&["rc"]).category(ALL).stored_at("controllers").subresources(scale_and_status("", "v1", "ReplicationController")),
        Kind::new("", "v1", ("ResourceQuota", "resourcequotas", "resourcequota"), def::CORE_V1_RESOURCE_QUOTA, strategy::resource_quota::ResourceQuota)
            .short(&["quota"]).subresources(status("", "v1", "ResourceQuota")),
        Kind::new("", "v1", ("Secret", "secrets", "secret"), def::CORE_V1_SECRET, strategy::secret::Secret),
        Kind::new("", "v1", ("ServiceAccount", "serviceaccounts", "serviceaccount"), def::CORE_V1_SERVICE_ACCOUNT, strategy::service_account::ServiceAccount)
            .short(&["sa"]).subresources([sub("token", AUTHENTICATION, "v1", "TokenRequest", CREATE)]),
        Kind::new("", "v1", ("Service", "services", "service"), def::CORE_V1_SERVICE, strategy::service::Service)
            .short(&["svc"]).category(ALL).stored_at("services/specs")
            .subresources([sub("proxy", "", "v1", "ServiceProxyOptions", PROXY), sub("status", "", "v1", "Service", GET_PATCH_UPDATE)]),
        Kind::new(APIREGISTRATION, "v1", ("APIService", "apiservices", "apiservice"), def::APIREGISTRATION_V1_API_SERVICE, strategy::api_service::ApiService)
            .category(EXTENSIONS).cluster().stored_at("apiregistration.k8s.io/apiservices").subresources(status(APIREGISTRATION, "v1", "APIService")),
        Kind::new("apps", "v1", ("ControllerRevision", "controllerrevisions", "controllerrevision"), def::APPS_V1_CONTROLLER_REVISION, strategy::controller_revision::ControllerRevision),
        Kind::new("apps", "v1", ("DaemonSet", "daemonsets", "daemonset"), def::APPS_V1_DAEMON_SET, strategy::daemon_set::DaemonSet)
            .short(&["ds"]).category(ALL).subresources(status("apps", "v1", "DaemonSet")),
        Kind::new("apps", "v1", ("Deployment", "deployments", "deployment"), def::APPS_V1_DEPLOYMENT, strategy::deployment::Deployment)
            .short(&["deploy"]).category(ALL).subresources(scale_and_status("apps", "v1", "Deployment")),
        Kind::new("apps", "v1", ("ReplicaSet", "replicasets", "replicaset"), def::APPS_V1_REPLICA_SET, strategy::replica_set::ReplicaSet)
            .short(&["rs"]).category(ALL).subresources(scale_and_status("apps", "v1", "ReplicaSet")),
        Kind::new("apps", "v1", ("StatefulSet", "statefulsets", "statefulset"), def::APPS_V1_STATEFUL_SET, strategy::stateful_set::StatefulSet)
            .short(&["sts"]).category(ALL).subresources(scale_and_status("apps", "v1", "StatefulSet")),
        Kind::new(AUTHENTICATION, "v1", ("SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"), def::AUTHENTICATION_V1_SELF_SUBJECT_REVIEW, strategy::Plain).cluster().review(),
        Kind::new(AUTHENTICATION, "v1", ("TokenReview", "tokenreviews", "tokenreview"), def::AUTHENTICATION_V1_TOKEN_REVIEW, strategy::Plain).cluster().review(),
        Kind::new(AUTHORIZATION, "v1", ("LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview"), def::AUTHORIZATION_V1_LOCAL_SUBJECT_ACCESS_REVIEW, strategy::access_review::AccessReview::Local).review(),
        Kind::new(AUTHORIZATION, "v1", ("SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview"), def::AUTHORIZATION_V1_SELF_SUBJECT_ACCESS_REVIEW, strategy::access_review::AccessReview::Own).cluster().review(),
        Kind::new(AUTHORIZATION, "v1", ("SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview"), def::AUTHORIZATION_V1_SELF_SUBJECT_RULES_REVIEW, strategy::Plain).cluster().review(),
        Kind::new(AUTHORIZATION, "v1", ("SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"), def::AUTHORIZATION_V1_SUBJECT_ACCESS_REVIEW, strategy::access_review::AccessReview::Subject).cluster().review(),
        Kind::new("batch", "v1", ("CronJob", "cronjobs", "cronjob"), def::BATCH_V1_CRON_JOB, strategy::cron_job::CronJob)
            .short(&["cj"]).category(ALL).subresources(status("batch", "v1", "CronJob")),
        Kind::new("batch", "v1", ("Job", "jobs", "job"), def::BATCH_V1_JOB, strategy::job::Job)
            .category(ALL).subresources(status("batch", "v1", "Job")),
        Kind::new(CERTIFICATES, "v1", ("CertificateSigningRequest", "certificatesigningrequests", "certificatesigningrequest"), def::CERTIFICATES_V1_CERTIFICATE_SIGNING_REQUEST, strategy::csr::CertificateSigningRequest)
            .short(&["csr"]).cluster().subresources([sub("approval", CERTIFICATES, "v1", "CertificateSigningRequest", GET_PATCH_UPDATE), sub("status", CERTIFICATES, "v1", "CertificateSigningRequest", GET_PATCH_UPDATE)]),
        Kind::new(NETWORKING, "v1", ("IngressClass", "ingressclasses", "ingressclass"), def::NETWORKING_V1_INGRESS_CLASS, strategy::ingress::IngressClass).cluster(),
        Kind::new(NETWORKING, "v1", ("Ingress", "ingresses", "ingress"), def::NETWORKING_V1_INGRESS, strategy::ingress::Ingress)
            .short(&["ing"]).stored_at("ingress").subresources(status(NETWORKING, "v1", "Ingress")),
        Kind::new(NETWORKING, "v1", ("IPAddress", "ipaddresses", "ipaddress"), def::NETWORKING_V1_IP_ADDRESS, strategy::service_cidr::IpAddress).short(&["ip"]).cluster(),
        Kind::new(NETWORKING, "v1", ("NetworkPolicy", "networkpolicies", "networkpolicy"), def::NETWORKING_V1_NETWORK_POLICY, strategy::network_policy::NetworkPolicy).short(&["netpol"]),
        Kind::new(NETWORKING, "v1", ("ServiceCIDR", "servicecidrs", "servicecidr"), def::NETWORKING_V1_SERVICE_CIDR, strategy::service_cidr::ServiceCidr)
            .cluster().subresources(status(NETWORKING, "v1", "ServiceCIDR")),
        Kind::new("policy", "v1", ("PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget"), def::POLICY_V1_POD_DISRUPTION_BUDGET, strategy::pdb::PodDisruptionBudget)
            .short(&["pdb"]).subresources(status("policy", "v1", "PodDisruptionBudget")),
        Kind::new(RBAC, "v1", ("ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding"), def::RBAC_V1_CLUSTER_ROLE_BINDING, strategy::rbac::Binding).cluster(),
        Kind::new(RBAC, "v1", ("ClusterRole", "clusterroles", "clusterrole"), def::RBAC_V1_CLUSTER_ROLE, strategy::rbac::Role).cluster(),
        Kind::new(RBAC, "v1", ("RoleBinding", "rolebindings", "rolebinding"), def::RBAC_V1_ROLE_BINDING, strategy::rbac::Binding),
        Kind::new(RBAC, "v1", ("Role", "roles", "role"), def::RBAC_V1_ROLE, strategy::rbac::Role),
        Kind::new(STORAGE, "v1", ("CSIDriver", "csidrivers", "csidriver"), def::STORAGE_V1_CSI_DRIVER, strategy::storage::CsiDriver).cluster(),
        Kind::new(STORAGE, "v1", ("CSINode", "csinodes", "csinode"), def::STORAGE_V1_CSI_NODE, strategy::storage::CsiNode).cluster(),
        Kind::new(STORAGE, "v1", ("CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity"), def::STORAGE_V1_CSI_STORAGE_CAPACITY, strategy::storage::CsiStorageCapacity),
        Kind::new(STORAGE, "v1", ("StorageClass", "storageclasses", "storageclass"), def::STORAGE_V1_STORAGE_CLASS, strategy::storage::StorageClass).short(&["sc"]).cluster(),
        Kind::new(STORAGE, "v1", ("VolumeAttachment", "volumeattachments", "volumeattachment"), def::STORAGE_V1_VOLUME_ATTACHMENT, strategy::storage::VolumeAttachment)
            .cluster().subresources(status(STORAGE, "v1", "VolumeAttachment")),
        Kind::new(STORAGE, "v1", ("VolumeAttributesClass", "volumeattributesclasses", "volumeattributesclass"), def::STORAGE_V1_VOLUME_ATTRIBUTES_CLASS, strategy::storage::VolumeAttributesClass).short(&["vac"]).cluster(),
        Kind::new(ADMISSION, "v1beta1", ("MutatingAdmissionPolicy", "mutatingadmissionpolicies", "mutatingadmissionpolicy"), def::ADMISSIONREGISTRATION_V1BETA1_MUTATING_ADMISSION_POLICY, strategy::mutating_policy::MutatingAdmissionPolicy).category(EXTENSIONS).cluster(),
        Kind::new(ADMISSION, "v1beta1", ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", "mutatingadmissionpolicybinding"), def::ADMISSIONREGISTRATION_V1BETA1_MUTATING_ADMISSION_POLICY_BINDING, strategy::mutating_policy::MutatingAdmissionPolicyBinding).category(EXTENSIONS).cluster(),
        Kind::new(ADMISSION, "v1", ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration"), def::ADMISSIONREGISTRATION_V1_MUTATING_WEBHOOK_CONFIGURATION, strategy::webhook::WebhookConfiguration).category(EXTENSIONS).cluster(),
        Kind::new(ADMISSION, "v1", ("ValidatingAdmissionPolicy", "validatingadmissionpolicies", "validatingadmissionpolicy"), def::ADMISSIONREGISTRATION_V1_VALIDATING_ADMISSION_POLICY, strategy::admission_policy::ValidatingAdmissionPolicy)
            .category(EXTENSIONS).cluster().subresources(status(ADMISSION, "v1", "ValidatingAdmissionPolicy")),
        Kind::new(ADMISSION, "v1", ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "validatingadmissionpolicybinding"), def::ADMISSIONREGISTRATION_V1_VALIDATING_ADMISSION_POLICY_BINDING, strategy::admission_policy::ValidatingAdmissionPolicyBinding).category(EXTENSIONS).cluster(),
        Kind::new(ADMISSION, "v1", ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "validatingwebhookconfiguration"), def::ADMISSIONREGISTRATION_V1_VALIDATING_WEBHOOK_CONFIGURATION, strategy::webhook::WebhookConfiguration).category(EXTENSIONS).cluster(),
        Kind::new(APIEXTENSIONS, "v1", ("CustomResourceDefinition", "customresourcedefinitions", "customresourcedefinition"), def::APIEXTENSIONS_V1_CUSTOM_RESOURCE_DEFINITION, strategy::crd::CustomResourceDefinition)
            .short(&["crd", "crds"]).category(EXTENSIONS).cluster().stored_at("apiextensions.k8s.io/customresourcedefinitions").subresources(status(APIEXTENSIONS, "v1", "CustomResourceDefinition")),
        Kind::new(SCHEDULING, "v1", ("PriorityClass", "priorityclasses", "priorityclass"), def::SCHEDULING_V1_PRIORITY_CLASS, strategy::priority_class::PriorityClass).short(&["pc"]).cluster(),
        Kind::new(COORDINATION, "v1", ("Lease", "leases", "lease"), def::COORDINATION_V1_LEASE, strategy::lease::Lease),
        Kind::new(NODE, "v1", ("RuntimeClass", "runtimeclasses", "runtimeclass"), def::NODE_V1_RUNTIME_CLASS, strategy::runtime_class::RuntimeClass).cluster(),
        Kind::new(DISCOVERY, "v1", ("EndpointSlice", "endpointslices", "endpointslice"), def::DISCOVERY_V1_ENDPOINT_SLICE, strategy::endpoint_slice::EndpointSlice),
        Kind::new(RESOURCE, "v1", ("DeviceClass", "deviceclasses", "deviceclass"), def::RESOURCE_V1_DEVICE_CLASS, strategy::resource::DeviceClass).cluster(),
        Kind::new(RESOURCE, "v1", ("ResourceClaim", "resourceclaims", "resourceclaim"), def::RESOURCE_V1_RESOURCE_CLAIM, strategy::resource::ResourceClaim)
            .subresources(status(RESOURCE, "v1", "ResourceClaim")),
        Kind::new(RESOURCE, "v1", ("ResourceClaimTemplate", "resourceclaimtemplates", "resourceclaimtemplate"), def::RESOURCE_V1_RESOURCE_CLAIM_TEMPLATE, strategy::resource::ResourceClaimTemplate),
        Kind::new(RESOURCE, "v1", ("ResourceSlice", "resourceslices", "resourceslice"), def::RESOURCE_V1_RESOURCE_SLICE, strategy::resource::ResourceSlice).cluster(),
        Kind::new(FLOWCONTROL, "v1", ("FlowSchema", "flowschemas", "flowschema"), def::FLOWCONTROL_V1_FLOW_SCHEMA, strategy::flowcontrol::FlowSchema)
            .cluster().subresources(status(FLOWCONTROL, "v1", "FlowSchema")),
        Kind::new(FLOWCONTROL, "v1", ("PriorityLevelConfiguration", "prioritylevelconfigurations", "prioritylevelconfiguration"), def::FLOWCONTROL_V1_PRIORITY_LEVEL_CONFIGURATION, strategy::flowcontrol::PriorityLevelConfiguration)
            .cluster().subresources(status(FLOWCONTROL, "v1", "PriorityLevelConfiguration")),
    ]
}

#[rustfmt::skip]
fn in_several_versions() -> [Arc<Kind>; 4] {
    let event = Arc::new(Kind::new("", "v1", ("Event", "events", "event"), def::CORE_V1_EVENT, strategy::event::Event).short(&["ev"]));
    let event_of_group = Kind::new(EVENTS, "v1", ("Event", "events", "event"), def::EVENTS_V1_EVENT, strategy::event::Event).short(&["ev"]).stored_as(event.clone());
    let autoscaler = Arc::new(Kind::new("autoscaling", "v2", ("HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler"), def::AUTOSCALING_V2_HORIZONTAL_POD_AUTOSCALER, strategy::hpa::HorizontalPodAutoscaler)
        .short(&["hpa"]).category(ALL).subresources(status("autoscaling", "v2", "HorizontalPodAutoscaler")));
    let autoscaler_v1 = Kind::new("autoscaling", "v1", ("HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler"), def::AUTOSCALING_V1_HORIZONTAL_POD_AUTOSCALER, strategy::hpa::HorizontalPodAutoscaler)
        .short(&["hpa"]).category(ALL).stored_as(autoscaler.clone()).subresources(status("autoscaling", "v1", "HorizontalPodAutoscaler"));
    [event, event_of_group.into(), autoscaler, autoscaler_v1.into()]
}

/// Names and versions of the groups, the preferred version first, and their priorities as APIServices tell them.
const GROUPS: &[(&str, &[&str], Option<u32>)] = &[
    ("", &["v1"], Some(18000)),
    (APIREGISTRATION, &["v1"], None),
    ("apps", &["v1"], Some(17800)),
    (EVENTS, &["v1"], Some(17750)),
    (AUTHENTICATION, &["v1"], Some(17700)),
    (AUTHORIZATION, &["v1"], Some(17600)),
    ("autoscaling", &["v2", "v1"], Some(17500)),
    ("batch", &["v1"], Some(17400)),
    (CERTIFICATES, &["v1"], Some(17300)),
    (NETWORKING, &["v1"], Some(17200)),
    ("policy", &["v1"], Some(17100)),
    (RBAC, &["v1"], Some(17000)),
    (STORAGE, &["v1"], Some(16800)),
    (ADMISSION, &["v1"], Some(16700)),
    (APIEXTENSIONS, &["v1"], Some(16700)),
    (SCHEDULING, &["v1"], Some(16600)),
    (COORDINATION, &["v1"], Some(16500)),
    (NODE, &["v1"], Some(16300)),
    (DISCOVERY, &["v1"], Some(16200)),
    (RESOURCE, &["v1"], Some(15900)),
    (FLOWCONTROL, &["v1"], Some(16100)),
];

/// The registry of all built-in kinds.
pub fn built_in() -> &'static Registry {
    static BUILT_IN: LazyLock<Registry> = LazyLock::new(|| {
        let group = |(name, versions, priority): &(&str, &[&str], _)| Group {
            name: (*name).into(),
            versions: versions.iter().map(|version| (*version).into()).collect(),
            priority: *priority,
        };
        let kinds = in_one_version().into_iter().map(Arc::new).chain(in_several_versions());
        Registry::new(kinds.collect(), GROUPS.iter().map(group).collect())
    });
    &BUILT_IN
}

/// The built-in kind served at that resource.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Arc<Kind>> {
    built_in().by_resource(group, version, plural)
}

/// The built-in kind of that name.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Arc<Kind>> {
    built_in().by_kind(group, version, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_of_these_kinds_are_answered_with_the_object() {
        let mut answered: Vec<(&str, &str)> = built_in()
            .kinds()
            .iter()
            .filter(|kind| kind.strategy.is_answered_when_deleted())
            .map(|kind| (&*kind.group, &*kind.kind))
            .collect();
        answered.sort_unstable();
        assert_eq!(
            answered,
            [
                ("", "PersistentVolume"),
                ("", "PersistentVolumeClaim"),
                ("", "Pod"),
                ("", "PodTemplate"),
                ("", "ResourceQuota"),
                ("", "Service"),
                ("", "ServiceAccount"),
                (RESOURCE, "DeviceClass"),
                (RESOURCE, "ResourceClaim"),
                (RESOURCE, "ResourceClaimTemplate"),
                (RESOURCE, "ResourceSlice"),
                (STORAGE, "CSIDriver"),
                (STORAGE, "CSINode"),
                (STORAGE, "StorageClass"),
                (STORAGE, "VolumeAttachment"),
                (STORAGE, "VolumeAttributesClass"),
            ]
        );
    }

    #[test]
    fn only_events_are_forgotten() {
        let forgotten: Vec<&str> =
            built_in().kinds().iter().filter(|kind| kind.strategy.ttl().is_some()).map(|kind| &*kind.kind).collect();
        assert_eq!(forgotten, ["Event", "Event"]);
    }

    #[test]
    fn every_kind_is_found_and_has_its_schema() {
        for kind in built_in().kinds() {
            assert_eq!(by_resource(&kind.group, &kind.version, &kind.plural), Some(kind));
            assert_eq!(by_kind(&kind.group, &kind.version, &kind.kind), Some(kind));
            assert_eq!(kind.def().unwrap().def().gvk.map(|g| g.2), Some(&*kind.kind));
            let group = built_in().group(&kind.group).expect("the group is listed");
            assert!(group.versions.contains(&kind.version));
            if kind.has_status() {
                assert!(kind.def().unwrap().def().field("status").is_some(), "{kind:?}");
            }
            assert_eq!(kind.strategy.has_status(), kind.has_status(), "{kind:?}");
        }
        let groups: Vec<&str> = built_in().groups().iter().map(|group| &*group.name).collect();
        assert_eq!(groups, GROUPS.iter().map(|group| group.0).collect::<Vec<_>>());
        let hpa = by_resource("autoscaling", "v1", "horizontalpodautoscalers").expect("it is served");
        assert_eq!(hpa.storage().version, "v2");
        assert!(!hpa.is_storage_version() && hpa.storage().is_storage_version());
    }
}
