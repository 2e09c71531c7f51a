//! How the claims of a pod would get their volumes on a node.
//! <https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode>

use std::collections::HashSet;
use std::sync::Arc;

use coracle_api::quantity::Quantity;
use coracle_client::Indexer;
use coracle_matching::annotations::{NO_PROVISIONER, SELECTED_NODE};
use coracle_matching::claims::{Search, class_of_claim, class_of_volume, find, is_reachable, requested};
use coracle_matching::nodes::Place;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::Volumes;
use super::claims::{PodClaims, named_volume};

/// Why a node cannot take a pod with claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Conflict {
    /// It does not reach a volume.
    Node,
    /// A claim would have no volume there.
    Bind,
    /// What makes volumes has no room for one there.
    Space,
    /// A volume is gone.
    VolumeGone,
}

impl Conflict {
    /// As events and conditions word it.
    pub fn text(self) -> &'static str {
        match self {
            Conflict::Node => "node(s) had volume node affinity conflict",
            Conflict::Bind => "node(s) didn't find available persistent volumes to bind",
            Conflict::Space => "node(s) did not have enough free storage",
            Conflict::VolumeGone => "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
        }
    }
}

/// How the claims of a pod would get their volumes on a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decisions {
    /// Claims and the volumes that are there for them.
    pub bind: Vec<(Arc<PersistentVolumeClaim>, Arc<PersistentVolume>)>,
    /// Claims whose volumes are to be made.
    pub provision: Vec<Arc<PersistentVolumeClaim>>,
}

impl Volumes {
    /// How the claims of a pod would get their volumes on a node.
    ///
    /// # Errors
    /// Why they would not.
    pub fn on_node(&self, claims: &PodClaims, node: Place<'_>) -> Result<Decisions, Vec<Conflict>> {
        let mut conflicts = Vec::new();
        match self.reaches(&claims.bound, node) {
            Ok(true) => {}
            Ok(false) => conflicts.push(Conflict::Node),
            Err(gone) => conflicts.push(gone),
        }
        match self.for_waiting(&claims.waiting, node) {
            Ok(decisions) if conflicts.is_empty() => return Ok(decisions),
            Ok(_) => {}
            Err(conflict) => conflicts.push(conflict),
        }
        Err(conflicts)
    }

