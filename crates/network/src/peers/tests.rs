use super::*;
use crate::testing::{
    Namespace, Wire, any, attach, datagram, frame, host_of_both, is_root, net, node_config, tcp_answer, tcp_server,
    udp_answer, udp_server, v4,
};
use crate::{NodeNetwork, NodeNetworkConfig, host};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;

fn peer(name: &str, address: &str, range: &str) -> Peer {
    Peer { name: name.into(), addresses: vec![address.parse().unwrap()], ranges: vec![range.parse().unwrap()] }
}

#[test]
fn ways_lead_straight_to_nodes_nearby_and_nobody_takes_the_addresses_of_others() {
    let origin = Origin {
        addresses: vec!["10.9.1.2".parse().unwrap()],
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        overlay: "vx".into(),
        unreachable: Vec::new(),
    };
    let peers = [
        peer("near", "10.9.1.3", "10.244.1.0/24"),
        peer("far", "10.9.2.2", "10.244.2.0/24"),
        peer("greedy", "10.9.1.4", "10.244.1.128/25"),
        peer("thief", "10.9.1.5", "10.244.0.0/24"),
        peer("world", "10.9.1.6", "0.0.0.0/0"),
        peer("outside", "10.9.1.7", "10.96.0.0/24"),
        peer("itself", "10.9.1.2", "10.244.3.0/24"),
        peer("six", "fd00::1", "10.244.4.0/24"),
        peer("everybody", "10.9.1.255", "10.244.5.0/24"),
        peer("group", "224.0.0.1", "10.244.6.0/24"),
        peer("loopback", "127.0.0.1", "10.244.7.0/24"),
        peer("nobody", "0.0.0.0", "10.244.8.0/24"),
        peer("pod", "10.244.1.5", "10.244.9.0/24"),
        Peer {
            ranges: ["fd00:1::/64", "10.244.10.0/24", "10.244.11.0/24"].map(|range| range.parse().unwrap()).into(),
            ..peer("two", "10.9.1.8", "10.244.10.0/24")
        },
    ];
    let here = Here::from([(Family::V4, (1, "10.9.1.0/24".parse().unwrap()))]);
    let ways = ways(&origin, &here, &peers);
    let near = ("10.244.1.0/24".parse().unwrap(), Way::Direct("10.9.1.3".parse().unwrap()));
    let far = (
        "10.244.2.0/24".parse().unwrap(),
        Way::Overlay("10.9.2.2".parse().unwrap(), hardware_address([10, 244, 2, 0].into())),
    );
    let two = ("10.244.10.0/24".parse().unwrap(), Way::Direct("10.9.1.8".parse().unwrap()));
    assert_eq!(ways, BTreeMap::from([near, far, two]));
}

#[test]
fn a_node_that_claims_a_range_or_the_end_of_another_one_gets_no_way_at_all() {
    let origin = Origin {
        addresses: vec!["10.9.1.2".parse().unwrap()],
        pod_cidr: "10.244.0.0/24,fd00:10:244::/64".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16,fd00:10:244::/48".parse().unwrap(),
        overlay: "vx".into(),
        unreachable: Vec::new(),
    };
    let node = |host: u8, ranges: &[&str]| Peer {
        name: host.to_string(),
        addresses: vec![IpAddr::from([10, 9, 2, host])],
        ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
    };
    let peers = [
        node(3, &["10.244.1.0/24", "fd00:10:244:1::/64"]),
        node(4, &["fd00:10:244:2::/64", "10.244.2.0/24"]),
        node(5, &["10.244.1.0/24", "fd00:10:244:67::/64"]),
        node(6, &["10.244.68.0/24", "fd00:10:244:1::/64"]),
        node(7, &["10.244.0.0/24", "fd00:10:244:69::/64"]),
        // Other ranges, by which the hardware address would be that of the fourth, and of this node.
        node(8, &["fd00:10:244:3:0:1::/96"]),
        node(9, &["10.244.0.0/25"]),
    ];
    assert_eq!(end_of(peers[5].ranges[0]), end_of(peers[1].ranges[0]));
    let here = Here::from([(Family::V4, (1, "10.9.1.0/24".parse().unwrap()))]);
    let ways = ways(&origin, &here, &peers);
    let nodes: Vec<String> = ways.iter().map(|(range, way)| format!("{range} {}", way.node())).collect();
    let wanted = [
        "10.244.1.0/24 10.9.2.3",
        "10.244.2.0/24 10.9.2.4",
        "fd00:10:244:1::/64 10.9.2.3",
        "fd00:10:244:2::/64 10.9.2.4",
    ];
    assert_eq!(nodes, wanted);
    // Nor do those of the family that this node does not have.
    let of_one =
        Origin { pod_cidr: "10.244.0.0/24".parse().unwrap(), cluster_cidr: "10.244.0.0/16".parse().unwrap(), ..origin };
    let rogue = node(10, &["fd00:10:244:3:0:1::/96", "10.244.70.0/24"]);
    let found = super::ways(&of_one, &here, &[peers[1].clone(), rogue]);
    assert_eq!(found.keys().map(IpNet::to_string).collect::<Vec<_>>(), ["10.244.2.0/24"]);
}

