//! Services as packets see them: pods in network namespaces, and the kernel with the table.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use coracle_client::ObjectKey;
use coracle_values::addresses::Family;
use serde_json::json;

use super::stale::Flows;
use super::state::State;
use super::wanted::{Fence, PortRules, Target, Wanted};
use super::{FamilyConfig, MARK_AS_SENT, MARK_ELSEWHERE, MARK_TO_NETWORK};
use crate::netlink::{Socket, route};
use crate::testing::{
    Lacks, Namespace, any, attach, host_of_both, is_root, net, node_config, of, skip, tcp_answer, tcp_server,
    udp_answer, udp_server,
};
use crate::{HostPort, NodeNetwork};

type Rules = BTreeMap<String, PortRules>;

pub(super) fn config(family: Family) -> FamilyConfig {
    FamilyConfig {
        family,
        node_name: "n".into(),
        cluster_cidr: net(family, "10.244.0.0/16"),
        service_cidr: Some(net(family, "10.96.0.0/16")),
        own_addresses: Vec::new(),
        node_port_addresses: Vec::new(),
    }
}

/// A proxy of one service, whose ports are said outright.
struct Scene {
    family: Family,
    socket: Socket,
    state: State,
}

impl Scene {
    fn new(family: Family) -> Scene {
        Scene::with(config(family))
    }

    fn with(config: FamilyConfig) -> Scene {
        let mut scene =
            Scene { family: config.family, socket: Socket::netfilter().unwrap(), state: State::new(config) };
        scene.change(Rules::new());
        scene
    }

    fn change(&mut self, ports: Rules) {
        let mut flows = Flows::default();
        self.state.change(ObjectKey::new("n", "s"), Wanted { ports, health: None }, &mut flows);
        self.state.commit(&mut self.socket).unwrap();
        flows.forget(&mut self.socket, self.family);
    }
}

fn target(endpoints: &[IpAddr]) -> Target {
    let endpoints: BTreeSet<_> = endpoints.iter().map(|address| (*address, 8080)).collect();
    if endpoints.is_empty() { Target::Refuse } else { Target::To(endpoints.into_iter().collect()) }
}

fn port(family: Family, endpoints: &[IpAddr], node_port: Option<u16>) -> PortRules {
    PortRules {
        cluster_ip: of(family, "10.96.0.7"),
        external_addresses: BTreeSet::new(),
        protocol: "TCP".into(),
        port: 80,
        node_port,
        internal: target(endpoints),
        external: target(endpoints),
        shortcut: None,
        affinity: None,
        fence: None,
    }
}

/// Whoever looks at the rules of a host looks at ours, too.
#[test]
fn the_tool_of_others_lists_what_is_made() {
    if !is_root() {
        return;
    }
    if Command::new("nft").arg("--version").output().is_err() {
        return skip(Lacks::Tool("there is no nft"));
    }
    Namespace::new().run(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = NodeNetwork::new(node_config("cni0", dir.path(), true)).unwrap();
        for family in Family::ALL {
            let fence = Some(Fence { addresses: BTreeSet::new(), sources: vec![net(family, "1.2.0.0/16")] });
            let rules = PortRules { fence, ..port(family, &[of(family, "10.244.0.9")], Some(30080)) };
            Scene::new(family).change([("n/s/TCP/80".to_owned(), rules)].into());
            for options in [&["list", "ruleset"][..], &["-j", "list", "ruleset"]] {
                let output = Command::new("nft").args(options).output().unwrap();
                let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert!(output.status.success() && said.contains("coracle-services"), "{family:?} {options:?}: {told}");
            }
        }
        drop(network);
    });
}

#[test]
fn pods_of_a_local_node_reach_each_other_and_services() {
    Family::ALL.into_iter().for_each(|family| pods_reach_each_other_and_services(false, family));
}

/// Where br_netfilter may have packets translated while they cross the bridge.
#[test]
fn pods_of_a_host_reach_each_other_and_services() {
    Family::ALL.into_iter().for_each(|family| pods_reach_each_other_and_services(true, family));
}

