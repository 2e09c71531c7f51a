//! Has the addresses of load balancers lead to nodes: one node of the cluster answers for each of them on its network.
//!
//! Which one, every node computes by itself: of those that are ready, and have an endpoint where the service keeps its
//! traffic there, the one with the highest hash of its name and the address. So another takes over when it goes, and few
//! addresses move, of which it tells the neighbours. The address is on no link, so that nothing of the node but the service is reached by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use coracle_client::{Informer, Store};
use coracle_values::addresses::alone;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use tokio::sync::Notify;

use crate::host::set_sysctl;
use crate::netlink::{Message, Socket, proxied, route};
use crate::nft::{Family, octets};
use crate::takeover;

/// Nodes with this label have no part in it.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The addresses for which a node answers, as its object tells the others.
const POOL: &str = "coracle.io/load-balancer-pool";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
/// How long after it failed it is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Which node announces, and what.
#[derive(Clone, Debug)]
pub struct AnnounceConfig {
    /// The node's name.
    pub node_name: String,
    /// The node's address: that of the link on which it answers.
    pub node_ip: IpAddr,
    /// The link by which the addresses have routes: the pods' bridge, or the loopback link.
    pub link: String,
    /// The addresses that may be announced.
    pub pool: Vec<IpNet>,
}

/// What a node tells of the addresses that it announces: nothing when there are none.
pub fn annotation(pool: &[IpNet]) -> (String, Option<String>) {
    let ranges: Vec<String> = pool.iter().map(ToString::to_string).collect();
    (POOL.to_owned(), Some(ranges.join(",")).filter(|ranges| !ranges.is_empty()))
}

fn announced_by(node: &Node) -> Vec<IpNet> {
    let ranges = node.annotations().get(POOL).map(String::as_str).unwrap_or_default();
    ranges.split(',').filter_map(|range| range.parse().ok()).collect()
}

/// Answers for addresses until the future is dropped. What fails is tried again.
pub async fn run(
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    config: AnnounceConfig,
) {
    let changed = Arc::new(Notify::new());
    let [first, second, third] = [changed.clone(), changed.clone(), changed.clone()];
    services.subscribe(move |_| first.notify_one());
    slices.subscribe(move |_| second.notify_one());
    nodes.subscribe(move |_| third.notify_one());
    services.synced().await;
    slices.synced().await;
    nodes.synced().await;
    let objects = Objects { services: services.store(), slices: slices.store(), nodes: nodes.store() };
    let mut current: Option<BTreeSet<IpAddr>> = None;
    let mut telling = Telling::default();
    loop {
        let before = current.take();
        let (own, objects, known) = (config.clone(), objects.clone(), before.clone());
        let done = tokio::task::spawn_blocking(move || follow(&own, &objects, known)).await;
        match done.map_err(anyhow::Error::from).flatten() {
            Ok(answered) => {
                telling.of(&answered, &before.unwrap_or_default());
                current = Some(answered);
                telling.until(changed.notified(), config.node_ip).await;
            }
            Err(error) => {
                tracing::warn!("the addresses of load balancers are not all answered for: {error:#}");
                let _ = tokio::time::timeout(AGAIN, changed.notified()).await;
            }
        }
    }
}

/// The addresses of which the neighbours are told, and how often still.
#[derive(Default)]
struct Telling(BTreeMap<IpAddr, usize>);

impl Telling {
    fn of(&mut self, answered: &BTreeSet<IpAddr>, before: &BTreeSet<IpAddr>) {
        self.0.retain(|address, _| answered.contains(address));
        self.0.extend(answered.difference(before).map(|address| (*address, takeover::TIMES)));
    }

    /// Tells them until something else is to be done.
    async fn until(&mut self, done: impl Future<Output = ()>, own: IpAddr) {
        let mut done = std::pin::pin!(done);
        while !self.0.is_empty() {
            let addresses: BTreeSet<IpAddr> = self.0.keys().copied().collect();
            let tell = move || -> Result<()> {
                let link = route::with_address(&mut Socket::route()?, own)?;
                link.map_or(Ok(()), |link| takeover::tell(link, own, &addresses))
            };
            if let Ok(Err(error)) = tokio::task::spawn_blocking(tell).await {
                tracing::warn!("the neighbours are not told of the addresses of load balancers: {error:#}");
            }
            self.0.retain(|_, left| {
                *left = left.saturating_sub(1);
                *left > 0
            });
            tokio::select! {
                () = &mut done => return,
                () = tokio::time::sleep(takeover::APART) => {}
            }
        }
        done.await;
    }
}