#[test]
fn no_node_takes_what_goes_to_the_pods_of_another_one_through_vxlan() {
    if !is_root() {
        return;
    }
    let scene = scene(Family::V4, &[(1, 2), (1, 3), (2, 2)], false);
    scene.all_know_all();
    let [a, b, c] = &scene.nodes[..] else { panic!("three nodes") };
    c.pod.run(|| tcp_server(80, 7));
    let answers = || c.addresses.map(|to| a.pod.run(|| tcp_answer(to, 80)));
    let know = |peers: &[Peer]| a.namespace.run(|| a.network.set_peers_blocking(peers).unwrap());
    // It has no address of IPv6, so that its pods of that are reached through VXLAN.
    let ranges = ["10.244.2.0/24", "fd00:10:244:67::/64"].map(|range| range.parse().unwrap()).into();
    let rogue = Peer { name: "rogue".into(), addresses: vec![b.peer.addresses[0]], ranges };
    know(&[c.peer.clone(), rogue]);
    assert_eq!(answers(), [Some(7); 2]);
    know(std::slice::from_ref(&c.peer));
    assert_eq!(answers(), [Some(7); 2]);

    // The kernel was told of another place: with a range of the node goes no more than that.
    a.namespace.run(|| {
        let mut socket = Socket::route().unwrap();
        let link = route::index_of(&mut socket, "vx").unwrap();
        socket.request(overlay::is_at(link, end_of(c.peer.ranges[0]), b.peer.addresses[0])).unwrap();
    });
    know(&[Peer { ranges: vec![c.peer.ranges[0]], ..c.peer.clone() }]);
    assert_eq!(answers(), [Some(7), None]);
}

