//! What packets do: pods in network namespaces, and the kernel with the tables that follow from policies.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with,
};
use serde_json::{Value, json};

use coracle_client::{ObjectKey, Store};
use coracle_testing::policies::{Connection, PROTOCOLS};

use super::super::objects::{Labels, Pod, PodObject};
use super::super::{Caches, Inbox, Kernel, Sandbox, TABLE, flows, remove};
use super::*;
use crate::NodeNetwork;
use crate::netlink::Socket;
use crate::nft::{octets, table_exists};
use crate::testing::{Namespace, any, attach, is_root, node_config, of};

const TCP: u8 = 6;
const SYN: u8 = 2;

/// A node with nine pods, seen from the node's namespace.
pub(super) struct Scene {
    pub(super) family: Family,
    pub(super) pods: Vec<Namespace>,
    pub(super) addresses: Vec<IpAddr>,
    netfilter: Socket,
    route: Socket,
    pub(super) state: State,
    _network: Arc<NodeNetwork>,
    _dir: tempfile::TempDir,
}

/// Once with the pods' addresses of each family.
pub(super) fn in_scene(test: impl Fn(Scene) + Sync) {
    if is_root() {
        Family::ALL.into_iter().for_each(|family| in_scene_of(family, &test));
    }
}

fn in_scene_of(family: Family, test: &(impl Fn(Scene) + Sync)) {
    Namespace::new().run(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = NodeNetwork::new(node_config("cni0", dir.path(), false)).unwrap();
        let pods: Vec<Namespace> = (0..PODS).map(|_| Namespace::new()).collect();
        let connect = |(n, pod): (usize, &Namespace)| attach(&network, &format!("pod{n}"), pod, &[])[family as usize];
        let addresses = pods.iter().enumerate().map(connect).collect();
        let mut state = State::new(&[family], None);
        for namespace in ["a", "b"] {
            state.set_namespace(namespace, Some(Labels::new()));
        }
        state.knows_pods(true);
        let (netfilter, route) = (Socket::netfilter().unwrap(), Socket::route().unwrap());
        test(Scene { family, pods, addresses, netfilter, route, state, _network: network, _dir: dir });
    });
}

impl Scene {
    pub(super) fn commit(&mut self) {
        self.state.commit(&mut self.netfilter).unwrap();
        if self.state.take_narrowed() {
            flows::end_forbidden(&self.state, &mut self.netfilter, &mut self.route).unwrap();
        }
    }
}

/// Packets of the three protocols, as a pod sends and gets them.
struct Raw(Family, [OwnedFd; 3]);

impl Raw {
    fn open(family: Family) -> Raw {
        let domain = if family == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
        Raw(
            family,
            [ipproto::TCP, ipproto::UDP, ipproto::SCTP].map(|protocol| {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                socket_with(domain, SocketType::RAW, flags, Some(protocol)).unwrap()
            }),
        )
    }

    /// Sends the first packet of a connection.
    fn begin(&self, protocol: u8, from: IpAddr, to: IpAddr, ports: (u16, u16)) {
        let at = PROTOCOLS.iter().position(|one| *one == protocol).unwrap();
        let packet = first_packet(protocol, from, to, ports);
        sendto(&self.1[at], &packet, SendFlags::empty(), &SocketAddr::new(to, 0)).unwrap();
    }

    /// The first packets that came: sender, protocol, ports.
    fn came(&self) -> BTreeSet<(IpAddr, u8, (u16, u16))> {
        let mut found = BTreeSet::new();
        let mut buffer = [0; 256];
        // Of IPv6 the header stays with the kernel.
        let behind = if self.0 == Family::V4 { 20 } else { 0 };
        for (socket, protocol) in self.1.iter().zip(PROTOCOLS) {
            while let Ok((length, _, Some(from))) = recvfrom(socket, &mut buffer[..], RecvFlags::empty()) {
                let packet = &buffer[behind..length];
                let from = SocketAddr::try_from(from).unwrap().ip();
                let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
                if protocol != TCP || packet[13] == SYN {
                    found.insert((from, protocol, (port(0), port(2))));
                }
            }
        }
        found
    }
}

