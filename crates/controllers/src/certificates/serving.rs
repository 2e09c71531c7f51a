//! Approves certificates of kubelets as servers, when a node asks for its own name and addresses that are nobody else's.
//!
//! Upstream leaves this to administrators, because a node says itself which addresses it has. So that it cannot stand in for
//! others, an address must not be another node's, a service's, a load balancer's or the host's own, and what the API server is
//! known by is only the control plane's. What is not approved here waits for an administrator.

use std::net::IpAddr;
use std::sync::Arc;

use coracle_client::{Event, Store, WorkQueue};
use coracle_pki::Identity;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::Api;

use super::{CONTROL_PLANE, approve, follow, is_pending, parse, requests, signers, usages};
use crate::common::Context;

const MESSAGE: &str = "Auto approving kubelet serving certificate for the node's own name and addresses.";
/// Index of nodes and services by their addresses, and of requests by who made them.
const BY_ADDRESS: &str = "address";
const BY_REQUESTER: &str = "requester";

/// Where addresses are known.
struct Addresses {
    nodes: Store<Node>,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    config: Arc<crate::Config>,
}

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let queue: WorkQueue<String> = WorkQueue::named("kubelet_serving_certificate");
    let nodes = context.informers.indexed::<Node>(vec![(BY_ADDRESS, Box::new(node_addresses))]);
    let services = context.informers.indexed::<Service>(vec![(BY_ADDRESS, Box::new(service_addresses))]);
    let slices = context.informers.all::<EndpointSlice>();
    let requests = requests(&context);
    let by_requester = |request: &CertificateSigningRequest| request.spec.username.clone().into_iter().collect();
    context.informers.indexed::<CertificateSigningRequest>(vec![(BY_REQUESTER, Box::new(by_requester))]);
    let (waiting, changed) = (requests.store(), queue.clone());
    // Its addresses, or what it is, may have been missing.
    nodes.subscribe(move |event| {
        let (Event::Added(node) | Event::Updated { new: node, .. }) = event else { return };
        let user = format!("{}{}", signers::NODE, node.name_any());
        match waiting.by_index(BY_REQUESTER, &user) {
            Ok(own) => own.iter().filter(|r| is_pending(r)).for_each(|request| changed.add(request.name_any())),
            Err(error) => tracing::error!(%error, user, "the node's requests are not looked at"),
        }
    });
    nodes.synced().await;
    services.synced().await;
    slices.synced().await;
    let addresses = Arc::new(Addresses {
        nodes: nodes.store(),
        services: services.store(),
        slices: slices.store(),
        config: context.config.clone(),
    });
    let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    follow(requests, queue, move |request| {
        let (api, addresses) = (api.clone(), addresses.clone());
        async move {
            if request.spec.signer_name == signers::KUBELET_SERVING && is_pending(&request) {
                match addresses.check(&request, &parse(&request)?.identity) {
                    Ok(()) => approve(&api, &request, MESSAGE).await?,
                    Err(why) => tracing::debug!(request = request.name_any(), why, "not approved by itself"),
                }
            }
            Ok(None)
        }
    })
    .await
}

impl Addresses {
    /// What is against a certificate for a kubelet's server.
    fn check(&self, request: &CertificateSigningRequest, wanted: &Identity) -> Result<(), String> {
        signers::kubelet_serving(wanted, usages(request))?;
        let spec = &request.spec;
        if spec.username.as_deref() != Some(&wanted.common_name)
            || !spec.groups.iter().flatten().any(|group| group == "system:nodes")
        {
            return Err("it was not made by the node itself".into());
        }
        let name = wanted.common_name.strip_prefix(signers::NODE).unwrap_or_default();
        let node = self.nodes.get("", name).ok_or("there is no such node yet")?;
        if let Some(other) = wanted.dns_names.iter().find(|dns_name| *dns_name != name || is_api_server(dns_name)) {
            return Err(format!("{other} is not the node's name"));
        }
        let api_server =
            |dns_name: &&String| self.config.api_server_names.iter().any(|own| own.eq_ignore_ascii_case(dns_name));
        match wanted.dns_names.iter().find(api_server).filter(|_| !is_of_control_plane(&node)) {
            Some(other) => Err(format!("{other} is the API server's name")),
            None => wanted.ip_addresses.iter().try_for_each(|address| self.check_address(&node, *address)),
        }
    }

