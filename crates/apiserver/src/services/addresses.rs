//! Which addresses of a range are given to services.

use std::collections::HashSet;
use std::net::IpAddr;

use coracle_api::addresses::{Family, nth, size};
use coracle_api::field::{FieldError, Path};
use coracle_api::meta::list;
use ipnet::IpNet;
use serde_json::{Value, json};

/// Addresses of a range in the larger family that are given out unless somebody chooses one.
const MOST: u128 = 1 << 32;
/// Fewer addresses are no range for services.
const LEAST: u128 = 8;
/// More bits for addresses within the range are refused.
const BITS: u8 = 64;

/// Whether services can have addresses of a range.
///
/// # Errors
/// It is too large or too small.
pub fn check_size(range: IpNet) -> anyhow::Result<()> {
    let bits = range.max_prefix_len();
    anyhow::ensure!(
        bits - range.prefix_len() <= BITS,
        "specified --service-cluster-ip-range is too large; for {bits}-bit addresses, the mask must be >= {}",
        bits.saturating_sub(BITS)
    );
    anyhow::ensure!(
        size(range) >= LEAST,
        "the service cluster IP range must be at least {LEAST} IP addresses, and {range} is not"
    );
    Ok(())
}

/// The addresses that a service has.
pub fn of(service: &Value) -> impl Iterator<Item = &str> {
    let (one, all) = (service["spec"]["clusterIP"].as_str(), list(service, &["spec", "clusterIPs"]));
    let listed = all.iter().filter_map(Value::as_str);
    // A service of an older version has the one field alone.
    let alone = one.filter(|_| all.is_empty());
    listed.chain(alone).filter(|text| text.parse::<IpAddr>().is_ok())
}

/// Checks one of the addresses that a service asks for.
pub fn check(text: &str, all: &[String], range: IpNet, taken: &HashSet<IpAddr>) -> Result<IpAddr, FieldError> {
    let path = Path::new("spec").child("clusterIPs");
    let invalid = |why: &str| FieldError::invalid(&path, &json!(all), why.to_owned());
    let Ok(address) = text.parse::<IpAddr>() else { return Err(invalid("must be a valid IP address")) };
    if !range.contains(&address) || address == range.network() || Some(address) == broadcast(range) {
        return Err(invalid(&format!(
            "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
        )));
    }
    if taken.contains(&address) {
        return Err(invalid(&format!("failed to allocate IP {address}: provided IP is already allocated")));
    }
    Ok(address)
}

/// The last address of an IPv4 network, which is that of all its hosts.
fn broadcast(range: IpNet) -> Option<IpAddr> {
    (Family::of_range(range) == Family::V4).then(|| range.broadcast())
}

/// A random free address, outside the lower band that upstream leaves to addresses chosen by users
/// while there are others (KEP-3070).
pub fn free(range: IpNet, taken: &HashSet<IpAddr>) -> Result<IpAddr, FieldError> {
    let size = size(range).min(MOST);
    let band = (size / 16).clamp(16, 256).min(size / 2);
    let last = if broadcast(range).is_some() { size.saturating_sub(1) } else { size };
    let (low, high) = (band.max(2), last);
    let start = u128::from(super::random()) % high.saturating_sub(low).max(1);
    let upper = (0..high.saturating_sub(low)).map(|n| low + (start + n) % (high - low));
    let found = upper.chain(2..low).map(|n| nth(range, n)).find(|address| !taken.contains(address));
    found.ok_or_else(|| {
        let path = Path::new("spec").child("clusterIPs");
        FieldError::invalid(&path, &Value::Null, "failed to allocate a serviceIP: range is full")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_given_out_whole_and_no_further() {
        for (range, count) in [("10.0.0.0/28", 13), ("fd00::/124", 14)] {
            let (range, mut taken) = (range.parse().unwrap(), HashSet::new());
            while let Ok(address) = free(range, &taken) {
                assert!(range.contains(&address) && taken.insert(address), "{address}");
            }
            assert_eq!(taken.len(), count, "{range}");
        }
        let large: IpNet = "fd00::/64".parse().unwrap();
        assert!(large.contains(&free(large, &HashSet::new()).unwrap()));
    }

    #[test]
    fn no_service_asks_for_the_address_of_the_network_or_of_all_its_hosts() {
        for (range, bad, good) in [
            ("10.96.0.0/16", &["10.96.0.0", "10.96.255.255", "10.97.0.1"][..], &["10.96.0.1", "10.96.255.254"][..]),
            ("fd00::/112", &["fd00::", "fd00::1:0"], &["fd00::1", "fd00::ffff"]),
        ] {
            let asked = |text: &str| check(text, &[text.to_owned()], range.parse().unwrap(), &HashSet::new());
            for text in bad {
                let told = asked(text).unwrap_err().to_string();
                assert!(told.contains("is not in the valid range"), "{told}");
            }
            assert!(good.iter().all(|text| asked(text).is_ok()), "{range}");
        }
    }

    #[test]
    fn ranges_that_are_too_large_or_too_small_are_refused() {
        let check = |range: &str| check_size(range.parse().unwrap()).map_err(|error| error.to_string());
        assert!(check("10.0.0.0/8").is_ok() && check("fd00::/64").is_ok() && check("10.0.0.0/29").is_ok());
        assert!(check("fd00::/63").unwrap_err().contains("the mask must be >= 64"));
        assert!(check("10.0.0.0/30").unwrap_err().contains("at least 8 IP addresses"));
    }
}