fn first_packet(protocol: u8, from: IpAddr, to: IpAddr, ports: (u16, u16)) -> Vec<u8> {
    let ports = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    match protocol {
        TCP => {
            let mut packet = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, SYN, 255, 255, 0, 0, 0, 0]].concat();
            let sum = internet_checksum(&[&pseudo_header(protocol, from, to, 20)[..], &packet].concat());
            packet[16..18].copy_from_slice(&sum.to_be_bytes());
            packet
        }
        // No checksum.
        17 => [&ports[..], &[0, 9, 0, 0, b'x']].concat(),
        // INIT, with no tag in the header and one in the chunk.
        _ => {
            let init = [1, 0, 0, 20, 0, 0, 0, 7, 0, 0, 255, 255, 0, 1, 0, 1, 0, 0, 0, 1];
            let mut packet = [&ports[..], &[0; 8], &init].concat();
            let sum = crc32c(&packet);
            packet[8..12].copy_from_slice(&sum.to_le_bytes());
            packet
        }
    }
}

fn pseudo_header(protocol: u8, from: IpAddr, to: IpAddr, length: u8) -> Vec<u8> {
    [&octets(from)[..], &octets(to), &[0, protocol, 0, length]].concat()
}

fn internet_checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[test]
fn packets_pass_where_the_documented_rules_say() {
    in_scene(|scene| packets_pass(scene, false));
}

#[test]
fn packets_pass_where_administrators_say_and_then_where_others_do() {
    in_scene(|scene| packets_pass(scene, true));
}

/// A hundred policies, four more at a time; with those of administrators so many of these, too.
fn packets_pass(mut scene: Scene, is_administered: bool) {
    let mut dice = Dice(SEED);
    let mut world = World::new(&mut dice, scene.addresses.clone(), is_administered);
    let wires: Vec<Raw> = scene.pods.iter().map(|pod| pod.run(|| Raw::open(scene.family))).collect();
    let (mut made, mut passed, mut dropped) = (0, 0, 0);
    for round in 0.. {
        if made >= 100 {
            break;
        }
        for _ in 0..4 {
            world.add_policy(&mut dice);
            if is_administered {
                world.add_admin(&mut dice);
            }
            made += 1;
        }
        (0..3).for_each(|_| world.change(&mut dice));
        tell(&mut scene.state, &world);
        scene.commit();
        let from_port = 2000 + round;
        let mut expected = vec![BTreeSet::new(); PODS];
        for connection in connections() {
            let Connection { client, server, protocol, port } = connection;
            let (Some(from), Some(to)) = (world.address(client), world.address(server)) else { continue };
            let ports = (from_port, port);
            wires[client].begin(protocol, from, to, ports);
            if is_allowed(&world, connection) {
                expected[server].insert((from, protocol, ports));
                passed += 1;
            } else {
                dropped += 1;
            }
        }
        for (server, expected) in expected.iter().enumerate() {
            let mut came = wires[server].came();
            // They take no time but what the machine is busy with.
            for _ in 0..100 {
                if came.len() >= expected.len() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
                came.extend(wires[server].came());
            }
            let missing: Vec<_> = expected.difference(&came).collect();
            let stray: Vec<_> = came.difference(expected).collect();
            assert!(missing.is_empty() && stray.is_empty(), "at {server}: no {missing:?}, but {stray:?}; {world:#?}");
        }
    }
    assert!(passed > 1000 && dropped > 1000, "{passed} passed, {dropped} were dropped");
}

