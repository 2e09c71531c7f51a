//! Checks of pods and pod templates. A file holds what concerns one part of a pod.

mod container;
mod dns;
mod env;
mod handlers;
mod mounts;
mod resize;
pub(crate) mod resources;
pub(crate) mod scheduling;
mod security;
mod update;
mod volumes;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

pub use handlers::port_number_or_name;
pub use resize::resize;
pub use update::{ephemeral_containers, update};

use crate::field::{self, FieldError, Path, push_all};
use crate::labels;
use crate::meta::{at, int, list, text};
use crate::strategy::common::one_of;

type Errors = Vec<FieldError>;

/// What the checks of a container look up in its pod.
struct Surroundings<'a> {
    volumes: HashMap<&'a str, &'a Value>,
    claims: HashSet<&'a str>,
    grace_seconds: Option<i64>,
    restart_policy: &'a str,
    /// Whether it is a pod, and not a template of pods.
    is_pod: bool,
}

/// Checks a pod template: its labels, annotations and spec.
pub fn template(template: &Value, path: &Path, errors: &mut Errors) {
    let annotations = at(template, &["metadata", "annotations"]);
    labels::labels(at(template, &["metadata", "labels"]), &path.child("labels"), errors);
    labels::annotations(annotations, &path.child("annotations"), errors);
    security::annotations(annotations, &path.child("annotations"), errors);
    pod_spec(&template["spec"], false, &path.child("spec"), errors);
    security::annotations_match(annotations, &template["spec"], &path.child("spec"), errors);
    if !list(template, &["spec", "ephemeralContainers"]).is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&path.child("spec").child("ephemeralContainers"), detail));
    }
}

/// Checks a pod.
pub fn pod(pod: &Value, errors: &mut Errors) {
    let annotations = at(pod, &["metadata", "annotations"]);
    let path = Path::new("metadata").child("annotations");
    security::annotations(annotations, &path, errors);
    let cost = text(annotations, &["controller.kubernetes.io/pod-deletion-cost"]);
    if !cost.is_empty() && cost.parse::<i32>().is_err() {
        let path = path.key("controller.kubernetes.io/pod-deletion-cost");
        errors.push(FieldError::invalid_str(&path, cost, "must be a 32bit integer"));
    }
    pod_spec(&pod["spec"], true, &Path::new("spec"), errors);
}

/// Checks what a new pod may not have yet.
pub fn new_pod(pod: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    if !list(pod, &["spec", "ephemeralContainers"]).is_empty() {
        errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !text(pod, &["spec", "nodeName"]).is_empty() && !list(pod, &["spec", "schedulingGates"]).is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(&path.child("nodeName"), detail));
    }
    security::annotations_match(at(pod, &["metadata", "annotations"]), &pod["spec"], &path, errors);
}

/// Checks the node that a pod is bound to. What else it has was checked when it came.
pub fn node_name(pod: &Value) -> Errors {
    let (name, mut errors) = (text(pod, &["spec", "nodeName"]), Errors::new());
    push_all(&mut errors, &Path::new("spec").child("nodeName"), name, field::dns1123_subdomain(name));
    errors
}

/// Checks the spec of a pod or of a template.
fn pod_spec(spec: &Value, is_pod: bool, path: &Path, errors: &mut Errors) {
    volumes::volumes(list(spec, &["volumes"]), &path.child("volumes"), errors);
    let claims = list(spec, &["resourceClaims"]);
    resources::pod_claims(claims, &path.child("resourceClaims"), errors);
    let surroundings = Surroundings {
        volumes: list(spec, &["volumes"]).iter().map(|v| (text(v, &["name"]), v)).collect(),
        claims: claims.iter().map(|c| text(c, &["name"])).filter(|name| !name.is_empty()).collect(),
        grace_seconds: int(spec, &["terminationGracePeriodSeconds"]),
        restart_policy: text(spec, &["restartPolicy"]),
        is_pod,
    };
    container::containers(spec, &surroundings, path, errors);
    resources::of_pod(spec, &path.child("resources"), errors);
    let policies = ["Always", "OnFailure", "Never"];
    one_of(errors, &path.child("restartPolicy"), &spec["restartPolicy"], &policies, true);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(errors, &path.child("dnsPolicy"), &spec["dnsPolicy"], &policies, true);
    labels::labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    security::of_pod(spec, path, errors);
    scheduling::affinity(&spec["affinity"], &path.child("affinity"), errors);
    dns::config(spec, &path.child("dnsConfig"), errors);
    for (i, gate) in list(spec, &["readinessGates"]).iter().enumerate() {
        let kind = text(gate, &["conditionType"]);
        let path = path.child("readinessGates").index(i).child("conditionType");
        push_all(errors, &path, kind, field::qualified_name(kind));
    }
    scheduling::gates(spec, &path.child("schedulingGates"), errors);
    scheduling::spread(spec, &path.child("topologySpreadConstraints"), errors);
    names(spec, path, errors);
    numbers(spec, path, errors);
    scheduling::tolerations(list(spec, &["tolerations"]), &path.child("tolerations"), errors);
    dns::host_aliases(spec, &path.child("hostAliases"), errors);
    let policies = ["PreemptLowerPriority", "Never"];
    one_of(errors, &path.child("preemptionPolicy"), &spec["preemptionPolicy"], &policies, false);
    resources::amounts(&spec["overhead"], &path.child("overhead").child("limits"), errors);
}

fn names(spec: &Value, path: &Path, errors: &mut Errors) {
    for key in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        let name = text(spec, &[key]);
        if !name.is_empty() {
            push_all(errors, &path.child(key), name, field::dns1123_subdomain(name));
        }
    }
    for key in ["hostname", "subdomain"] {
        let name = text(spec, &[key]);
        if !name.is_empty() {
            push_all(errors, &path.child(key), name, field::dns1123_label(name));
        }
    }
}

fn numbers(spec: &Value, path: &Path, errors: &mut Errors) {
    if let Some(seconds) = int(spec, &["activeDeadlineSeconds"])
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(&path.child("activeDeadlineSeconds"), &spec["activeDeadlineSeconds"], detail));
    }
}
