//! StatefulSet.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, items_mut, object_mut};
use super::deployment::{int_or_percent, not_over_100_percent};
use super::{AGE, Column, NAME, Strategy, column, masked, wide, workload};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, int, text};

/// A StatefulSet.
pub struct StatefulSet;

static COLUMNS: &[Column] = &[NAME, column("Ready"), AGE, wide("Containers"), wide("Images")];

/// Fields that may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

impl Strategy for StatefulSet {
    fn warnings(&self, obj: &Value) -> Vec<String> {
        super::workload::warnings(obj)
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = common::spec_mut(obj) else { return };
        default_text(spec, "podManagementPolicy", "OrderedReady");
        default_to(spec, "replicas", 1);
        default_to(spec, "serviceName", "");
        default_to(spec, "revisionHistoryLimit", 10);
        let strategy = meta::as_object(spec.entry("updateStrategy").or_insert_with(|| json!({})));
        if strategy.get("type").is_none_or(|given| given == "") {
            strategy.insert("type".into(), "RollingUpdate".into());
            default_to(strategy, "rollingUpdate", json!({}));
        }
        // Who names the type alone has no more than that.
        if strategy.get("type").is_some_and(|given| given == "RollingUpdate")
            && let Some(rolling) = object_mut(strategy, "rollingUpdate")
        {
            default_to(rolling, "partition", 0);
            default_to(rolling, "maxUnavailable", 1);
        }
        let retention = spec.entry("persistentVolumeClaimRetentionPolicy").or_insert_with(|| json!({}));
        let retention = meta::as_object(retention);
        default_text(retention, "whenDeleted", "Retain");
        default_text(retention, "whenScaled", "Retain");
        for claim in items_mut(spec, "volumeClaimTemplates") {
            default_text(claim, "apiVersion", "v1");
            default_text(claim, "kind", "PersistentVolumeClaim");
            default_to(claim, "status", json!({"phase": "Pending"}));
            if let Some(spec) = object_mut(claim, "spec") {
                default_text(spec, "volumeMode", "Filesystem");
            }
        }
        workload::default_template(spec);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn empty_status(&self) -> Value {
        json!({"replicas": 0, "availableReplicas": 0})
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let management = at(obj, &["spec", "podManagementPolicy"]);
        if management != "OrderedReady" && management != "Parallel" {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid(&path.child("podManagementPolicy"), management, detail));
        }
        update_strategy(at(obj, &["spec", "updateStrategy"]), &path.child("updateStrategy"), &mut errors);
        workload::numbers(obj, &["replicas", "minReadySeconds", "revisionHistoryLimit"], &mut errors);
        let start = at(obj, &["spec", "ordinals", "start"]);
        common::non_negative(&mut errors, &path.child("ordinals").child("start"), start);
        for key in ["whenDeleted", "whenScaled"] {
            let policy = at(obj, &["spec", "persistentVolumeClaimRetentionPolicy", key]);
            let path = path.child("persistentVolumeClaimRetentionPolicy").child(key);
            common::one_of(&mut errors, &path, policy, &["Delete", "Retain"], true);
        }
        let mut with_claims = obj.clone();
        // Claim templates are volumes of the template's pods.
        let claims: Vec<Value> = meta::list(obj, &["spec", "volumeClaimTemplates"])
            .iter()
            .map(|c| json!({"name": meta::name(c), "persistentVolumeClaim": {"claimName": meta::name(c)}}))
            .collect();
        if let Some(spec) = with_claims.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) {
            let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
            if let Some(volumes) = volumes.as_array_mut() {
                let named: Vec<Value> = claims.iter().map(|c| c["name"].clone()).collect();
                volumes.retain(|v| !named.contains(&v["name"]));
                volumes.extend(claims);
            }
        }
        workload::selector_and_template(&with_claims, "StatefulSet", &mut errors);
        errors
    }

    /// A pod's host name is the set's with the ordinal.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        field::dns1123_label(&masked(name, prefix))
    }

    /// It becomes the pods' subdomain.
    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        let (mut errors, service) = (Vec::new(), text(obj, &["spec", "serviceName"]));
        if !service.is_empty() {
            push_all(&mut errors, &Path::new("spec").child("serviceName"), service, field::dns1123_label(service));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (mut now, mut before) = (new["spec"].clone(), old["spec"].clone());
        for spec in [&mut now, &mut before] {
            if let Some(map) = spec.as_object_mut() {
                map.retain(|key, _| !MUTABLE.contains(&key.as_str()));
                // Sets of earlier versions are stored without it.
                default_to(map, "serviceName", "");
            }
        }
        if now == before {
            return Vec::new();
        }
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        vec![FieldError::forbidden(&Path::new("spec"), detail)]
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let counts = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        workload::status_numbers(new, old, &counts, &mut errors);
        let path = Path::new("status");
        let mut at_most = |key: &str, limit: &str| {
            let number = |key: &str| int(new, &["status", key]).unwrap_or(0);
            if number(key) > number(limit) {
                let detail = format!("cannot be greater than status.{limit}");
                errors.push(FieldError::invalid(&path.child(key), &number(key).into(), detail));
            }
        };
        at_most("readyReplicas", "replicas");
        at_most("currentReplicas", "replicas");
        at_most("updatedReplicas", "replicas");
        at_most("availableReplicas", "replicas");
        at_most("availableReplicas", "readyReplicas");
        errors
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let [names, images] = common::containers(at(obj, &["spec", "template", "spec"]));
        let ready = int(obj, &["status", "readyReplicas"]).unwrap_or(0);
        let desired = int(obj, &["spec", "replicas"]).unwrap_or(0);
        vec![meta::name(obj).into(), format!("{ready}/{desired}").into(), age(obj, now), names, images]
    }
}