/// What the API has.
#[derive(Clone)]
struct Objects {
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    nodes: Store<Node>,
}

/// Brings the kernel to what is wanted now, if that is not what it was, and answers with it.
fn follow(config: &AnnounceConfig, objects: &Objects, before: Option<BTreeSet<IpAddr>>) -> Result<BTreeSet<IpAddr>> {
    let connected = route::connected(&mut Socket::route()?, config.node_ip)?;
    let (link, network) = connected.with_context(|| format!("no link has the node's address {}", config.node_ip))?;
    let wanted = wanted(config, network, objects);
    if before.as_ref() != Some(&wanted) {
        apply(config, link, &wanted)?;
    }
    Ok(wanted)
}

/// The addresses for which this node is to answer.
fn wanted(config: &AnnounceConfig, network: IpNet, objects: &Objects) -> BTreeSet<IpAddr> {
    let Objects { services, slices, nodes } = objects;
    let balanced: Vec<(Arc<Service>, Vec<IpAddr>)> = services
        .list()
        .into_iter()
        .map(|service| {
            let addresses = addresses(&service, &config.pool);
            (service, addresses)
        })
        .filter(|(_, addresses)| !addresses.is_empty())
        .collect();
    if balanced.is_empty() {
        return BTreeSet::new();
    }
    let nodes = nodes.list();
    let ready: Vec<(String, Vec<IpNet>)> = nodes
        .iter()
        .filter(|node| takes_part(node, network))
        .map(|node| (node.name_any(), announced_by(node)))
        .collect();
    let announcers = |address: IpAddr| {
        let of_pool = ready.iter().filter(|(_, pool)| pool.iter().any(|range| range.contains(&address)));
        of_pool.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>()
    };
    let mut candidates: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    for (service, addresses) in balanced {
        let is_local =
            service.spec.as_ref().is_some_and(|spec| spec.external_traffic_policy.as_deref() == Some("Local"));
        let with_endpoints = is_local.then(|| nodes_of(&service, slices));
        for address in addresses {
            let nodes = candidates.entry(address).or_insert_with(|| announcers(address));
            if let Some(with_endpoints) = &with_endpoints {
                nodes.retain(|node| with_endpoints.contains(node));
            }
        }
    }
    let chosen = |address: IpAddr, nodes: &BTreeSet<String>| {
        nodes.iter().max_by_key(|node| hash(node, address)).is_some_and(|node| *node == config.node_name)
    };
    candidates.into_iter().filter(|(address, nodes)| chosen(*address, nodes)).map(|(address, _)| address).collect()
}

fn addresses(service: &Service, pool: &[IpNet]) -> Vec<IpAddr> {
    let is_balanced = service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
    let status = service.status.as_ref().filter(|_| is_balanced).and_then(|status| status.load_balancer.as_ref());
    let ingress = status.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let here = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    let addresses = here.filter_map(|ingress| ingress.ip.as_deref()?.parse().ok());
    addresses.filter(|address| pool.iter().any(|range| range.contains(address))).collect()
}

/// Whether a node may answer on a network: one that is elsewhere is not heard there.
fn takes_part(node: &Node, network: IpNet) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let mut internal = addresses.into_iter().flatten().filter(|one| one.type_ == "InternalIP");
    let is_near = internal.any(|one| one.address.parse().is_ok_and(|address: IpAddr| network.contains(&address)));
    ready && is_near && !node.labels().contains_key(EXCLUDED)
}

/// The nodes that have a ready endpoint of a service; where there is none, those that have one that ends and still serves, as
/// the service proxy has it.
fn nodes_of(service: &Service, slices: &Store<EndpointSlice>) -> BTreeSet<String> {
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    let slices = slices.list_namespace(&namespace);
    let own = slices.iter().filter(|slice| slice.labels().get(SERVICE_NAME) == Some(&name));
    let (mut ready, mut last) = (BTreeSet::new(), BTreeSet::new());
    for endpoint in own.flat_map(|slice| &slice.endpoints) {
        let Some(node) = &endpoint.node_name else { continue };
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let is_ready = conditions.ready.unwrap_or(true);
        if is_ready {
            ready.insert(node.clone());
        } else if conditions.terminating.unwrap_or(false) && conditions.serving.unwrap_or(is_ready) {
            last.insert(node.clone());
        }
    }
    if ready.is_empty() { last } else { ready }
}