    fn check_address(&self, node: &Node, address: IpAddr) -> Result<(), String> {
        let text = address.to_string();
        let canonical = address.to_canonical();
        if canonical.is_loopback() || canonical.is_unspecified() || canonical.is_multicast() {
            return Err(format!("{text} is no address by which one machine finds another"));
        }
        if !node_addresses(node).contains(&text) {
            return Err(format!("{text} is not an address of the node"));
        }
        let others = self.nodes.by_index(BY_ADDRESS, &text).map_err(|error| error.to_string())?;
        if others.iter().any(|other| other.name_any() != node.name_any()) {
            return Err(format!("{text} is another node's address too"));
        }
        if !self.services.by_index(BY_ADDRESS, &text).map_err(|error| error.to_string())?.is_empty() {
            return Err(format!("{text} is a service's address"));
        }
        let api_server = self.slices.get("default", "kubernetes");
        let mut endpoints = api_server.iter().flat_map(|slice| slice.endpoints.iter());
        let is_api_server = self.config.api_server_addresses.contains(&canonical)
            || endpoints.any(|endpoint| endpoint.addresses.contains(&text));
        if is_api_server && !is_of_control_plane(node) {
            return Err(format!("{text} is the API server's address"));
        }
        Ok(())
    }
}

fn is_of_control_plane(node: &Node) -> bool {
    node.labels().contains_key(CONTROL_PLANE)
}

/// Whether clients look for the API server under a name.
fn is_api_server(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "localhost" || name == "kubernetes" || name.starts_with("kubernetes.")
}

/// The addresses of a node that are numbers, each in the one form that there is of it.
fn node_addresses(node: &Node) -> Vec<String> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let numbers = addresses.filter(|address| matches!(address.type_.as_str(), "InternalIP" | "ExternalIP"));
    numbers.filter_map(|address| Some(address.address.parse::<IpAddr>().ok()?.to_string())).collect()
}

