//! Jobs and pods for tests.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::pod::{COMPLETION_INDEX, TRACKING};

/// A job `n/j` with this spec, which needs no template, and status.
pub(super) fn job(spec: Value, status: Value) -> Job {
    let mut spec = spec;
    if spec["template"].is_null() {
        spec["template"] = json!({"spec": {"restartPolicy": "Never", "containers": []}});
    }
    serde_json::from_value(json!({
        "metadata": {"name": "j", "namespace": "n", "uid": "job"}, "spec": spec, "status": status,
    }))
    .expect("a job")
}

/// A tracked pod, whose UID is its name.
pub(super) fn pod(name: &str, index: Option<i32>, phase: &str) -> Arc<Pod> {
    let annotations = index.map(|index| json!({COMPLETION_INDEX: index.to_string()}));
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "finalizers": [TRACKING], "annotations": annotations,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": phase},
    }));
    Arc::new(pod.expect("a pod"))
}