/// The same on every node and in every version (FNV-1a, mixed once more).
fn hash(node: &str, address: IpAddr) -> u64 {
    let bytes = node.bytes().chain([0]).chain(octets(address));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// Brings the kernel there, whatever an earlier process left.
fn apply(config: &AnnounceConfig, link: u32, wanted: &BTreeSet<IpAddr>) -> Result<()> {
    let mut socket = Socket::route()?;
    let bridge = route::index_of(&mut socket, &config.link)?;
    if !wanted.is_empty() {
        let name = route::name_of(&socket, link)?;
        // The kernel would wait up to a second before it answers for another.
        match Family::of(config.node_ip) {
            Family::V4 => set_sysctl(&format!("net/ipv4/neigh/{name}/proxy_delay"), "0")?,
            Family::V6 => {
                set_sysctl(&format!("net/ipv6/neigh/{name}/proxy_delay"), "0")?;
                set_sysctl(&format!("net/ipv6/conf/{name}/proxy_ndp"), "1")?;
            }
        }
    }
    for (on, address) in proxied::answered(&mut socket)? {
        if Family::of(address) != Family::of(config.node_ip) {
            continue;
        }
        if on != link || !wanted.contains(&address) {
            let route = route::delete_link_route(bridge, alone(address));
            give_up(&mut socket, [proxied::end(on, address), route])
                .with_context(|| format!("failed to give up the address {address}"))?;
        }
    }
    for address in wanted {
        // The route lets packets come as far as the rule that translates them.
        let changes = [route::link_route(bridge, alone(*address)), proxied::answer(link, *address)];
        for change in changes {
            match socket.request(change) {
                Err(error) if error.raw_os_error() != Some(EEXIST) => {
                    return Err(error).with_context(|| format!("failed to take the address {address}"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn give_up(socket: &mut Socket, changes: impl IntoIterator<Item = Message>) -> std::io::Result<()> {
    for change in changes {
        match socket.request(change) {
            Err(error) if !matches!(error.raw_os_error(), Some(ENOENT | ESRCH)) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Has the node answer for no address any more. Routes by the bridge go with it.
pub(crate) fn remove(socket: &mut Socket) -> std::io::Result<()> {
    let answered = proxied::answered(socket)?;
    let lo = route::index_of(socket, "lo")?;
    let ends = answered
        .into_iter()
        .flat_map(|(link, address)| [proxied::end(link, address), route::delete_link_route(lo, alone(address))]);
    give_up(socket, ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeNetwork;
    use crate::testing::{Namespace, host_of_both, is_root, node_config, of, tcp_answer, tcp_server};
    use serde_json::{Value, json};
    use std::net::Ipv4Addr;
    use std::os::fd::AsFd;

    fn config(node: &str) -> AnnounceConfig {
        AnnounceConfig {
            node_name: node.into(),
            node_ip: "10.9.2.1".parse().unwrap(),
            link: "cni0".into(),
            pool: vec!["10.9.2.128/25".parse().unwrap()],
        }
    }

    fn service(name: &str, ip: &str, spec: Value) -> Service {
        let mut object = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec,
            "status": {"loadBalancer": {"ingress": [{"ip": ip}]}}});
        object["spec"]["type"] = "LoadBalancer".into();
        serde_json::from_value(object).unwrap()
    }

    fn node(name: &str, ready: &str) -> Node {
        node_at(name, ready, "10.9.2.7")
    }

    fn node_at(name: &str, ready: &str, address: &str) -> Node {
        let addresses = json!([{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]);
        let status = json!({"conditions": [{"type": "Ready", "status": ready}], "addresses": addresses});
        let (key, pool) = annotation(&config(name).pool);
        let metadata = json!({"name": name, "annotations": {key: pool}});
        let mut object = json!({"metadata": metadata, "status": status});
        object["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:00Z".into();
        serde_json::from_value(object).unwrap()
    }

    fn announced(by: &str, services: &[Service], nodes: &[Node], slice_nodes: &[&str]) -> BTreeSet<IpAddr> {
        let endpoints = slice_nodes.iter().map(|node| json!({"addresses": ["10.244.0.2"], "nodeName": node})).collect();
        announced_with(by, services, nodes, endpoints)
    }

    fn announced_with(by: &str, services: &[Service], nodes: &[Node], endpoints: Vec<Value>) -> BTreeSet<IpAddr> {
        let slice = json!({"metadata": {"name": "s", "namespace": "n", "labels": {SERVICE_NAME: "local"}},
            "addressType": "IPv4", "ports": [], "endpoints": endpoints});
        let objects = Objects {
            services: Store::of(services.to_vec(), Vec::new()),
            slices: Store::of(vec![serde_json::from_value(slice).unwrap()], Vec::new()),
            nodes: Store::of(nodes.to_vec(), Vec::new()),
        };
        wanted(&config(by), "10.9.2.0/24".parse().unwrap(), &objects)
    }

    #[test]
    fn one_ready_node_announces_an_address_and_another_when_it_goes() {
        let services: Vec<Service> =
            (0..50).map(|n| service(&format!("s{n}"), &format!("10.9.2.{}", 130 + n), json!({}))).collect();
        let nodes = |ready: &[&str]| {
            ["a", "b", "c"].map(|name| node(name, if ready.contains(&name) { "True" } else { "False" }))
        };
        let by = |ready: &[&str]| ["a", "b", "c"].map(|name| announced(name, &services, &nodes(ready), &[]));
        let all = by(&["a", "b", "c"]);
        assert!(all.iter().all(|own| own.len() > 5), "{all:?}");
        assert_eq!(all.iter().map(BTreeSet::len).sum::<usize>(), 50);
        let two = by(&["a", "c"]);
        assert!(two[1].is_empty() && two[0].is_superset(&all[0]) && two[2].is_superset(&all[2]));
        assert_eq!(two.iter().map(BTreeSet::len).sum::<usize>(), 50);
    }

    #[test]
    fn a_service_that_keeps_to_its_nodes_is_announced_by_one_of_them() {
        let local = [service("local", "10.9.2.200", json!({"externalTrafficPolicy": "Local"}))];
        let nodes = [node("a", "True"), node("b", "True")];
        assert_eq!(announced("a", &local, &nodes, &["a"]).len(), 1);
        assert_eq!(announced("b", &local, &nodes, &["a"]).len(), 0);
        let elsewhere = [service("s", "10.8.0.1", json!({}))];
        assert!(announced("a", &elsewhere, &nodes[..1], &[]).is_empty(), "an address of another's pool");
    }

    #[test]
    fn an_endpoint_that_ends_keeps_the_address_of_its_service_while_it_serves() {
        let local = [service("local", "10.9.2.200", json!({"externalTrafficPolicy": "Local"}))];
        let nodes = [node("a", "True"), node("b", "True")];
        let ends = |node: &str, serving: bool| {
            let conditions = json!({"ready": false, "serving": serving, "terminating": true});
            json!({"addresses": ["10.244.0.2"], "nodeName": node, "conditions": conditions})
        };
        let ready = json!({"addresses": ["10.244.0.3"], "nodeName": "b", "conditions": {"ready": true}});
        let by =
            |endpoints: &[Value]| ["a", "b"].map(|name| announced_with(name, &local, &nodes, endpoints.to_vec()).len());
        assert_eq!(by(&[ends("a", true), ends("b", false)]), [1, 0]);
        assert_eq!(by(&[ends("a", true), ready]), [0, 1]);
        assert_eq!(by(&[ends("a", false)]), [0, 0]);
    }

    #[test]
    fn nodes_of_another_network_announce_nothing_here() {
        let services: Vec<Service> =
            (0..50).map(|n| service(&format!("s{n}"), &format!("10.9.2.{}", 130 + n), json!({}))).collect();
        let nodes = [node("a", "True"), node_at("b", "True", "10.9.3.7")];
        assert_eq!(["a", "b"].map(|name| announced(name, &services, &nodes, &[]).len()), [50, 0]);
    }

    #[test]
    fn nodes_that_do_not_announce_an_address_do_not_get_it() {
        let services: Vec<Service> =
            (0..50).map(|n| service(&format!("s{n}"), &format!("10.9.2.{}", 130 + n), json!({}))).collect();
        let mut nodes = [node("a", "True"), node("b", "True"), node("c", "True")];
        nodes[1].annotations_mut().clear();
        nodes[2].annotations_mut().insert(POOL.into(), "10.9.7.0/24,10.9.2.130/32".into());
        let counts = ["a", "b", "c"].map(|name| announced(name, &services, &nodes, &[]).len());
        assert!(counts[1] == 0 && counts[2] <= 1 && counts[0] + counts[2] == 50, "{counts:?}");
        assert_eq!(annotation(&[]).1, None);
    }

    #[test]
    fn what_fails_is_told_and_done_once_it_can_be() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        Namespace::new().run(|| {
            let balanced: IpAddr = "10.9.2.130".parse().unwrap();
            let objects = Objects {
                services: Store::of(vec![service("s", "10.9.2.130", json!({}))], Vec::new()),
                slices: Store::of(Vec::new(), Vec::new()),
                nodes: Store::of(vec![node("a", "True")], Vec::new()),
            };
            crate::host::create_bridge("lan", &["10.9.2.1/24".parse().unwrap()]).unwrap();
            let told = follow(&config("a"), &objects, None).unwrap_err();
            assert!(format!("{told:#}").contains("cni0"), "{told:#}");
            let _network = NodeNetwork::new(node_config("cni0", dir.path(), false)).unwrap();
            assert_eq!(follow(&config("a"), &objects, None).unwrap(), BTreeSet::from([balanced]));
            assert_eq!(proxied::answered(&mut Socket::route().unwrap()).unwrap().len(), 1);
        });
    }

    #[test]
    fn neighbours_find_an_address_while_the_node_answers_for_it() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        Namespace::new().run(|| {
            let _network = NodeNetwork::new(node_config("cni0", dir.path(), false)).unwrap();
            let neighbour = Namespace::new();
            let own = Ipv4Addr::new(10, 9, 2, 1);
            crate::host::create_bridge("lan", &["10.9.2.1/24".parse().unwrap()]).unwrap();
            let links = host_of_both("10.9.2.2", "10.9.2.1");
            crate::host::attach_node("lan", "vlan", neighbour.fd().as_fd(), &links[..1]).unwrap();
            tcp_server(80, 1);
            let balanced = of(Family::V4, "10.9.2.130");
            let mut batch = crate::nft::Batch::of(Family::V4);
            batch.renew_table("balance");
            let hook = crate::nft::Hook::Prerouting;
            batch.base_chain("balance", "prerouting", "nat", hook, crate::nft::PRIORITY_DESTINATION_NAT);
            let to_node = [
                crate::nft::Expr::destination_in(alone(balanced)),
                vec![
                    crate::nft::Expr::Load { into: 0, value: own.octets() },
                    crate::nft::Expr::Load { into: 1, value: [0, 80, 0, 0] },
                    crate::nft::Expr::Nat(crate::nft::Nat::DestinationAndPort(Family::V4)),
                ],
            ];
            batch.rule("balance", "prerouting", &to_node.concat());
            batch.commit(&mut Socket::netfilter().unwrap()).unwrap();
            let reached = || neighbour.run(|| tcp_answer(balanced, 80)).is_some();
            assert!(!reached());
            let all = BTreeSet::from([balanced, of(Family::V4, "10.9.2.131")]);
            let mut socket = Socket::route().unwrap();
            let link = route::with_address(&mut socket, own.into()).unwrap().unwrap();
            for wanted in [&all, &all, &BTreeSet::from([balanced])] {
                apply(&config("a"), link, wanted).unwrap();
                assert!((0..5).any(|_| reached()));
            }
            assert_eq!(proxied::answered(&mut socket).unwrap(), BTreeSet::from([(link, balanced)]));
            apply(&config("a"), link, &BTreeSet::new()).unwrap();
            assert!(proxied::answered(&mut socket).unwrap().is_empty());
            apply(&config("a"), link, &all).unwrap();
            remove(&mut socket).unwrap();
            assert!(proxied::answered(&mut socket).unwrap().is_empty());
        });
    }
}