pub(super) fn pod(namespace: &str, name: &str, address: IpAddr) -> (ObjectKey, Option<Pod>) {
    let object = json!({"metadata": {"name": name, "namespace": namespace, "labels": {"name": name}},
        "spec": {"nodeName": "here"}, "status": {"phase": "Running", "podIP": address.to_string()}});
    let object: PodObject = serde_json::from_value(object).unwrap();
    (ObjectKey::new(namespace, name), object.seen_from("here"))
}

fn policy(name: &str, spec: Value) -> (PolicyKey, Option<Policy>) {
    let object = json!({"metadata": {"name": name, "namespace": "a"}, "spec": spec});
    (PolicyKey::Network(ObjectKey::new("a", name)), Some(Policy::read(&serde_json::from_value(object).unwrap())))
}

/// A connection, and whether what is sent by it is answered.
pub(super) struct Echo(TcpStream);

impl Echo {
    pub(super) fn server(port: u16) {
        let listener = TcpListener::bind((any(Family::V6), port)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(100).flatten() {
                let mut stream = stream;
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
    }

    pub(super) fn open(to: IpAddr, port: u16) -> Option<Echo> {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), Duration::from_secs(1)).ok()?;
        Some(Echo(stream))
    }

    pub(super) fn answers(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        self.0.write_all(b"x").is_ok() && self.0.read_exact(&mut [0]).is_ok()
    }
}

#[test]
fn a_connection_ends_when_a_policy_comes_to_forbid_it_and_others_go_on() {
    in_scene(|mut scene| {
        let (client, friend, server) = (scene.addresses[0], scene.addresses[1], scene.addresses[2]);
        for (name, address) in [("client", client), ("friend", friend), ("server", server)] {
            let (key, seen) = pod("a", name, address);
            scene.state.set_pod(&key, seen);
        }
        scene.commit();
        scene.pods[2].run(|| Echo::server(80));
        let open = |scene: &Scene, from: usize| scene.pods[from].run(|| Echo::open(server, 80));
        let (mut forbidden, mut allowed) = (open(&scene, 0).unwrap(), open(&scene, 1).unwrap());
        let mut from_node = Echo::open(server, 80).unwrap();
        assert!(forbidden.answers() && allowed.answers() && from_node.answers());
        let from_friend = json!({"podSelector": {"matchLabels": {"name": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"name": "friend"}}}]}]});
        let (key, read) = policy("p", from_friend);
        scene.state.set_policy(&key, read);
        scene.commit();
        assert!(!forbidden.answers(), "it was allowed before");
        assert!(allowed.answers() && from_node.answers(), "those go on");
        assert!(open(&scene, 0).is_none() && open(&scene, 1).is_some());
        let (key, seen) = pod("a", "friend", of(scene.family, "10.244.0.200"));
        scene.state.set_pod(&key, seen);
        scene.commit();
        assert!(!allowed.answers(), "the address is no longer that of a friend");
        scene.state.set_policy(&policy("p", json!({})).0, None);
        scene.commit();
        assert!(open(&scene, 0).is_some(), "without policies all is allowed");
    });
}

#[test]
fn an_address_is_held_until_it_is_known_whose_it_is() {
    in_scene(|mut scene| {
        let (first, second) = (scene.addresses[0], scene.addresses[1]);
        let key = ObjectKey::new("a", "late");
        scene.state.attach(second, Some(key.clone()));
        scene.commit();
        scene.pods[1].run(|| Echo::server(80));
        let reached = |scene: &Scene| scene.pods[0].run(|| Echo::open(second, 80)).is_some();
        assert!(!reached(&scene), "nobody knows whose it is");
        assert!(Echo::open(second, 80).is_some(), "the node reaches it");
        let (_, seen) = pod("a", "late", of(scene.family, "10.244.0.201"));
        scene.state.set_pod(&key, seen);
        scene.commit();
        assert!(reached(&scene), "the pod is known, and no policy is about it");
        scene.state.set_pod(&key, None);
        scene.commit();
        assert!(!reached(&scene), "it is gone while its sandbox is not");
        scene.state.detach(second);
        scene.commit();
        assert!(reached(&scene));
        assert_ne!(first, second);
    });
}

