//! IP addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::budget::{TRAVERSAL, traversal};
use crate::error::EvalError;
use crate::function::{Context, Cost, Function};
use crate::value::{CelValue, Extension};

type Value<'a> = Result<CelValue<'a>, EvalError>;

const ONE: Cost = Cost::Fixed(1);
const WALK: Cost = Cost::First(TRAVERSAL);

pub(super) const FUNCTIONS: &[Function] = &[
    Function::global("ip(string) -> net.IP", WALK, |_, args| {
        Ok(CelValue::Extension(Extension::Ip(parse_ip(text(args)?)?)))
    }),
    Function::global("isIP(string) -> bool", WALK, |_, args| Ok(CelValue::Bool(parse_ip(text(args)?).is_ok()))),
    Function::global("ip.isCanonical(string) -> bool", Cost::First(2.0 * TRAVERSAL), |_, args| {
        let text = text(args)?;
        Ok(CelValue::Bool(parse_ip(text)?.to_string() == text))
    }),
    Function::member("net.IP", "family() -> int", ONE, |_, args| match ip(args)? {
        IpAddr::V4(_) => Ok(CelValue::Int(4)),
        IpAddr::V6(_) => Ok(CelValue::Int(6)),
    }),
    Function::member("net.IP", "isUnspecified() -> bool", ONE, |_, args| Ok(ip(args)?.is_unspecified().into())),
    Function::member("net.IP", "isLoopback() -> bool", ONE, |_, args| Ok(ip(args)?.is_loopback().into())),
    Function::member("net.IP", "isLinkLocalMulticast() -> bool", ONE, |_, args| {
        Ok(match ip(args)? {
            IpAddr::V4(ip) => ip.octets().starts_with(&[224, 0, 0]),
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        }
        .into())
    }),
    Function::member("net.IP", "isLinkLocalUnicast() -> bool", ONE, |_, args| Ok(link_local(ip(args)?).into())),
    Function::member("net.IP", "isGlobalUnicast() -> bool", ONE, |_, args| {
        let ip = ip(args)?;
        let broadcast = ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
        let other = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local(ip) || broadcast;
        Ok((!other).into())
    }),
    Function::global("cidr(string) -> net.CIDR", WALK, |_, args| {
        Ok(CelValue::Extension(Extension::Cidr(parse_cidr(text(args)?)?)))
    }),
    Function::global("isCIDR(string) -> bool", WALK, |_, args| Ok(parse_cidr(text(args)?).is_ok().into())),
    Function::member("net.CIDR", "containsIP(string) -> bool", CONTAINS, contains_ip),
    Function::member("net.CIDR", "containsIP(net.IP) -> bool", CONTAINS, contains_ip),
    Function::member("net.CIDR", "containsCIDR(string) -> bool", CONTAINS_NET, contains_cidr),
    Function::member("net.CIDR", "containsCIDR(net.CIDR) -> bool", CONTAINS_NET, contains_cidr),
    Function::member("net.CIDR", "ip() -> net.IP", ONE, |_, args| {
        Ok(CelValue::Extension(Extension::Ip(cidr(args)?.addr())))
    }),
    Function::member("net.CIDR", "prefixLength() -> int", ONE, |_, args| {
        Ok(CelValue::Int(cidr(args)?.prefix_len().into()))
    }),
    Function::member("net.CIDR", "masked() -> net.CIDR", ONE, |_, args| {
        Ok(CelValue::Extension(Extension::Cidr(cidr(args)?.trunc())))
    }),
];

/// Comparing the octets of the prefix, and reading a text.
const CONTAINS: Cost = Cost::By(
    |args| traversal(2 * size(args), TRAVERSAL) + reading(args),
    |sizes| 4_u64.saturating_add(Cost::First(TRAVERSAL).of(sizes.get(1..).unwrap_or_default())),
);
/// The same, and masking.
const CONTAINS_NET: Cost = Cost::By(
    |args| traversal(2 * size(args), TRAVERSAL) + traversal(size(args), TRAVERSAL) + 1 + reading(args),
    |sizes| (4_u64 + 2 + 1).saturating_add(Cost::First(TRAVERSAL).of(sizes.get(1..).unwrap_or_default())),
);

fn size(args: &[CelValue<'_>]) -> usize {
    args.first().map_or(0, CelValue::cost_size)
}

fn reading(args: &[CelValue<'_>]) -> u64 {
    match args.get(1) {
        Some(text @ CelValue::String(_)) => traversal(text.cost_size(), TRAVERSAL),
        _ => 0,
    }
}

fn text<'v>(args: &'v [CelValue<'_>]) -> Result<&'v str, EvalError> {
    args.first().and_then(CelValue::as_str).ok_or_else(EvalError::no_such_overload)
}

fn ip(args: &[CelValue<'_>]) -> Result<IpAddr, EvalError> {
    match args.first() {
        Some(CelValue::Extension(Extension::Ip(ip))) => Ok(*ip),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn cidr(args: &[CelValue<'_>]) -> Result<IpNet, EvalError> {
    match args.first() {
        Some(CelValue::Extension(Extension::Cidr(net))) => Ok(*net),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    if text.contains('%') {
        return Err(EvalError::new(format!("IP address {text:?} with zone value is not allowed")));
    }
    let parsed: Result<IpAddr, _> = text.parse();
    let ip = parsed.map_err(|_| {
        let reason = format!("ParseAddr({text:?}): unable to parse IP");
        EvalError::new(format!("IP Address {text:?} parse error during conversion from string: {reason}"))
    })?;
    if mapped(ip) {
        return Err(EvalError::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")));
    }
    Ok(ip)
}

fn parse_cidr(text: &str) -> Result<IpNet, EvalError> {
    let wrong = |reason: &str| {
        let reason = format!("netip.ParsePrefix({text:?}): {reason}");
        EvalError::new(format!("network address parse error during conversion from string: {reason}"))
    };
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
    let address: IpAddr = address.parse().map_err(|_| wrong("unable to parse IP"))?;
    let plain = bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
    let bits: u8 = bits.parse().ok().filter(|_| plain).ok_or_else(|| wrong("bad bits after slash"))?;
    if mapped(address) {
        return Err(EvalError::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")));
    }
    IpNet::new(address, bits).map_err(|_| wrong("prefix length out of range"))
}

fn contains_ip<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let other = match args.get(1) {
        Some(CelValue::String(text)) => parse_ip(text)?,
        Some(CelValue::Extension(Extension::Ip(ip))) => *ip,
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(CelValue::Bool(cidr(args)?.contains(&other)))
}

fn contains_cidr<'a>(_: &mut Context<'_>, args: &[CelValue<'a>]) -> Value<'a> {
    let other = match args.get(1) {
        Some(CelValue::String(text)) => parse_cidr(text)?,
        Some(CelValue::Extension(Extension::Cidr(net))) => *net,
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(CelValue::Bool(cidr(args)?.contains(&other.trunc())))
}
