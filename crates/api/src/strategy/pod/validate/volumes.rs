//! Checks of the volumes of a pod.

use std::collections::HashSet;

use serde_json::Value;

use super::Errors;
use super::env::{VOLUME_FIELDS, field_path, resource_field};
use super::mounts::local_path;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{int, list, text};
use crate::quantity::Quantity;
use crate::strategy::common::one_of;

/// Checks that volumes are well named and have one source each.
pub(super) fn volumes(volumes: &[Value], path: &Path, errors: &mut Errors) {
    let mut names: HashSet<&str> = HashSet::new();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        let name = text(volume, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            push_all(errors, &path.child("name"), name, field::dns1123_label(name));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), &volume["name"]));
            }
        }
        let sources = sources(volume);
        if sources.is_empty() {
            errors.push(FieldError::required(&path, "must specify a volume type"));
        }
        for (j, key) in sources.iter().enumerate() {
            let path = path.child(key);
            if j > 0 {
                errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
                continue;
            }
            source(key, &volume[*key], &path, errors);
        }
    }
}

fn sources(volume: &Value) -> Vec<&str> {
    volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).filter(|key| *key != "name").collect()
}

fn source(kind: &str, source: &Value, path: &Path, errors: &mut Errors) {
    let required: &[&str] = match kind {
        "hostPath" => &["path"],
        "secret" => &["secretName"],
        "configMap" => &["name"],
        "persistentVolumeClaim" => &["claimName"],
        "nfs" => &["server", "path"],
        "csi" => &["driver"],
        _ => &[],
    };
    for key in required {
        if text(source, &[key]).is_empty() {
            errors.push(FieldError::required(&path.child(key), ""));
        }
    }
    match kind {
        "hostPath" => host_path(source, path, errors),
        "emptyDir" => {
            let limit = text(source, &["sizeLimit"]).parse::<Quantity>();
            if limit.is_ok_and(Quantity::is_negative) {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(&path.child("sizeLimit"), detail));
            }
        }
        "projected" => projected(source, path, errors),
        "ephemeral" if source["volumeClaimTemplate"].is_null() => {
            errors.push(FieldError::required(&path.child("volumeClaimTemplate"), ""));
        }
        "ephemeral" => {
            let spec = &source["volumeClaimTemplate"]["spec"];
            let path = path.child("volumeClaimTemplate").child("spec");
            crate::strategy::persistent_volume_claim::validate_spec(spec, &path, errors);
        }
        "image" => {
            let policies = ["Always", "IfNotPresent", "Never"];
            one_of(errors, &path.child("pullPolicy"), &source["pullPolicy"], &policies, true);
        }
        _ => {}
    }
    mode(&source["defaultMode"], &path.child("defaultMode"), errors);
    items(source, kind == "downwardAPI", path, errors);
}

fn mode(value: &Value, path: &Path, errors: &mut Errors) {
    if value.as_i64().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, value, detail));
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut Errors) {
    if text(source, &["path"]).split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(&path.child("path"), &source["path"], "must not contain '..'"));
    }
    let types = ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
    one_of(errors, &path.child("type"), &source["type"], &types, false);
}

/// Checks the files of a volume: of the fields of the pod, or of the keys of an object.
fn items(source: &Value, downward: bool, path: &Path, errors: &mut Errors) {
    for (i, item) in list(source, &["items"]).iter().enumerate() {
        let path = if downward { path.clone() } else { path.child("items").index(i) };
        if downward {
            shown(item, &path, errors);
        } else if text(item, &["key"]).is_empty() {
            errors.push(FieldError::required(&path.child("key"), ""));
        }
        if text(item, &["path"]).is_empty() {
            errors.push(FieldError::required(&path.child("path"), ""));
        }
        let target = text(item, &["path"]);
        if target.starts_with("..") && !target.starts_with("../") {
            errors.push(FieldError::invalid_str(&path.child("path"), target, "must not start with '..'"));
        }
        local_path(target, &path.child("path"), errors);
        mode(&item["mode"], &path.child("mode"), errors);
    }
}

fn shown(item: &Value, path: &Path, errors: &mut Errors) {
    match (item["fieldRef"].is_null(), item["resourceFieldRef"].is_null()) {
        (false, true) => field_path(&item["fieldRef"], &path.child("fieldRef"), VOLUME_FIELDS, errors),
        (false, false) => {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid_str(path, "resource", detail));
        }
        (true, false) => resource_field(&item["resourceFieldRef"], true, &path.child("resourceFieldRef"), errors),
        (true, true) => errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required")),
    }
}

fn projected(source: &Value, path: &Path, errors: &mut Errors) {
    for (i, projection) in list(source, &["sources"]).iter().enumerate() {
        let path = path.child("sources").index(i);
        for (j, kind) in sources(projection).into_iter().enumerate() {
            let (path, given) = (path.child(kind), &projection[kind]);
            if j > 0 {
                errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
                continue;
            }
            match kind {
                "serviceAccountToken" => token(given, &path, errors),
                "secret" | "configMap" if text(given, &["name"]).is_empty() => {
                    errors.push(FieldError::required(&path.child("name"), ""));
                }
                _ => {}
            }
            items(given, kind == "downwardAPI", &path, errors);
        }
    }
}

fn token(token: &Value, path: &Path, errors: &mut Errors) {
    let seconds = int(token, &["expirationSeconds"]).unwrap_or(3600);
    let detail = match seconds {
        ..600 => "may not specify a duration less than 10 minutes",
        0x1_0000_0001.. => "may not specify a duration larger than 2^32 seconds",
        _ => "",
    };
    if !detail.is_empty() {
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), &seconds.into(), detail));
    }
    if text(token, &["path"]).is_empty() {
        errors.push(FieldError::required(&path.child("path"), ""));
    } else {
        local_path(text(token, &["path"]), &path.child("path"), errors);
    }
}
