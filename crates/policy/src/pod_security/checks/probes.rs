//! Probes and hooks of other hosts than the pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{containers, plural, quoted, text, violation};
use crate::pod_security::{Pod, Violation};

pub fn hosts(pod: &Pod<'_>) -> Option<Violation> {
    let (mut names, mut found) = (BTreeSet::new(), BTreeSet::new());
    for container in containers(pod) {
        for host in handlers(container).iter().flat_map(hosts_of) {
            names.insert(text(&container["name"]));
            found.insert(host);
        }
    }
    if names.is_empty() {
        return None;
    }
    let (who, uses) = (plural(names.len(), "container", "containers"), plural(names.len(), "uses", "use"));
    let what = plural(found.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    violation("probe or lifecycle host", format!("{who} {} {uses} {what} {}", quoted(names), quoted(found)))
}

fn handlers(container: &Value) -> [&Value; 5] {
    let lifecycle = &container["lifecycle"];
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &container[probe]);
    let [liveness, readiness, startup] = probes;
    [liveness, readiness, startup, &lifecycle["postStart"], &lifecycle["preStop"]]
}

fn hosts_of<'a>(handler: &&'a Value) -> impl Iterator<Item = &'a str> + use<'a> {
    let handler = *handler;
    ["httpGet", "tcpSocket"].into_iter().map(move |kind| text(&handler[kind]["host"])).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_probe_of_another_host_is_told() {
        let pod = json!({"spec": {"containers": [
            {"name": "a", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "b"}}}},
            {"name": "c", "readinessProbe": {"httpGet": {"port": 80}}}]}});
        let told = hosts(&Pod::of(&pod)).expect("a violation");
        assert_eq!(told.detail, "container \"a\" uses probe or lifecycle hosts \"10.0.0.1\", \"b\"");
    }
}
