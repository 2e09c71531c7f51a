//! The service proxy: services as nftables maps, constant time however many there are.
//!
//! One verdict map leads from (address, protocol, port) to a chain a service port, another from node ports;
//! a chain picks one endpoint at random. A change of one service replaces one chain and its map elements
//! in one transaction. <https://kubernetes.io/docs/reference/networking/virtual-ips/>

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use coracle_client::{Informer, ObjectKey};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::Notify;

use crate::conntrack;
use crate::netlink::Socket;
use crate::nft::{self, Batch, Data, Expr, Hook, Nat, Type, Verdict};
use crate::node::{address_port, port_key, protocol_number};

pub(crate) const TABLE: &str = "coracle-services";
const SERVICES: &str = "services";
const NODE_PORTS: &str = "node-ports";
const REFUSED: &str = "refused";
const REFUSED_PORTS: &str = "refused-ports";
/// The bit of a packet's mark that asks for masquerading, the same as kube-proxy's.
const MASQUERADE: u32 = 0x4000;
/// Clients that one service port remembers; further ones get any endpoint each time.
const CLIENTS: u32 = 65_536;
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// How the proxy is set up.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The node it works for.
    pub node_name: String,
    /// Addresses of all pods.
    pub cluster_cidr: Ipv4Net,
    /// Addresses that the node answers at by itself, whatever the services say.
    pub own_addresses: Vec<Ipv4Addr>,
}

/// Where the traffic of one service port goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PortRules {
    /// Addresses by which the port is reached: cluster IP and external ones.
    addresses: BTreeSet<Ipv4Addr>,
    protocol: String,
    port: u16,
    node_port: Option<u16>,
    endpoints: BTreeSet<(Ipv4Addr, u16)>,
    /// Endpoints of this node only, for traffic from outside (`externalTrafficPolicy: Local`).
    external: Option<BTreeSet<(Ipv4Addr, u16)>>,
    /// How long a client that is idle keeps its endpoint (`sessionAffinity: ClientIP`).
    affinity: Option<Duration>,
}

type Rules = BTreeMap<String, PortRules>;

/// Follows services and endpoints until the future is dropped.
pub async fn run(
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    config: ProxyConfig,
    ready: impl FnOnce() + Send,
) -> Result<()> {
    let changed = Arc::new(Notify::new());
    let wake = changed.clone();
    services.subscribe(move |_| wake.notify_one());
    let wake = changed.clone();
    slices.subscribe(move |_| wake.notify_one());
    services.synced().await;
    slices.synced().await;
    let config = Arc::new(config);
    let mut kernel = blocking(Kernel::new).await?;
    let mut ready = Some(ready);
    loop {
        let (services, slices, config) = (services.clone(), slices.clone(), config.clone());
        kernel = blocking(move || {
            let wanted = rules(&config, &services.store().list(), &slices.store().list());
            if wanted == kernel.current { Ok(kernel) } else { kernel.change(wanted, &config) }
        })
        .await?;
        if let Some(ready) = ready.take() {
            ready();
        }
        changed.notified().await;
    }
}

/// Rules are computed and netlink answers when the kernel is done, which can take a while where there are many rules or
/// flows: no task may wait for it on a thread that others share.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// The rules that the kernel has.
struct Kernel {
    socket: Socket,
    current: Rules,
}

impl Kernel {
    /// Begins without services.
    fn new() -> Result<Kernel> {
        let mut socket = Socket::netfilter()?;
        base_rules().commit(&mut socket).context("failed to make the nftables rules of services")?;
        Ok(Kernel { socket, current: Rules::new() })
    }

    fn change(mut self, wanted: Rules, config: &ProxyConfig) -> Result<Kernel> {
        let socket = &mut self.socket;
        if let Err(error) = difference(&self.current, &wanted, config).commit(socket) {
            tracing::error!(%error, "failed to change the rules of services; they are all made anew");
            let made = base_rules().commit(socket);
            made.and_then(|()| difference(&Rules::new(), &wanted, config).commit(socket))
                .context("failed to make the nftables rules of services")?;
        }
        forget_stale(socket, &self.current, &wanted);
        Ok(Kernel { current: wanted, ..self })
    }
}

