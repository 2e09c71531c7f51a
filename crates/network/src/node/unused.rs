//! Tests of addresses that nobody has: the kernel is not to look for a neighbour of them, as its table of neighbours is one
//! for all namespaces.

use std::net::UdpSocket;
use std::os::fd::AsFd;

use super::*;
use crate::testing::{Namespace, any, attach, is_root, net, node_config, of, tcp_answer, tcp_server};

/// How many addresses are sent to, where the range has so many.
const MANY: u128 = 5000;
/// What a test itself may add: pods, the gateway.
const FEW: usize = 10;

fn routes() -> String {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    ["route", "ipv6_route"].map(read).concat()
}

/// Sends a datagram to many addresses of a range, from the 100th on.
fn send_to_many(range: IpNet) {
    let socket = UdpSocket::bind((any(Family::of_range(range)), 0)).unwrap();
    for place in (100..MANY + 100).take_while(|place| range.contains(&nth(range, *place))) {
        // Whether it is refused at once is not asked here.
        let _ = socket.send_to(&[1], (nth(range, place), 9));
    }
}

#[test]
fn sending_to_addresses_that_nobody_has_leaves_the_table_of_neighbours_as_it_was() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    Namespace::new().run(|| {
        let network = NodeNetwork::new(node_config("coracle0", dir.path(), false)).unwrap();
        let pod = Namespace::new();
        let addresses = attach(&network, "pod", &pod, &[]);
        pod.run(|| tcp_server(8080, 1));
        let mut socket = Socket::route().unwrap();
        for family in Family::ALL {
            for range in ["10.244.0.0/24", "10.96.0.0/16"].map(|range| net(family, range)) {
                let before = route::count_neighbours(&mut socket, family);
                pod.run(|| send_to_many(range));
                send_to_many(range);
                let after = route::count_neighbours(&mut socket, family);
                assert!(after <= before + FEW, "{range}: {before} neighbours before, {after} now");
            }
            assert_eq!(tcp_answer(addresses[family as usize], 8080), Some(1));
        }
        let with = routes();
        network.detach_blocking("pod");
        let without = routes();
        assert_eq!(with.lines().count(), without.lines().count() + 2, "a pod's routes go with it: {with}{without}");
    });
}

#[test]
fn a_pod_that_names_its_link_fills_no_table_of_neighbours_either() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    Namespace::new().run(|| {
        let network = NodeNetwork::new(node_config("coracle0", dir.path(), false)).unwrap();
        let pod = Namespace::new();
        let addresses = attach(&network, "pod", &pod, &[]);
        pod.run(|| tcp_server(8080, 1));
        for (family, range) in [(Family::V4, "172.29.0.0/16"), (Family::V6, "fd00:172:29::/64")] {
            let range = range.parse().unwrap();
            let searched = pod.run(|| {
                // As the options SO_BINDTODEVICE and SO_DONTROUTE have it.
                let mut socket = Socket::route().unwrap();
                let eth0 = route::index_of(&mut socket, "eth0").unwrap();
                socket.request(route::link_route(eth0, range)).unwrap();
                send_to_many(range);
                route::count_searched(&mut socket, family)
            });
            assert_eq!(searched, 0, "{family:?}");
            assert_eq!(tcp_answer(addresses[family as usize], 8080), Some(1));
        }
    });
}

#[test]
fn a_pod_does_not_fill_the_table_with_the_neighbours_of_its_node() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    Namespace::new().run(|| {
        let network = NodeNetwork::new(node_config("coracle0", dir.path(), false)).unwrap();
        let [pod, other, neighbour] = [(); 3].map(|()| Namespace::new());
        attach(&network, "pod", &pod, &[]);
        attach(&network, "other", &other, &[]);
        crate::host::create_bridge("lan", &["10.9.0.1/16".parse().unwrap(), "fd00:9:2::1/64".parse().unwrap()])
            .unwrap();
        let links = [("10.9.2.2/16", "10.9.0.1"), ("fd00:9:2::2/64", "fd00:9:2::1")];
        let links = links.map(|(address, gateway)| (address.parse::<IpNet>().unwrap(), gateway.parse().unwrap()));
        crate::host::attach_node("lan", "vlan", neighbour.fd().as_fd(), &links).unwrap();
        neighbour.run(|| tcp_server(80, 3));
        let mut socket = Socket::route().unwrap();
        for (family, range) in [(Family::V4, "10.9.0.0/16"), (Family::V6, "fd00:9:2::/64")] {
            let before = route::count_searched(&mut socket, family);
            pod.run(|| send_to_many(range.parse().unwrap()));
            let after = route::count_searched(&mut socket, family);
            assert!(after > before && after < before + 200, "{range}: {before} before, {after} now");
        }
        for address in links.map(|(address, _)| address.addr()) {
            assert_eq!(other.run(|| tcp_answer(address, 80)), Some(3), "others reach {address}");
        }
    });
}

#[test]
fn pods_of_an_earlier_version_are_reached_and_lose_the_route_of_all_their_range() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    Namespace::new().run(|| {
        let config = node_config("coracle0", dir.path(), false);
        let network = NodeNetwork::new(config.clone()).unwrap();
        let pod = Namespace::new();
        let addresses = attach(&network, "pod", &pod, &[]);
        pod.run(|| tcp_server(8080, 1));
        drop(network);
        let mut socket = Socket::route().unwrap();
        let bridge = route::index_of(&mut socket, "coracle0").unwrap();
        for (family, address) in Family::ALL.into_iter().zip(addresses) {
            let own = net(family, "10.244.0.1/24");
            let earlier = [
                route::delete_link_route(bridge, alone(address)),
                route::delete_address(bridge, own),
                route::address(bridge, own),
            ];
            earlier.into_iter().for_each(|message| socket.request(message).unwrap());
        }
        let of_range = |text: &str| text.contains("00FFFFFF") || text.contains("fd000010024400000000000000000000 40 ");
        assert!(of_range(&routes()));
        NodeNetwork::new(config).unwrap().retain_blocking(&["pod".into()]).unwrap();
        assert!(!of_range(&routes()), "{}", routes());
        for (family, address) in Family::ALL.into_iter().zip(addresses) {
            assert_eq!(tcp_answer(address, 8080), Some(1), "{family:?}");
            assert_eq!(pod.run(|| tcp_answer(of(family, "10.244.0.99"), 8080)), None, "nobody");
        }
    });
}
