//! What of `/proc` is hidden.

use std::collections::BTreeSet;

use super::{containers_that, has_user_namespace, named, quoted, text, violation};
use crate::pod_security::{Pod, Violation};

pub fn default(pod: &Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let containers = containers_that(pod, |container| {
        let kind = &container["securityContext"]["procMount"];
        let bad = !kind.is_null() && kind != "Default";
        if bad {
            kinds.insert(text(kind).to_owned());
        }
        bad
    });
    if containers.is_empty() {
        return None;
    }
    violation(
        "procMount",
        format!("{} must not set securityContext.procMount to {}", named(&containers), quoted(kinds)),
    )
}

pub fn default_but_in_user_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    if has_user_namespace(pod) { None } else { default(pod) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unmasked_proc_is_told() {
        let pod = json!({"spec": {"containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]}});
        let told = default(&Pod::of(&pod)).expect("a violation");
        assert_eq!(told.detail, "container \"a\" must not set securityContext.procMount to \"Unmasked\"");
    }
}