fn base_rules() -> Batch {
    let mut batch = Batch::new();
    batch.renew_table(TABLE);
    batch.set(TABLE, SERVICES, Type::AddressProtocolPort, Some(Type::Verdict));
    batch.set(TABLE, NODE_PORTS, Type::ProtocolPort, Some(Type::Verdict));
    batch.set(TABLE, REFUSED, Type::AddressProtocolPort, None);
    batch.set(TABLE, REFUSED_PORTS, Type::ProtocolPort, None);
    for (chain, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        batch.base_chain(TABLE, chain, "nat", hook, nft::PRIORITY_DESTINATION_NAT);
        batch.rule(TABLE, chain, &[Expr::destination_key(), vec![Expr::VerdictMap(SERVICES.into())]].concat());
        batch.rule(
            TABLE,
            chain,
            &[Expr::to_this_machine(), Expr::protocol_port(), vec![Expr::VerdictMap(NODE_PORTS.into())]].concat(),
        );
    }
    batch.base_chain(TABLE, "postrouting", "nat", Hook::Postrouting, nft::PRIORITY_SOURCE_NAT);
    batch.rule(TABLE, "postrouting", &[Expr::marked(MASQUERADE), vec![Expr::Masquerade]].concat());
    batch.chain(TABLE, "refuse");
    batch.rule(TABLE, "refuse", &[Expr::protocol_is(6), vec![Expr::RejectTcp]].concat());
    batch.rule(TABLE, "refuse", &[Expr::RejectUnreachable]);
    // A service without endpoints refuses at once instead of letting clients wait.
    for (chain, hook) in
        [("filter-input", Hook::Input), ("filter-forward", Hook::Forward), ("filter-output", Hook::Output)]
    {
        batch.base_chain(TABLE, chain, "filter", hook, nft::PRIORITY_FILTER);
        let refuse = Expr::Verdict(Verdict("refuse".into()));
        batch.rule(
            TABLE,
            chain,
            &[Expr::destination_key(), vec![Expr::InSet(REFUSED.into()), refuse.clone()]].concat(),
        );
        if hook == Hook::Input {
            let ports =
                [Expr::to_this_machine(), Expr::protocol_port(), vec![Expr::InSet(REFUSED_PORTS.into()), refuse]]
                    .concat();
            batch.rule(TABLE, chain, &ports);
        }
    }
    batch
}

/// Has datagrams that went to an endpoint which is gone go to another; they have no end that would show it.
fn forget_stale(socket: &mut Socket, current: &Rules, wanted: &Rules) {
    let of_datagrams = |rules: &PortRules| rules.protocol != "TCP";
    let changed = current.iter().filter(|(name, old)| of_datagrams(old) && wanted.get(*name) != Some(old));
    let mut services: BTreeMap<(u8, Ipv4Addr, u16), BTreeSet<(Ipv4Addr, u16)>> = BTreeMap::new();
    let mut node_ports: BTreeMap<(u8, u16), BTreeSet<(Ipv4Addr, u16)>> = BTreeMap::new();
    let mut expect = |rules: &PortRules, there: bool| {
        let protocol = protocol_number(&rules.protocol);
        for address in &rules.addresses {
            let endpoints = services.entry((protocol, *address, rules.port)).or_default();
            endpoints.extend(rules.endpoints.iter().filter(|_| there));
        }
        if let Some(port) = rules.node_port {
            let endpoints = node_ports.entry((protocol, port)).or_default();
            endpoints.extend(external(rules).iter().filter(|_| there));
        }
    };
    changed.for_each(|(_, old)| expect(old, false));
    let changed = wanted.iter().filter(|(name, new)| of_datagrams(new) && current.get(*name) != Some(new));
    changed.for_each(|(_, new)| expect(new, true));
    if services.is_empty() {
        return;
    }
    let forgotten = conntrack::forget(socket, nft::Family::V4, |flow| {
        let (IpAddr::V4(address), port) = flow.destination else { return false };
        let (IpAddr::V4(by), by_port) = flow.answered_by else { return false };
        let endpoints =
            services.get(&(flow.protocol, address, port)).or_else(|| node_ports.get(&(flow.protocol, port)));
        endpoints.is_some_and(|endpoints| !endpoints.contains(&(by, by_port)))
    });
    if let Err(error) = forgotten {
        tracing::warn!(%error, "failed to forget flows to endpoints that are gone");
    }
}

