//! What a pod, or a volume, refers to that its kubelet has to read.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use coracle_api::meta;

/// A kind of objects that pods refer to, in their namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Referent {
    /// Secret.
    Secret,
    /// ConfigMap.
    ConfigMap,
    /// PersistentVolumeClaim.
    Claim,
    /// ResourceClaim.
    ResourceClaim,
    /// ServiceAccount.
    ServiceAccount,
}

/// What is referred to, and its name.
pub type Reference = (Referent, Box<str>);

/// The node that a pod is bound to, and what it refers to there; `None` for one that is bound to none, or is not a pod. What
/// mirrors a pod of a kubelet's own refers to nothing: a kubelet must not give itself a right by it.
pub fn of_pod(pod: &[u8]) -> Option<(Box<str>, Vec<Reference>)> {
    let pod: Pod = serde_json::from_slice(pod).ok()?;
    let node = pod.spec.node_name.clone().filter(|node| !node.is_empty())?;
    let mut found = Vec::new();
    if pod.metadata.annotations.mirror.is_none() {
        pod.visit(&mut |kind, name| found.push((kind, name.into())));
    }
    Some((node, found))
}

/// Whether a pod names a secret or a config map.
pub fn names(pod: &Value, wanted: Referent) -> bool {
    let mut named = false;
    if let Ok(spec) = Spec::deserialize(&pod["spec"]) {
        spec.visit(&mut |kind, _| named |= kind == wanted);
    }
    named
}

/// The claim that a volume is bound to, and the secrets that kubelets read for it, each as namespace and name joined.
pub fn of_volume(volume: &Value) -> Option<(String, Vec<String>)> {
    let spec = &volume["spec"];
    let claim = spec.get("claimRef")?;
    let namespace = meta::text(claim, &["namespace"]);
    let secret = |secret: &Value, own: &str, name: &str| {
        let name = secret[name].as_str().filter(|name| !name.is_empty())?;
        let namespace = secret[own].as_str().filter(|own| !own.is_empty()).unwrap_or(namespace);
        Some(format!("{namespace}/{name}"))
    };
    let mut secrets = Vec::new();
    secrets.extend(secret(&spec["azureFile"], "secretNamespace", "secretName"));
    for source in ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"] {
        secrets.extend(secret(&spec[source]["secretRef"], "namespace", "name"));
    }
    for reference in ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"] {
        secrets.extend(secret(&spec["csi"][reference], "namespace", "name"));
    }
    Some((format!("{namespace}/{}", meta::text(claim, &["name"])), secrets))
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: PodStatus,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: Box<str>,
    #[serde(default, deserialize_with = "or_default")]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "kubernetes.io/config.mirror")]
    mirror: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<Box<str>>,
    service_account_name: Option<Box<str>>,
    image_pull_secrets: Option<Vec<Named>>,
    volumes: Option<Vec<Volume>>,
    init_containers: Option<Vec<Container>>,
    containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
    resource_claims: Option<Vec<PodClaim>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    resource_claim_statuses: Option<Vec<PodClaim>>,
    extended_resource_claim_status: Option<PodClaim>,
}

/// A resource claim of a pod, and the status of one: with a name of the pod's own, and the object's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodClaim {
    #[serde(default)]
    name: Box<str>,
    resource_claim_name: Option<Box<str>>,
}

