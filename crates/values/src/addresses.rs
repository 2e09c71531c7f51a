//! Families of IP addresses, and ranges of one family or of both.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

/// A family of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Of 32 bits.
    V4,
    /// Of 128 bits.
    V6,
}

impl Family {
    /// All there are.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// That of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// That of the addresses in a range.
    pub fn of_range(range: IpNet) -> Family {
        Family::of(range.addr())
    }

    /// That of a name, as [`Family::name`] has it.
    pub fn named(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|family| family.name() == name)
    }

    /// As services and slices name it: `IPv4` or `IPv6`.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// The one that this is not.
    pub fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }

    /// Bits of an address.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// An address of a range by its place; the first one is that of the network itself. Behind the end of a family's addresses
/// it goes on with the first.
pub fn nth(range: IpNet, place: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first).wrapping_add(place as u32)).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first).wrapping_add(place)).into(),
    }
}

/// How many addresses a range has, as far as that can be counted.
pub fn size(range: IpNet) -> u128 {
    1u128.checked_shl(u32::from(range.max_prefix_len() - range.prefix_len())).unwrap_or(u128::MAX)
}

/// Whether ranges have an address in common.
pub fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The network that an address alone is.
pub fn alone(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// The networks in which each address is somebody of its own: those of a cluster's pods and of a node's own links.
pub fn inside(pods: Ranges, node: &[IpAddr]) -> Vec<IpNet> {
    let of_node = node.iter().filter_map(|address| IpNet::new(*address, Family::of(*address).bits() / 2).ok());
    pods.iter().chain(of_node.filter(|range| Family::of_range(*range) == Family::V6)).collect()
}

/// Who a client is, for limits that are each one's: of IPv6 outside those networks everyone in a /64, as one host may have
/// all its addresses.
pub fn client(address: IpAddr, inside: &[IpNet]) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if !v6.is_loopback() && !inside.iter().any(|range| range.contains(&IpAddr::V6(v6))) => {
            Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

/// What is no [`Ranges`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RangesError {
    /// No range at all.
    #[error("{0:?} is no range of addresses, as 10.244.0.0/16 and fd00:10:244::/56 are")]
    Malformed(String),
    /// An address within a range, and not the one with which it begins.
    #[error("{given} is an address within the range {range}")]
    NotTheFirst {
        /// What was said.
        given: String,
        /// The range that it is in.
        range: IpNet,
    },
    /// Three or more.
    #[error("there are more than two ranges; one of each family is the most")]
    Many,
    /// Two of one family.
    #[error("{0} and {1} must be of different IP family")]
    SameFamily(IpNet, IpNet),
}

/// One range, or one of each family, of which the first is the primary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    primary: IpNet,
    secondary: Option<IpNet>,
}

impl Ranges {
    /// # Errors
    /// Both are of one family.
    pub fn new(primary: IpNet, secondary: Option<IpNet>) -> Result<Ranges, RangesError> {
        match secondary {
            Some(second) if Family::of_range(second) == Family::of_range(primary) => {
                Err(RangesError::SameFamily(primary, second))
            }
            _ => Ok(Ranges { primary, secondary }),
        }
    }

    /// Those of a list; `None` when it has none, or more than one of a family.
    pub fn of_list(list: &[IpNet]) -> Option<Ranges> {
        match list {
            [primary] => Some((*primary).into()),
            [primary, secondary] => Ranges::new(*primary, Some(*secondary)).ok(),
            _ => None,
        }
    }

    /// The first, or only one.
    pub fn primary(&self) -> IpNet {
        self.primary
    }

    /// The family of the primary one.
    pub fn family(&self) -> Family {
        Family::of_range(self.primary)
    }

    /// The primary one first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + use<> {
        std::iter::once(self.primary).chain(self.secondary)
    }

    /// Those that there are.
    pub fn families(&self) -> impl Iterator<Item = Family> + use<> {
        self.iter().map(Family::of_range)
    }

    /// Whether there is one of each family.
    pub fn is_dual(&self) -> bool {
        self.secondary.is_some()
    }

    /// That of a family.
    pub fn of(&self, family: Family) -> Option<IpNet> {
        self.iter().find(|range| Family::of_range(*range) == family)
    }

    /// Whether an address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.iter().any(|range| range.contains(&address))
    }
}

impl From<IpNet> for Ranges {
    fn from(primary: IpNet) -> Ranges {
        Ranges { primary, secondary: None }
    }
}

impl FromStr for Ranges {
    type Err = RangesError;

    /// Ranges separated by a comma, each of which begins where it is said to.
    fn from_str(text: &str) -> Result<Ranges, RangesError> {
        let mut ranges = text.split(',').map(range);
        let primary = ranges.next().unwrap_or_else(|| range(""))?;
        let secondary = ranges.next().transpose()?;
        if ranges.next().is_some() {
            return Err(RangesError::Many);
        }
        Ranges::new(primary, secondary)
    }
}

/// A range that begins where it is said to.
///
/// # Errors
/// It is none.
pub fn range(text: &str) -> Result<IpNet, RangesError> {
    let range: IpNet = text.trim().parse().map_err(|_| RangesError::Malformed(text.to_owned()))?;
    match range.addr() == range.network() {
        true => Ok(range),
        false => Err(RangesError::NotTheFirst { given: text.to_owned(), range: range.trunc() }),
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.primary)?;
        self.secondary.iter().try_for_each(|range| write!(f, ",{range}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_network_is_one_client_and_each_pod_and_node_is_one() {
        let of_node: [IpAddr; 2] = ["10.90.1.2".parse().unwrap(), "2001:db8:90:1::2".parse().unwrap()];
        let inside = inside("10.244.0.0/16,fd00:10:244::/56".parse().unwrap(), &of_node);
        let of = |text: &str| client(text.parse().unwrap(), &inside).to_string();
        for own in ["fd00:10:244:1::5", "2001:db8:90:1::3", "192.0.2.1", "10.90.1.3", "::1"] {
            assert_eq!(of(own), own);
        }
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!((of("::ffff:192.0.2.1"), of("127.0.0.9")), ("192.0.2.1".into(), "127.0.0.1".into()));
    }

    #[test]
    fn there_is_one_range_or_one_of_each_family() {
        for text in ["10.244.0.0/16", "fd00:10:244::/56", "10.244.0.0/16,fd00:10:244::/56", "fd00::/64,10.0.0.0/8"] {
            assert_eq!(text.parse::<Ranges>().unwrap().to_string(), text);
        }
        let wrong = [
            "",
            "10.244.0.0",
            "10.244.1.0/16",
            "10.0.0.0/33",
            "10.0.0.0/8,",
            "10.0.0.0/8,11.0.0.0/8",
            "::/1,1.0.0.0/8,2.0.0.0/8",
        ];
        for text in wrong {
            assert!(text.parse::<Ranges>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_counted_from_that_of_the_network() {
        assert_eq!(nth("10.96.0.0/16".parse().unwrap(), 10).to_string(), "10.96.0.10");
        assert_eq!(nth("fd00:10:96::/112".parse().unwrap(), 10).to_string(), "fd00:10:96::a");
        assert_eq!(size("10.0.0.0/30".parse().unwrap()), 4);
        assert_eq!(size("::/0".parse().unwrap()), u128::MAX);
    }
}