/// What services and endpoints ask for.
fn rules(config: &ProxyConfig, services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Rules {
    let mut by_service: BTreeMap<(String, String), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
        let namespace = slice.metadata.namespace.clone().unwrap_or_default();
        if let Some(service) = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME)) {
            by_service.entry((namespace, service.clone())).or_default().push(slice);
        }
    }
    let mut rules = Rules::new();
    for service in services {
        let key = ObjectKey::of(&**service);
        let slices =
            by_service.get(&(key.namespace.to_string(), key.name.to_string())).map(Vec::as_slice).unwrap_or_default();
        let Some(spec) = &service.spec else { continue };
        let addresses = service_addresses(service, config);
        if addresses.is_empty() {
            continue;
        }
        for port in spec.ports.iter().flatten() {
            let name = format!("{}/{}/{}/{}", key.namespace, key.name, protocol(port), port.port);
            rules.insert(name, port_rules(config, service, port, &addresses, slices));
        }
    }
    rules
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

fn service_addresses(service: &Service, config: &ProxyConfig) -> BTreeSet<Ipv4Addr> {
    let Some(spec) = &service.spec else { return BTreeSet::new() };
    if spec.type_.as_deref() == Some("ExternalName") {
        return BTreeSet::new();
    }
    let cluster_ip: Option<Ipv4Addr> = spec.cluster_ip.as_deref().and_then(|text| text.parse().ok());
    let Some(cluster_ip) = cluster_ip.filter(|address| !config.own_addresses.contains(address)) else {
        return BTreeSet::new();
    };
    let external = spec.external_ips.iter().flatten().filter_map(|text| text.parse().ok());
    let ingress = service
        .status
        .iter()
        .flat_map(|status| &status.load_balancer)
        .flat_map(|balancer| balancer.ingress.iter().flatten());
    let balanced = ingress.filter_map(|ingress| ingress.ip.as_deref()?.parse().ok());
    std::iter::once(cluster_ip).chain(external).chain(balanced).collect()
}

fn port_rules(
    config: &ProxyConfig,
    service: &Service,
    port: &ServicePort,
    addresses: &BTreeSet<Ipv4Addr>,
    slices: &[&EndpointSlice],
) -> PortRules {
    let spec = service.spec.as_ref();
    let local_only = |policy: Option<&String>| policy.is_some_and(|policy| policy == "Local");
    let all = endpoints(port, slices, None);
    let local = endpoints(port, slices, Some(&config.node_name));
    let external = local_only(spec.and_then(|spec| spec.external_traffic_policy.as_ref())).then(|| local.clone());
    let internal = local_only(spec.and_then(|spec| spec.internal_traffic_policy.as_ref()));
    let affinity = spec.filter(|spec| spec.session_affinity.as_deref() == Some("ClientIP")).map(|spec| {
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(10_800);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(1))
    });
    PortRules {
        addresses: addresses.clone(),
        protocol: protocol(port).to_owned(),
        port: port.port as u16,
        node_port: port.node_port.filter(|number| *number > 0).map(|number| number as u16),
        endpoints: if internal { local } else { all },
        external,
        affinity,
    }
}

