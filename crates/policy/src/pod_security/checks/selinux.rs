//! SELinux: only types of containers, and no user or role.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{containers_that, plural, quoted, setters, text, violation};
use crate::pod_security::{Pod, Violation};

const TYPES: [&str; 4] = ["", "container_t", "container_init_t", "container_kvm_t"];
const TYPES_SINCE_31: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

pub fn options(pod: &Pod<'_>) -> Option<Violation> {
    with_types(pod, &TYPES)
}

pub fn options_since_31(pod: &Pod<'_>) -> Option<Violation> {
    with_types(pod, &TYPES_SINCE_31)
}

/// What is set that must not be.
#[derive(Default)]
struct Found {
    types: BTreeSet<String>,
    user: bool,
    role: bool,
}

impl Found {
    /// Whether something of a security context is not allowed.
    fn look(&mut self, holder: &Value, allowed: &[&str]) -> bool {
        let options = &holder["securityContext"]["seLinuxOptions"];
        let kind = text(&options["type"]);
        let (user, role) = (!text(&options["user"]).is_empty(), !text(&options["role"]).is_empty());
        let bad_type = !allowed.contains(&kind);
        if bad_type {
            self.types.insert(kind.to_owned());
        }
        self.user |= user;
        self.role |= role;
        bad_type || user || role
    }

    fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.types.is_empty() {
            parts.push(format!("{} {}", plural(self.types.len(), "type", "types"), quoted(&self.types)));
        }
        for (set, what) in [(self.user, "user may not be set"), (self.role, "role may not be set")] {
            if set {
                parts.push(what.to_owned());
            }
        }
        parts.join("; ")
    }
}

fn with_types(pod: &Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let mut found = Found::default();
    let of_pod = found.look(pod.spec, allowed);
    let containers = containers_that(pod, |container| found.look(container, allowed));
    let who = setters(of_pod, &containers)?;
    violation("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", found.text()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_users_and_roles_are_told() {
        let context = json!({"seLinuxOptions": {"type": "container_engine_t", "user": "u"}});
        let pod = json!({"spec": {"securityContext": context, "containers": [
            {"name": "a", "securityContext": {"seLinuxOptions": {"role": "r", "type": "container_t"}}}]}});
        assert_eq!(
            options(&Pod::of(&pod)).expect("a violation").detail,
            "pod and container \"a\" set forbidden securityContext.seLinuxOptions: type \"container_engine_t\"; user may not be set; role may not be set"
        );
        assert_eq!(
            options_since_31(&Pod::of(&pod)).expect("a violation").detail,
            "pod and container \"a\" set forbidden securityContext.seLinuxOptions: user may not be set; role may not be set"
        );
    }
}
