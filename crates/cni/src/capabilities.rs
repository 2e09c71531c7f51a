//! What plugins that take them are told of a pod, by the names of the conventions.
//! <https://www.cni.dev/docs/conventions/#dynamic-plugin-specific-fields-capabilities--runtime-configuration>

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::bandwidth::Bandwidth;
use crate::config::NetworkConfig;

/// Ports of the node that lead to the pod.
pub const PORT_MAPPINGS: &str = "portMappings";
/// Limits of its traffic.
pub const BANDWIDTH: &str = "bandwidth";
/// The node's ranges of pod addresses.
pub const IP_RANGES: &str = "ipRanges";
/// What its resolver is told.
const DNS: &str = "dns";
/// Its annotations, by the name that CRI runtimes have for them.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
const KNOWN: [&str; 5] = [PORT_MAPPINGS, BANDWIDTH, IP_RANGES, DNS, ANNOTATIONS];
/// Bits that may come at once, whatever the limit: as many as the plugin can be told, as upstream says.
const BURST: i32 = i32::MAX;

/// A port of the node that leads to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The pod's port.
    pub container_port: u16,
    /// The node's port.
    pub host_port: u16,
    /// The node's address; empty for all.
    pub host_ip: String,
}

/// What is known of a pod.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Ports of the node that lead to it.
    pub host_ports: Vec<HostPort>,
    /// Name servers, search domains and options of its resolver.
    pub dns: Option<(Vec<String>, Vec<String>, Vec<String>)>,
}

impl Pod {
    /// `CNI_ARGS`.
    ///
    /// # Errors
    /// A part would be taken for others.
    pub fn args(&self, sandbox: &str) -> Result<String, String> {
        let all = [
            ("K8S_POD_NAMESPACE", &*self.namespace),
            ("K8S_POD_NAME", &self.name),
            ("K8S_POD_INFRA_CONTAINER_ID", sandbox),
            ("K8S_POD_UID", &self.uid),
        ];
        let mut args = String::from("IgnoreUnknown=1");
        for (key, value) in all {
            if value.contains([';', '=']) || value.contains(char::is_control) {
                return Err(format!("{key} cannot be told to plugins: {value:?}"));
            }
            args.push_str(&format!(";{key}={value}"));
        }
        Ok(args)
    }

    /// The values of all capabilities for which there is something to say.
    ///
    /// # Errors
    /// Annotations limit traffic to what is no limit.
    pub fn capabilities(&self, ranges: &[IpNet]) -> Result<Map<String, Value>, String> {
        let mut all = Map::new();
        if !self.host_ports.is_empty() {
            let port = |port: &HostPort| {
                json!({"hostPort": port.host_port, "containerPort": port.container_port,
                    "protocol": port.protocol.to_lowercase(), "hostIP": port.host_ip})
            };
            all.insert(PORT_MAPPINGS.into(), self.host_ports.iter().map(port).collect());
        }
        let bandwidth = Bandwidth::of(&self.annotations)?;
        if !bandwidth.is_unlimited() {
            let mut limits = Map::new();
            for (way, rate) in [("ingress", bandwidth.ingress), ("egress", bandwidth.egress)] {
                if let Some(rate) = rate {
                    limits.insert(format!("{way}Rate"), rate.into());
                    limits.insert(format!("{way}Burst"), BURST.into());
                }
            }
            all.insert(BANDWIDTH.into(), limits.into());
        }
        if !ranges.is_empty() {
            let range = |range: &IpNet| json!([{"subnet": range.to_string()}]);
            all.insert(IP_RANGES.into(), ranges.iter().map(range).collect());
        }
        if let Some((servers, searches, options)) = &self.dns {
            all.insert(DNS.into(), json!({"servers": servers, "searches": searches, "options": options}));
        }
        if !self.annotations.is_empty() {
            all.insert(ANNOTATIONS.into(), json!(self.annotations));
        }
        Ok(all)
    }
}

/// The capabilities that plugins of a network take and that nobody here has values for.
pub fn unknown(network: &NetworkConfig) -> Vec<(&str, &str)> {
    let all = network.plugins.iter().flat_map(|plugin| plugin.capabilities().map(|name| (plugin.kind(), name)));
    all.filter(|(_, name)| !KNOWN.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_as_the_conventions_say() {
        let pod = Pod {
            name: "web".into(),
            namespace: "default".into(),
            uid: "u-1".into(),
            annotations: [("kubernetes.io/egress-bandwidth".to_owned(), "1M".to_owned())].into(),
            host_ports: vec![HostPort {
                protocol: "UDP".into(),
                container_port: 53,
                host_port: 5353,
                host_ip: "127.0.0.1".into(),
            }],
            dns: Some((vec!["10.96.0.10".into()], vec!["svc.cluster.local".into()], Vec::new())),
        };
        let args =
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=s;K8S_POD_UID=u-1";
        assert_eq!(pod.args("s").unwrap(), args);
        let all = pod.capabilities(&["10.244.1.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()]).unwrap();
        let expected = json!({
            "portMappings": [{"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}],
            "bandwidth": {"egressRate": 1_000_000, "egressBurst": 2_147_483_647},
            "ipRanges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00::/64"}]],
            "dns": {"servers": ["10.96.0.10"], "searches": ["svc.cluster.local"], "options": []},
            "io.kubernetes.cri.pod-annotations": {"kubernetes.io/egress-bandwidth": "1M"},
        });
        assert_eq!(Value::Object(all), expected);
        assert!(Pod::default().capabilities(&[]).unwrap().is_empty());
        for wrong in ["a;K8S_POD_NAMESPACE=kube-system", "a=b", "a\nb"] {
            assert!(Pod { uid: wrong.into(), ..Pod::default() }.args("s").is_err(), "{wrong}");
        }
    }
}