/// A reference that is a name, under one key or the other.
#[derive(Deserialize)]
struct Named {
    #[serde(alias = "secretName", default)]
    name: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    env: Option<Vec<Variable>>,
    env_from: Option<Vec<Variables>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    value_from: Option<ValueFrom>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom {
    config_map_key_ref: Option<Named>,
    secret_key_ref: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variables {
    config_map_ref: Option<Named>,
    secret_ref: Option<Named>,
}

/// A volume of a pod, and a source of a projected one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    #[serde(default)]
    name: Box<str>,
    config_map: Option<Named>,
    secret: Option<Named>,
    azure_file: Option<Named>,
    projected: Option<Projected>,
    persistent_volume_claim: Option<ClaimVolume>,
    ephemeral: Option<IgnoredAny>,
    csi: Option<Csi>,
    cephfs: Option<WithSecret>,
    cinder: Option<WithSecret>,
    flex_volume: Option<WithSecret>,
    rbd: Option<WithSecret>,
    #[serde(rename = "scaleIO")]
    scale_io: Option<WithSecret>,
    iscsi: Option<WithSecret>,
    storageos: Option<WithSecret>,
}

#[derive(Deserialize)]
struct Projected {
    sources: Option<Vec<ProjectedSource>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProjectedSource {
    config_map: Option<Named>,
    secret: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimVolume {
    #[serde(default)]
    claim_name: Box<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Csi {
    node_publish_secret_ref: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WithSecret {
    secret_ref: Option<Named>,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Is shown what is referred to.
type Visitor<'a> = &'a mut dyn FnMut(Referent, &str);

/// Shows the object of a reference, where there is one.
fn show(visitor: Visitor<'_>, kind: Referent, reference: Option<&Named>) {
    if let Some(name) = reference.and_then(|reference| reference.name.as_deref()).filter(|name| !name.is_empty()) {
        visitor(kind, name);
    }
}

impl Pod {
    fn visit(&self, visitor: Visitor<'_>) {
        self.spec.visit(visitor);
        if let Some(account) = self.spec.service_account_name.as_deref().filter(|account| !account.is_empty()) {
            visitor(Referent::ServiceAccount, account);
        }
        for volume in self.spec.volumes.iter().flatten() {
            if let Some(claim) = &volume.persistent_volume_claim {
                visitor(Referent::Claim, &claim.claim_name);
            } else if volume.ephemeral.is_some() {
                visitor(Referent::Claim, &format!("{}-{}", self.metadata.name, volume.name));
            }
        }
        let made = self.status.resource_claim_statuses.as_deref().unwrap_or_default();
        for claim in self.spec.resource_claims.iter().flatten() {
            let status = || made.iter().find(|status| status.name == claim.name);
            let name = claim.resource_claim_name.as_deref().or_else(|| status()?.resource_claim_name.as_deref());
            name.into_iter().for_each(|name| visitor(Referent::ResourceClaim, name));
        }
        let extended = self.status.extended_resource_claim_status.iter();
        let names = extended.filter_map(|status| status.resource_claim_name.as_deref());
        names.filter(|name| !name.is_empty()).for_each(|name| visitor(Referent::ResourceClaim, name));
    }
}

impl Spec {
    /// Shows secrets and config maps.
    fn visit(&self, visitor: Visitor<'_>) {
        let named = |secret| show(visitor, Referent::Secret, Some(secret));
        self.image_pull_secrets.iter().flatten().for_each(named);
        for containers in [&self.init_containers, &self.containers, &self.ephemeral_containers] {
            containers.iter().flatten().for_each(|container| container.visit(visitor));
        }
        self.volumes.iter().flatten().for_each(|volume| volume.visit(visitor));
    }
}

impl Container {
    fn visit(&self, visitor: Visitor<'_>) {
        for value in self.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            show(visitor, Referent::ConfigMap, value.config_map_key_ref.as_ref());
            show(visitor, Referent::Secret, value.secret_key_ref.as_ref());
        }
        for source in self.env_from.iter().flatten() {
            show(visitor, Referent::ConfigMap, source.config_map_ref.as_ref());
            show(visitor, Referent::Secret, source.secret_ref.as_ref());
        }
    }
}

impl Volume {
    fn visit(&self, visitor: Visitor<'_>) {
        show(visitor, Referent::ConfigMap, self.config_map.as_ref());
        for secret in [&self.secret, &self.azure_file] {
            show(visitor, Referent::Secret, secret.as_ref());
        }
        for source in self.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            show(visitor, Referent::ConfigMap, source.config_map.as_ref());
            show(visitor, Referent::Secret, source.secret.as_ref());
        }
        let csi = self.csi.as_ref().and_then(|csi| csi.node_publish_secret_ref.as_ref());
        show(visitor, Referent::Secret, csi);
        let others =
            [&self.cephfs, &self.cinder, &self.flex_volume, &self.rbd, &self.scale_io, &self.iscsi, &self.storageos];
        for source in others.into_iter().flatten() {
            show(visitor, Referent::Secret, source.secret_ref.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(pod: &Value) -> Vec<(Referent, String)> {
        let (node, found) = of_pod(pod.to_string().as_bytes()).expect("it is bound");
        assert_eq!(&*node, "a");
        let mut found: Vec<_> = found.into_iter().map(|(kind, name)| (kind, name.into_string())).collect();
        found.sort();
        found
    }

    fn pod() -> Value {
        let env = json!([
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c1", "key": "k"}}},
            {"name": "C", "value": "x"},
        ]);
        json!({
            "metadata": {"name": "web", "annotations": {"a": "b"}},
            "spec": {
                "nodeName": "a", "serviceAccountName": "bot", "imagePullSecrets": [{"name": "s0"}, {}],
                "containers": [{"name": "c", "env": env}],
                "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "s2"}}, {"configMapRef": {"name": "c2"}}]}],
                "ephemeralContainers": [{"name": "e", "envFrom": [{"secretRef": {"name": "s3"}}]}],
                "volumes": [
                    {"name": "v1", "secret": {"secretName": "s4"}},
                    {"name": "v2", "configMap": {"name": "c3"}},
                    {"name": "v3", "projected": {"sources": [
                        {"secret": {"name": "s5"}}, {"configMap": {"name": "c4"}}, {"serviceAccountToken": {"path": "t"}}]}},
                    {"name": "v4", "persistentVolumeClaim": {"claimName": "p1"}},
                    {"name": "v5", "ephemeral": {"volumeClaimTemplate": {}}},
                    {"name": "v6", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s6"}}},
                    {"name": "v7", "iscsi": {"secretRef": {"name": "s7"}}},
                    {"name": "v8", "azureFile": {"secretName": "s8"}},
                    {"name": "v9", "emptyDir": {}},
                ],
                "resourceClaims": [
                    {"name": "r1", "resourceClaimName": "given"}, {"name": "r2", "resourceClaimTemplateName": "t"},
                    {"name": "r3", "resourceClaimTemplateName": "t"}],
            },
            "status": {
                "resourceClaimStatuses": [{"name": "r2", "resourceClaimName": "made"}, {"name": "r3"}],
                "extendedResourceClaimStatus": {"resourceClaimName": "extended", "requestMappings": []},
            },
        })
    }

    #[test]
    fn a_pod_refers_to_all_that_its_kubelet_reads() {
        let mut expected: Vec<(Referent, String)> =
            (0..9).map(|number| (Referent::Secret, format!("s{number}"))).collect();
        expected.extend((1..5).map(|number| (Referent::ConfigMap, format!("c{number}"))));
        expected.extend(["p1", "web-v5"].map(|name| (Referent::Claim, name.to_owned())));
        expected.extend(["extended", "given", "made"].map(|name| (Referent::ResourceClaim, name.to_owned())));
        expected.push((Referent::ServiceAccount, "bot".into()));
        assert_eq!(of(&pod()), expected);
        assert!(names(&pod(), Referent::Secret) && names(&pod(), Referent::ConfigMap));
    }

    #[test]
    fn a_mirror_of_a_kubelets_own_pod_and_one_that_is_bound_to_no_node_refer_to_nothing() {
        let mut mirror = pod();
        mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "x".into();
        assert_eq!(of(&mirror), []);
        let mut unbound = pod();
        unbound["spec"]["nodeName"] = "".into();
        assert_eq!(of_pod(unbound.to_string().as_bytes()), None);
        for other in ["{", "{}", r#"{"metadata":{},"spec":null,"status":null}"#] {
            assert_eq!(of_pod(other.as_bytes()), None);
        }
        let nulls =
            json!({"metadata": {"annotations": null}, "spec": {"nodeName": "a", "volumes": null, "containers": [{}]}});
        assert_eq!(of(&nulls), []);
    }

    #[test]
    fn a_volume_refers_to_its_claim_and_to_the_secrets_that_kubelets_see() {
        let volume = json!({"spec": {
            "claimRef": {"namespace": "d", "name": "data"},
            "csi": {
                "nodeStageSecretRef": {"namespace": "x", "name": "s1"}, "nodePublishSecretRef": {"name": "s2"},
                "controllerPublishSecretRef": {"namespace": "x", "name": "hidden"}},
            "azureFile": {"secretName": "s3"},
        }});
        let secrets = ["d/s3", "d/s2", "x/s1"].map(str::to_owned).to_vec();
        assert_eq!(of_volume(&volume), Some(("d/data".to_owned(), secrets)));
        assert_eq!(of_volume(&json!({"spec": {}})), None);
    }
}
