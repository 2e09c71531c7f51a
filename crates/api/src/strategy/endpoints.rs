//! Endpoints.

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age, default_text, items_mut};
use super::{AGE, Column, NAME, Strategy, column};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, int, list, text};

/// The Endpoints of a Service.
pub struct Endpoints;

impl Strategy for Endpoints {
    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn default(&self, obj: &mut Value) {
        let Some(map) = obj.as_object_mut() else { return };
        for subset in items_mut(map, "subsets") {
            for port in items_mut(subset, "ports") {
                default_text(port, "protocol", "TCP");
            }
        }
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (i, subset) in list(obj, &["subsets"]).iter().enumerate() {
            let path = Path::new("subsets").index(i);
            let (ready, unready) = (list(subset, &["addresses"]), list(subset, &["notReadyAddresses"]));
            if ready.is_empty() && unready.is_empty() {
                errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
            }
            for (key, addresses) in [("addresses", ready), ("notReadyAddresses", unready)] {
                for (j, address) in addresses.iter().enumerate() {
                    let path = path.child(key).index(j).child("ip");
                    let ip = text(address, &["ip"]);
                    push_all(&mut errors, &path, ip, endpoint_ip(ip));
                }
            }
            ports(list(subset, &["ports"]), &path.child("ports"), &mut errors);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Endpoints"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), summary(obj).into(), age(obj, now)]
    }
}

/// Checks an address that traffic is sent to.
pub fn endpoint_ip(text: &str) -> Vec<String> {
    let mut out = field::ip(text);
    // An address of the fourth version that is written as one of the sixth leads to the same place.
    if let Some(ip) = field::parse_ip(text).map(|ip| ip.to_canonical()) {
        let (local, local_multicast) = match ip {
            std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
            std::net::IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
        };
        if ip.is_unspecified() {
            out.push(format!("may not be unspecified ({text})"));
        } else if ip.is_loopback() {
            out.push("may not be in the loopback range (127.0.0.0/8, ::1/128)".into());
        } else if local {
            out.push("may not be in the link-local range (169.254.0.0/16, fe80::/10)".into());
        } else if local_multicast {
            out.push("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into());
        }
    }
    out
}

/// Checks the ports of a subset.
fn ports(ports: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            push_all(errors, &path.child("name"), name, field::dns1123_label(name));
        }
        for message in field::port_number(int(port, &["port"]).unwrap_or(0)) {
            errors.push(FieldError::invalid(&path.child("port"), &port["port"], message));
        }
        common::one_of(errors, &path.child("protocol"), &port["protocol"], &["TCP", "UDP", "SCTP"], true);
    }
}

/// The first addresses with their ports, as kubectl prints them.
fn summary(obj: &Value) -> String {
    const SHOWN: usize = 3;
    let mut shown: Vec<String> = Vec::new();
    let mut total = 0;
    for subset in list(obj, &["subsets"]) {
        let hosts: Vec<&str> = list(subset, &["addresses"]).iter().map(|a| text(a, &["ip"])).collect();
        let ports = list(subset, &["ports"]);
        if ports.is_empty() {
            total += hosts.len();
            shown.extend(hosts.iter().take(SHOWN.saturating_sub(shown.len())).map(|h| (*h).to_owned()));
        }
        for port in ports {
            let number = int(port, &["port"]).unwrap_or(0);
            total += hosts.len();
            for host in hosts.iter().take(SHOWN.saturating_sub(shown.len())) {
                let host = if host.contains(':') { format!("[{host}]") } else { (*host).to_owned() };
                shown.push(format!("{host}:{number}"));
            }
        }
    }
    match total {
        0 => "<none>".into(),
        n if n > shown.len() => format!("{} + {} more...", shown.join(","), n - shown.len()),
        _ => shown.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_not_sent_to_the_nodes_own_addresses_however_they_are_written() {
        for (address, range) in [
            ("127.0.0.1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::1", "loopback"),
            ("::ffff:169.254.169.254", "link-local range"),
            ("fe80::1", "link-local range"),
            ("224.0.0.251", "link-local multicast"),
            ("ff02::fb", "link-local multicast"),
            ("::ffff:0.0.0.0", "unspecified"),
        ] {
            let told = endpoint_ip(address);
            assert!(told.len() == 1 && told[0].contains(range), "{address}: {told:?}");
        }
        for address in ["10.244.0.5", "2001:db8::5", "225.0.0.1"] {
            assert_eq!(endpoint_ip(address), Vec::<String>::new(), "{address}");
        }
    }
}
