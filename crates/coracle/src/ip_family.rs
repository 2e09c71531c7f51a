//! Which families of addresses a local cluster has, and the ranges that they are of: those that kind has.

use std::net::{IpAddr, Ipv6Addr};

use clap::ValueEnum;
use coracle_values::addresses::{Family, Ranges, RangesError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Families of addresses, as kind's `ipFamily` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum IpFamily {
    /// IPv4 alone.
    #[default]
    Ipv4,
    /// IPv6 alone. The nodes have addresses of IPv4 as well, by which they reach the world.
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

impl IpFamily {
    /// The primary one first.
    pub fn families(self) -> &'static [Family] {
        match self {
            IpFamily::Ipv4 => &[Family::V4],
            IpFamily::Ipv6 => &[Family::V6],
            IpFamily::Dual => &Family::ALL,
        }
    }

    /// Whether it is the one that nobody has to name.
    pub fn is_default(&self) -> bool {
        *self == IpFamily::default()
    }

    /// Whether links need addresses of IPv6.
    pub fn has_v6(self) -> bool {
        self.families().contains(&Family::V6)
    }

    fn ranges(self, v4: &str, v6: &str) -> Result<Ranges, RangesError> {
        let of = |family: &Family| if *family == Family::V4 { v4 } else { v6 };
        self.families().iter().map(of).collect::<Vec<_>>().join(",").parse()
    }

    /// The ranges of all pods.
    ///
    /// # Errors
    /// None.
    pub fn pods(self) -> Result<Ranges, RangesError> {
        self.ranges("10.244.0.0/16", "fd00:10:244::/56")
    }

    /// The ranges of services.
    ///
    /// # Errors
    /// None.
    pub fn services(self) -> Result<Ranges, RangesError> {
        self.ranges("10.96.0.0/16", "fd00:10:96::/112")
    }
}

/// The network of IPv6 beside one of IPv4 between host and nodes: `fd00:10:90:7::/64` beside `10.90.7.0/24`.
pub fn beside(subnet: Ipv4Net) -> Ipv6Net {
    let [a, b, c, _] = subnet.network().octets().map(|octet| u16::from_str_radix(&octet.to_string(), 16).unwrap_or(0));
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, a, b, c, 0, 0, 0, 0), 64)
}

/// The address of a host in the networks of both families.
pub fn host(subnet: Ipv4Net, number: u32) -> [IpAddr; 2] {
    [IpNet::V4(subnet), IpNet::V6(beside(subnet))].map(|network| coracle_values::addresses::nth(network, number.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_kinds_ranges_of_its_families() {
        assert_eq!(IpFamily::Ipv4.pods().unwrap().to_string(), "10.244.0.0/16");
        assert_eq!(IpFamily::Dual.pods().unwrap().to_string(), "10.244.0.0/16,fd00:10:244::/56");
        assert_eq!(IpFamily::Ipv6.services().unwrap().to_string(), "fd00:10:96::/112");
        let subnet = "10.90.17.0/24".parse().unwrap();
        assert_eq!(beside(subnet).to_string(), "fd00:10:90:17::/64");
        assert_eq!(host(subnet, 2).map(|address| address.to_string()), ["10.90.17.2", "fd00:10:90:17::2"]);
    }
}
