//! Linux capabilities: those of a usual container, or hardly any.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{containers_that, is_windows, named, quoted, text, violation};
use crate::pod_security::{Pod, Violation};

const USUAL: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn listed<'a>(container: &'a Value, what: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    container["securityContext"]["capabilities"][what].as_array().into_iter().flatten().map(text)
}

/// The containers that add what is not allowed, and what.
fn adding(pod: &Pod<'_>, allowed: &[&str]) -> (Vec<String>, BTreeSet<String>) {
    let mut added = BTreeSet::new();
    let containers = containers_that(pod, |container| {
        let bad: Vec<String> =
            listed(container, "add").filter(|added| !allowed.contains(added)).map(Into::into).collect();
        let any = !bad.is_empty();
        added.extend(bad);
        any
    });
    (containers, added)
}

pub fn baseline(pod: &Pod<'_>) -> Option<Violation> {
    let (containers, added) = adding(pod, &USUAL);
    if containers.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", named(&containers), quoted(added));
    violation("non-default capabilities", detail)
}

pub fn restricted(pod: &Pod<'_>) -> Option<Violation> {
    let keeping = containers_that(pod, |container| listed(container, "drop").all(|dropped| dropped != "ALL"));
    let (containers, added) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeping)));
    }
    if !containers.is_empty() {
        let added = quoted(added);
        details.push(format!("{} must not include {added} in securityContext.capabilities.add", named(&containers)));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

pub fn restricted_but_on_windows(pod: &Pod<'_>) -> Option<Violation> {
    if is_windows(pod) { None } else { restricted(pod) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_added_is_told_with_who_adds_it() {
        let container =
            |name: &str, add: &[&str]| json!({"name": name, "securityContext": {"capabilities": {"add": add}}});
        let pod = json!({"spec": {"initContainers": [container("i", &["SYS_ADMIN", "CHOWN"])],
            "containers": [container("a", &["CHOWN"]), container("b", &["NET_RAW", "SYS_ADMIN"])]}});
        assert_eq!(
            baseline(&Pod::of(&pod)).expect("a violation").detail,
            "containers \"i\", \"b\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add"
        );
        assert_eq!(
            restricted(&Pod::of(&pod)).expect("a violation").detail,
            "containers \"i\", \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]; \
             containers \"i\", \"a\", \"b\" must not include \"CHOWN\", \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add"
        );
    }
}
