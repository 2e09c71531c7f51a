//! Kernel parameters: those that concern nobody but the pod.

use super::{text, violation};
use crate::pod_security::{Pod, Violation};

/// In the order in which they became safe.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

pub fn safe(pod: &Pod<'_>) -> Option<Violation> {
    among_the_first(5, pod)
}

pub fn safe_since_27(pod: &Pod<'_>) -> Option<Violation> {
    among_the_first(6, pod)
}

pub fn safe_since_29(pod: &Pod<'_>) -> Option<Violation> {
    among_the_first(10, pod)
}

pub fn safe_since_32(pod: &Pod<'_>) -> Option<Violation> {
    among_the_first(12, pod)
}

fn among_the_first(count: usize, pod: &Pod<'_>) -> Option<Violation> {
    let set =
        pod.spec["securityContext"]["sysctls"].as_array().into_iter().flatten().map(|sysctl| text(&sysctl["name"]));
    let bad: Vec<&str> = set.filter(|name| SAFE.iter().take(count).all(|safe| safe != name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_safe_depends_on_the_version() {
        let sysctls = ["kernel.msgmax", "net.ipv4.tcp_rmem"].map(|name| json!({"name": name, "value": "1"}));
        let pod = json!({"spec": {"securityContext": {"sysctls": sysctls}}});
        assert_eq!(safe(&Pod::of(&pod)).expect("a violation").detail, "kernel.msgmax, net.ipv4.tcp_rmem");
        assert_eq!(safe_since_32(&Pod::of(&pod)).expect("a violation").detail, "kernel.msgmax");
    }
}
