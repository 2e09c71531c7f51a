//! /etc/hosts and the hostname of pods.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use crate::pod::PodExt;

const ENTRIES: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    fe00::0\tip6-mcastprefix\n\
    fe00::1\tip6-allnodes\n\
    fe00::2\tip6-allrouters\n";

/// The pod's hostname and its domain within the cluster (empty without a subdomain).
pub fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod.spec();
    let chosen = spec.hostname_override.as_deref().or(spec.hostname.as_deref()).filter(|name| !name.is_empty());
    let mut hostname = chosen.unwrap_or(pod.name()).to_owned();
    if hostname.len() > 63 {
        hostname.truncate((0..=63).rev().find(|end| hostname.is_char_boundary(*end)).unwrap_or(0));
        hostname.truncate(hostname.trim_end_matches(['-', '.']).len());
    }
    let domain = match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
        Some(subdomain) => format!("{subdomain}.{}.svc.{cluster_domain}", pod.namespace()),
        None => String::new(),
    };
    (hostname, domain)
}

/// What the kernel of the sandbox is told as its hostname.
pub fn sandbox_hostname(pod: &Pod, cluster_domain: &str) -> String {
    if pod.host_network() {
        return String::new();
    }
    let (hostname, domain) = hostname_and_domain(pod, cluster_domain);
    if pod.spec().set_hostname_as_fqdn == Some(true) && !domain.is_empty() {
        format!("{hostname}.{domain}")
    } else {
        hostname
    }
}

/// The contents of the pod's /etc/hosts; `node_file` is the node's, which pods on its network get.
pub fn hosts_file(pod: &Pod, ips: &[IpAddr], cluster_domain: &str, node_file: &str) -> String {
    let mut text;
    if pod.host_network() {
        text = format!("# Kubernetes-managed hosts file (host network).\n{node_file}");
    } else {
        text = format!("# Kubernetes-managed hosts file.\n{ENTRIES}");
        let (hostname, domain) = hostname_and_domain(pod, cluster_domain);
        for ip in ips {
            let _ = match domain.as_str() {
                "" => writeln!(text, "{ip}\t{hostname}"),
                domain => writeln!(text, "{ip}\t{hostname}.{domain}\t{hostname}"),
            };
        }
    }
    let aliases = pod.spec().host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let _ = writeln!(text, "{}\t{}", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_file_names_the_pod_and_its_aliases() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {
            "containers": [], "hostname": "h", "subdomain": "s",
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}}))
        .unwrap();
        let text = hosts_file(&pod, &["10.0.0.2".parse().unwrap()], "cluster.local", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.contains("10.0.0.2\th.s.n.svc.cluster.local\th\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
    }
}
