//! AppArmor: the profile of the runtime or one of the node, as a field or as the annotation that was before it.

use coracle_api::field::quote;
use coracle_api::meta;

use super::{Misuse, plural, quoted, violation};
use crate::pod_security::{Pod, Violation};

const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub fn profile(pod: &Pod<'_>) -> Option<Violation> {
    let misuse = Misuse::find(pod, |context| match &context["appArmorProfile"] {
        profile if profile.is_null() => None,
        profile => Some(super::text(&profile["type"])).filter(|kind| !matches!(*kind, "RuntimeDefault" | "Localhost")),
    });
    let mut annotations: Vec<String> = meta::string_map(&pod.metadata["annotations"])
        .filter(|(key, value)| key.starts_with(ANNOTATION) && !is_allowed(value))
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    annotations.sort();
    let mut setters: Vec<String> = misuse.setters().into_iter().collect();
    if !annotations.is_empty() {
        setters.push(plural(annotations.len(), "annotation", "annotations").to_owned());
    }
    if setters.is_empty() {
        return None;
    }
    let values: Vec<String> = misuse.values.into_iter().chain(annotations).collect();
    let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    violation(reason, format!("{} must not set AppArmor profile type to {}", setters.join(" and "), quoted(&values)))
}

fn is_allowed(annotation: &str) -> bool {
    annotation.is_empty() || annotation == "runtime/default" || annotation.starts_with("localhost/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unconfined_profile_is_told_wherever_it_is_said() {
        let unconfined = json!({"appArmorProfile": {"type": "Unconfined"}});
        let pod = json!({"metadata": {"annotations": {format!("{ANNOTATION}a"): "unconfined", format!("{ANNOTATION}b"): "localhost/x"}},
            "spec": {"securityContext": unconfined, "containers": [{"name": "a", "securityContext": unconfined}, {"name": "b"}]}});
        let told = profile(&Pod::of(&pod)).expect("a violation");
        assert_eq!(told.reason, "forbidden AppArmor profiles");
        assert_eq!(
            told.detail,
            "pod and container \"a\" and annotation must not set AppArmor profile type to \"Unconfined\", \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\""
        );
    }
}