#[test]
fn what_an_earlier_process_left_holds_until_it_is_replaced() {
    in_scene(|mut scene| {
        let (client, server) = (scene.addresses[0], scene.addresses[1]);
        for (name, address) in [("client", client), ("server", server)] {
            let (key, seen) = pod("a", name, address);
            scene.state.set_pod(&key, seen);
        }
        let (key, read) = policy("p", json!({"podSelector": {}}));
        scene.state.set_policy(&key, read);
        scene.commit();
        scene.pods[1].run(|| Echo::server(80));
        let reached = |scene: &Scene| scene.pods[0].run(|| Echo::open(server, 80)).is_some();
        assert!(!reached(&scene));
        let mut next = Kernel::open(&[scene.family], None).unwrap();
        assert!(!reached(&scene), "it stays");
        let fresh = scene.addresses[2];
        next.to_hold.insert(fresh);
        next.hold();
        scene.pods[2].run(|| Echo::server(80));
        assert!(Echo::open(scene.addresses[2], 80).is_some());
        let to_fresh = scene.addresses[2];
        assert!(scene.pods[0].run(|| Echo::open(to_fresh, 80)).is_none(), "a new pod waits for the next tables");
        next.commit();
        assert!(reached(&scene), "the next process knows of no policy");
        assert!(scene.pods[0].run(|| Echo::open(to_fresh, 80)).is_some());
    });
}

#[test]
fn a_pod_that_starts_before_it_is_known_that_there_are_no_policies_is_reached_then() {
    in_scene(|scene| {
        let mut kernel = Kernel::open(&[scene.family], None).unwrap();
        let (told, _) = tokio::sync::oneshot::channel();
        let early = Sandbox::Attached(scene.addresses[1], Some(ObjectKey::new("a", "early")), told);
        kernel.take_in(Inbox { sandboxes: vec![early], ..Inbox::default() });
        scene.pods[1].run(|| Echo::server(80));
        let reached = || scene.pods[0].run(|| Echo::open(scene.addresses[1], 80)).is_some();
        assert!(!reached());
        let policies = Store::of(Vec::new(), Vec::new());
        let caches = Caches { node: "here".into(), policies, others: None, nodes: None };
        kernel.take_in(Inbox { caches: Some(caches), ..Inbox::default() });
        assert!(reached());
    });
}

#[test]
fn a_pod_that_ran_before_a_restart_is_reached_before_anything_is_known() {
    in_scene(|mut scene| {
        scene.commit();
        let mut next = Kernel::open(&[scene.family], None).unwrap();
        let [old, new] = [scene.addresses[1], scene.addresses[2]];
        let sandbox = |address: IpAddr, pod| Sandbox::Attached(address, pod, tokio::sync::oneshot::channel().0);
        let sandboxes = vec![sandbox(old, None), sandbox(new, Some(ObjectKey::new("a", "new")))];
        next.take_in(Inbox { sandboxes, ..Inbox::default() });
        (1..3).for_each(|pod| scene.pods[pod].run(|| Echo::server(80)));
        let reached = |to: IpAddr| scene.pods[0].run(|| Echo::open(to, 80)).is_some();
        assert_eq!([old, new].map(reached), [true, false]);
    });
}

#[test]
fn a_pod_is_not_told_to_start_while_the_kernel_refuses_its_policies() {
    in_scene(|mut scene| {
        scene.commit();
        let mut kernel = Kernel::open(&[scene.family], None).unwrap();
        // Nothing can be changed in a table that is gone.
        remove(&mut scene.netfilter).unwrap();
        let (told, mut done) = tokio::sync::oneshot::channel();
        let new = Sandbox::Attached(scene.addresses[1], Some(ObjectKey::new("a", "new")), told);
        kernel.take_in(Inbox { sandboxes: vec![new], ..Inbox::default() });
        assert!(kernel.refused && done.try_recv().is_err());
        scene.state.renew();
        scene.commit();
        kernel.take_in(Inbox::default());
        assert!(!kernel.refused && done.try_recv().is_ok());
    });
}

