//! The Pod Security Standards: what a pod may ask for at each level, as it was at each minor version of Kubernetes.
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

mod checks;
mod labels;
mod level;
mod namespace;
mod table;

pub use labels::Policy;
pub use level::{Level, LevelVersion, Version};
pub use namespace::violations_in_namespace;
pub use table::evaluate;

use serde_json::Value;

/// What a check looks at: a pod, or the template of one.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// `metadata`, whose annotations some old versions have a say in.
    pub metadata: &'a Value,
    /// `spec`.
    pub spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// The pod of an object that has metadata and a spec.
    pub fn of(object: &'a Value) -> Self {
        Self { metadata: &object["metadata"], spec: &object["spec"] }
    }

    /// The pods that an object of a kind makes; `None` if the kind makes none, or the object has no template.
    pub fn of_workload(group: &str, kind: &str, object: &'a Value) -> Option<Self> {
        let template = match (group, kind) {
            ("", "PodTemplate") => &object["template"],
            ("", "ReplicationController") | ("apps", "ReplicaSet" | "Deployment" | "StatefulSet" | "DaemonSet") => {
                &object["spec"]["template"]
            }
            ("batch", "Job") => &object["spec"]["template"],
            ("batch", "CronJob") => &object["spec"]["jobTemplate"]["spec"]["template"],
            _ => return None,
        };
        template.is_object().then(|| Self::of(template))
    }
}

/// What a pod does that its level does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is not allowed, in a few words.
    pub reason: &'static str,
    /// Who does it, and what to do instead.
    pub detail: String,
}

/// All violations as one text: `privileged (container "a" must not ...), hostPort (...)`.
pub fn details(violations: &[Violation]) -> String {
    let texts: Vec<String> = violations.iter().map(|v| format!("{} ({})", v.reason, v.detail)).collect();
    texts.join(", ")
}

/// What violates, without who does it: what many pods have in common.
pub fn reasons(violations: &[Violation]) -> String {
    let texts: Vec<&str> = violations.iter().map(|v| v.reason).collect();
    texts.join(", ")
}

/// Whether a change of a pod can change what the standards say of it: containers that come or get another image.
pub fn is_significant(new: &Value, old: &Value) -> bool {
    let list = |pod: &Value, key: &str| pod["spec"][key].as_array().cloned().unwrap_or_default();
    let differs = |key: &str| {
        let (new, old) = (list(new, key), list(old, key));
        new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| new["image"] != old["image"])
    };
    if differs("containers") || differs("initContainers") {
        return true;
    }
    let before = list(old, "ephemeralContainers");
    list(new, "ephemeralContainers").iter().any(|container| {
        let old = before.iter().find(|old| old["name"] == container["name"]);
        old.is_none_or(|old| old["image"] != container["image"])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_new_containers_and_images_matter() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "i:1"}]}});
        let mut new = old.clone();
        new["spec"]["activeDeadlineSeconds"] = 5.into();
        assert!(!is_significant(&new, &old));
        new["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i:1"}]);
        assert!(is_significant(&new, &old));
        assert!(!is_significant(&new, &new.clone()));
        let mut other = old.clone();
        other["spec"]["containers"][0]["image"] = "i:2".into();
        assert!(is_significant(&other, &old));
    }

    #[test]
    fn workloads_are_judged_by_their_template() {
        let template = json!({"spec": {"hostPID": true}});
        let job = json!({"spec": {"jobTemplate": {"spec": {"template": template}}}});
        assert_eq!(Pod::of_workload("batch", "CronJob", &job).map(|pod| pod.spec), Some(&template["spec"]));
        assert!(Pod::of_workload("", "ReplicationController", &json!({"spec": {}})).is_none());
        assert!(Pod::of_workload("", "ConfigMap", &json!({})).is_none());
    }
}