/// A node with three pods in namespaces: service, hairpin, node port, host port, refusal, removal.
fn pods_reach_each_other_and_services(on_host: bool, family: Family) {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let node = Namespace::new();
    node.run(|| {
        let settings = || node_config("cni0", dir.path(), on_host);
        let network = NodeNetwork::new(settings()).unwrap();
        let pods: Vec<Namespace> = (0..3).map(|_| Namespace::new()).collect();
        let host_port =
            |ip: &str| HostPort { protocol: "TCP".into(), container_port: 8080, host_port: 9090, host_ip: ip.into() };
        let (mut addresses, at) = (Vec::new(), family as usize);
        for (n, pod) in pods.iter().enumerate() {
            let ports = [vec![host_port("")], vec![host_port("127.0.0.1")], vec![]];
            // The blocking half directly: the pool's threads are not in this namespace.
            addresses.push(attach(&network, &format!("pod{n}"), pod, &ports[n])[at]);
        }
        for (n, pod) in pods.iter().enumerate() {
            pod.run(|| tcp_server(8080, n as u8));
        }
        assert_eq!(pods[1].run(|| tcp_answer(addresses[0], 8080)), Some(0), "pod to pod");
        assert_eq!(tcp_answer(addresses[1], 8080), Some(1), "node to pod");
        let gateway = of(family, "10.244.0.1");
        // The kernel routes the loopback address of IPv4 only.
        let loopback = || if family == Family::V4 { tcp_answer(Ipv4Addr::LOCALHOST, 9090) } else { Some(1) };
        let host_ports = || [tcp_answer(gateway, 9090), loopback()];
        assert_eq!(host_ports(), [Some(0), Some(1)], "host ports, of all addresses and of one");
        drop(network);
        let network = NodeNetwork::new(settings()).unwrap();
        let live: Vec<_> = (0..3).map(|n| format!("pod{n}")).collect();
        network.retain_blocking(&live).unwrap();
        assert_eq!(host_ports(), [Some(0), Some(1)], "the next process keeps them");
        tcp_server(7070, 9);
        assert_eq!(tcp_answer(Ipv4Addr::LOCALHOST, 7070), Some(9));
        let stranger = Namespace::new();
        attach(&network, "stranger", &stranger, &[]);
        let from_pod = stranger.run(|| {
            let mut socket = Socket::route().unwrap();
            let lo = route::index_of(&mut socket, "lo").unwrap();
            socket.request(route::delete_address(lo, "127.0.0.1/8".parse().unwrap())).unwrap();
            crate::host::set_sysctl("net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            tcp_answer(Ipv4Addr::LOCALHOST, 7070)
        });
        network.detach_blocking("stranger");
        assert_eq!(from_pod, None, "no pod reaches what listens on the node's loopback only");

        let mut proxy = Scene::new(family);
        let mut change = |wanted: Rules| proxy.change(wanted);
        let service = of(family, "10.96.0.7");
        change(Rules::from([("a".into(), port(family, &[addresses[0]], Some(30080)))]));
        assert_eq!(pods[1].run(|| tcp_answer(service, 80)), Some(0), "service");
        assert_eq!(pods[0].run(|| tcp_answer(service, 80)), Some(0), "hairpin");
        assert_eq!(tcp_answer(service, 80), Some(0), "node to service");
        assert_eq!(tcp_answer(of(family, "10.244.0.1"), 30080), Some(0), "node port");
        if family == Family::V6 {
            for port in [9090, 30080] {
                // It is the node's own.
                let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap();
                assert!(TcpStream::connect_timeout(&listener.local_addr().unwrap(), Duration::from_secs(3)).is_ok());
                listener.set_nonblocking(true).unwrap();
                assert!(listener.accept().is_ok(), "{port} of the loopback address");
            }
        }

        change(Rules::from([("a".into(), port(family, &addresses, None))]));
        let seen: BTreeSet<_> = (0..60).map(|_| pods[2].run(|| tcp_answer(service, 80))).collect();
        assert_eq!(seen, [Some(0), Some(1), Some(2)].into(), "all endpoints get connections");
        assert_eq!(tcp_answer(of(family, "10.244.0.1"), 30080), None, "the node port is gone");

        let affine = |endpoints: &[IpAddr], seconds: u64| {
            let affinity = Some(Duration::from_secs(seconds));
            Rules::from([("a".into(), PortRules { affinity, ..port(family, endpoints, Some(30080)) })])
        };
        let answers = |from: usize, times: usize| -> BTreeSet<_> {
            (0..times).map(|_| pods[from].run(|| tcp_answer(service, 80))).collect()
        };
        change(affine(&addresses, 100));
        let of_two = answers(2, 20);
        assert_eq!(of_two.len(), 1, "a client keeps its endpoint: {of_two:?}");
        let through_node = of(family, "10.244.0.1");
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
        change(Rules::from([("a".into(), port(family, &addresses, None))]));
        assert!(answers(2, 60).len() == 3, "without affinity all are reached");

        let datagrams = |endpoints: &[IpAddr]| {
            let rules = PortRules { protocol: "UDP".into(), ..port(family, endpoints, None) };
            Rules::from([("b".into(), rules)])
        };
        for (n, pod) in pods.iter().enumerate() {
            pod.run(|| udp_server(8080, n as u8));
        }
        change(datagrams(&addresses[..1]));
        let client = pods[2].run(|| UdpSocket::bind((any(family), 0)).unwrap());
        assert_eq!(udp_answer(&client, service, 80), Some(0));
        change(datagrams(&addresses[1..2]));
        assert_eq!(udp_answer(&client, service, 80), Some(1), "a flow follows the endpoints");
        change(datagrams(&[]));
        assert_eq!(udp_answer(&client, service, 80), None);
        change(datagrams(&addresses[..1]));
        assert_eq!(udp_answer(&client, service, 80), Some(0), "and comes back");

        change(Rules::from([("a".into(), port(family, &[], None))]));
        assert_eq!(pods[1].run(|| tcp_answer(service, 80)), None, "no endpoints: refused");
        change(Rules::new());
        network.detach_blocking("pod0");
        let again = Namespace::new();
        let fresh = attach(&network, "pod9", &again, &[])[at];
        assert_ne!(fresh, addresses[0]);
    });
}

/// A host with a neighbour, and two pods.
fn with_neighbour(test: impl Fn(Family, &Namespace, &[Namespace], &[IpAddr]) + Sync) {
    if is_root() {
        Family::ALL.into_iter().for_each(|family| in_family(family, &test));
    }
}

fn in_family(family: Family, test: &(impl Fn(Family, &Namespace, &[Namespace], &[IpAddr]) + Sync)) {
    let dir = tempfile::tempdir().unwrap();
    Namespace::new().run(|| {
        let network = NodeNetwork::new(node_config("cni0", dir.path(), false)).unwrap();
        let pods = [Namespace::new(), Namespace::new()];
        let connect = |(n, pod): (usize, &Namespace)| attach(&network, &format!("pod{n}"), pod, &[])[family as usize];
        let addresses: Vec<_> = pods.iter().enumerate().map(connect).collect();
        for (n, pod) in pods.iter().enumerate() {
            pod.run(|| tcp_server(8080, n as u8));
        }
        let neighbour = Namespace::new();
        let own = Family::ALL.map(|family| net(family, "10.9.2.1/24"));
        crate::host::create_bridge("lan", &own).unwrap();
        let links = host_of_both("10.9.2.2", "10.9.2.1");
        crate::host::attach_node("lan", "vlan", neighbour.fd().as_fd(), &links).unwrap();
        test(family, &neighbour, &pods, &addresses);
    });
}

#[test]
fn outsiders_reach_what_is_for_them_and_pods_go_the_short_way() {
    with_neighbour(|family, neighbour, pods, addresses| {
        let mut proxy = Scene::new(family);
        let balanced = of(family, "10.96.200.7");
        let local = |here: &[IpAddr]| PortRules {
            external_addresses: [balanced].into(),
            external: if here.is_empty() { Target::Drop } else { target(here) },
            shortcut: Some(addresses.iter().map(|address| (*address, 8080)).collect()),
            ..port(family, addresses, Some(30080))
        };
        let ways = [(balanced, 80), (of(family, "10.9.2.1"), 30080)];
        proxy.change(Rules::from([("a".into(), local(&addresses[..1]))]));
        for (to, at) in ways {
            let seen: BTreeSet<_> = (0..20).map(|_| neighbour.run(|| tcp_answer(to, at))).collect();
            assert_eq!(seen, [Some(0)].into(), "an outsider stays on the node: {to}");
            let seen: BTreeSet<_> = (0..40).map(|_| pods[1].run(|| tcp_answer(to, at))).collect();
            assert_eq!(seen, [Some(0), Some(1)].into(), "a pod goes to all: {to}");
            let seen: BTreeSet<_> = (0..40).map(|_| tcp_answer(to, at)).collect();
            assert_eq!(seen, [Some(0), Some(1)].into(), "and so does the node: {to}");
        }
        proxy.change(Rules::from([("a".into(), local(&[]))]));
        for (to, at) in ways {
            assert_eq!(neighbour.run(|| tcp_answer(to, at)), None, "{to}");
            assert!(pods[1].run(|| tcp_answer(to, at)).is_some(), "{to}");
        }
    });
}

#[test]
fn a_fence_lets_in_who_may() {
    with_neighbour(|family, neighbour, pods, addresses| {
        let mut proxy = Scene::new(family);
        let balanced = of(family, "10.96.200.7");
        let mut fenced = |sources: &[&str]| {
            let sources = sources.iter().map(|range| net(family, range)).collect();
            let fence = Some(Fence { addresses: [balanced].into(), sources });
            let rules =
                PortRules { external_addresses: [balanced].into(), fence, ..port(family, addresses, Some(30080)) };
            proxy.change(Rules::from([("a".into(), rules)]));
            let outsider = neighbour.run(|| tcp_answer(balanced, 80)).is_some();
            let by_node_port = neighbour.run(|| tcp_answer(of(family, "10.9.2.1"), 30080)).is_some();
            assert!(by_node_port, "the fence is around the load balancer's address");
            (outsider, pods[0].run(|| tcp_answer(balanced, 80)).is_some())
        };
        assert_eq!(fenced(&["10.9.2.0/24"]), (true, false));
        assert_eq!(fenced(&["10.244.0.0/16", "172.16.0.0/16"]), (false, true));
        assert_eq!(fenced(&[]), (false, false));
    });
}

#[test]
fn node_ports_are_at_the_addresses_that_were_chosen() {
    with_neighbour(|family, neighbour, _, addresses| {
        let mut proxy =
            Scene::with(FamilyConfig { node_port_addresses: vec![net(family, "10.9.0.0/16")], ..config(family) });
        proxy.change(Rules::from([("a".into(), port(family, addresses, Some(30080)))]));
        assert!(neighbour.run(|| tcp_answer(of(family, "10.9.2.1"), 30080)).is_some());
        assert_eq!(tcp_answer(of(family, "10.244.0.1"), 30080), None);
        assert_eq!(neighbour.run(|| tcp_answer(of(family, "10.244.0.1"), 30080)), None);
    });
}

/// How a connection ends whose packets have a mark.
fn marked(mark: u32, address: IpAddr, port: u16) -> Result<(), ErrorKind> {
    let to = SocketAddr::new(address, port);
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None).unwrap();
    socket.set_mark(mark).unwrap();
    socket.connect_timeout(&to.into(), Duration::from_secs(10)).map_err(|error| error.kind())
}