#[test]
fn many_peers_with_many_ports_are_as_many_rules_as_there_are_of_both_together() {
    in_scene(|mut scene| {
        let (client, server) = (scene.addresses[0], scene.addresses[1]);
        let object = json!({"metadata": {"name": "server", "namespace": "a", "labels": {"name": "server"}},
            "spec": {"nodeName": "here", "containers": [{"ports": [{"name": "p7", "containerPort": 80}]}]},
            "status": {"phase": "Running", "podIP": server.to_string()}});
        let object: PodObject = serde_json::from_value(object).unwrap();
        scene.state.set_pod(&ObjectKey::new("a", "server"), object.seen_from("here"));
        let (key, seen) = pod("a", "client", client);
        scene.state.set_pod(&key, seen);
        let peers = |name: &str| -> Vec<Value> {
            let label = |n: usize| json!({"podSelector": {"matchLabels": {"name": format!("{name}{n}")}}});
            (0..990).map(label).chain([json!({"podSelector": {"matchLabels": {"name": name}}})]).collect()
        };
        let ports = |count: usize| -> Vec<Value> { (0..count).map(|n| json!({"port": format!("p{n}")})).collect() };
        let spec = |name: &str, count: usize| {
            json!({"podSelector": {"matchLabels": {"name": "server"}},
                "ingress": [{"from": peers(name), "ports": ports(count)}]})
        };
        scene.pods[1].run(|| Echo::server(80));
        for (name, count, reached) in [
            ("client", 1000, true),
            ("client", 7, false),
            ("client", 1, false),
            ("client", 8, true),
            ("other", 8, false),
        ] {
            let (key, read) = policy("p", spec(name, count));
            scene.state.set_policy(&key, read);
            let begun = std::time::Instant::now();
            scene.commit();
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            assert_eq!(scene.pods[0].run(|| Echo::open(server, 80)).is_some(), reached, "{name} {count}");
        }
        scene.state.set_policy(&policy("p", json!({})).0, None);
        scene.commit();
        assert!(scene.pods[0].run(|| Echo::open(server, 80)).is_some());
    });
}

#[test]
fn the_kernel_takes_tables_of_both_families() {
    in_scene(|mut scene| {
        let object = json!({"metadata": {"name": "p", "namespace": "a", "labels": {}},
            "spec": {"nodeName": "here", "containers": [{"ports": [{"name": "web", "containerPort": 80}]}]},
            "status": {"podIPs": [{"ip": "10.244.0.9"}, {"ip": "fd00::9"}]}});
        let object: PodObject = serde_json::from_value(object).unwrap();
        let key = ObjectKey::new("a", "p");
        scene.state.set_pod(&key, object.seen_from("here"));
        let block = |cidr: &str, except: &[&str]| json!({"ipBlock": {"cidr": cidr, "except": except}});
        let peers = json!([{"podSelector": {}}, block("fd00::/16", &["fd00:1::/32"]), block("0.0.0.0/0", &[])]);
        let ports = json!([{"port": "web"}, {"port": 1, "endPort": 65_535}, {"port": 7, "protocol": "UDP"}]);
        let rule = json!({"from": peers, "to": peers, "ports": ports});
        let spec =
            json!({"podSelector": {}, "ingress": [rule], "egress": [rule], "policyTypes": ["Ingress", "Egress"]});
        let (key, read) = policy("p", spec);
        scene.state.set_policy(&key, read);
        scene.commit();
        let there = table_exists(&mut scene.netfilter, Family::V6, TABLE).unwrap();
        assert!(there);
        scene.state.set_policy(&key, None);
        scene.commit();
        remove(&mut scene.netfilter).unwrap();
        remove(&mut scene.netfilter).unwrap();
    });
}
