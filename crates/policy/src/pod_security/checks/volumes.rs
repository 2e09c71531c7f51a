//! Volumes: no directories of the node; at the restricted level only those that come from the API or by a claim.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{plural, quoted, text, violation};
use crate::pod_security::{Pod, Violation};

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const RESTRICTED: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn volumes<'a>(pod: &Pod<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod.spec["volumes"].as_array().into_iter().flatten()
}

fn has_one_of(volume: &Value, kinds: &[&'static str]) -> Option<&'static str> {
    kinds.iter().find(|kind| !volume[**kind].is_null()).copied()
}

pub fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let bad = volumes(pod).filter(|volume| !volume["hostPath"].is_null());
    let bad: Vec<&str> = bad.map(|volume| text(&volume["name"])).collect();
    if bad.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural(bad.len(), "volume", "volumes"), quoted(bad)))
}

pub fn restricted(pod: &Pod<'_>) -> Option<Violation> {
    let bad: Vec<&Value> = volumes(pod).filter(|volume| has_one_of(volume, &ALLOWED).is_none()).collect();
    if bad.is_empty() {
        return None;
    }
    let kinds: BTreeSet<&str> = bad.iter().map(|volume| has_one_of(volume, &RESTRICTED).unwrap_or("unknown")).collect();
    let (who, uses) = (plural(bad.len(), "volume", "volumes"), plural(bad.len(), "uses", "use"));
    let what = plural(kinds.len(), "restricted volume type", "restricted volume types");
    let names = quoted(bad.iter().map(|volume| text(&volume["name"])));
    violation("restricted volume types", format!("{who} {names} {uses} {what} {}", quoted(kinds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_of_the_api_is_told() {
        let pod = json!({"spec": {"volumes": [{"name": "a", "nfs": {}}, {"name": "b", "hostPath": {}}, {"name": "c", "secret": {}}, {"name": "d"}]}});
        let pod = Pod::of(&pod);
        assert_eq!(host_path(&pod).expect("a violation").detail, "volume \"b\"");
        assert_eq!(
            restricted(&pod).expect("a violation").detail,
            "volumes \"a\", \"b\", \"d\" use restricted volume types \"hostPath\", \"nfs\", \"unknown\""
        );
    }
}
