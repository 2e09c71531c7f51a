//! resolv.conf of pods, from `dnsPolicy` and `dnsConfig`.

use std::net::IpAddr;

use coracle_runtime::cri::DnsConfig;
use k8s_openapi::api::core::v1::Pod;

use crate::pod::PodExt;

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;

/// Reads resolv.conf(5).
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => config.searches = words.map(str::to_owned).collect(),
            Some("options") => config.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    config
}

/// What a pod's resolv.conf says; `host` is the node's own.
pub fn pod_dns(pod: &Pod, cluster_dns: &[IpAddr], domain: &str, host: DnsConfig) -> DnsConfig {
    let policy = pod.spec().dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !pod.host_network(),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut dns = if policy == "None" {
        DnsConfig::default()
    } else if cluster && !cluster_dns.is_empty() {
        let mut searches =
            vec![format!("{}.svc.{domain}", pod.namespace()), format!("svc.{domain}"), domain.to_owned()];
        searches.extend(host.searches);
        DnsConfig {
            servers: cluster_dns.iter().map(ToString::to_string).collect(),
            searches,
            options: vec!["ndots:5".into()],
        }
    } else {
        host
    };
    if let Some(extra) = &pod.spec().dns_config {
        dns.servers.extend(extra.nameservers.iter().flatten().cloned());
        dns.searches.extend(extra.searches.iter().flatten().cloned());
        for option in extra.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|known| known.split(':').next() != Some(name.as_str()));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    deduplicate(&mut dns.servers);
    deduplicate(&mut dns.searches);
    dns.servers.truncate(MAX_SERVERS);
    dns.searches.truncate(MAX_SEARCHES);
    while dns.searches.join(" ").len() > MAX_SEARCH_CHARACTERS {
        dns.searches.pop();
    }
    dns
}

fn deduplicate(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"namespace": "n"}, "spec": spec})).unwrap()
    }

    #[test]
    fn the_policy_decides_between_cluster_and_node() {
        let host = parse_resolv_conf("# x\nnameserver 1.1.1.1\nsearch lan\noptions timeout:1\n");
        let dns = |spec| pod_dns(&pod(spec), &["10.96.0.10".parse().unwrap()], "cluster.local", host.clone());
        let first = dns(json!({"containers": []}));
        assert_eq!(first.servers, ["10.96.0.10"]);
        assert_eq!(first.searches, ["n.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"]);
        assert_eq!(first.options, ["ndots:5"]);
        assert_eq!(dns(json!({"containers": [], "hostNetwork": true})).servers, ["1.1.1.1"]);
        assert_eq!(dns(json!({"containers": [], "dnsPolicy": "Default"})), host);
        let own = dns(json!({"containers": [], "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["9.9.9.9", "9.9.9.9"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}}));
        assert_eq!((own.servers.len(), own.options), (1, vec!["ndots:2".to_owned()]));
        let merged = dns(json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}));
        assert_eq!(merged.options, ["ndots:2"]);
    }
}
