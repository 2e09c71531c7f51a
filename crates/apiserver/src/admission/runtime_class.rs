//! The class of a pod's runtime: it must be there, and says what the pod costs beyond its containers and where it may run.
//! <https://kubernetes.io/docs/concepts/containers/runtime-class/>

use std::sync::Arc;

use coracle_api::kinds;
use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::{Plugin, Request, Verdict, at_once, makes};
use crate::operation::Operation;
use crate::storage::Storage;

pub(super) struct RuntimeClass(pub Arc<Storage>);

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, op: &Operation) -> bool {
        makes(op, "", "Pod")
    }

    fn admit<'a>(&'a self, _request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        at_once(apply(&self.0, object))
    }
}

/// Gives a new pod what its runtime class says.
fn apply(storage: &Storage, pod: &mut Value) -> Result<(), Status> {
    let name = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return merge(pod, &Value::Null);
    }
    let kind = kinds::by_resource("node.k8s.io", "v1", "runtimeclasses").ok_or_else(Status::path_not_found)?;
    let Some(class) = storage.cache(kind)?.get(&name)? else {
        return Err(refused(pod, &format!("pod rejected: RuntimeClass \"{name}\" not found")));
    };
    merge(pod, &class.value())
}

fn refused(pod: &Value, why: &str) -> Status {
    Status::forbidden("", "pods", meta::name(pod), why)
}

fn merge(pod: &mut Value, class: &Value) -> Result<(), Status> {
    let (overhead, given) = (&class["overhead"]["podFixed"], &pod["spec"]["overhead"]);
    match (overhead.is_null(), given.is_null()) {
        (true, false) => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(refused(pod, why));
        }
        (false, false) if overhead != given => {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(refused(pod, why));
        }
        (false, _) => pod["spec"]["overhead"] = overhead.clone(),
        _ => {}
    }
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let own = &pod["spec"]["nodeSelector"][key];
        if !own.is_null() && own != value {
            let (ours, theirs) = (value.as_str().unwrap_or_default(), own.as_str().unwrap_or_default());
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {ours}; pod.spec.nodeSelector[{key}] = {theirs}"
            );
            return Err(refused(pod, &why));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    for toleration in scheduling["tolerations"].as_array().into_iter().flatten() {
        if !pod["spec"]["tolerations"].is_array() {
            pod["spec"]["tolerations"] = json!([]);
        }
        if let Some(own) = pod["spec"]["tolerations"].as_array_mut().filter(|own| !own.contains(toleration)) {
            own.push(toleration.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_says_what_a_pod_costs_and_where_it_runs() {
        let class = json!({"overhead": {"podFixed": {"cpu": "10m"}}, "scheduling": {
            "nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}});
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {}});
        merge(&mut pod, &class).expect("it fits");
        assert_eq!(pod["spec"]["overhead"], json!({"cpu": "10m"}));
        assert_eq!(pod["spec"]["nodeSelector"], json!({"a": "b"}));
        assert_eq!(pod["spec"]["tolerations"], json!([{"key": "k", "operator": "Exists"}]));
        let other = json!({"scheduling": {"nodeSelector": {"a": "c"}}});
        assert_eq!(
            merge(&mut json!({"metadata": {"name": "p"}, "spec": {"nodeSelector": {"a": "b"}}}), &other)
                .unwrap_err()
                .message,
            "pods \"p\" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[a] = c; pod.spec.nodeSelector[a] = b"
        );
    }

    #[test]
    fn a_pod_does_not_make_up_its_overhead() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"overhead": {"cpu": "1"}}});
        assert_eq!(
            merge(&mut pod, &Value::Null).unwrap_err().message,
            "pods \"p\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        );
        assert!(merge(&mut pod, &json!({"overhead": {"podFixed": {"cpu": "2"}}})).is_err());
    }
}