/// Where a service is reached, by its load balancer too.
fn service_addresses(service: &Service) -> Vec<String> {
    let spec = service.spec.iter();
    let own = spec.flat_map(|spec| spec.cluster_ips.iter().flatten().chain(spec.external_ips.iter().flatten()));
    let balancers = service.status.iter().flat_map(|status| &status.load_balancer);
    let ingress = balancers.flat_map(|balancer| balancer.ingress.iter().flatten().flat_map(|ingress| &ingress.ip));
    let all = own.chain(ingress);
    all.filter_map(|address| Some(address.parse::<IpAddr>().ok()?.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_client::Cached;
    use serde_json::{Value, json};

    fn store<K>(objects: Vec<Value>, indexes: Vec<(&'static str, coracle_client::Indexer<K>)>) -> Store<K>
    where
        K: Cached,
    {
        Store::of(objects.into_iter().map(|object| serde_json::from_value(object).unwrap()).collect(), indexes)
    }

    fn node(name: &str, address: &str, labels: Value) -> Value {
        json!({"metadata": {"name": name, "labels": labels},
            "status": {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": "x"}]}})
    }

    fn config() -> crate::Config {
        crate::Config {
            api_server_names: vec!["Server".into(), "control".into()],
            api_server_addresses: vec!["192.0.2.1".parse().unwrap(), "192.0.2.11".parse().unwrap()],
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            node_cidr_masks: Default::default(),
            root_ca: String::new(),
            authority: None,
            service_account_key: None,
            load_balancer_pool: Vec::new(),
            election: coracle_client::Election::default(),
            identity: String::new(),
            terminated_pod_threshold: 0,
            others: tokio::sync::watch::channel(true).1,
            legacy_token_clean_up_period: std::time::Duration::ZERO,
        }
    }

    fn addresses() -> Addresses {
        let nodes = vec![
            node("control", "192.0.2.7", json!({CONTROL_PLANE: ""})),
            node("victim", "192.0.2.3", json!({})),
            node("a", "192.0.2.2", json!({})),
            node("thief", "192.0.2.3", json!({})),
            node("liar", "10.96.0.1", json!({})),
            node("fake", "192.0.2.9", json!({})),
            node("balancer", "192.0.2.10", json!({})),
            node("self", "127.0.0.1", json!({})),
            node("mapped", "::ffff:127.0.0.1", json!({})),
            node("server", "192.0.2.12", json!({})),
            node("usurper", "192.0.2.11", json!({})),
            node("kubernetes.default.svc", "192.0.2.8", json!({})),
        ];
        let service = json!({"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"clusterIPs": ["10.96.0.1"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}, {"hostname": "x"}]}}});
        let slice = json!({"metadata": {"name": "kubernetes", "namespace": "default"}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.7"]}, {"addresses": ["192.0.2.9"]}]});
        Addresses {
            nodes: store(nodes, vec![(BY_ADDRESS, Box::new(node_addresses))]),
            services: store(vec![service], vec![(BY_ADDRESS, Box::new(service_addresses))]),
            slices: store(vec![slice], Vec::new()),
            config: Arc::new(config()),
        }
    }

    fn check(by: &str, name: &str, dns_name: &str, address: &str) -> Result<(), String> {
        let request: CertificateSigningRequest = serde_json::from_value(json!({"metadata": {}, "spec": {
            "request": "", "signerName": signers::KUBELET_SERVING, "username": format!("system:node:{by}"),
            "groups": ["system:nodes"], "usages": ["server auth", "digital signature"]}}))
        .unwrap();
        let wanted = Identity {
            common_name: format!("system:node:{name}"),
            organizations: vec!["system:nodes".into()],
            dns_names: vec![dns_name.into()],
            ip_addresses: vec![address.parse().unwrap()],
            ..Identity::default()
        };
        addresses().check(&request, &wanted)
    }

    #[test]
    fn a_node_gets_its_own_name_and_addresses() {
        assert_eq!(check("a", "a", "a", "192.0.2.2"), Ok(()));
        assert_eq!(check("control", "control", "control", "192.0.2.7"), Ok(()));
        for (by, name, dns_name, address, why) in [
            ("b", "a", "a", "192.0.2.2", "it was not made by the node itself"),
            ("gone", "gone", "gone", "192.0.2.2", "there is no such node yet"),
            ("a", "a", "x", "192.0.2.2", "x is not the node's name"),
            ("a", "a", "a", "192.0.2.4", "192.0.2.4 is not an address of the node"),
            ("balancer", "balancer", "balancer", "192.0.2.10", "192.0.2.10 is a service's address"),
            ("self", "self", "self", "127.0.0.1", "127.0.0.1 is no address by which one machine finds another"),
            (
                "mapped",
                "mapped",
                "mapped",
                "::ffff:127.0.0.1",
                "::ffff:127.0.0.1 is no address by which one machine finds another",
            ),
            ("server", "server", "server", "192.0.2.12", "server is the API server's name"),
            ("usurper", "usurper", "usurper", "192.0.2.11", "192.0.2.11 is the API server's address"),
            ("thief", "thief", "thief", "192.0.2.3", "192.0.2.3 is another node's address too"),
            ("liar", "liar", "liar", "10.96.0.1", "10.96.0.1 is a service's address"),
            ("fake", "fake", "fake", "192.0.2.9", "192.0.2.9 is the API server's address"),
            (
                "kubernetes.default.svc",
                "kubernetes.default.svc",
                "kubernetes.default.svc",
                "192.0.2.8",
                "kubernetes.default.svc is not the node's name",
            ),
        ] {
            assert_eq!(check(by, name, dns_name, address), Err(why.into()));
        }
    }
}
