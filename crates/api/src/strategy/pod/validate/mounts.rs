//! Checks of where a container sees its pod's volumes.

use std::collections::HashSet;

use serde_json::Value;

use super::{Errors, Surroundings};
use crate::field::{FieldError, Path};
use crate::meta::{at, list, text};
use crate::strategy::common::one_of;

/// Checks the mounts of a container. Upstream names some of their fields without the place in the list.
pub(super) fn mounts(container: &Value, surroundings: &Surroundings<'_>, list_path: &Path, errors: &mut Errors) {
    let of_devices = |key: &'static str| -> HashSet<&str> {
        list(container, &["volumeDevices"]).iter().map(|device| text(device, &[key])).collect()
    };
    let (device_names, device_paths) = (of_devices("name"), of_devices("devicePath"));
    let mut paths: HashSet<&str> = HashSet::new();
    for (i, mount) in list(container, &["volumeMounts"]).iter().enumerate() {
        let path = list_path.index(i);
        let name = text(mount, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !surroundings.volumes.contains_key(name) {
            errors.push(FieldError::not_found(&path.child("name"), &mount["name"]));
        }
        let target = text(mount, &["mountPath"]);
        if target.is_empty() {
            errors.push(FieldError::required(&path.child("mountPath"), ""));
        } else if !paths.insert(target) {
            errors.push(FieldError::invalid_str(&path.child("mountPath"), target, "must be unique"));
        }
        if device_names.contains(name) {
            errors.push(FieldError::invalid_str(&path.child("name"), name, "must not already exist in volumeDevices"));
        }
        if device_paths.contains(target) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid_str(&path.child("mountPath"), target, detail));
        }
        for key in ["subPath", "subPathExpr"] {
            local_path(text(mount, &[key]), &list_path.child(key), errors);
        }
        if !text(mount, &["subPath"]).is_empty() && !text(mount, &["subPathExpr"]).is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("subPathExpr"), &mount["subPathExpr"], detail));
        }
        propagation(mount, container, &list_path.child("mountPropagation"), errors);
        recursive_read_only(mount, &list_path.child("recursiveReadOnly"), errors);
    }
}

fn propagation(mount: &Value, container: &Value, path: &Path, errors: &mut Errors) {
    let modes = ["Bidirectional", "HostToContainer", "None"];
    one_of(errors, path, &mount["mountPropagation"], &modes, false);
    if mount["mountPropagation"] == "Bidirectional" && *at(container, &["securityContext", "privileged"]) != true {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(path, detail));
    }
}

fn recursive_read_only(mount: &Value, path: &Path, errors: &mut Errors) {
    one_of(errors, path, &mount["recursiveReadOnly"], &["Disabled", "Enabled", "IfPossible"], false);
    if !matches!(text(mount, &["recursiveReadOnly"]), "Enabled" | "IfPossible") {
        return;
    }
    if mount["readOnly"] != true {
        errors.push(FieldError::forbidden(path, "may only be specified when readOnly is true"));
    }
    if !matches!(text(mount, &["mountPropagation"]), "" | "None") {
        let detail = "may only be specified when mountPropagation is None or not specified";
        errors.push(FieldError::forbidden(path, detail));
    }
}

/// Checks the block devices of a container.
pub(super) fn devices(container: &Value, surroundings: &Surroundings<'_>, path: &Path, errors: &mut Errors) {
    let (mut names, mut paths): (HashSet<&str>, HashSet<&str>) = Default::default();
    for (i, device) in list(container, &["volumeDevices"]).iter().enumerate() {
        let path = path.index(i);
        let (name, target) = (text(device, &["name"]), text(device, &["devicePath"]));
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !names.insert(name) {
            errors.push(FieldError::invalid_str(&path.child("name"), name, "must be unique"));
        }
        match surroundings.volumes.get(name) {
            None => errors.push(FieldError::not_found(&path.child("name"), &device["name"])),
            Some(volume) if volume["persistentVolumeClaim"].is_null() && volume["ephemeral"].is_null() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid_str(&path.child("name"), name, detail));
            }
            Some(_) => {}
        }
        if target.is_empty() {
            errors.push(FieldError::required(&path.child("devicePath"), ""));
        } else if target.split('/').any(|part| part == "..") {
            let detail = "can not contain backsteps ('..')";
            errors.push(FieldError::invalid_str(&path.child("devicePath"), target, detail));
        } else if !paths.insert(target) {
            errors.push(FieldError::invalid_str(&path.child("devicePath"), target, "must be unique"));
        }
    }
}

/// A path that stays below where it starts.
pub(super) fn local_path(value: &str, path: &Path, errors: &mut Errors) {
    if value.starts_with('/') {
        errors.push(FieldError::invalid_str(path, value, "must be a relative path"));
    }
    if value.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid_str(path, value, "must not contain '..'"));
    }
}