#[test]
fn who_asks_for_endpoints_alone_is_led_to_no_other_address() {
    with_neighbour(|family, _, _, addresses| {
        let mut proxy = Scene::new(family);
        let balanced = of(family, "10.96.200.7");
        let rules = PortRules { external_addresses: [balanced].into(), ..port(family, addresses, Some(30080)) };
        proxy.change(Rules::from([("a".into(), rules)]));
        for (to, at) in [(of(family, "10.96.0.7"), 80), (balanced, 80), (of(family, "10.9.2.1"), 30080)] {
            assert_eq!(marked(0, to, at), Ok(()), "{to}");
            assert_eq!(marked(MARK_AS_SENT, to, at), Err(ErrorKind::ConnectionRefused), "{to}");
        }
        assert_eq!(marked(MARK_AS_SENT | MARK_ELSEWHERE, addresses[0], 8080), Ok(()));
        tcp_server(7070, 9);
        let (mut socket, new) = (Socket::route().unwrap(), net(family, "10.9.2.7/24"));
        let lan = route::index_of(&mut socket, "lan").unwrap();
        // The kernel calls others than the first address of a network from the first.
        socket.request(route::address(lan, new)).unwrap();
        // One of IPv6 is the kernel's own a moment later.
        assert!((0..10).any(|_| marked(0, new.addr(), 7070).is_ok()));
        for own in [of(family, "10.9.2.1"), of(family, "10.244.0.1"), any(family), new.addr()] {
            assert_eq!(marked(MARK_AS_SENT, own, 7070), Ok(()), "{own}");
            assert_eq!(marked(MARK_ELSEWHERE, own, 7070), Err(ErrorKind::ConnectionRefused), "{own}");
        }
    });
}

