//! Which volume a claim gets. Binder and scheduler ask the same questions, so that one finishes what the other began.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding>

use std::sync::Arc;

use coracle_values::quantity::Quantity;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{Selector, SelectorExt};

use crate::annotations::{BETA_STORAGE_CLASS, BOUND_BY_CONTROLLER};
use crate::nodes::{Place, selects};

/// The name of a claim's class; empty when it has none.
pub fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let named = || claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&claim.metadata, BETA_STORAGE_CLASS).or_else(named).unwrap_or_default()
}

/// The name of a volume's class; empty when it has none.
pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    let named = || volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&volume.metadata, BETA_STORAGE_CLASS).or_else(named).unwrap_or_default()
}

/// The claim that a volume is for, whether it was chosen or bound.
pub fn claim_of(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Whether a volume is for this claim: bound to it, or meant for one of its name.
pub fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim_of(volume).is_some_and(|reference| {
        reference.name == claim.metadata.name
            && reference.namespace == claim.metadata.namespace
            && uid(reference).is_none_or(|uid| claim.metadata.uid.as_deref() == Some(uid))
    })
}

/// The volume bound to a claim; `None` when it is already.
pub fn bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let was_meant = is_bound_to(volume, claim);
    if was_meant && claim_of(volume).and_then(uid).is_some() {
        return None;
    }
    let mut bound = volume.clone();
    bound.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        field_path: None,
    });
    if !was_meant {
        let annotations = bound.metadata.annotations.get_or_insert_default();
        annotations.entry(BOUND_BY_CONTROLLER.into()).or_insert_with(|| "yes".into());
    }
    Some(bound)
}

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used<'a> {
    /// The volume of the pod that it is for.
    pub volume: &'a str,
    /// The claim's name.
    pub name: String,
    /// Whether it is made for the pod, and goes with it.
    pub is_ephemeral: bool,
}

/// The claims that a pod uses, whether they are there or not.
pub fn of_pod(pod: &Pod) -> impl Iterator<Item = Used<'_>> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let named = volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone());
        let name = named.or_else(|| volume.ephemeral.as_ref().map(|_| ephemeral_name(pod, &volume.name)))?;
        Some(Used { volume: &volume.name, name, is_ephemeral: volume.ephemeral.is_some() })
    })
}

/// The name of the claim that is made for a volume of a pod.
pub fn ephemeral_name(pod: &Pod, volume: &str) -> String {
    format!("{}-{volume}", pod.metadata.name.as_deref().unwrap_or_default())
}

/// Checks that a claim was made for a pod.
///
/// # Errors
/// Somebody else made it.
pub fn is_for_pod(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    let is_owner = |uid: &str| Some(uid) == pod.metadata.uid.as_deref();
    if owners.any(|owner| owner.controller == Some(true) && is_owner(&owner.uid)) {
        return Ok(());
    }
    let shown = |meta: &ObjectMeta| {
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    };
    let (claim, pod) = (shown(&claim.metadata), shown(&pod.metadata));
    Err(format!("PVC {claim} was not created for pod {pod} (pod is not owner)"))
}

/// Whether a volume can be reached from a node.
pub fn is_reachable(volume: &PersistentVolume, node: Place<'_>) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    affinity.and_then(|affinity| affinity.required.as_ref()).is_none_or(|required| selects(required, node))
}

/// Why a claim cannot have the volume that it names.
///
/// # Errors
/// As the event `VolumeMismatch` words it.
pub fn satisfies(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), &'static str> {
    if capacity(volume) < requested(claim) {
        return Err("requested PV is too small");
    }
    if class_of_volume(volume) != class_of_claim(claim) {
        return Err("storageClassName does not match");
    }
    if !same_mode(volume, claim) {
        return Err("incompatible volumeMode");
    }
    if !same_attributes(volume, claim) {
        return Err("volumeAttributesClassName does not match");
    }
    if !has_access_modes(volume, claim) {
        return Err("incompatible accessMode");
    }
    Ok(())
}

