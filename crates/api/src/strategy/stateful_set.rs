//! StatefulSet.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, items_mut, object_mut};
use super::{AGE, Column, NAME, Strategy, column, wide, workload};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, int};

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
        default_to(spec, "revisionHistoryLimit", 10);
        let strategy = meta::as_object(spec.entry("updateStrategy").or_insert_with(|| json!({})));
        default_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").is_some_and(|t| t == "RollingUpdate") {
            let rolling = meta::as_object(strategy.entry("rollingUpdate").or_insert_with(|| json!({})));
            default_to(rolling, "partition", 0);
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
        let policies = ["OrderedReady", "Parallel"];
        common::one_of(
            &mut errors,
            &path.child("podManagementPolicy"),
            at(obj, &["spec", "podManagementPolicy"]),
            &policies,
            true,
        );
        let strategy = at(obj, &["spec", "updateStrategy", "type"]);
        let supported = ["RollingUpdate", "OnDelete"];
        common::one_of(&mut errors, &path.child("updateStrategy").child("type"), strategy, &supported, true);
        workload::numbers(obj, &["replicas", "minReadySeconds", "revisionHistoryLimit"], &mut errors);
        let start = at(obj, &["spec", "ordinals", "start"]);
        common::non_negative(&mut errors, &path.child("ordinals").child("start"), start);
        let rolling = path.child("updateStrategy").child("rollingUpdate");
        let partition = at(obj, &["spec", "updateStrategy", "rollingUpdate", "partition"]);
        common::non_negative(&mut errors, &rolling.child("partition"), partition);
        for key in ["whenDeleted", "whenScaled"] {
            let policy = at(obj, &["spec", "persistentVolumeClaimRetentionPolicy", key]);
            let path = path.child("persistentVolumeClaimRetentionPolicy").child(key);
            common::one_of(&mut errors, &path, policy, &["Delete", "Retain"], true);
        }
        let mut with_claims = obj.clone();
        // Claim templates are volumes of the template's pods.
        let claims: Vec<Value> = meta::list(obj, &["spec", "volumeClaimTemplates"])
            .iter()
            .map(|c| json!({"name": meta::name(c), "emptyDir": {}}))
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

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (mut now, mut before) = (new["spec"].clone(), old["spec"].clone());
        for spec in [&mut now, &mut before] {
            if let Some(map) = spec.as_object_mut() {
                map.retain(|key, _| !MUTABLE.contains(&key.as_str()));
            }
        }
        if now == before {
            return Vec::new();
        }
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        vec![FieldError::forbidden(&Path::new("spec"), detail)]
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
