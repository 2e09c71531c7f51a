use super::*;
use crate::host::{attach_node, create_bridge};
use crate::nft::Nat;
use crate::testing::{Namespace, host_of_both, is_root, net, node_config, of, tcp_answer, tcp_server};
use std::path::Path;

fn config(dir: &Path, on_host: bool) -> ForeignConfig {
    ForeignConfig {
        bridge: "cni0".into(),
        overlay: "vx".into(),
        state: dir.join("addresses"),
        service_cidr: "10.96.0.0/16,fd00:10:96::/112".parse().unwrap(),
        service_addresses: Family::ALL.map(|family| of(family, "10.96.0.10")).into(),
        on_host,
    }
}

/// In a namespace of its own, with two pods on a bridge of somebody else's.
fn with_pods(test: impl FnOnce(&Path, [Namespace; 2]) + Send) {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    Namespace::new().run(|| {
        let pods = ["10.9.5.2", "10.9.5.3"].map(|address| {
            let pod = Namespace::new();
            if address == "10.9.5.2" {
                create_bridge("br", &Family::ALL.map(|family| net(family, "10.9.5.1/24"))).unwrap();
            }
            let link = format!("v{}", &address[7..]);
            attach_node("br", &link, pod.fd().as_fd(), &host_of_both(address, "10.9.5.1")).unwrap();
            pod
        });
        test(dir.path(), pods);
    });
}

/// A service of port 80, as the service proxy leads to a pod.
fn serve(family: Family, service: &str, pod: &str) {
    let mut batch = Batch::of(family);
    let table = format!("s{}", service.rsplit('.').next().unwrap());
    batch.renew_table(&table);
    batch.base_chain(&table, "prerouting", "nat", Hook::Prerouting, nft::PRIORITY_DESTINATION_NAT);
    let address = octets(of(family, pod));
    let mut load: Vec<Expr> = address
        .chunks(4)
        .enumerate()
        .map(|(at, part)| Expr::Load { into: at as u32, value: part.try_into().unwrap() })
        .collect();
    load.push(Expr::Load { into: family.registers(), value: [0x1f, 0x90, 0, 0] });
    let to = coracle_values::addresses::alone(of(family, service));
    let rule = [Expr::destination_in(to), Expr::protocol_is(6), load, vec![Expr::Nat(Nat::DestinationAndPort(family))]];
    batch.rule(&table, "prerouting", &rule.concat());
    batch.commit(&mut Socket::netfilter().unwrap()).unwrap();
}

#[test]
fn pods_of_others_reach_services_names_and_themselves() {
    with_pods(|dir, [one, two]| {
        // As where br_netfilter is not loaded.
        for (_, filter) in BRIDGE_FILTERS {
            let _ = set_sysctl(filter, "0");
        }
        let foreign = ForeignPods::new(&config(dir, true)).unwrap();
        for family in Family::ALL {
            foreign.attached(&[of(family, "10.9.5.2")]).unwrap();
            foreign.attached(&[of(family, "10.9.5.3")]).unwrap();
            serve(family, "10.96.0.7", "10.9.5.3");
        }
        two.run(|| tcp_server(8080, 3));
        tcp_server(53, 1);
        for family in Family::ALL {
            let [dns, service, none] = ["10.96.0.10", "10.96.0.7", "10.96.0.8"].map(|address| of(family, address));
            assert_eq!(one.run(|| tcp_answer(dns, 53)), Some(1), "names");
            assert_eq!(one.run(|| tcp_answer(service, 80)), Some(3), "a service of a pod on the same bridge");
            assert_eq!(two.run(|| tcp_answer(service, 80)), Some(3), "itself");
            assert_eq!(one.run(|| tcp_answer(none, 80)), None, "what is no service");
            foreign.detached(&[of(family, "10.9.5.3")]);
            foreign.detached(&[of(family, "10.9.5.3")]);
        }
    });
}

#[test]
fn a_node_takes_over_from_the_built_in_network_once_it_has_no_pods_and_leaves_nothing() {
    with_pods(|dir, _| {
        let pod = Namespace::new();
        let network = NodeNetwork::new(node_config("cni0", dir, false)).unwrap();
        network.attach_blocking("pod", pod.fd().as_fd(), &[]).unwrap();
        let refused = ForeignPods::new(&config(dir, false)).err().unwrap().to_string();
        assert!(refused.contains("1 pods of this node are connected by the built-in network (cni0)"), "{refused}");
        drop(network);
        let mut socket = Socket::route().unwrap();
        let bridge = route::index_of(&mut socket, "cni0").unwrap();
        for port in route::ports(&mut socket, bridge).unwrap() {
            route::delete(&mut socket, &port).unwrap();
        }
        ForeignPods::new(&config(dir, false)).unwrap();
        assert!(route::index_of(&mut socket, "cni0").is_err());
        // A plugin's bridge of that name is its own.
        create_bridge("cni0", &[net(Family::V4, "10.9.6.1/24")]).unwrap();
        ForeignPods::new(&config(dir, false)).unwrap();
        route::index_of(&mut socket, "cni0").unwrap();
        NodeNetwork::remove("none", "vx", &[], &dir.join("addresses")).unwrap();
        assert!(nft::tables(&mut Socket::netfilter().unwrap()).unwrap().is_empty());
        let own = route::addresses(&mut socket).unwrap();
        assert!(!own.contains(&of(Family::V4, "10.96.0.10")), "{own:?}");
    });
}