/// How a volume is looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search<'a> {
    /// The node that has to reach it.
    pub node: Option<Place<'a>>,
    /// Only one that is meant for the claim: another one is chosen once it is known which node needs it.
    pub only_meant: bool,
}

/// The volume for a claim: one that is meant for it, or else one that is free and fits. `volumes` are those that may be chosen.
/// For a node it is the smallest; otherwise the one with the fewest access modes, and of those the smallest.
pub fn find(
    claim: &PersistentVolumeClaim,
    volumes: impl IntoIterator<Item = Arc<PersistentVolume>>,
    search: Search<'_>,
) -> Option<Arc<PersistentVolume>> {
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.clone());
    // One that makes no sense selects nothing.
    let selector: Option<Selector> = match selector.map(Selector::try_from) {
        None => None,
        Some(selector) => Some(selector.ok()?),
    };
    let mut best: Option<((usize, Quantity), Arc<PersistentVolume>)> = None;
    for volume in volumes {
        let is_meant = is_bound_to(&volume, claim);
        let size = capacity(&volume);
        let has_modes = has_access_modes(&volume, claim);
        if (claim_of(&volume).is_some() && !is_meant)
            || (search.node.is_none() && !has_modes)
            || size < requested(claim)
            || !same_mode(&volume, claim)
            || !same_attributes(&volume, claim)
            || volume.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        let reaches = search.node.is_none_or(|node| is_reachable(&volume, node));
        if is_meant {
            return reaches.then_some(volume);
        }
        let labels = volume.metadata.labels.clone().unwrap_or_default();
        let fits = !search.only_meant
            && reaches
            && phase(&volume) == "Available"
            && class_of_volume(&volume) == class_of_claim(claim)
            && has_modes
            && selector.as_ref().is_none_or(|selector| selector.matches(&labels));
        let modes = if search.node.is_none() { access_modes(&volume).len() } else { 0 };
        if fits && best.as_ref().is_none_or(|(before, _)| (modes, size) < *before) {
            best = Some(((modes, size), volume));
        }
    }
    best.map(|(_, volume)| volume)
}

/// `status.phase`.
pub fn phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The storage that a claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    amount(resources.and_then(|resources| resources.requests.as_ref()).and_then(|requests| requests.get("storage")))
}

/// The storage that a volume has.
pub fn capacity(volume: &PersistentVolume) -> Quantity {
    amount(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()).and_then(|capacity| capacity.get("storage")))
}

fn amount(text: Option<&Text>) -> Quantity {
    text.and_then(|text| text.0.parse().ok()).unwrap_or_default()
}

/// Whether both are file systems, or both block devices.
pub fn same_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of_volume = volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
    let of_claim = claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
    of_volume.unwrap_or("Filesystem") == of_claim.unwrap_or("Filesystem")
}

/// Whether both are of the same class of attributes, or of none.
fn same_attributes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of_volume = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let of_claim = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    of_volume.unwrap_or_default() == of_claim.unwrap_or_default()
}

/// Whether a volume may be mounted in all ways that a claim asks for.
fn has_access_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let asks = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    asks.iter().all(|mode| access_modes(volume).contains(mode))
}

fn access_modes(volume: &PersistentVolume) -> &[String] {
    volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default()
}

