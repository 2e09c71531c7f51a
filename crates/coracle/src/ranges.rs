//! The ranges of addresses that a server is given: whether they fit each other, and what follows from them.

use anyhow::{Result, bail};
use coracle_controllers::NodeMasks;
use coracle_values::addresses::{Family, Ranges, overlap};
use ipnet::IpNet;

use crate::args::NodeCidrMasks;

/// The place of the address of the cluster's DNS in the primary range of services, as kubeadm has it.
pub const DNS: u128 = 10;

/// How large the ranges of nodes are. A family whose range is smaller than usual is one node's.
///
/// # Errors
/// An option is none for these ranges, or does not fit into them.
pub fn masks(options: &NodeCidrMasks, cluster: Ranges) -> Result<NodeMasks> {
    let is_v6 = cluster.family() == Family::V6;
    if cluster.is_dual() {
        if options.of_all.is_some() {
            bail!("usage of --node-cidr-mask-size is not allowed with dual-stack clusters");
        }
    } else if options.of_all.is_some() {
        if options.v4.is_some() || options.v6.is_some() {
            bail!(
                "usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if --node-cidr-mask-size \
                 is set. For dual-stack clusters please unset it and use IPFamily specific flags"
            );
        }
    } else if options.v4.is_some() && is_v6 {
        bail!("usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster");
    } else if options.v6.is_some() && !is_v6 {
        bail!("usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster");
    }
    let usual = NodeMasks::default();
    let least = |family: Family| cluster.of(family).map_or(0, |range| range.prefix_len());
    let masks = NodeMasks {
        v4: options.v4.or(options.of_all).unwrap_or(usual.v4.max(least(Family::V4))),
        v6: options.v6.or(options.of_all).unwrap_or(usual.v6.max(least(Family::V6))),
    };
    masks.check(cluster)?;
    Ok(masks)
}

/// The ranges of a node that is told of none: the first of each family.
///
/// # Errors
/// The masks do not fit.
pub fn first_node(cluster: Ranges, masks: NodeMasks) -> Result<Ranges> {
    let first = |range: IpNet| {
        let mask = if range.addr().is_ipv4() { masks.v4 } else { masks.v6 };
        IpNet::new(range.network(), mask)
    };
    let secondary = cluster.iter().nth(1).map(first).transpose()?;
    Ok(Ranges::new(first(cluster.primary())?, secondary)?)
}

/// Checks the ranges of the addresses of a node's pods, of all pods, and of services.
///
/// # Errors
/// They do not fit each other.
pub fn check(pods: Ranges, cluster: Ranges, services: Ranges) -> Result<()> {
    if !pods.families().eq(cluster.families()) {
        bail!(
            "--pod-cidr {pods} has not the families of the range of all pods, --cluster-cidr {cluster}, in their order"
        );
    }
    for (own, all) in pods.iter().zip(cluster.iter()) {
        if !all.contains(&own) {
            bail!("--pod-cidr {own} is no part of the range of all pods, --cluster-cidr {all}");
        }
        if own.prefix_len() > own.max_prefix_len() - 2 {
            bail!("--pod-cidr {own} has no room for pods");
        }
    }
    for range in services.iter() {
        match cluster.of(Family::of_range(range)) {
            Some(all) if overlap(all, range) => {
                bail!("--cluster-cidr {all} has addresses of services, which are of {range}");
            }
            Some(_) => {}
            None => bail!(
                "--service-cluster-ip-range {range} is of a family that --cluster-cidr {cluster} has not: no pod could be \
                 reached by its addresses"
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Ranges {
        text.parse().unwrap()
    }

    #[test]
    fn a_node_has_a_part_of_the_range_of_pods_which_has_no_address_of_a_service() {
        let check =
            |pods: &str, cluster: &str, services: &str| check(range(pods), range(cluster), range(services)).is_ok();
        let v4 = |pods: &str, cluster: &str| check(pods, cluster, "10.96.0.0/16");
        assert!(v4("10.244.0.0/24", "10.244.0.0/16") && v4("10.244.0.0/16", "10.244.0.0/16"));
        assert!(!v4("10.245.0.0/24", "10.244.0.0/16") && !v4("10.244.0.0/31", "10.244.0.0/16"));
        assert!(!v4("10.96.1.0/24", "10.96.0.0/16") && !v4("10.0.0.0/24", "10.0.0.0/8"));
        let both = "10.244.0.0/16,fd00:10:244::/56";
        assert!(check("10.244.0.0/24,fd00:10:244::/64", both, "10.96.0.0/16,fd00:10:96::/112"));
        assert!(check("10.244.0.0/24,fd00:10:244::/64", both, "fd00:10:96::/112"), "services of one family alone");
        assert!(!check("fd00:10:244::/64,10.244.0.0/24", both, "10.96.0.0/16"), "another order");
        assert!(!check("10.244.0.0/24", both, "10.96.0.0/16") && !v4("10.244.0.0/24", "10.244.0.0/16,fd00::/56"));
        assert!(!check("10.244.0.0/24", "10.244.0.0/16", "10.96.0.0/16,fd00:10:96::/112"));
        assert!(!check("10.244.0.0/24,fd00:10:244::/64", both, "10.96.0.0/16,fd00:10:244::/112"));
    }

    #[test]
    fn nodes_have_ranges_of_the_sizes_that_upstreams_options_say() {
        let of = |cluster: &str, of_all, v4, v6| {
            let found = masks(&NodeCidrMasks { of_all, v4, v6 }, range(cluster));
            found.map(|masks| first_node(range(cluster), masks).unwrap().to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(of("10.244.0.0/16", None, None, None).unwrap(), "10.244.0.0/24");
        assert_eq!(of("10.244.0.0/26", None, None, None).unwrap(), "10.244.0.0/26", "a small one is one node's");
        assert_eq!(of("fd00::/56,10.244.0.0/16", None, Some(26), None).unwrap(), "fd00::/64,10.244.0.0/26");
        assert_eq!(of("fd00::/48", Some(60), None, None).unwrap(), "fd00::/60");
        for (found, expected) in [
            (of("10.0.0.0/8,fd00::/56", Some(24), None, None), "not allowed with dual-stack clusters"),
            (of("10.0.0.0/8", Some(24), Some(24), None), "if --node-cidr-mask-size is set"),
            (of("10.0.0.0/8", None, None, Some(64)), "single-stack IPv4 cluster"),
            (of("fd00::/56", None, Some(24), None), "single-stack IPv6 cluster"),
            (of("fd00::/40", None, None, None), "the node CIDR size is too big"),
            (of("10.244.0.0/16", Some(8), None, None), "does not fit"),
        ] {
            assert!(found.as_ref().is_err_and(|error| error.contains(expected)), "{found:?}: {expected}");
        }
    }
}
