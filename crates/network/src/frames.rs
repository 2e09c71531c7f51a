//! What pods may send at the bridge: frames from their own hardware address with their own IP addresses, and nothing else.
//!
//! A table of nftables' bridge family sees every frame before the bridge forwards it or learns from it. Of the protocols above
//! Ethernet it lets IPv4, ARP and IPv6 through. Who is a pod's neighbour in IPv6 is known for good, to the pod and to the node
//! ([`crate::node`]): of neighbour discovery, router advertisements included, nothing is let through.

use std::io;
use std::net::IpAddr;

use crate::host::hardware_address;
use crate::netlink::Socket;
use crate::nft::{self, Batch, Expr, Family, Hook, InPackets, Type, Verdict, link_name, octets};
use crate::node::port_name;

pub(crate) const TABLE: &str = "coracle-pods";
/// Links that lead to pods. Their names are made of addresses of the node's range, which bounds them.
const PORTS: &str = "ports";
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// Link, hardware address and address of each pod.
fn own_of(family: Family) -> (&'static str, Type) {
    match family {
        Family::V4 => ("own", Type::LinkHardwareAddress),
        Family::V6 => ("own6", Type::LinkHardwareAddress6),
    }
}

/// Makes the table anew, with these pods in it, by their addresses.
///
/// # Errors
/// The kernel cannot filter frames of bridges.
pub fn renew(socket: &mut Socket, pods: &[Vec<IpAddr>]) -> io::Result<()> {
    let mut batch = Batch::of_frames();
    batch.renew_table(TABLE);
    batch.set(TABLE, PORTS, Type::Link, None);
    for (set, kind) in Family::ALL.map(own_of) {
        batch.set(TABLE, set, kind, None);
    }
    rules(&mut batch);
    pods.iter().for_each(|pod| add(&mut batch, pod));
    batch.commit(socket)
}

/// Lets a pod send. Goes before its link is made, so that there is no moment without.
pub fn allow(socket: &mut Socket, pod: &[IpAddr]) -> io::Result<()> {
    let mut batch = Batch::of_frames();
    add(&mut batch, pod);
    batch.commit(socket)
}

/// Lets nothing more come from where a pod was. Its link stays known until the next [`renew`]: it may be there a while.
pub fn deny(socket: &mut Socket, pod: &[IpAddr]) -> io::Result<()> {
    let mut batch = Batch::of_frames();
    for (set, key) in own(pod) {
        batch.delete_elements(TABLE, set, &[key]);
    }
    batch.commit(socket)
}

/// Removes the table; that it is not there, or that there can be none, is no error.
pub fn remove(socket: &mut Socket) -> io::Result<()> {
    const ENOENT: i32 = 2;
    const EOPNOTSUPP: i32 = 95;
    let mut batch = Batch::of_frames();
    batch.delete_table(TABLE);
    match batch.commit(socket) {
        Err(error) if matches!(error.raw_os_error(), Some(ENOENT | EOPNOTSUPP)) => Ok(()),
        other => other,
    }
}

fn add(batch: &mut Batch, pod: &[IpAddr]) {
    let Some(first) = pod.first() else { return };
    batch.add_set_elements(TABLE, PORTS, &[link_name(&port_name(*first))]);
    for (set, key) in own(pod) {
        batch.add_set_elements(TABLE, set, &[key]);
    }
}

/// Link and hardware address follow from the first of a pod's addresses.
fn own(pod: &[IpAddr]) -> Vec<(&'static str, Vec<u8>)> {
    let Some(first) = pod.first() else { return Vec::new() };
    let begins = [&link_name(&port_name(*first))[..], &hardware_address(*first), &[0, 0]].concat();
    let key = |address: &IpAddr| (own_of(Family::of(*address)).0, [&begins[..], &octets(*address)].concat());
    pod.iter().map(key).collect()
}