/// Ready endpoints of a port, or those that still serve when none is ready (KEP-1669).
fn endpoints(port: &ServicePort, slices: &[&EndpointSlice], node: Option<&str>) -> BTreeSet<(Ipv4Addr, u16)> {
    let mut ready = BTreeSet::new();
    let mut serving = BTreeSet::new();
    for slice in slices {
        let wanted = port.name.as_deref().unwrap_or_default();
        let found = slice.ports.iter().flatten().find(|own| {
            own.name.as_deref().unwrap_or_default() == wanted
                && own.protocol.as_deref().unwrap_or("TCP") == protocol(port)
        });
        let Some(number) = found.and_then(|own| own.port) else { continue };
        for endpoint in &slice.endpoints {
            if node.is_some_and(|node| endpoint.node_name.as_deref() != Some(node)) {
                continue;
            }
            let conditions = endpoint.conditions.as_ref();
            let addresses = endpoint
                .addresses
                .iter()
                .filter_map(|text| text.parse::<Ipv4Addr>().ok())
                .map(|address| (address, number as u16));
            if conditions.and_then(|conditions| conditions.ready).unwrap_or(true) {
                ready.extend(addresses);
            } else if conditions.and_then(|conditions| conditions.serving).unwrap_or(false) {
                serving.extend(addresses);
            }
        }
    }
    if ready.is_empty() { serving } else { ready }
}

fn service_key(address: Ipv4Addr, rules: &PortRules) -> Vec<u8> {
    let [high, low] = rules.port.to_be_bytes();
    [&address.octets()[..], &[protocol_number(&rules.protocol), 0, 0, 0, high, low, 0, 0]].concat()
}

fn chain(name: &str) -> String {
    format!("service-{name}")
}

fn external_chain(name: &str) -> String {
    format!("external-{name}")
}

fn memory(name: &str) -> String {
    format!("affinity-{name}")
}

/// The changes that lead from one set of rules to another.
fn difference(current: &Rules, wanted: &Rules, config: &ProxyConfig) -> Batch {
    let mut batch = Batch::new();
    for (name, old) in current.iter().filter(|(name, old)| wanted.get(*name) != Some(old)) {
        remove_elements(&mut batch, old);
        let new = wanted.get(name);
        for chain in [chain(name), external_chain(name)] {
            batch.flush_chain(TABLE, &chain);
            if new.is_none() {
                batch.delete_chain(TABLE, &chain);
            }
        }
        if old.affinity.is_some() && old.affinity != new.and_then(|new| new.affinity) {
            batch.delete_set(TABLE, &memory(name));
        }
    }
    for (name, new) in wanted.iter().filter(|(name, new)| current.get(*name) != Some(new)) {
        for chain in [chain(name), external_chain(name)] {
            batch.chain(TABLE, &chain);
        }
        if let Some(timeout) = new.affinity {
            batch.memory(TABLE, &memory(name), Type::Address, Type::AddressPort, timeout, CLIENTS);
        }
        fill_chains(&mut batch, name, new, config);
        add_elements(&mut batch, name, new);
    }
    batch
}

fn keys(rules: &PortRules) -> Vec<Vec<u8>> {
    rules.addresses.iter().map(|address| service_key(*address, rules)).collect()
}

fn node_port_key(rules: &PortRules) -> Option<Vec<u8>> {
    rules.node_port.map(|port| port_key(&rules.protocol, port))
}

/// What traffic from outside may go to.
fn external(rules: &PortRules) -> &BTreeSet<(Ipv4Addr, u16)> {
    rules.external.as_ref().unwrap_or(&rules.endpoints)
}

fn remove_elements(batch: &mut Batch, rules: &PortRules) {
    let set = if rules.endpoints.is_empty() { REFUSED } else { SERVICES };
    batch.delete_elements(TABLE, set, &keys(rules));
    if let Some(key) = node_port_key(rules) {
        let set = if external(rules).is_empty() { REFUSED_PORTS } else { NODE_PORTS };
        batch.delete_elements(TABLE, set, &[key]);
    }
}