#[test]
fn who_asks_for_the_network_is_led_to_whoever_answers_there() {
    with_neighbour(|family, neighbour, _, addresses| {
        let mut proxy = Scene::new(family);
        // An address of the neighbour's, who listens at another port than the endpoints.
        let balanced = of(family, "10.9.2.2");
        let rules = PortRules { external_addresses: [balanced].into(), ..port(family, addresses, None) };
        proxy.change(Rules::from([("a".into(), rules)]));
        neighbour.run(|| tcp_server(80, 7));
        assert_ne!(tcp_answer(balanced, 80), Some(7));
        let to = SocketAddr::new(balanced, 80);
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None).unwrap();
        socket.set_mark(MARK_TO_NETWORK).unwrap();
        socket.connect_timeout(&to.into(), Duration::from_secs(10)).unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut std::net::TcpStream::from(socket), &mut byte).unwrap();
        assert_eq!(byte, [7]);
    });
}

#[test]
fn of_two_that_ask_for_one_address_the_other_has_it_when_one_goes() {
    with_neighbour(|family, _, _, addresses| {
        let mut proxy = Scene::new(family);
        let of_one = |n: usize| port(family, &addresses[n..=n], Some(30080));
        let to = of(family, "10.96.0.7");
        proxy.change(Rules::from([("a".into(), of_one(0)), ("b".into(), of_one(1))]));
        assert_eq!((tcp_answer(to, 80), tcp_answer(of(family, "10.244.0.1"), 30080)), (Some(0), Some(0)));
        proxy.change(Rules::from([("b".into(), of_one(1))]));
        assert_eq!((tcp_answer(to, 80), tcp_answer(of(family, "10.244.0.1"), 30080)), (Some(1), Some(1)));
    });
}