fn uid(reference: &ObjectReference) -> Option<&str> {
    reference.uid.as_deref().filter(|uid| !uid.is_empty())
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::{Value, json};

    fn volume(name: &str, size: &str, more: Value) -> Arc<PersistentVolume> {
        let mut spec = json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"]});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let labels = json!({"name": name});
        let object =
            json!({"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"phase": "Available"}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn claim(more: Value) -> PersistentVolumeClaim {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn found(claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>], search: Search<'_>) -> Option<String> {
        find(claim, volumes.iter().cloned(), search).and_then(|volume| volume.metadata.name.clone())
    }

    #[test]
    fn the_smallest_that_fits_is_chosen() {
        let none = json!({});
        let volumes = [volume("a", "1Gi", none.clone()), volume("b", "8Gi", none.clone()), volume("c", "3Gi", none)];
        assert_eq!(found(&claim(json!({})), &volumes, Search::default()).as_deref(), Some("c"));
        let labels = json!({"selector": {"matchLabels": {"name": "b"}}});
        assert_eq!(found(&claim(labels), &volumes, Search::default()).as_deref(), Some("b"));
        let only_meant = Search { only_meant: true, ..Search::default() };
        assert_eq!(found(&claim(json!({})), &volumes, only_meant), None);
    }

    #[test]
    fn class_mode_and_access_must_be_alike() {
        let volumes = [
            volume("class", "4Gi", json!({"storageClassName": "fast"})),
            volume("block", "4Gi", json!({"volumeMode": "Block"})),
            volume("once", "4Gi", json!({"accessModes": ["ReadWriteOncePod"]})),
            volume("attributes", "4Gi", json!({"volumeAttributesClassName": "gold"})),
        ];
        let find = |more: Value| found(&claim(more), &volumes, Search::default());
        assert_eq!(find(json!({})), None);
        assert_eq!(find(json!({"storageClassName": "fast"})).as_deref(), Some("class"));
        assert_eq!(find(json!({"volumeMode": "Block"})).as_deref(), Some("block"));
        assert_eq!(find(json!({"accessModes": ["ReadWriteOncePod"]})).as_deref(), Some("once"));
        assert_eq!(find(json!({"volumeAttributesClassName": "gold"})).as_deref(), Some("attributes"));
    }

    #[test]
    fn one_that_is_meant_for_the_claim_comes_first_and_nobody_else_gets_it() {
        let meant = |name: &str, uid: &str| json!({"claimRef": {"name": name, "namespace": "n", "uid": uid}});
        let volumes = [volume("small", "2Gi", json!({})), volume("mine", "9Gi", meant("c", ""))];
        assert_eq!(found(&claim(json!({})), &volumes, Search::default()).as_deref(), Some("mine"));
        let of_others = [volume("a", "9Gi", meant("other", "")), volume("b", "9Gi", meant("c", "before"))];
        assert_eq!(found(&claim(json!({})), &of_others, Search::default()), None);
    }

    #[test]
    fn a_node_has_to_reach_it() {
        let affinity = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]}]}]}}});
        let volumes = [volume("v", "2Gi", affinity)];
        let on = |name: &'static str| {
            let labels = BTreeMap::from([("kubernetes.io/hostname".to_owned(), name.to_owned())]);
            let search = Search { node: Some(Place { name, labels: &labels }), only_meant: false };
            found(&claim(json!({})), &volumes, search)
        };
        assert_eq!(on("a").as_deref(), Some("v"));
        assert_eq!(on("b"), None);
    }

    #[test]
    fn binding_says_who_chose() {
        let free = volume("v", "2Gi", json!({}));
        let bound = bound_to(&free, &claim(json!({}))).unwrap();
        assert_eq!(bound.metadata.annotations.as_ref().unwrap()[BOUND_BY_CONTROLLER], "yes");
        assert_eq!(claim_of(&bound).unwrap().uid.as_deref(), Some("u"));
        assert_eq!(bound_to(&bound, &claim(json!({}))), None);
        let meant = volume("v", "2Gi", json!({"claimRef": {"name": "c", "namespace": "n"}}));
        let bound = bound_to(&meant, &claim(json!({}))).unwrap();
        assert_eq!(bound.metadata.annotations, None);
        assert_eq!(claim_of(&bound).unwrap().uid.as_deref(), Some("u"));
    }

    #[test]
    fn a_volume_that_is_named_has_to_satisfy_the_claim() {
        let claim = claim(json!({}));
        let why = |size: &str, more: Value| satisfies(&volume("v", size, more), &claim).err();
        assert_eq!(why("2Gi", json!({})), None);
        assert_eq!(why("1Gi", json!({})), Some("requested PV is too small"));
        assert_eq!(why("2Gi", json!({"storageClassName": "x"})), Some("storageClassName does not match"));
        assert_eq!(why("2Gi", json!({"volumeMode": "Block"})), Some("incompatible volumeMode"));
        assert_eq!(why("2Gi", json!({"accessModes": ["ReadOnlyMany"]})), Some("incompatible accessMode"));
    }
}
