//! NodeMetrics and PodMetrics, as kinds that can be read and nothing else.
//! <https://kubernetes.io/docs/reference/external-api/metrics.v1beta1/>

use std::sync::Arc;

use coracle_api::{Kind, custom};
use serde_json::{Value, json};

/// The group of the kinds.
pub(crate) const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";

/// What the usage of nodes and of pods is shown as.
pub(crate) fn kinds() -> [Arc<Kind>; 2] {
    let quantities = json!({"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": true}});
    let time = json!({"type": "string", "format": "date-time"});
    let mut of_node = json!({"timestamp": time, "window": {"type": "string"}, "usage": quantities});
    let mut of_pod = of_node.clone();
    let container = json!({"type": "object", "properties": {"name": {"type": "string"}, "usage": quantities}});
    if let (Some(node), Some(pod)) = (of_node.as_object_mut(), of_pod.as_object_mut()) {
        pod.remove("usage");
        pod.insert("containers".into(), json!({"type": "array", "items": container}));
        node.insert("apiVersion".into(), json!({"type": "string"}));
        pod.insert("apiVersion".into(), json!({"type": "string"}));
    }
    [
        kind("NodeMetrics", "nodes", "Cluster", &of_node, ".usage"),
        kind("PodMetrics", "pods", "Namespaced", &of_pod, ".containers[*].usage"),
    ]
}

fn kind(name: &str, plural: &str, scope: &str, properties: &Value, usage: &str) -> Arc<Kind> {
    let column = |name: &str, path: String| json!({"name": name, "type": "string", "jsonPath": path});
    let columns = [
        column("cpu", format!("{usage}.cpu")),
        column("memory", format!("{usage}.memory")),
        column("window", ".window".into()),
    ];
    let definition = json!({
        "spec": {"group": GROUP, "scope": scope, "versions": [{
            "name": VERSION, "served": true, "storage": true, "additionalPrinterColumns": columns,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        }]},
        "status": {"acceptedNames": {"plural": plural, "singular": "", "kind": name, "listKind": format!("{name}List")}},
    });
    let defined = custom::kinds(&definition).expect("the definition stores its only version");
    let mut kind = Kind::clone(&defined.stored);
    kind.verbs = &["get", "list"];
    Arc::new(kind)
}

/// The APIService of the group; whoever brings a metrics server of their own puts its service there.
pub(crate) fn api_service() -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{VERSION}.{GROUP}")},
        "spec": {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 100},
    })
}
