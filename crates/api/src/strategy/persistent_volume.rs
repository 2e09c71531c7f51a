//! PersistentVolume.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, object_mut, or, spec_mut};
use super::persistent_volume_claim::{STORAGE_CLASS, access_modes, old_annotation, positive};
use super::pod::{validate::scheduling, warnings};
use super::{AGE, Column, NAME, Strategy, column, wide};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, text};

/// What a field has replaced.
const MOUNT_OPTIONS: (&str, &str) =
    ("volume.beta.kubernetes.io/mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead");

/// A PersistentVolume.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        let mut out = Vec::new();
        old_annotation(obj, STORAGE_CLASS, &mut out);
        old_annotation(obj, MOUNT_OPTIONS, &mut out);
        let spec = &obj["spec"];
        if spec["persistentVolumeReclaimPolicy"] == "Recycle" {
            out.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        let path = Path::new("spec").child("nodeAffinity").child("required");
        warnings::node_selector(at(spec, &["nodeAffinity", "required"]), &path, &mut out);
        warnings::sources(spec, &Path::new("spec"), &mut out);
        out
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_text(spec, "volumeMode", "Filesystem");
        if let Some(host) = object_mut(spec, "hostPath") {
            default_to(host, "type", "");
        }
    }

    fn empty_status(&self) -> Value {
        json!({"phase": "Pending"})
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let modes = list(obj, &["spec", "accessModes"]);
        if modes.is_empty() {
            errors.push(FieldError::required(&path.child("accessModes"), ""));
        }
        access_modes(modes, &path.child("accessModes"), &mut errors);
        capacity(at(obj, &["spec", "capacity"]), &path.child("capacity"), &mut errors);
        source(&obj["spec"], &path, &mut errors);
        let affinity = at(obj, &["spec", "nodeAffinity"]);
        if !affinity.is_null() {
            let path = path.child("nodeAffinity").child("required");
            match &affinity["required"] {
                Value::Null => errors.push(FieldError::required(&path, "must specify required node constraints")),
                required => scheduling::node_selector(required, &path, &mut errors),
            }
        }
        let policies = ["Retain", "Recycle", "Delete"];
        let policy = at(obj, &["spec", "persistentVolumeReclaimPolicy"]);
        common::one_of(&mut errors, &path.child("persistentVolumeReclaimPolicy"), policy, &policies, false);
        let modes = ["Block", "Filesystem"];
        common::one_of(&mut errors, &path.child("volumeMode"), at(obj, &["spec", "volumeMode"]), &modes, false);
        classes(&obj["spec"], &path, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if SOURCES.iter().any(|key| !same_source(key, &new["spec"][*key], &old["spec"][*key])) {
            let path = Path::new("spec").child("persistentvolumesource");
            errors.push(FieldError::forbidden(&path, "spec.persistentvolumesource is immutable after creation"));
        }
        let mode = |obj: &Value| at(obj, &["spec", "volumeMode"]).clone();
        super::immutable(&mut errors, &Path::new("volumeMode"), &mode(new), &mode(old));
        let (now, before) = (at(new, &["spec", "nodeAffinity"]), at(old, &["spec", "nodeAffinity"]));
        if !before.is_null() && now != before {
            let detail = "field is immutable, except for updating from beta label to GA";
            errors.push(FieldError::invalid(&Path::new("nodeAffinity"), now, detail));
        }
        errors
    }

    fn prepare_create(&self, obj: &mut Value) {
        super::prepare_create(self, obj);
        obj["status"]["lastPhaseTransitionTime"] = meta::format_time(Timestamp::now()).into();
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        super::prepare_status_update(new, old);
        let since = "lastPhaseTransitionTime";
        let (now, before) = (&new["status"], &old["status"]);
        if now["phase"] != before["phase"] && (now[since].is_null() || now[since] == before[since]) {
            new["status"][since] = meta::format_time(Timestamp::now()).into();
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Capacity"),
                column("Access Modes"),
                column("Reclaim Policy"),
                column("Status"),
                column("Claim"),
                column("StorageClass"),
                column("VolumeAttributesClass"),
                column("Reason"),
                AGE,
                wide("VolumeMode"),
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            text(obj, &["spec", "capacity", "storage"]).into(),
            common::access_modes(at(obj, &["spec", "accessModes"])).into(),
            text(obj, &["spec", "persistentVolumeReclaimPolicy"]).into(),
            if meta::is_deleting(obj) { "Terminating".into() } else { text(obj, &["status", "phase"]).into() },
            match at(obj, &["spec", "claimRef"]) {
                Value::Null => "".into(),
                c => format!("{}/{}", text(c, &["namespace"]), text(c, &["name"])).into(),
            },
            text(obj, &["spec", "storageClassName"]).into(),
            or(text(obj, &["spec", "volumeAttributesClassName"]), "<unset>"),
            text(obj, &["status", "reason"]).into(),
            age(obj, now),
            or(text(obj, &["spec", "volumeMode"]), "<unset>"),
        ]
    }
}

/// Fields of the spec that say where the volume is.
const SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Whether a source is as it was. The secret for growing may come later.
fn same_source(key: &str, new: &Value, old: &Value) -> bool {
    let secret = "controllerExpandSecretRef";
    if key != "csi" || !old[secret].is_null() || !new.is_object() {
        return new == old;
    }
    let mut before = old.clone();
    if !new[secret].is_null() && before.is_object() {
        before[secret] = new[secret].clone();
    }
    *new == before
}

