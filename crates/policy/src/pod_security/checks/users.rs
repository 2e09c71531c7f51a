//! Users: nobody is root.

use super::{Misuse, containers_that, has_user_namespace, named, violation};
use crate::pod_security::{Pod, Violation};

pub fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let misuse = Misuse::find(pod, |context| (context["runAsNonRoot"] == false).then_some("false"));
    if let Some(setters) = misuse.setters() {
        return violation(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = containers_that(pod, |container| container["securityContext"]["runAsNonRoot"].is_null());
    if pod.spec["securityContext"]["runAsNonRoot"] == true || silent.is_empty() {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", named(&silent)))
}

pub fn non_root_but_in_user_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    if has_user_namespace(pod) { None } else { non_root(pod) }
}

pub fn user(pod: &Pod<'_>) -> Option<Violation> {
    let misuse = Misuse::find(pod, |context| (context["runAsUser"] == 0).then_some("0"));
    let setters = misuse.setters()?;
    violation("runAsUser=0", format!("{setters} must not set runAsUser=0"))
}

pub fn user_but_in_user_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    if has_user_namespace(pod) { None } else { user(pod) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_may_be_root_is_told() {
        let pod = json!({"spec": {"securityContext": {"runAsNonRoot": true, "runAsUser": 0}, "containers": [
            {"name": "a", "securityContext": {"runAsNonRoot": false}}, {"name": "b"}]}});
        let pod = Pod::of(&pod);
        assert_eq!(
            non_root(&pod).expect("a violation").detail,
            "container \"a\" must not set securityContext.runAsNonRoot=false"
        );
        assert_eq!(user(&pod).expect("a violation").detail, "pod must not set runAsUser=0");
    }
}
