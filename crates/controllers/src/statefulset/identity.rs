//! The identity of a StatefulSet's pods: a name with an ordinal, a host name, and the claims that are theirs.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use kube::ResourceExt;

use crate::common::namespace_of;
use crate::history::HASH_LABEL;
use crate::pod_control::pod_from_template;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

pub(super) fn spec_of(set: &StatefulSet) -> &StatefulSetSpec {
    static EMPTY: std::sync::LazyLock<StatefulSetSpec> = std::sync::LazyLock::new(StatefulSetSpec::default);
    set.spec.as_ref().unwrap_or(&EMPTY)
}

/// The ordinals that a set is to have.
pub(super) fn ordinals(set: &StatefulSet) -> std::ops::Range<i32> {
    let start = spec_of(set).ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    start..start.saturating_add(spec_of(set).replicas.unwrap_or(1).max(0))
}

pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.name_any())
}

/// The ordinal of a set's pod; `None` when its name is not one that the set gives.
pub(super) fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.name_any();
    let digits = name.strip_prefix(&set.name_any())?.strip_prefix('-')?;
    let ordinal = digits.parse().ok()?;
    (name == pod_name(set, ordinal)).then_some(ordinal)
}

/// The name of the revision that a pod was made of.
pub(super) fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).map_or("", String::as_str)
}

/// The pod of an ordinal, of the template that the revision of this name keeps.
pub(super) fn new_pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let mut pod = pod_from_template(template, set);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(pod_name(set, ordinal));
    identify(&mut pod, ordinal);
    pod.metadata.labels.get_or_insert_default().insert(HASH_LABEL.into(), revision.into());
    let name = pod.metadata.name.clone();
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = name;
    spec.subdomain = spec_of(set).service_name.clone().filter(|service| !service.is_empty());
    mount(set, &mut pod, ordinal);
    pod
}

fn identify(pod: &mut Pod, ordinal: i32) {
    let name = pod.name_any();
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.into(), name);
    labels.insert(POD_INDEX.into(), ordinal.to_string());
}

/// Gives the pod the volumes of its claims, in the place of others of their names.
fn mount(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let claims = claim_names(set, ordinal);
    if claims.is_empty() {
        return;
    }
    let old = pod.spec.get_or_insert_default().volumes.take().unwrap_or_default();
    let others = old.into_iter().filter(|volume| claims.iter().all(|(name, _)| *name != volume.name));
    let of_claim = |(name, claim_name): &(String, String)| Volume {
        name: name.clone(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim_name.clone(),
            read_only: None,
        }),
        ..Volume::default()
    };
    let volumes = claims.iter().map(of_claim).chain(others).collect();
    pod.spec.get_or_insert_default().volumes = Some(volumes);
}

/// The templates of claims with the name of the claim that an ordinal has of each.
fn claim_names(set: &StatefulSet, ordinal: i32) -> Vec<(String, String)> {
    let templates = spec_of(set).volume_claim_templates.iter().flatten();
    let name = set.name_any();
    templates.map(|claim| (claim.name_any(), format!("{}-{name}-{ordinal}", claim.name_any()))).collect()
}

/// The claims of an ordinal. They have the labels by which the set selects its pods.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let templates = spec_of(set).volume_claim_templates.iter().flatten();
    let claim = |(template, (_, name)): (&PersistentVolumeClaim, (String, String))| {
        let mut claim = template.clone();
        claim.metadata.name = Some(name);
        claim.metadata.namespace = Some(namespace_of(set).to_owned());
        let selected = spec_of(set).selector.match_labels.clone().unwrap_or_default();
        claim.metadata.labels.get_or_insert_default().extend(selected);
        claim.status = None;
        claim
    };
    templates.zip(claim_names(set, ordinal)).map(claim).collect()
}

/// Whether a claim of this name could be one of the set's.
pub(super) fn may_claim(set: &StatefulSet, claim: &str) -> bool {
    let name = set.name_any();
    spec_of(set).volume_claim_templates.iter().flatten().any(|template| {
        claim.strip_prefix(&format!("{}-{name}-", template.name_any())).is_some_and(|rest| rest.parse::<i32>().is_ok())
    })
}

/// The pod as the set wants it, when it has not its labels or volumes (as after adoption).
pub(super) fn conformed(set: &StatefulSet, pod: &Pod, ordinal: i32) -> Option<Pod> {
    let named = pod.labels().get(POD_NAME).is_some_and(|name| *name == pod.name_any());
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let mounted = claim_names(set, ordinal).iter().all(|(name, claim)| {
        volumes.iter().any(|volume| {
            volume.name == *name
                && volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == *claim)
        })
    });
    if named && mounted {
        return None;
    }
    let mut pod = pod.clone();
    identify(&mut pod, ordinal);
    if !mounted {
        mount(set, &mut pod, ordinal);
    }
    Some(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set() -> StatefulSet {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "u"}, "spec": {
            "replicas": 2, "ordinals": {"start": 3}, "serviceName": "peers", "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [], "volumes":
                [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"of": "me"}},
                "spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Pending"}}]}}))
        .unwrap()
    }

    #[test]
    fn a_pod_has_its_name_its_host_name_and_its_claims() {
        let set = set();
        assert_eq!(ordinals(&set), 3..5);
        let pod = new_pod(&set, &spec_of(&set).template, "web-abc", 4);
        assert_eq!((pod.name_any().as_str(), ordinal_of(&set, &pod)), ("web-4", Some(4)));
        assert_eq!(revision_of(&pod), "web-abc");
        assert_eq!(pod.labels().get(POD_INDEX).map(String::as_str), Some("4"));
        let spec = pod.spec.clone().unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-4"), Some("peers")));
        let volumes = spec.volumes.unwrap();
        assert_eq!(volumes[0].persistent_volume_claim.as_ref().unwrap().claim_name, "data-web-4");
        assert_eq!((volumes.len(), volumes[1].name.as_str()), (2, "tmp"));
        assert_eq!(conformed(&set, &pod, 4), None);
        let mut stripped = pod.clone();
        stripped.metadata.labels.get_or_insert_default().remove(POD_NAME);
        assert_eq!(conformed(&set, &stripped, 4), Some(pod));
    }

    #[test]
    fn a_claim_has_the_labels_of_its_template_and_of_the_selector() {
        let claim = claims(&set(), 3).remove(0);
        assert_eq!((claim.name_any().as_str(), claim.status.is_none()), ("data-web-3", true));
        let labels: Vec<_> = claim.labels().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("app", "web"), ("of", "me")]);
        assert!(may_claim(&set(), "data-web-7") && !may_claim(&set(), "data-web-x") && !may_claim(&set(), "tmp-web-7"));
    }

    #[test]
    fn other_names_have_no_ordinal() {
        for name in ["web", "web-", "web-x", "web-01", "web-+1", "web-99999999999", "other-1", "web-1-1"] {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            assert_eq!(ordinal_of(&set(), &pod), None, "{name}");
        }
    }
}