fn add_elements(batch: &mut Batch, name: &str, rules: &PortRules) {
    if rules.endpoints.is_empty() {
        batch.add_set_elements(TABLE, REFUSED, &keys(rules));
    } else {
        let goto = Data::Verdict(Verdict(chain(name)));
        let elements: Vec<_> = keys(rules).into_iter().map(|key| (key, goto.clone())).collect();
        batch.add_map_elements(TABLE, SERVICES, &elements);
    }
    if let Some(key) = node_port_key(rules) {
        if external(rules).is_empty() {
            batch.add_set_elements(TABLE, REFUSED_PORTS, &[key]);
        } else {
            batch.add_map_elements(TABLE, NODE_PORTS, &[(key, Data::Verdict(Verdict(external_chain(name))))]);
        }
    }
}

fn fill_chains(batch: &mut Batch, name: &str, rules: &PortRules, config: &ProxyConfig) {
    // The answer to a client outside the cluster must come back through this node.
    let from_outside = [Expr::source_not_in(config.cluster_cidr), Expr::mark(MASQUERADE)].concat();
    let inside = chain(name);
    batch.rule(TABLE, &inside, &from_outside);
    let memory = rules.affinity.map(|_| memory(name));
    balance(batch, &inside, &rules.endpoints, memory.as_deref());
    let outside = external_chain(name);
    if rules.external.is_none() {
        batch.rule(TABLE, &outside, &Expr::mark(MASQUERADE));
    }
    balance(batch, &outside, external(rules), memory.as_deref());
}

/// The rules that send a new connection to one of the endpoints: the one that the memory has for the client, or any.
fn balance(batch: &mut Batch, chain: &str, endpoints: &BTreeSet<(Ipv4Addr, u16)>, memory: Option<&str>) {
    /// The register of the client's address, behind those of an endpoint.
    const CLIENT: u32 = 2;
    let nat = Expr::Nat(Nat::DestinationAndPort);
    let endpoints: Vec<_> = endpoints.iter().map(|(address, port)| address_port(*address, *port)).collect();
    if endpoints.is_empty() {
        return;
    }
    if let Some(memory) = memory {
        let (map, by) = (memory.to_owned(), CLIENT);
        let (recall, remember, forget) =
            (Expr::Recall { map: map.clone(), by }, Expr::Remember { map: map.clone(), by }, Expr::Forget { map, by });
        let known = Expr::InAnonymousSet(batch.anonymous_set(TABLE, Type::AddressPort, &endpoints));
        batch.rule(TABLE, chain, &[Expr::source(CLIENT), recall, known, remember.clone(), nat.clone()]);
        // The endpoint that the client had may be gone.
        let mut rule = any(batch, &endpoints);
        rule.extend([Expr::source(CLIENT), forget, remember, nat.clone()]);
        batch.rule(TABLE, chain, &rule);
    }
    let mut rule = any(batch, &endpoints);
    rule.push(nat);
    batch.rule(TABLE, chain, &rule);
}