#[test]
fn pods_of_both_families_are_reached_by_nodes_of_one_and_of_both() {
    let text = |text: &str| text.parse().unwrap();
    let origin = Origin {
        addresses: vec![text("10.9.1.2"), "fd00:9::2".parse().unwrap()],
        pod_cidr: "10.244.0.0/24,fd00:10:244::/64".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16,fd00:10:244::/48".parse().unwrap(),
        overlay: "vx".into(),
        unreachable: Vec::new(),
    };
    let here = Here::from([
        (Family::V4, (1, "10.9.1.0/24".parse().unwrap())),
        (Family::V6, (1, "fd00:9::/64".parse().unwrap())),
    ]);
    let node = |number: u8, addresses: &[&str]| Peer {
        name: number.to_string(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ranges: vec![
            format!("10.244.{number}.0/24").parse().unwrap(),
            format!("fd00:10:244:{number}::/64").parse().unwrap(),
        ],
    };
    let peers = [
        node(1, &["10.9.1.3", "fd00:9::3"]),
        node(2, &["10.9.1.4"]),
        node(3, &["10.9.2.5", "fd00:9:2::5"]),
        node(4, &["fd00:9::6"]),
    ];
    let found: Vec<String> = ways(&origin, &here, &peers)
        .iter()
        .map(|(range, way)| {
            let kind = if matches!(way, Way::Direct(_)) { "Direct" } else { "Overlay" };
            format!("{range} {kind}({})", way.node())
        })
        .collect();
    assert_eq!(
        found,
        [
            "10.244.1.0/24 Direct(10.9.1.3)",
            "10.244.2.0/24 Direct(10.9.1.4)",
            "10.244.3.0/24 Overlay(10.9.2.5)",
            "fd00:10:244:1::/64 Direct(fd00:9::3)",
            "fd00:10:244:2::/64 Overlay(10.9.1.4)",
            "fd00:10:244:3::/64 Overlay(10.9.2.5)",
            "fd00:10:244:4::/64 Direct(fd00:9::6)",
        ]
    );
}

/// A node with one pod.
struct Node {
    namespace: Namespace,
    network: Arc<NodeNetwork>,
    pod: Namespace,
    /// Of its pod, by family.
    addresses: [IpAddr; 2],
    peer: Peer,
}

/// A router with two networks, and nodes there.
struct Scene {
    router: Namespace,
    nodes: Vec<Node>,
    dir: tempfile::TempDir,
}

const MTU: u32 = 1500;

/// Nodes at `10.9.SUBNET.HOST` and `fd00:10:9:SUBNET::HOST`, the first of which is of the family by which nodes on other networks
/// are reached. Pods have both families.
fn scene(underlay: Family, places: &[(u8, u8)], on_host: bool) -> Scene {
    let (router, dir) = (Namespace::new(), tempfile::tempdir().unwrap());
    router.run(|| {
        for subnet in [1, 2] {
            let addresses = Family::ALL.map(|family| net(family, &format!("10.9.{subnet}.1/24")));
            host::create_bridge(&format!("lan{subnet}"), &addresses).unwrap();
        }
    });
    let nodes = places.iter().enumerate().map(|(number, (subnet, host))| {
        let (namespace, pod) = (Namespace::new(), Namespace::new());
        let links = host_of_both(&format!("10.9.{subnet}.{host}"), &format!("10.9.{subnet}.1"));
        router.run(|| connect(&format!("lan{subnet}"), &format!("n{number}"), &namespace, &links));
        let state = dir.path().join(number.to_string());
        fs::create_dir(&state).unwrap();
        let config = node(underlay, number, &links, &state, on_host);
        let ranges = config.pod_cidr.iter().collect();
        let peer = Peer { name: number.to_string(), addresses: config.addresses.clone(), ranges };
        let network = namespace.run(|| NodeNetwork::new(config).unwrap());
        let addresses = namespace.run(|| attach(&network, "pod", &pod, &[]));
        Node { namespace, network, pod, addresses, peer }
    });
    let nodes = nodes.collect();
    Scene { router, nodes, dir }
}

fn node(underlay: Family, number: usize, links: &[(IpNet, IpAddr)], state: &Path, on_host: bool) -> NodeNetworkConfig {
    let mut addresses: Vec<IpAddr> = links.iter().map(|(address, _)| address.addr()).collect();
    addresses.sort_by_key(|address| Family::of(*address) != underlay);
    let pod_cidr = format!("10.244.{number}.0/24,fd00:10:244:{number}::/64").parse().unwrap();
    NodeNetworkConfig { pod_cidr, addresses, mtu: MTU, ..node_config("cni0", state, on_host) }
}

fn connect(bridge: &str, link: &str, node: &Namespace, links: &[(IpNet, IpAddr)]) {
    let mut socket = Socket::route().unwrap();
    let bridge = route::index_of(&mut socket, bridge).unwrap();
    let (netns, hardware) = (node.fd().as_fd(), Some(hardware_address(links[0].0.addr())));
    let pair = route::Pair { name: link, bridge, peer: "eth0", hardware, netns, mtu: MTU };
    route::add_veth(&mut socket, &pair).unwrap();
    let port = route::index_of(&mut socket, link).unwrap();
    socket.request(route::up(port)).unwrap();
    node.run(|| {
        let mut socket = Socket::route().unwrap();
        let eth0 = route::index_of(&mut socket, "eth0").unwrap();
        let lo = route::index_of(&mut socket, "lo").unwrap();
        let addresses = links.iter().map(|(address, _)| route::address(eth0, *address));
        let routes = links.iter().map(|(_, gateway)| route::default_route(eth0, *gateway));
        let messages = [route::up(lo), route::up(eth0)].into_iter().chain(addresses).chain(routes);
        socket.batch(messages.collect()).unwrap();
    });
}

impl Scene {
    fn all_know_all(&self) {
        let all: Vec<Peer> = self.nodes.iter().map(|node| node.peer.clone()).collect();
        for node in &self.nodes {
            let others: Vec<Peer> = all.iter().filter(|peer| **peer != node.peer).cloned().collect();
            node.namespace.run(|| node.network.set_peers_blocking(&others).unwrap());
        }
    }
}

impl Node {
    fn links(&self) -> Vec<String> {
        let text = self.namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
    }
}

/// Sends much by TCP and a large datagram from one pod to another.
fn talk(family: Family, from: &Node, to: &Node) {
    const SIZE: usize = 1 << 20;
    let (address, own) = (to.addresses[family as usize], from.addresses[family as usize]);
    let listener = to.pod.run(|| TcpListener::bind((any(family), 7000)).unwrap());
    let received = std::thread::spawn(move || {
        let (mut stream, seen) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        (seen.ip(), all.len())
    });
    let mut stream = from.pod.run(|| TcpStream::connect((address, 7000)).unwrap());
    stream.set_write_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    stream.write_all(&vec![1; SIZE]).unwrap();
    drop(stream);
    assert_eq!(received.join().unwrap(), (own, SIZE), "nobody's address is translated");
    let socket = to.pod.run(|| UdpSocket::bind((any(family), 7001)).unwrap());
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let sender = from.pod.run(|| UdpSocket::bind((any(family), 0)).unwrap());
    // The first tells the sender how large packets may be, if smaller than its link says.
    let large = vec![2; 4000];
    let mut buffer = vec![0; 8000];
    let arrived = (0..10).find_map(|_| {
        let _ = sender.send_to(&large, (address, 7001));
        socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        socket.recv_from(&mut buffer).ok()
    });
    assert_eq!(arrived.map(|(length, from)| (length, from.ip())), Some((4000, own)));
}

#[test]
fn pods_reach_each_other_across_nodes_of_one_network_and_of_two() {
    if !is_root() {
        return;
    }
    // Of each family of pods over each of nodes.
    for (underlay, on_host) in [(Family::V4, false), (Family::V6, true), (Family::V4, true)] {
        let scene = scene(underlay, &[(1, 2), (1, 3), (2, 2)], on_host);
        scene.all_know_all();
        let [a, b, c] = &scene.nodes[..] else { panic!("three nodes") };
        assert!(a.links().contains(&"vx".to_owned()));
        let own = a.namespace.run(|| fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap());
        let of_links: Vec<&str> =
            own.lines().filter(|line| line.starts_with("fe80") && !line.ends_with("eth0")).collect();
        assert_eq!(of_links, [""; 0], "no link of pods or to nodes makes itself an address");
        c.pod.run(|| tcp_server(80, 7));
        b.pod.run(|| tcp_server(80, 8));
        b.pod.run(|| udp_server(80, 9));
        for family in Family::ALL {
            let [b_pod, c_pod] = [b, c].map(|node| node.addresses[family as usize]);
            for (from, to) in [(a, b), (b, a), (a, c), (c, b)] {
                talk(family, from, to);
            }
            for (to, answer) in [(c_pod, 7), (b_pod, 8)] {
                assert_eq!(a.namespace.run(|| tcp_answer(to, 80)), Some(answer), "from the node itself");
            }
            let socket = a.pod.run(|| UdpSocket::bind((any(family), 0)).unwrap());
            assert_eq!(udp_answer(&socket, b_pod, 80), Some(9));
        }
        let answers = |to: &Node| to.addresses.map(|to| a.pod.run(|| tcp_answer(to, 80)));

        // The far one goes: what led to it goes too, and the others are not touched.
        let near = [b.peer.clone()];
        a.namespace.run(|| a.network.set_peers_blocking(&near).unwrap());
        assert!(!a.links().contains(&"vx".to_owned()));
        assert_eq!((answers(c), answers(b)), ([None; 2], [Some(8); 2]));
        a.namespace.run(|| a.network.set_peers_blocking(std::slice::from_ref(&c.peer)).unwrap());
        assert_eq!((answers(c), answers(b)), ([Some(7); 2], [None; 2]));
        a.namespace.run(|| a.network.set_peers_blocking(&[]).unwrap());
        assert_eq!(answers(c), [None; 2]);
    }
}

#[test]
fn ways_stay_over_a_restart_and_what_led_to_nodes_that_went_meanwhile_goes() {
    if !is_root() {
        return;
    }
    let scene = scene(Family::V4, &[(1, 2), (1, 3), (2, 2)], false);
    scene.all_know_all();
    let Scene { nodes, dir, .. } = scene;
    let Ok([a, b, c]) = <[Node; 3]>::try_from(nodes) else { panic!("three nodes") };
    c.pod.run(|| tcp_server(80, 7));
    b.pod.run(|| tcp_server(80, 8));
    let links = host_of_both("10.9.1.2", "10.9.1.1");
    let config = node(Family::V4, 0, &links, &dir.path().join("0"), false);
    drop(a.network);
    let network = a.namespace.run(|| NodeNetwork::new(config).unwrap());
    assert_eq!(
        b.addresses.map(|to| a.pod.run(|| tcp_answer(to, 80))),
        [Some(8); 2],
        "before anybody says who there is"
    );
    assert_eq!(c.addresses.map(|to| a.pod.run(|| tcp_answer(to, 80))), [Some(7); 2]);
    a.namespace.run(|| network.set_peers_blocking(std::slice::from_ref(&c.peer)).unwrap());
    assert_eq!(c.addresses.map(|to| a.pod.run(|| tcp_answer(to, 80))), [Some(7); 2]);
    assert_eq!(b.addresses.map(|to| a.pod.run(|| tcp_answer(to, 80))), [None; 2]);
    let routes = || {
        let has = |file: &str, what: &str| {
            fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap().contains(what)
        };
        [has("fib_trie", "10.244.2.0"), has("ipv6_route", "fd00001002440002")]
    };
    assert_eq!(a.namespace.run(routes), [true; 2]);
    let state = dir.path().join("0/addresses");
    a.namespace.run(|| NodeNetwork::remove("cni0", "vx", &[], &state).unwrap());
    assert_eq!(a.namespace.run(routes), [false; 2]);
}

#[test]
fn a_node_to_which_there_can_be_no_way_keeps_nobody_from_the_others() {
    if !is_root() {
        return;
    }
    let scene = scene(Family::V4, &[(1, 2), (1, 3)], false);
    let [a, b] = &scene.nodes[..] else { panic!("two nodes") };
    b.pod.run(|| tcp_server(80, 8));
    a.namespace.run(|| {
        // By itself, which the kernel refuses: a further address of this node.
        let mut socket = Socket::route().unwrap();
        let eth0 = route::index_of(&mut socket, "eth0").unwrap();
        socket.request(route::address(eth0, "10.9.1.77/32".parse().unwrap())).unwrap();
        let liar = peer("liar", "10.9.1.77", "10.244.200.0/24");
        let told = a.network.set_peers_blocking(&[liar, b.peer.clone()]);
        let told = format!("{:#}", told.unwrap_err());
        assert!(told.contains("10.244.200.0/24"), "{told}");
        let written = fs::read_to_string(scene.dir.path().join("0/routes")).unwrap();
        assert!(written.contains("10.244.200.0/24") && written.contains("10.244.1.0/24"), "{written}");
    });
    b.namespace.run(|| b.network.set_peers_blocking(std::slice::from_ref(&a.peer)).unwrap());
    assert_eq!(b.addresses.map(|to| a.pod.run(|| tcp_answer(to, 80))), [Some(8); 2]);
}

#[test]
fn a_node_that_loses_an_address_keeps_the_ways_of_the_other_family() {
    if !is_root() {
        return;
    }
    let scene = scene(Family::V4, &[(1, 2), (1, 3)], false);
    let [a, b] = &scene.nodes[..] else { panic!("two nodes") };
    b.pod.run(|| tcp_server(80, 8));
    b.namespace.run(|| b.network.set_peers_blocking(std::slice::from_ref(&a.peer)).unwrap());
    a.namespace.run(|| {
        let mut socket = Socket::route().unwrap();
        let eth0 = route::index_of(&mut socket, "eth0").unwrap();
        socket.request(route::delete_address(eth0, net(Family::V6, "10.9.1.2/24"))).unwrap();
        a.network.set_peers_blocking(std::slice::from_ref(&b.peer)).unwrap();
    });
    assert_eq!(a.pod.run(|| tcp_answer(b.addresses[0], 80)), Some(8));
}

#[test]
fn an_address_that_does_not_stay_is_changed_for_one_beside_it_that_does() {
    if !is_root() {
        return;
    }
    Namespace::new().run(|| {
        host::create_bridge("up", &["fd00:9::5/64", "fd00:8::5/64"].map(|address| address.parse().unwrap())).unwrap();
        let mut socket = Socket::route().unwrap();
        let link = route::index_of(&mut socket, "up").unwrap();
        socket.request(route::deprecated_address(link, "fd00:9::77/64".parse().unwrap())).unwrap();
        let stable = |address: &str| host::stable_address(address.parse().unwrap()).unwrap();
        assert_eq!(stable("fd00:9::77"), Some("fd00:9::5".parse().unwrap()));
        assert_eq!(stable("fd00:9::5"), None);
    });
}

#[test]
fn what_other_machines_send_in_the_name_of_pods_is_dropped() {
    if !is_root() {
        return;
    }
    const IPV4: u16 = 0x0800;
    const FORGED: u8 = 1;
    const HONEST: u8 = 2;
    let scene = scene(Family::V4, &[(1, 2), (1, 3), (2, 2)], false);
    scene.all_know_all();
    let [a, b, c] = &scene.nodes[..] else { panic!("three nodes") };
    let at = a.pod.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7002)).unwrap());
    at.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let wire = scene.router.run(|| Wire::open("lan1"));
    let unused = Ipv4Addr::new(10, 244, 99, 2);
    let [own, far] = [a, c].map(|node| v4(node.addresses));
    for source in [far, Ipv4Addr::new(10, 244, 0, 9), own, unused] {
        let packet = datagram(source, own, 7002, FORGED);
        wire.send(&frame(hardware_address(Ipv4Addr::new(10, 9, 1, 2).into()), [2, 0, 0, 0, 0, 9], IPV4, &packet));
    }
    // In a packet of VXLAN from a machine that is no node: its headers, then the frame.
    let inner = frame(
        hardware_address(Ipv4Addr::new(10, 244, 0, 0).into()),
        hardware_address(Ipv4Addr::new(10, 244, 2, 0).into()),
        IPV4,
        &datagram(far, own, 7002, FORGED),
    );
    let around = [&[8, 0, 0, 0, 0, 0, ID as u8, 0][..], &inner].concat();
    let stranger = scene.router.run(|| UdpSocket::bind((Ipv4Addr::new(10, 9, 1, 1), 0)).unwrap());
    stranger.send_to(&around, (Ipv4Addr::new(10, 9, 1, 2), PORT)).unwrap();
    // From a pod, whose packets leave in the name of its node.
    for pod in [&c.pod, &a.pod] {
        let pod = pod.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        pod.send_to(&around, (Ipv4Addr::new(10, 9, 1, 2), PORT)).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    let honest = b.pod.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    honest.send_to(&[HONEST], (own, 7002)).unwrap();
    let mut byte = [0];
    let (_, from) = at.recv_from(&mut byte).unwrap();
    assert_eq!((byte[0], from.ip()), (HONEST, b.addresses[0]));
    // The same comes from the node.
    let node = c.namespace.run(|| UdpSocket::bind((Ipv4Addr::new(10, 9, 2, 2), 0)).unwrap());
    node.send_to(&around, (Ipv4Addr::new(10, 9, 1, 2), PORT)).unwrap();
    let (_, from) = at.recv_from(&mut byte).unwrap();
    assert_eq!((byte[0], from.ip()), (FORGED, c.addresses[0]), "a node vouches for its pods");
}
