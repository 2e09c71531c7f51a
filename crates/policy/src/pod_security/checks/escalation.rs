//! Privileged containers, and those whose processes may gain privileges.

use super::{containers_that, is_windows, named, violation};
use crate::pod_security::{Pod, Violation};

pub fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = containers_that(pod, |container| container["securityContext"]["privileged"] == true);
    if bad.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", named(&bad)))
}

pub fn allowed(pod: &Pod<'_>) -> Option<Violation> {
    let bad = containers_that(pod, |container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&bad));
    violation("allowPrivilegeEscalation != false", detail)
}

pub fn allowed_but_on_windows(pod: &Pod<'_>) -> Option<Violation> {
    if is_windows(pod) { None } else { allowed(pod) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ephemeral_containers_are_looked_at_too() {
        let pod = json!({"spec": {"ephemeralContainers": [{"name": "e", "securityContext": {"privileged": true}}]}});
        let told = privileged(&Pod::of(&pod)).expect("a violation");
        assert_eq!(told.detail, "container \"e\" must not set securityContext.privileged=true");
    }
}
