//! The checks, a file for each thing that pods may ask for. A check that changed has a function for each way it was.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, Violation};

pub mod apparmor;
pub mod capabilities;
pub mod escalation;
pub mod host;
pub mod probes;
pub mod proc_mount;
pub mod seccomp;
pub mod selinux;
pub mod sysctls;
pub mod users;
pub mod volumes;

/// All containers of a pod, in the order in which they are told.
fn containers<'a>(pod: &Pod<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    let spec = pod.spec;
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists.into_iter().flat_map(move |key| spec[key].as_array().into_iter().flatten())
}

/// The names of the containers of which something holds.
fn containers_that<'a>(pod: &Pod<'a>, mut holds: impl FnMut(&'a Value) -> bool) -> Vec<String> {
    containers(pod).filter(|container| holds(container)).map(|container| text(&container["name"]).to_owned()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn is_windows(pod: &Pod<'_>) -> bool {
    pod.spec["os"]["name"] == "windows"
}

/// Whether root in the pod is nobody on the node.
fn has_user_namespace(pod: &Pod<'_>) -> bool {
    pod.spec["hostUsers"] == false
}

/// `"a", "b"`
fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    items.join(", ")
}

/// One word for one, another for more.
fn plural<'a>(count: usize, one: &'a str, more: &'a str) -> &'a str {
    if count == 1 { one } else { more }
}

/// `container "a"` or `containers "a", "b"`
fn named(names: &[String]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// `pod and containers "a", "b"`; `None` if it is neither the pod nor one of its containers.
fn setters(pod: bool, names: &[String]) -> Option<String> {
    match (pod, names) {
        (false, []) => None,
        (true, []) => Some("pod".to_owned()),
        (false, names) => Some(named(names)),
        (true, names) => Some(format!("pod and {}", named(names))),
    }
}

fn violation(reason: &'static str, detail: String) -> Option<Violation> {
    Some(Violation { reason, detail })
}

/// What a security context says where it is not allowed to: whether the pod's does, which containers' do, and what.
struct Misuse {
    pod: bool,
    containers: Vec<String>,
    values: BTreeSet<String>,
}

impl Misuse {
    /// Of what `bad` finds in a security context.
    fn find<'a>(pod: &Pod<'a>, mut bad: impl FnMut(&'a Value) -> Option<&'a str>) -> Misuse {
        let mut values = BTreeSet::new();
        let mut is_bad = |holder: &'a Value| bad(&holder["securityContext"]).map(|value| values.insert(value.into()));
        let of_pod = is_bad(pod.spec).is_some();
        let containers = containers_that(pod, |container| is_bad(container).is_some());
        Misuse { pod: of_pod, containers, values }
    }

    fn setters(&self) -> Option<String> {
        setters(self.pod, &self.containers)
    }
}
