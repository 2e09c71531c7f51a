//! Hollow nodes: names, addresses, and the marks by which all parts know them.
//!
//! A hollow node has no machine, and nothing of its pods runs. Its address and those of its pods are of ranges that nobody
//! uses, so that whoever tries to reach one reaches nobody.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::addresses::{Family, nth};

/// The label of hollow nodes, with the value `true`.
pub const LABEL: &str = "coracle.io/hollow";
/// The key of the taint that keeps pods away from them which do not tolerate it.
pub const TAINT: &str = "coracle.io/hollow";
/// Selects the nodes that are not hollow.
pub const NOT_HOLLOW: &str = "coracle.io/hollow!=true";
/// Most hollow nodes of one server.
pub const MAX_NODES: u32 = 100_000;
/// Most pods of one, as each has an address of the node's range.
pub const MAX_PODS: u32 = 250;

/// Where the addresses of nodes are: those of benchmarks, which no network forwards (RFC 2544, RFC 5180).
fn nodes(family: Family) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::new_assert([198, 18, 0, 0].into(), 15).into(),
        Family::V6 => Ipv6Net::new_assert([0x2001, 2, 0, 0, 0, 0, 0, 0].into(), 48).into(),
    }
}

/// Where the addresses of their pods are: those that are reserved (RFC 1112), or whose packets are discarded (RFC 6666).
pub fn pods(family: Family) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::new_assert([240, 0, 0, 0].into(), 4).into(),
        Family::V6 => Ipv6Net::new_assert([0x100, 0, 0, 0, 0, 0, 0, 0].into(), 64).into(),
    }
}

/// The name of a server's hollow node of a number, of which the first is 1.
pub fn name(server: &str, number: u32) -> String {
    format!("{server}-hollow-{number}")
}

/// The number of a server's hollow node of a name.
pub fn number(server: &str, name: &str) -> Option<u32> {
    let digits = name.strip_prefix(server)?.strip_prefix("-hollow-")?;
    // One number has one name.
    let is_canonical = digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|number| is_canonical && *number <= MAX_NODES)
}

/// The address of a node.
pub fn address(family: Family, number: u32) -> IpAddr {
    nth(nodes(family), number.into())
}

/// The range of the addresses of a node's pods.
pub fn range(family: Family, number: u32) -> IpNet {
    let host_bits = match family {
        Family::V4 => 8,
        Family::V6 => 16,
    };
    let first = nth(pods(family), u128::from(number) << host_bits);
    // The prefix is shorter than an address.
    IpNet::new(first, family.bits() - host_bits).unwrap_or(first.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::overlap;

    #[test]
    fn each_number_has_one_name_and_no_other_servers_nodes_are_taken_for_it() {
        assert_eq!(number("dev", &name("dev", 7)), Some(7));
        for other in ["dev", "dev-hollow-", "dev-hollow-07", "dev-hollow-0", "dev-hollow-+7", "dev-2-hollow-7"] {
            assert_eq!(number("dev", other), None, "{other}");
        }
        assert_eq!(number("dev", &name("dev", MAX_NODES + 1)), None);
    }

    #[test]
    fn ranges_of_nodes_are_apart_from_each_other_and_hold_the_pods_that_a_node_may_have() {
        for family in Family::ALL {
            let [first, second, last] = [1, 2, MAX_NODES].map(|number| range(family, number));
            assert!(!overlap(first, second) && !overlap(second, last));
            assert!([first, second, last].iter().all(|range| pods(family).contains(range)));
            assert!(first.contains(&nth(first, u128::from(MAX_PODS) + 1)));
            assert!([1, MAX_NODES].iter().all(|number| nodes(family).contains(&address(family, *number))));
        }
        assert_eq!(range(Family::V4, 1).to_string(), "240.0.1.0/24");
        assert_eq!(range(Family::V6, 1).to_string(), "100::1:0/112");
        assert_eq!(address(Family::V4, 258).to_string(), "198.18.1.2");
    }
}