/// Loads one of the endpoints into the first registers.
fn any(batch: &mut Batch, endpoints: &[Vec<u8>]) -> Vec<Expr> {
    if let [endpoint] = endpoints {
        let words = endpoint.chunks_exact(4).filter_map(|word| word.try_into().ok());
        return (0..).zip(words).map(|(into, value)| Expr::Load { into, value }).collect();
    }
    let numbered = (0u32..).zip(endpoints);
    let elements: Vec<_> = numbered.map(|(n, to)| (n.to_ne_bytes().to_vec(), Data::Bytes(to.clone()))).collect();
    let map = batch.anonymous_map(TABLE, Type::Number, Type::AddressPort, &elements);
    vec![Expr::Random { modulus: endpoints.len() as u32 }, Expr::AnonymousMap(map)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::route;
    use crate::testing::{Namespace, is_root, node_config, tcp_answer, tcp_server, udp_answer, udp_server};
    use crate::{HostPort, NodeNetwork};
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    fn config() -> ProxyConfig {
        ProxyConfig { node_name: "n".into(), cluster_cidr: "10.244.0.0/16".parse().unwrap(), own_addresses: Vec::new() }
    }

    fn port(endpoints: &[Ipv4Addr], node_port: Option<u16>) -> PortRules {
        let endpoints = endpoints.iter().map(|address| (*address, 8080)).collect();
        let addresses = ["10.96.0.7".parse().unwrap()].into();
        PortRules { addresses, protocol: "TCP".into(), port: 80, node_port, endpoints, external: None, affinity: None }
    }

    #[test]
    fn pods_of_a_local_node_reach_each_other_and_services() {
        pods_reach_each_other_and_services(false);
    }

    /// Where br_netfilter may have packets translated while they cross the bridge.
    #[test]
    fn pods_of_a_host_reach_each_other_and_services() {
        pods_reach_each_other_and_services(true);
    }

    /// A node with three pods in namespaces: service, hairpin, node port, host port, refusal, removal.
    fn pods_reach_each_other_and_services(on_host: bool) {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let node = Namespace::new();
        node.run(|| {
            let settings = || node_config("cni0", dir.path(), on_host);
            let network = NodeNetwork::new(settings()).unwrap();
            let pods: Vec<Namespace> = (0..3).map(|_| Namespace::new()).collect();
            let host_port = |ip: &str| HostPort {
                protocol: "TCP".into(),
                container_port: 8080,
                host_port: 9090,
                host_ip: ip.into(),
            };
            let mut addresses = Vec::new();
            for (n, pod) in pods.iter().enumerate() {
                let ports = [vec![host_port("")], vec![host_port("127.0.0.1")], vec![]];
                // The blocking half directly: the pool's threads are not in this namespace.
                addresses.push(network.attach_blocking(&format!("pod{n}"), pod.fd().as_fd(), &ports[n]).unwrap());
            }
            for (n, pod) in pods.iter().enumerate() {
                pod.run(|| tcp_server(8080, n as u8));
            }
            assert_eq!(pods[1].run(|| tcp_answer(addresses[0], 8080)), Some(0), "pod to pod");
            assert_eq!(tcp_answer(addresses[1], 8080), Some(1), "node to pod");
            let host_ports = || [Ipv4Addr::new(10, 96, 0, 10), Ipv4Addr::LOCALHOST].map(|to| tcp_answer(to, 9090));
            assert_eq!(host_ports(), [Some(0), Some(1)], "host ports, of all addresses and of one");
            drop(network);
            let network = NodeNetwork::new(settings()).unwrap();
            let live: Vec<_> = (0..3).map(|n| format!("pod{n}")).collect();
            network.retain_blocking(&live).unwrap();
            assert_eq!(host_ports(), [Some(0), Some(1)], "the next process keeps them");
            tcp_server(7070, 9);
            assert_eq!(tcp_answer(Ipv4Addr::LOCALHOST, 7070), Some(9));
            let stranger = Namespace::new();
            network.attach_blocking("stranger", stranger.fd().as_fd(), &[]).unwrap();
            let from_pod = stranger.run(|| {
                let mut socket = Socket::route().unwrap();
                let lo = route::index_of(&mut socket, "lo").unwrap();
                socket.request(route::delete_address(lo, "127.0.0.1/8".parse().unwrap())).unwrap();
                crate::host::set_sysctl("net/ipv4/conf/eth0/route_localnet", "1").unwrap();
                tcp_answer(Ipv4Addr::LOCALHOST, 7070)
            });
            network.detach_blocking("stranger");
            assert_eq!(from_pod, None, "no pod reaches what listens on the node's loopback only");

            let mut kernel = Some(Kernel::new().unwrap());
            let mut change = |wanted: Rules| {
                kernel = kernel.take().map(|kernel| kernel.change(wanted, &config()).unwrap());
            };
            let service = Ipv4Addr::new(10, 96, 0, 7);
            change(Rules::from([("a".into(), port(&[addresses[0]], Some(30080)))]));
            assert_eq!(pods[1].run(|| tcp_answer(service, 80)), Some(0), "service");
            assert_eq!(pods[0].run(|| tcp_answer(service, 80)), Some(0), "hairpin");
            assert_eq!(tcp_answer(service, 80), Some(0), "node to service");
            assert_eq!(tcp_answer(Ipv4Addr::new(10, 244, 0, 1), 30080), Some(0), "node port");

            change(Rules::from([("a".into(), port(&addresses, None))]));
            let seen: BTreeSet<_> = (0..60).map(|_| pods[2].run(|| tcp_answer(service, 80))).collect();
            assert_eq!(seen, [Some(0), Some(1), Some(2)].into(), "all endpoints get connections");
            assert_eq!(tcp_answer(Ipv4Addr::new(10, 244, 0, 1), 30080), None, "the node port is gone");

            let affine = |endpoints: &[Ipv4Addr], seconds: u64| {
                let affinity = Some(Duration::from_secs(seconds));
                Rules::from([("a".into(), PortRules { affinity, ..port(endpoints, Some(30080)) })])
            };
            let answers = |from: usize, times: usize| -> BTreeSet<_> {
                (0..times).map(|_| pods[from].run(|| tcp_answer(service, 80))).collect()
            };
            change(affine(&addresses, 100));
            let of_two = answers(2, 20);
            assert_eq!(of_two.len(), 1, "a client keeps its endpoint: {of_two:?}");
            let through_node = Ipv4Addr::new(10, 244, 0, 1);
            assert_eq!(of_two, [pods[2].run(|| tcp_answer(through_node, 30080))].into(), "by the node port too");
            let kept = of_two.first().copied().flatten().unwrap() as usize;
            let other = (kept + 1) % 3;
            change(affine(&[addresses[kept], addresses[other]], 100));
            assert_eq!(answers(2, 20), of_two, "while the endpoint is there");
            change(affine(&[addresses[other], addresses[(kept + 2) % 3]], 100));
            let next = answers(2, 20);
            assert!(next.len() == 1 && next != of_two, "then it gets another and keeps that: {next:?}");
            change(affine(&addresses, 1));
            let mut over_time = BTreeSet::new();
            for _ in 0..30 {
                over_time.extend(answers(2, 1));
                if over_time.len() > 1 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1100));
            }
            assert!(over_time.len() > 1, "it is forgotten after the timeout");
            change(Rules::from([("a".into(), port(&addresses, None))]));
            assert!(answers(2, 60).len() == 3, "without affinity all are reached");

            let datagrams = |endpoints: &[Ipv4Addr]| {
                let rules = PortRules { protocol: "UDP".into(), ..port(endpoints, None) };
                Rules::from([("b".into(), rules)])
            };
            for (n, pod) in pods.iter().enumerate() {
                pod.run(|| udp_server(8080, n as u8));
            }
            change(datagrams(&addresses[..1]));
            let client = pods[2].run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
            assert_eq!(udp_answer(&client, service, 80), Some(0));
            change(datagrams(&addresses[1..2]));
            assert_eq!(udp_answer(&client, service, 80), Some(1), "a flow follows the endpoints");
            change(datagrams(&[]));
            assert_eq!(udp_answer(&client, service, 80), None);
            change(datagrams(&addresses[..1]));
            assert_eq!(udp_answer(&client, service, 80), Some(0), "and comes back");

            change(Rules::from([("a".into(), port(&[], None))]));
            assert_eq!(pods[1].run(|| tcp_answer(service, 80)), None, "no endpoints: refused");
            change(Rules::new());
            network.detach_blocking("pod0");
            let again = Namespace::new();
            let fresh = network.attach_blocking("pod9", again.fd().as_fd(), &[]).unwrap();
            assert_ne!(fresh, addresses[0]);
        });
    }

    #[test]
    fn equal_rules_make_no_change_and_one_change_touches_one_service() {
        let (a, b) = (port(&[Ipv4Addr::new(10, 244, 0, 2)], None), port(&[], None));
        let rules = Rules::from([("a".into(), a.clone()), ("b".into(), b)]);
        assert!(difference(&rules, &rules, &config()).is_empty());
        let mut changed = rules.clone();
        changed.get_mut("b").unwrap().endpoints = a.endpoints;
        let batch = difference(&rules, &changed, &config());
        assert!(!batch.is_empty() && !batch.names("service-a"));
    }
}