/// Checks the names of the class, and of the class of attributes.
fn classes(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let class = text(spec, &["storageClassName"]);
    if !class.is_empty() {
        push_all(errors, &path.child("storageClassName"), class, field::dns1123_subdomain(class));
    }
    if let Some(attributes) = spec["volumeAttributesClassName"].as_str() {
        let at = path.child("volumeAttributesClassName");
        match attributes {
            "" => errors.push(FieldError::required(&at, "an empty string is disallowed")),
            name => push_all(errors, &at, name, field::dns1123_subdomain(name)),
        }
        if spec["csi"].is_null() {
            let detail = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(&path.child("csi"), detail));
        }
    }
}

fn capacity(capacity: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Some(map) = capacity.as_object().filter(|map| !map.is_empty()) else {
        return errors.push(FieldError::required(path, ""));
    };
    if !map.contains_key("storage") || map.len() > 1 {
        errors.push(FieldError::not_supported(path, &capacity.to_string(), &["storage"]));
    }
    for (name, amount) in map {
        positive(amount, &path.key(name), errors);
    }
}

fn required_texts(source: &Value, keys: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    let missing = keys.iter().filter(|key| text(source, &[**key]).is_empty());
    errors.extend(missing.map(|key| FieldError::required(&path.child(key), "")));
}

fn source(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let given: Vec<&str> = SOURCES.into_iter().filter(|key| !spec[*key].is_null()).collect();
    for key in given.iter().skip(1) {
        errors.push(FieldError::forbidden(&path.child(key), "may not specify more than 1 volume type"));
    }
    match given.first() {
        None => errors.push(FieldError::required(path, "must specify a volume type")),
        Some(key @ (&"hostPath" | &"local")) => {
            let (place, path) = (text(spec, &[key, "path"]), path.child(key).child("path"));
            if place.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else if place.split('/').any(|part| part == "..") {
                errors.push(FieldError::invalid_str(&path, place, "must not contain '..'"));
            }
        }
        Some(key @ &"nfs") => {
            let path = path.child(key);
            required_texts(&spec[*key], &["server", "path"], &path, errors);
            let place = text(spec, &[key, "path"]);
            if !place.is_empty() && !place.starts_with('/') {
                errors.push(FieldError::invalid_str(&path.child("path"), place, "must be an absolute path"));
            }
        }
        Some(key @ &"csi") => {
            let path = path.child(key);
            super::storage::driver_name(text(spec, &[key, "driver"]), &path.child("driver"), errors);
            required_texts(&spec[*key], &["volumeHandle"], &path, errors);
        }
        Some(_) => {}
    }
    if !spec["local"].is_null() && spec["nodeAffinity"].is_null() {
        let path = Path::new("spec").child("nodeAffinity");
        errors.push(FieldError::required(&path, "Local volume requires node affinity"));
    }
    let root = text(spec, &["hostPath", "path"]).trim_matches('/').is_empty() && !spec["hostPath"].is_null();
    if root && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(source: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
        for (key, value) in source.as_object().unwrap() {
            spec[key] = value.clone();
        }
        json!({"metadata": {"name": "v"}, "spec": spec})
    }

    fn shown(errors: Vec<FieldError>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn where_a_volume_is_does_not_change() {
        let host = volume(json!({"hostPath": {"path": "/a"}}));
        let mut changed = host.clone();
        changed["spec"]["capacity"]["storage"] = "2Gi".into();
        assert!(PersistentVolume.validate_update(&changed, &host).is_empty());
        changed["spec"]["hostPath"]["path"] = "/b".into();
        changed["spec"]["volumeMode"] = "Block".into();
        let text = [
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
            "volumeMode: Invalid value: \"Block\": field is immutable",
        ];
        assert_eq!(shown(PersistentVolume.validate_update(&changed, &host)), text);
        let csi = volume(json!({"csi": {"driver": "d", "volumeHandle": "h"}}));
        let secret = json!({"name": "s", "namespace": "n"});
        let csi_later = json!({"driver": "d", "volumeHandle": "h", "controllerExpandSecretRef": secret});
        let with_secret = volume(json!({"csi": csi_later}));
        assert!(PersistentVolume.validate_update(&with_secret, &csi).is_empty());
        assert!(!PersistentVolume.validate_update(&csi, &with_secret).is_empty());
    }

    #[test]
    fn sources_say_what_they_need() {
        let errors = |source: Value| shown(PersistentVolume.validate(&volume(source)));
        assert_eq!(
            errors(json!({"nfs": {"server": "", "path": "relative"}})),
            ["spec.nfs.server: Required value", "spec.nfs.path: Invalid value: \"relative\": must be an absolute path"]
        );
        assert_eq!(errors(json!({"csi": {"driver": "d"}})), ["spec.csi.volumeHandle: Required value"]);
        assert_eq!(
            errors(json!({"nfs": {"server": "s", "path": "/"}, "volumeAttributesClassName": "gold"})),
            ["spec.csi: Required value: has to be specified when using volumeAttributesClassName"]
        );
        let local = json!({"local": {"path": "/d"}});
        assert_eq!(errors(local), ["spec.nodeAffinity: Required value: Local volume requires node affinity"]);
    }

    #[test]
    fn a_phase_has_its_time() {
        let mut made = volume(json!({"hostPath": {"path": "/a"}}));
        PersistentVolume.prepare_create(&mut made);
        let since = |obj: &Value| obj["status"]["lastPhaseTransitionTime"].clone();
        assert!(since(&made).is_string());
        made["status"]["lastPhaseTransitionTime"] = "2020-01-01T00:00:00Z".into();
        let mut same = made.clone();
        PersistentVolume.prepare_status_update(&mut same, &made);
        assert_eq!(since(&same), since(&made));
        let mut bound = made.clone();
        bound["status"]["phase"] = "Bound".into();
        PersistentVolume.prepare_status_update(&mut bound, &made);
        assert_ne!(since(&bound), since(&made));
    }
}
