//! The node's namespaces and ports, and Windows' containers that are processes of the node.

use std::collections::BTreeSet;

use super::{Misuse, containers_that, named, plural, violation};
use crate::pod_security::{Pod, Violation};

pub fn namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|key| pod.spec[*key] == true);
    let shared: Vec<String> = shared.map(|key| format!("{key}=true")).collect();
    if shared.is_empty() { None } else { violation("host namespaces", shared.join(", ")) }
}

pub fn ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut used = BTreeSet::new();
    let containers = containers_that(pod, |container| {
        let ports = container["ports"].as_array().into_iter().flatten().filter_map(|port| port["hostPort"].as_i64());
        let ports: Vec<String> = ports.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        let any = !ports.is_empty();
        used.extend(ports);
        any
    });
    if containers.is_empty() {
        return None;
    }
    let (uses, what) = (plural(containers.len(), "uses", "use"), plural(used.len(), "hostPort", "hostPorts"));
    let used = used.into_iter().collect::<Vec<_>>().join(", ");
    violation("hostPort", format!("{} {uses} {what} {used}", named(&containers)))
}

pub fn process(pod: &Pod<'_>) -> Option<Violation> {
    let misuse = Misuse::find(pod, |context| (context["windowsOptions"]["hostProcess"] == true).then_some("true"));
    let setters = misuse.setters()?;
    violation("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_shared_with_the_node_is_told() {
        let pod = json!({"spec": {"hostNetwork": true, "hostIPC": true, "containers": [
            {"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 0}]}, {"name": "b", "ports": [{"hostPort": 443}]}]}});
        let pod = Pod::of(&pod);
        assert_eq!(namespaces(&pod).expect("a violation").detail, "hostNetwork=true, hostIPC=true");
        assert_eq!(ports(&pod).expect("a violation").detail, "containers \"a\", \"b\" use hostPorts 443, 80");
        assert_eq!(process(&pod), None);
    }
}