fn rules(batch: &mut Batch) {
    /// Ethernet and IPv4, with addresses of six and four bytes.
    const ARP_FOR_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
    const ICMPV6: u8 = 58;
    /// Solicitations and advertisements of routers and neighbours, and redirects.
    const DISCOVERY: (u8, u8) = (133, 137);
    let equal = |value: &[u8]| Expr::Compare { register: 0, equal: true, value: value.to_vec() };
    let link = Expr::LinkName { leaving: false, into: 0 };
    // The registers of a concatenation: four for the link, two for the hardware address, then those for the address.
    let is_own = |hardware: &Expr, family: Family, address: Expr| {
        vec![link.clone(), hardware.clone(), address, Expr::InSet(own_of(family).0.into())]
    };
    let sender = Expr::FrameHeader { offset: 6, length: 6, into: 4 };
    let arp = vec![Expr::IpHeader { offset: 0, length: 6, into: 0 }, equal(&ARP_FOR_IPV4)];
    let arp_sender = Expr::IpHeader { offset: 8, length: 6, into: 4 };
    let arp_address = Expr::IpHeader { offset: 14, length: 4, into: 6 };

    batch.chain(TABLE, "from-pod");
    let packet = |carried, family: Family| {
        [Expr::frame_carries(carried), is_own(&sender, family, family.source(6)), vec![Expr::Accept]].concat()
    };
    batch.rule(TABLE, "from-pod", &packet(IPV4, Family::V4));
    let who = [
        Expr::frame_carries(ARP),
        arp,
        is_own(&sender, Family::V4, arp_address.clone()),
        is_own(&arp_sender, Family::V4, arp_address),
        vec![Expr::Accept],
    ];
    batch.rule(TABLE, "from-pod", &who.concat());
    let discovery = [
        Expr::frame_carries(IPV6),
        Expr::protocol_is(ICMPV6),
        vec![Expr::IcmpType { into: 0 }, Expr::Between(vec![DISCOVERY.0], vec![DISCOVERY.1]), Expr::Drop],
    ];
    batch.rule(TABLE, "from-pod", &discovery.concat());
    batch.rule(TABLE, "from-pod", &packet(IPV6, Family::V6));
    batch.rule(TABLE, "from-pod", &[Expr::Drop]);

    batch.base_chain(TABLE, "prerouting", "filter", Hook::Prerouting, nft::PRIORITY_FRAMES);
    let check = Expr::Verdict(Verdict("from-pod".into()));
    batch.rule(TABLE, "prerouting", &[link, Expr::InSet(PORTS.into()), check]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        EVERYBODY, Lacks, Namespace, Wire, arp, attach, datagram, frame, is_root, node_config, skip, tcp_answer,
        tcp_server,
    };
    use crate::{NodeNetwork, host};
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
    use std::sync::Arc;
    use std::time::Duration;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
    const PORT: u16 = 9999;
    const FORGED: u8 = 1;
    const HONEST: u8 = 2;

    fn hardware_of(address: impl Into<IpAddr>) -> [u8; 6] {
        hardware_address(address.into())
    }

    /// A node with two pods, seen from the node's namespace.
    struct Scene {
        network: Arc<NodeNetwork>,
        pods: Vec<Namespace>,
        /// Of IPv4.
        addresses: Vec<Ipv4Addr>,
        /// Of IPv6.
        others: Vec<Ipv6Addr>,
        _dir: tempfile::TempDir,
    }

    fn in_scene(test: impl FnOnce(Scene) + Send) {
        if !is_root() {
            return;
        }
        Namespace::new().run(|| {
            let mut socket = Socket::netfilter().unwrap();
            if let Err(error) = renew(&mut socket, &[]) {
                skip(Lacks::Machine(&format!("the kernel does not filter frames of bridges: {error}")));
                return;
            }
            let dir = tempfile::tempdir().unwrap();
            let network = NodeNetwork::new(node_config("cni0", dir.path(), false)).unwrap();
            let pods = vec![Namespace::new(), Namespace::new()];
            let connect = |(n, pod): (usize, &Namespace)| match attach(&network, &format!("pod{n}"), pod, &[]) {
                [IpAddr::V4(v4), IpAddr::V6(v6)] => (v4, v6),
                other => panic!("{other:?}"),
            };
            let (addresses, others) = pods.iter().enumerate().map(connect).unzip();
            test(Scene { network, pods, addresses, others, _dir: dir });
        });
    }

    impl Scene {
        /// The first pod's link.
        fn wire(&self) -> Wire {
            self.pods[0].run(|| Wire::open("eth0"))
        }

        /// Sends frames from the first pod and then an honest datagram to the same socket, which must come first.
        fn only_the_honest_one_comes(&self, at: &UdpSocket, to: Ipv4Addr, forged: &[Vec<u8>], what: &str) {
            let (wire, own) = (self.wire(), self.addresses[0]);
            forged.iter().for_each(|frame| wire.send(frame));
            let honest = datagram(own, to, PORT, HONEST);
            wire.send(&frame(hardware_of(GATEWAY), hardware_of(own), IPV4, &honest));
            at.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut byte = [0];
            let (_, from) = at.recv_from(&mut byte).unwrap();
            assert_eq!((byte[0], from.ip()), (HONEST, own.into()), "{what}");
        }
    }

    #[test]
    fn no_pod_sends_from_the_address_of_another_of_the_node_or_of_the_world() {
        in_scene(|scene| {
            let (own, other) = (scene.addresses[0], scene.addresses[1]);
            let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
            let (node, neighbour) = (bind(), scene.pods[1].run(bind));
            for (at, to) in [(&node, GATEWAY), (&neighbour, other)] {
                for source in [other, GATEWAY, Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::UNSPECIFIED] {
                    let packet = datagram(source, to, PORT, FORGED);
                    // Through the gateway, straight to the other, to all, and as bridges talk to each other.
                    let between_bridges = (0..16).map(|group| [1, 0x80, 0xc2, 0, 0, group]);
                    let ways = [hardware_of(GATEWAY), hardware_of(other), EVERYBODY];
                    for way in ways.into_iter().chain(between_bridges) {
                        let forged = frame(way, hardware_of(own), IPV4, &packet);
                        scene.only_the_honest_one_comes(at, to, &[forged], &format!("{source} to {to} by {way:x?}"));
                    }
                }
                let packet = datagram(own, to, PORT, FORGED);
                let foreign = frame(hardware_of(GATEWAY), hardware_of(other), IPV4, &packet);
                let tagged = [&[0, 1][..], &IPV4.to_be_bytes(), &packet].concat();
                let tagged = frame(hardware_of(GATEWAY), hardware_of(own), 0x8100, &tagged);
                scene.only_the_honest_one_comes(at, to, &[foreign, tagged], "another's hardware address, a tag");
            }
        });
    }

    #[test]
    fn no_pod_answers_arp_for_the_gateway_or_another_pod() {
        in_scene(|scene| {
            let (own, other) = (scene.addresses[0], scene.addresses[1]);
            let (node, wire) = (Wire::open("cni0"), scene.wire());
            let hardware = hardware_of(own);
            for (claimed, by, from) in [
                (GATEWAY, hardware, hardware),
                (other, hardware, hardware),
                (other, hardware_of(other), hardware),
                (own, hardware, hardware_of(other)),
                (own, hardware_of(other), hardware),
            ] {
                wire.send(&frame(EVERYBODY, from, ARP, &arp(by, claimed, GATEWAY)));
            }
            wire.send(&frame(EVERYBODY, hardware, 0x86dd, &[0x60; 60]));
            let honest = frame(EVERYBODY, hardware, ARP, &arp(hardware, own, GATEWAY));
            wire.send(&honest);
            let from_pods = |frame: &[u8]| frame[..6] == EVERYBODY;
            assert_eq!(node.next(from_pods)[..honest.len()], honest);
        });
    }

    /// A packet of IPv6 with nothing in it but these bytes of a protocol.
    fn packet(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, bytes: &[u8]) -> Vec<u8> {
        let begins = [&[0x60, 0, 0, 0, 0, bytes.len() as u8, protocol, 255][..], &from.octets(), &to.octets()];
        [&begins.concat()[..], bytes].concat()
    }

    #[test]
    fn no_pod_says_who_is_whose_neighbour_or_router_or_sends_from_anothers_address_of_ipv6() {
        in_scene(|scene| {
            const ICMP: u8 = 58;
            const NOTHING: u8 = 59;
            let (own, other, all) = (scene.others[0], scene.others[1], Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
            let (node, wire, hardware) = (Wire::open("cni0"), scene.wire(), hardware_of(scene.addresses[0]));
            let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
            // Solicitations and advertisements, of routers and of neighbours, and redirects.
            for kind in 133..=137 {
                for from in [own, other, link_local, Ipv6Addr::UNSPECIFIED] {
                    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &other.octets()].concat();
                    wire.send(&frame(EVERYBODY, hardware, IPV6, &packet(from, all, ICMP, &message)));
                    // Behind a header of options.
                    let behind = [&[ICMP, 0, 1, 4, 0, 0, 0, 0][..], &message].concat();
                    wire.send(&frame(EVERYBODY, hardware, IPV6, &packet(from, all, 0, &behind)));
                }
            }
            for from in [other, link_local, Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST] {
                wire.send(&frame(EVERYBODY, hardware, IPV6, &packet(from, all, NOTHING, &[])));
            }
            let honest = frame(EVERYBODY, hardware, IPV6, &packet(own, all, NOTHING, &[]));
            wire.send(&honest);
            let from_pods = |frame: &[u8]| frame[..6] == EVERYBODY;
            assert_eq!(node.next(from_pods)[..honest.len()], honest);
        });
    }

    #[test]
    fn nothing_goes_from_pod_to_pod_but_through_the_node() {
        in_scene(|scene| {
            let (own, other) = (scene.addresses[0], scene.addresses[1]);
            let (neighbour, wire) = (scene.pods[1].run(|| Wire::open("eth0")), scene.wire());
            let hardware = hardware_of(own);
            wire.send(&frame(EVERYBODY, hardware, ARP, &arp(hardware, own, other)));
            wire.send(&frame(hardware_of(other), hardware, IPV4, &datagram(own, other, PORT, FORGED)));
            wire.send(&frame(hardware_of(GATEWAY), hardware, IPV4, &datagram(own, other, PORT, HONEST)));
            let seen = neighbour.next(|frame| frame.windows(4).any(|part| part == own.octets()));
            assert_eq!((seen[6..12].to_vec(), seen.get(42)), (hardware_of(GATEWAY).to_vec(), Some(&HONEST)));
        });
    }

    #[test]
    fn a_forged_hardware_address_does_not_move_anothers_traffic() {
        in_scene(|scene| {
            let (own, other) = (scene.addresses[0], scene.addresses[1]);
            scene.pods[1].run(|| tcp_server(80, 7));
            assert_eq!(tcp_answer(other, 80), Some(7));
            let wire = scene.wire();
            for to in [EVERYBODY, hardware_of(GATEWAY), [1, 0x80, 0xc2, 0, 0, 14]] {
                wire.send(&frame(to, hardware_of(other), IPV4, &datagram(own, GATEWAY, PORT, FORGED)));
                wire.send(&frame(to, hardware_of(other), 0x88cc, &[0; 46]));
            }
            assert_eq!(tcp_answer(other, 80), Some(7));
        });
    }

    #[test]
    fn pods_go_on_over_a_restart_and_their_addresses_go_to_others() {
        in_scene(|scene| {
            let Scene { network, pods, addresses, others, _dir: dir } = scene;
            pods[0].run(|| tcp_server(80, 7));
            drop(network);
            let network = NodeNetwork::new(node_config("cni0", dir.path(), false)).unwrap();
            assert_eq!(tcp_answer(addresses[0], 80), Some(7), "before anything is retained");
            network.retain_blocking(&["pod0".into()]).unwrap();
            assert_eq!(tcp_answer(addresses[0], 80), Some(7), "one that lives");
            pods[1].run(|| tcp_server(80, 8));
            assert_eq!(tcp_answer(addresses[1], 80), None, "one that does not");
            let mut socket = Socket::netfilter().unwrap();
            allow(&mut socket, &[addresses[1].into(), others[1].into()]).unwrap();
            let mut routes = crate::netlink::Socket::route().unwrap();
            let bridge = crate::netlink::route::index_of(&mut routes, "cni0").unwrap();
            let way = coracle_values::addresses::alone(addresses[1].into());
            routes.request(crate::netlink::route::link_route(bridge, way)).unwrap();
            let hardware = crate::host::hardware_address(addresses[1].into());
            routes.request(crate::netlink::route::neighbour(bridge, addresses[1].into(), hardware)).unwrap();
            assert_eq!(tcp_answer(addresses[1], 80), Some(8), "an address that is given out again");
        });
    }

    #[test]
    fn br_netfilter_is_kept_off_the_bridge_of_a_local_node_so_that_its_ports_are_isolated() {
        in_scene(|scene| {
            let Ok(before) = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables") else {
                skip(Lacks::Machine("the kernel has no br_netfilter"));
                return;
            };
            assert_eq!(before.trim(), "0", "a node of its own switches it off");
            host::set_sysctl("net/bridge/bridge-nf-call-iptables", "1").unwrap();
            let late = Namespace::new();
            attach(&scene.network, "late", &late, &[]);
            let again = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").unwrap();
            assert_eq!(again.trim(), "0", "and again when it was loaded meanwhile");
        });
    }
}