fn update_strategy(strategy: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let rolling = &strategy["rollingUpdate"];
    let path_of_rolling = path.child("rollingUpdate");
    match strategy["type"].as_str() {
        Some("RollingUpdate") => rolling_update(rolling, &path_of_rolling, errors),
        Some("OnDelete") if rolling.is_null() => {}
        Some("OnDelete") => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(&path_of_rolling, rolling, detail));
        }
        _ => errors.push(FieldError::invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")),
    }
}

fn rolling_update(rolling: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    common::non_negative(errors, &path.child("partition"), &rolling["partition"]);
    let (unavailable, path) = (&rolling["maxUnavailable"], path.child("maxUnavailable"));
    if int_or_percent(unavailable, &path, errors) == Some(0) {
        errors.push(FieldError::invalid(&path, unavailable, "cannot be 0"));
    }
    not_over_100_percent(unavailable, &path, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_strategy_is_one_of_two() {
        let errors = |strategy: Value| -> Vec<String> {
            let mut errors = Vec::new();
            update_strategy(&strategy, &Path::new("s"), &mut errors);
            errors.iter().map(ToString::to_string).collect()
        };
        assert!(
            errors(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1, "maxUnavailable": "50%"}}))
                .is_empty()
        );
        assert!(errors(json!({"type": "OnDelete"})).is_empty());
        let detail = "only allowed for updateStrategy 'RollingUpdate'";
        assert_eq!(
            errors(json!({"type": "OnDelete", "rollingUpdate": {"partition": 1}})),
            [format!("s.rollingUpdate: Invalid value: {{\"partition\":1}}: {detail}")]
        );
        assert_eq!(
            errors(json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}})),
            ["s.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"]
        );
        assert_eq!(
            errors(json!({"type": "x"})),
            ["s: Invalid value: {\"type\":\"x\"}: must be 'RollingUpdate' or 'OnDelete'"]
        );
    }

    #[test]
    fn names_are_what_host_names_may_be() {
        assert!(!StatefulSet.validate_name("web.1", false).is_empty());
        let service = json!({"spec": {"serviceName": "Peers"}});
        assert!(StatefulSet.validate_create(&service)[0].to_string().starts_with("spec.serviceName: Invalid value"));
    }

    #[test]
    fn a_status_counts_no_more_pods_than_there_are() {
        let status = json!({"status": {"replicas": 1, "readyReplicas": 2, "availableReplicas": 1}});
        let found: Vec<String> =
            StatefulSet.validate_status_update(&status, &json!({})).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]);
    }

    #[test]
    fn claims_are_volumes_of_the_pods_as_files_and_as_devices() {
        let claim = |name: &str| {
            json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}})
        };
        let container = json!({"name": "c", "image": "i:1", "volumeMounts": [{"name": "a", "mountPath": "/a"}],
            "volumeDevices": [{"name": "b", "devicePath": "/dev/b"}]});
        let mut set = json!({"kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {
            "serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "volumeClaimTemplates": [claim("a"), claim("b")],
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}}});
        StatefulSet.default(&mut set);
        assert_eq!(StatefulSet.validate(&set), []);
        set["spec"]["volumeClaimTemplates"] = json!([]);
        let found: Vec<String> = StatefulSet.validate(&set).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"a\"",
                "spec.template.spec.containers[0].volumeDevices[0].name: Not found: \"b\"",
            ]
        );
    }
}
