//! Pod.

use std::borrow::Cow;

pub mod defaults;
pub mod resources;
mod row;
mod status;
pub mod validate;
pub mod warnings;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::resources::qos_class;
use super::{AGE, Column, NAME, Strategy, column, common, wide};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, list, text};

/// A Pod.
pub struct Pod;

static COLUMNS: &[Column] = &[
    NAME,
    column("Ready"),
    column("Status"),
    column("Restarts"),
    AGE,
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

/// The selectable fields, then what the address is read from besides.
const FIELDS: [&str; 9] = [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
    "status.podIPs",
];

impl Strategy for Pod {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        defaults::pod(meta::object_at(obj, "spec"));
    }

    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, obj: &mut Value) {
        let qos = qos_class(obj);
        meta::set_generation(obj, 1);
        let status = Map::from_iter([("phase".to_owned(), "Pending".into()), ("qosClass".to_owned(), qos.into())]);
        meta::as_object(obj).insert("status".into(), Value::Object(status));
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        super::prepare_status_update(new, old);
        super::keep_metadata(new, old, &["ownerReferences"]);
        status::mirror_address(meta::object_at(new, "status"));
        if let Some(qos) = old["status"].get("qosClass").cloned() {
            meta::object_at(new, "status").insert("qosClass".into(), qos);
        }
        for group in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
            for status in common::items_mut(meta::object_at(new, "status"), group) {
                common::default_to(status, "lastState", json!({}));
                common::default_to(status, "state", json!({}));
            }
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::pod(obj, &mut errors);
        errors
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::new_pod(obj, &mut errors);
        errors
    }

    fn prepare_subresource(&self, subresource: &str, new: &mut Value, old: &Value) {
        match subresource {
            // The server makes what is bound, and changes nothing else.
            "binding" => return,
            "ephemeralcontainers" => {
                super::keep(new, old, "status");
                let added = new["spec"].get("ephemeralContainers").cloned();
                super::keep(new, old, "spec");
                if let (Some(added), Some(spec)) = (added, common::spec_mut(new)) {
                    spec.insert("ephemeralContainers".into(), added);
                }
            }
            "resize" => {
                super::keep(new, old, "status");
                super::keep_metadata(new, old, &super::CLIENT_METADATA);
            }
            _ => new.clone_from(old),
        }
        if new["spec"] != old["spec"] {
            meta::set_generation(new, meta::generation(old) + 1);
        }
    }

    fn validate_subresource(&self, subresource: &str, new: &Value, old: &Value) -> Vec<FieldError> {
        if subresource == "binding" {
            return validate::node_name(new);
        }
        let mut errors = self.validate(new);
        errors.extend(match subresource {
            "ephemeralcontainers" => validate::ephemeral_containers(new, old),
            _ => validate::resize(new, old),
        });
        errors
    }

    fn warnings(&self, obj: &Value) -> Vec<String> {
        warnings::pod(obj)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validate::update(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (now, before) = (text(new, &["status", "nominatedNodeName"]), text(old, &["status", "nominatedNodeName"]));
        if now != before && !now.is_empty() {
            let path = Path::new("status").child("nominatedNodeName");
            crate::field::push_all(&mut errors, &path, now, crate::field::dns1123_subdomain(now));
        }
        status::addresses(new, old, &mut errors);
        errors
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        let get = |path: &[&str]| Cow::from(text(obj, path));
        let host = list(obj, &["status", "podIPs"]).first().map(|ip| text(ip, &["ip"])).unwrap_or_default();
        let ip = if host.is_empty() { get(&["status", "podIP"]) } else { host.into() };
        let host_network = at(obj, &["spec", "hostNetwork"]).as_bool().unwrap_or(false);
        vec![
            get(&["spec", "nodeName"]),
            get(&["spec", "restartPolicy"]),
            get(&["spec", "schedulerName"]),
            get(&["spec", "serviceAccountName"]),
            host_network.to_string().into(),
            get(&["status", "phase"]),
            ip,
            get(&["status", "nominatedNodeName"]),
        ]
    }

    fn selected_from(&self) -> &'static [&'static str] {
        &FIELDS
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &FIELDS[..FIELDS.len() - 1]
    }

    fn default_grace_seconds(&self, obj: &Value) -> Option<i64> {
        // A pod that never ran, or has ended, has nothing to end gracefully.
        let ended = matches!(text(obj, &["status", "phase"]), "Failed" | "Succeeded");
        if text(obj, &["spec", "nodeName"]).is_empty() || ended {
            return Some(0);
        }
        let seconds = meta::int(obj, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
        Some(if seconds < 0 { 1 } else { seconds })
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        row::row(obj, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        let mut pod = json!({"metadata": {"name": "x", "namespace": "d"}, "spec": {
            "containers": [{"name": "a", "image": "web:1", "resources": {"limits": {"cpu": "1"}},
                "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "v", "configMap": {"name": "c"}}, {"name": "w"}]}});
        Pod.default(&mut pod);
        pod
    }

    #[test]
    fn defaults_are_upstreams() {
        let pod = pod();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        assert_eq!(container["resources"]["requests"]["cpu"], "1");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(
            container["livenessProbe"],
            json!({"failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1,
            "timeoutSeconds": 1, "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}})
        );
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 30);
        assert_eq!(pod["spec"]["volumes"][0]["configMap"]["defaultMode"], 420);
        assert_eq!(pod["spec"]["volumes"][1]["emptyDir"], json!({}));
        assert!(Pod.validate(&pod).is_empty(), "{:?}", Pod.validate(&pod));
    }

    #[test]
    fn what_is_wrong_is_told_as_upstream() {
        let mut pod = json!({"metadata": {"name": "x"}, "spec": {"restartPolicy": "Sometimes", "containers": [
            {"name": "a", "volumeMounts": [{"name": "no", "mountPath": "/x"}]}, {"name": "a", "image": "i",
             "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}]}});
        Pod.default(&mut pod);
        let texts: Vec<String> = Pod.validate(&pod).iter().map(ToString::to_string).collect();
        for expected in [
            "spec.containers[0].image: Required value",
            "spec.containers[0].volumeMounts[0].name: Not found: \"no\"",
            "spec.containers[1].name: Duplicate value: \"a\"",
            "spec.containers[1].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ] {
            assert!(texts.iter().any(|t| t == expected), "{expected} is not in {texts:#?}");
        }
    }

    #[test]
    fn only_a_few_fields_may_change() {
        let old = pod();
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = "web:2".into();
        assert!(Pod.validate_update(&new, &old).is_empty());
        new["spec"]["containers"][0]["command"] = json!(["x"]);
        let error = Pod.validate_update(&new, &old)[0].to_string();
        assert!(
            error.starts_with(
                "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
            ),
            "{error}"
        );
    }

    #[test]
    fn classes_of_service() {
        let mut pod = pod();
        assert_eq!(qos_class(&pod), "Burstable");
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        Pod.default(&mut pod);
        assert_eq!(qos_class(&pod), "Guaranteed");
        pod["spec"]["containers"][0]["resources"] = json!({});
        assert_eq!(qos_class(&pod), "BestEffort");
    }

    #[test]
    fn rows_show_the_state_of_containers() {
        let now = meta::parse_time("2024-01-01T01:00:00Z").expect("it parses");
        let pod = json!({"metadata": {"name": "x", "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}});
        assert_eq!(Pod.row(&pod, now)[..5], [json!("x"), json!("0/1"), json!("Init:0/1"), json!("0"), json!("60m")]);
        let mut pod = pod;
        pod["status"] = json!({"phase": "Running", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [{"name": "a", "restartCount": 3, "ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"finishedAt": "2024-01-01T00:55:00Z"}}}]});
        assert_eq!(Pod.row(&pod, now)[1..4], [json!("0/1"), json!("CrashLoopBackOff"), json!("3 (5m ago)")]);
        pod["metadata"]["deletionTimestamp"] = "2024-01-01T00:59:00Z".into();
        assert_eq!(Pod.row(&pod, now)[2], json!("Terminating"));
    }
}
