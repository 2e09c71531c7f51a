//! The addresses that services of type LoadBalancer get.

use ipnet::Ipv4Net;

use crate::args::NodeArgs;
use crate::cluster::{Cluster, Kind};

/// Those that were asked for. A local cluster has a half of its network for it, and nobody has to ask.
pub fn pool(options: &NodeArgs, cluster: &Cluster) -> Vec<Ipv4Net> {
    if !options.load_balancer_pool.is_empty() || cluster.kind != Kind::Local {
        return options.load_balancer_pool.clone();
    }
    let halves = cluster.subnet.subnets(cluster.subnet.prefix_len().saturating_add(1));
    halves.into_iter().flatten().last().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use crate::cluster::Place;
    use clap::Parser;

    fn of(kind: Kind, arguments: &[&str]) -> Vec<String> {
        let all = [&["coracle", "server"], arguments].concat();
        let Command::Server(options) = Args::try_parse_from(all).unwrap_or_else(|error| panic!("{error}")).command
        else {
            panic!("another command")
        };
        let place = Place { name: "c".into(), dir: "/d".into(), listed: None };
        let cluster = Cluster::new(&place, kind, "10.90.7.0/24".parse().unwrap());
        pool(&options.node, &cluster).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_local_cluster_has_the_upper_half_of_its_network_and_others_what_is_said() {
        assert_eq!(of(Kind::Local, &[]), ["10.90.7.128/25"]);
        assert!(of(Kind::Host, &[]).is_empty());
        let two = ["192.168.7.0/28", "10.1.0.0/30"];
        assert_eq!(of(Kind::Host, &["--load-balancer-pool", &two.join(",")]), two);
    }
}
