//! Seccomp: the profile of the runtime or one of the node; at the restricted level it must be said.

use std::collections::BTreeSet;

use coracle_api::field::quote;
use serde_json::Value;

use super::{Misuse, containers, containers_that, is_windows, named, plural, quoted, text, violation};
use crate::pod_security::{Pod, Violation};

const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// How profiles were told before there was a field for them.
pub fn annotations(pod: &Pod<'_>) -> Option<Violation> {
    let keys = containers(pod).map(|container| format!("{CONTAINER}{}", text(&container["name"])));
    let bad = |key: String| {
        let value = pod.metadata["annotations"][&key].as_str()?;
        let allowed = matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
        (!allowed).then(|| format!("{key}={}", quote(value)))
    };
    let bad: BTreeSet<String> = std::iter::once(POD.to_owned()).chain(keys).filter_map(bad).collect();
    if bad.is_empty() {
        return None;
    }
    let what = plural(bad.len(), "annotation", "annotations");
    violation("seccompProfile", format!("forbidden {what} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn misuse(pod: &Pod<'_>) -> Misuse {
    Misuse::find(pod, |context| match &context["seccompProfile"] {
        profile if profile.is_null() => None,
        profile => Some(text(&profile["type"])).filter(|kind| !is_allowed(kind)),
    })
}

fn is_allowed(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

fn has_profile(holder: &Value) -> bool {
    !holder["securityContext"]["seccompProfile"].is_null()
}

pub fn baseline(pod: &Pod<'_>) -> Option<Violation> {
    let misuse = misuse(pod);
    let setters = misuse.setters()?;
    let values = quoted(misuse.values);
    violation("seccompProfile", format!("{setters} must not set securityContext.seccompProfile.type to {values}"))
}

pub fn restricted(pod: &Pod<'_>) -> Option<Violation> {
    if let Some(violation) = baseline(pod) {
        return Some(violation);
    }
    let without = containers_that(pod, |container| !has_profile(container));
    if has_profile(pod.spec) || without.is_empty() {
        return None;
    }
    let who = named(&without);
    let wanted = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    violation("seccompProfile", format!("pod or {who} {wanted}"))
}

pub fn restricted_but_on_windows(pod: &Pod<'_>) -> Option<Violation> {
    if is_windows(pod) { None } else { restricted(pod) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_profile_of_the_pod_is_enough() {
        let pod = |context: Value| json!({"spec": {"securityContext": context, "containers": [{"name": "a"}]}});
        let good = pod(json!({"seccompProfile": {"type": "RuntimeDefault"}}));
        assert_eq!(restricted(&Pod::of(&good)), None);
        let bad = pod(json!({"seccompProfile": {"type": "Unconfined"}}));
        let told = "pod must not set securityContext.seccompProfile.type to \"Unconfined\"";
        assert_eq!(restricted(&Pod::of(&bad)).expect("a violation").detail, told);
        assert_eq!(baseline(&Pod::of(&bad)).expect("a violation").detail, told);
    }

    #[test]
    fn annotations_counted_before_there_was_a_field() {
        let pod = json!({"metadata": {"annotations": {POD: "unconfined"}}, "spec": {}});
        let told = annotations(&Pod::of(&pod)).expect("a violation");
        assert_eq!(told.detail, "forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\"");
    }
}