    fn reaches(&self, claims: &[Arc<PersistentVolumeClaim>], node: Place<'_>) -> Result<bool, Conflict> {
        for claim in claims {
            let volume = self.volumes.get("", named_volume(claim).unwrap_or_default()).ok_or(Conflict::VolumeGone)?;
            if !is_reachable(&volume, node) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn for_waiting(&self, claims: &[Arc<PersistentVolumeClaim>], node: Place<'_>) -> Result<Decisions, Conflict> {
        let mut decisions = Decisions::default();
        let mut chosen: HashSet<String> = HashSet::new();
        // Small ones first, so that they leave the large volumes to the others.
        let mut claims = claims.to_vec();
        claims.sort_by_key(|claim| requested(claim));
        for claim in claims {
            match claim.annotations().get(SELECTED_NODE) {
                Some(selected) if selected != node.name => return Err(Conflict::Bind),
                Some(_) => {}
                None => {
                    let free =
                        self.of_class(class_of_claim(&claim)).filter(|volume| !chosen.contains(&volume.name_any()));
                    if let Some(volume) = find(&claim, free, Search { node: Some(node), only_meant: false }) {
                        chosen.insert(volume.name_any());
                        decisions.bind.push((claim, volume));
                        continue;
                    }
                }
            }
            self.can_be_made(&claim, node)?;
            decisions.provision.push(claim);
        }
        Ok(decisions)
    }

    fn of_class(&self, class: &str) -> impl Iterator<Item = Arc<PersistentVolume>> {
        let mut volumes = self.volumes.store().by_index(BY_CLASS, class).unwrap_or_default();
        volumes.iter_mut().for_each(|volume| *volume = self.volumes.newest(volume.clone()));
        volumes.into_iter()
    }

    /// Whether somebody makes volumes of the claim's class for a node, and has room there.
    fn can_be_made(&self, claim: &PersistentVolumeClaim, node: Place<'_>) -> Result<(), Conflict> {
        let class = self.classes.get("", class_of_claim(claim)).ok_or(Conflict::Bind)?;
        let provisioner = class.provisioner.as_str();
        let topologies = class.allowed_topologies.as_deref().unwrap_or_default();
        if matches!(provisioner, "" | NO_PROVISIONER) || !is_allowed(topologies, node) {
            return Err(Conflict::Bind);
        }
        let driver = self.drivers.get("", provisioner);
        if driver.is_none_or(|driver| driver.spec.storage_capacity != Some(true)) {
            return Ok(());
        }
        let has_room = |capacity: &Arc<CSIStorageCapacity>| {
            capacity.storage_class_name == class.name_any() && has_room(capacity, requested(claim), node)
        };
        if self.capacities.list().iter().any(has_room) { Ok(()) } else { Err(Conflict::Space) }
    }
}

/// Index of volumes by class.
const BY_CLASS: &str = "class";

/// The index of volumes that decisions need.
pub(super) fn by_class() -> (&'static str, Indexer<PersistentVolume>) {
    (BY_CLASS, Box::new(|volume: &PersistentVolume| vec![class_of_volume(volume).to_owned()]))
}

/// Whether a driver told that it has room for a volume where a node is.
fn has_room(capacity: &CSIStorageCapacity, wanted: Quantity, node: Place<'_>) -> bool {
    let Some(Ok(topology)) = capacity.node_topology.clone().map(Selector::try_from) else { return false };
    let amount = |text: &Option<Text>| text.as_ref().and_then(|text| text.0.parse::<Quantity>().ok());
    let largest = amount(&capacity.maximum_volume_size).or_else(|| amount(&capacity.capacity));
    topology.matches(node.labels) && largest.is_some_and(|largest| wanted <= largest)
}

/// Whether a node is where volumes may be: everywhere, if nothing is said of it.
fn is_allowed(terms: &[TopologySelectorTerm], node: Place<'_>) -> bool {
    let holds = |term: &TopologySelectorTerm| {
        let mut requirements = term.match_label_expressions.iter().flatten();
        requirements.all(|one| node.labels.get(&one.key).is_some_and(|value| one.values.contains(value)))
    };
    terms.is_empty() || terms.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use coracle_client::Store;
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::api::storage::v1::StorageClass;
    use serde_json::{Value, json};

    fn volumes(claims: Vec<Value>, volumes: Vec<Value>, classes: Vec<Value>) -> Volumes {
        fn parsed<K: serde::de::DeserializeOwned>(values: Vec<Value>) -> Vec<K> {
            values.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect()
        }
        let (claims, volumes) = (Store::of(parsed(claims), Vec::new()), Store::of(parsed(volumes), vec![by_class()]));
        let classes = Store::of(parsed::<StorageClass>(classes), Vec::new());
        Volumes { classes, ..Volumes::of(claims, volumes) }
    }

    fn claim(name: &str, size: &str, more: Value) -> Value {
        let mut claim = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "late", "resources": {"requests": {"storage": size}}}});
        for (key, value) in more.as_object().unwrap() {
            claim[key] = value.clone();
        }
        claim
    }

    fn volume(name: &str, size: &str, node: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {"storageClassName": "late",
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "nodeAffinity": {"required":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "host", "operator": "In", "values": [node]}]}]}}}})
    }

    fn class(provisioner: &str) -> Value {
        json!({"metadata": {"name": "late"}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"})
    }

    fn pod(claims: &[&str]) -> Pod {
        let volumes: Vec<Value> =
            claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})).collect();
        serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"volumes": volumes, "containers": []}}),
        )
        .unwrap()
    }

    fn on(volumes: &Volumes, claims: &[&str], node: &str) -> Result<Decisions, Vec<Conflict>> {
        let labels = BTreeMap::from([("host".to_owned(), node.to_owned())]);
        let found = volumes.claims_of(&pod(claims)).unwrap().unwrap();
        volumes.on_node(&found, Place { name: node, labels: &labels })
    }

    #[test]
    fn claims_take_what_the_node_reaches_and_no_volume_twice() {
        let all = volumes(
            vec![claim("small", "1Gi", json!({})), claim("large", "2Gi", json!({}))],
            vec![volume("v1", "1Gi", "a"), volume("v2", "2Gi", "a"), volume("w", "2Gi", "b")],
            vec![class(NO_PROVISIONER)],
        );
        let decisions = on(&all, &["large", "small"], "a").unwrap();
        let names: Vec<_> =
            decisions.bind.iter().map(|(claim, volume)| (claim.name_any(), volume.name_any())).collect();
        assert_eq!(names, [("small".into(), "v1".into()), ("large".into(), "v2".into())]);
        assert_eq!(on(&all, &["large", "small"], "b").unwrap_err(), [Conflict::Bind]);
    }

    #[test]
    fn what_is_not_there_is_made_if_the_class_can() {
        let made = volumes(vec![claim("c", "1Gi", json!({}))], Vec::new(), vec![class("example.com/p")]);
        assert_eq!(on(&made, &["c"], "a").unwrap().provision.len(), 1);
        let by_hand = volumes(vec![claim("c", "1Gi", json!({}))], Vec::new(), vec![class(NO_PROVISIONER)]);
        assert_eq!(on(&by_hand, &["c"], "a").unwrap_err(), [Conflict::Bind]);
        let mut zone = class("example.com/p");
        zone["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": "host", "values": ["b"]}]}]);
        let there = volumes(vec![claim("c", "1Gi", json!({}))], Vec::new(), vec![zone]);
        assert!(on(&there, &["c"], "a").is_err() && on(&there, &["c"], "b").is_ok());
    }

    #[test]
    fn a_driver_that_tells_of_its_room_has_to_have_some() {
        let mut made = volumes(vec![claim("c", "2Gi", json!({}))], Vec::new(), vec![class("d")]);
        let driver = json!({"metadata": {"name": "d"}, "spec": {"storageCapacity": true}});
        made.drivers = Store::of(vec![serde_json::from_value(driver).unwrap()], Vec::new());
        assert_eq!(on(&made, &["c"], "a").unwrap_err(), [Conflict::Space]);
        let capacity = json!({"metadata": {"name": "x", "namespace": "d"}, "storageClassName": "late", "capacity": "2Gi",
            "nodeTopology": {"matchLabels": {"host": "a"}}});
        made.capacities = Store::of(vec![serde_json::from_value(capacity).unwrap()], Vec::new());
        assert!(on(&made, &["c"], "a").is_ok() && on(&made, &["c"], "b").is_err());
    }

    #[test]
    fn a_claim_that_is_being_made_for_a_node_stays_there() {
        let meta = json!({"name": "c", "namespace": "n", "annotations": {SELECTED_NODE: "a"}});
        let all = volumes(vec![claim("c", "1Gi", json!({"metadata": meta}))], Vec::new(), vec![class("example.com/p")]);
        assert!(on(&all, &["c"], "a").is_ok());
        assert_eq!(on(&all, &["c"], "b").unwrap_err(), [Conflict::Bind]);
    }

    #[test]
    fn a_bound_claim_keeps_its_pod_where_the_volume_is() {
        let bound = |volume: &str| {
            json!({"metadata": {"name": "c", "namespace": "n", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                "spec": {"volumeName": volume, "storageClassName": "late"}})
        };
        let all = volumes(vec![bound("v")], vec![volume("v", "1Gi", "a")], Vec::new());
        assert!(on(&all, &["c"], "a").is_ok());
        assert_eq!(on(&all, &["c"], "b").unwrap_err(), [Conflict::Node]);
        let gone = volumes(vec![bound("gone")], Vec::new(), Vec::new());
        assert_eq!(on(&gone, &["c"], "a").unwrap_err(), [Conflict::VolumeGone]);
    }

    #[test]
    fn a_pod_waits_for_claims_that_are_not_there_or_not_bound() {
        let mut immediate = claim("i", "1Gi", json!({}));
        immediate["spec"]["storageClassName"] = "".into();
        let lost = claim("l", "1Gi", json!({"status": {"phase": "Lost"}}));
        let all = volumes(vec![immediate, lost], Vec::new(), vec![class("example.com/p")]);
        let why = |name: &str| all.claims_of(&pod(&[name])).unwrap_err();
        assert_eq!(why("x"), "persistentvolumeclaim \"x\" not found");
        assert_eq!(why("i"), "pod has unbound immediate PersistentVolumeClaims");
        assert_eq!(why("l"), "persistentvolumeclaim \"l\" bound to non-existent persistentvolume \"\"");
        assert!(all.claims_of(&pod(&[])).unwrap().is_none());
    }
}