#[test]
fn services_stay_until_the_next_process_knows_everything() {
    with_neighbour(|family, _, _, addresses| {
        let to = of(family, "10.96.0.7");
        let mut proxy = Scene::new(family);
        proxy.change(Rules::from([("a".into(), port(family, &addresses[..1], None))]));
        drop(proxy);
        let mut next = State::new(config(family));
        assert_eq!(tcp_answer(to, 80), Some(0));
        let object = json!({"metadata": {"name": "s", "namespace": "n"},
            "spec": {"clusterIP": of(family, "10.96.0.8"), "ports": [{"port": 80}]}});
        let key = ObjectKey::new("n", "s");
        next.set_service(key, Some(std::sync::Arc::new(serde_json::from_value(object).unwrap())));
        let slice = json!({"metadata": {"name": "s-1", "namespace": "n", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": family.name(), "ports": [{"port": 8080}], "endpoints": [{"addresses": [addresses[1]]}]});
        let slice = std::sync::Arc::new(serde_json::from_value(slice).unwrap());
        next.set_slice(ObjectKey::new("n", "s-1"), Some(slice));
        let mut socket = Socket::netfilter().unwrap();
        next.commit(&mut socket).unwrap();
        assert_eq!((tcp_answer(to, 80), tcp_answer(of(family, "10.96.0.8"), 80)), (None, Some(1)));
        next.set_slice(ObjectKey::new("n", "s-1"), None);
        next.commit(&mut socket).unwrap();
        assert_eq!(tcp_answer(of(family, "10.96.0.8"), 80), None);
    });
}
