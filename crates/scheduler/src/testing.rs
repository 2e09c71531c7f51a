//! What tests need: nodes, pods, and a scheduler that has seen them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::SchedulerConfiguration;
use crate::core::{Core, Decision};
use crate::extender::Extenders;
use crate::pod::PodInfo;
use crate::queue::Backoff;

impl Core {
    /// Takes in a pod.
    pub fn add(&mut self, pod: &Arc<Pod>) {
        self.pod_changed(Arc::new(PodInfo::new(pod.clone())));
    }
}

/// A node with so much CPU, and these fields of its specification. Its zone is the first letter of its name.
pub fn node(name: &str, cpu: &str, extra: Value) -> Node {
    let mut value = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": &name[..1]}},
        "spec": {}, "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "4"}}});
    for (key, field) in extra.as_object().into_iter().flatten() {
        value["spec"][key] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

/// A pod that asks for so much CPU, with these fields of its specification besides.
pub fn pod(name: &str, cpu: &str, spec: Value) -> Arc<Pod> {
    let mut value = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    for (key, field) in spec.as_object().into_iter().flatten() {
        value["spec"][key] = field.clone();
    }
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A scheduler that has seen these nodes.
pub fn core(nodes: &[Node]) -> Core {
    let profiles = vec![crate::config::profile(&SchedulerConfiguration::default(), 0).unwrap()];
    let mut core = Core::new(profiles, Backoff::default(), Arc::new(Extenders::none()), None, 7);
    nodes.iter().for_each(|node| core.node_changed(None, node));
    core
}

/// What becomes of a pod: its node, or why it has none.
pub fn decide(core: &mut Core, pod: &Arc<Pod>) -> Result<String, String> {
    core.add(pod);
    next(core).expect("a pod waits")
}

/// What becomes of the next pod that waits.
pub fn next(core: &mut Core) -> Option<Result<String, String>> {
    futures::executor::block_on(core.next(Vec::new)).map(|decision| match decision {
        Decision::Bind { node, .. } => Ok(node),
        Decision::Unfit { message, .. } | Decision::Failed { message, .. } => Err(message),
    })
}
