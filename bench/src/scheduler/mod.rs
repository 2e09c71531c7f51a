//! What the scheduler does a second, among 5,000 nodes: alone, and with an API server, whose bindings are on disk. No node
//! is there, and no root is needed.

mod alone;
mod bound;

use anyhow::Result;
use serde_json::{Value, json};

use crate::report::Report;

const NODES: usize = 5000;

/// Measures both.
pub fn measure(report: &mut Report) -> Result<()> {
    alone::measure(report)?;
    bound::measure(report)
}

fn node(number: usize) -> Value {
    let name = format!("node-{number}");
    let resources = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": format!("zone-{}", number % 3)}},
        "status": {"allocatable": resources, "capacity": resources,
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}})
}

/// A pod that asks for a little, with these fields of its specification besides.
fn pod(app: &str, number: usize, more: Value) -> Value {
    let name = format!("{app}-{number}");
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "web:1",
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}
