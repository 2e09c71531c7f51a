//! Addresses in the status of a pod: its own and its node's, at most one of each family.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::field::{self, FieldError, Path};
use crate::meta::{at, list, text};

/// The older field `podIP` mirrors the first of `podIPs`; where they differ, the older one counts.
pub fn mirror_address(status: &mut Map<String, Value>) {
    let one = status.get("podIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = status.get("podIPs").and_then(|ips| ips[0]["ip"].as_str()).unwrap_or_default();
    if one == first {
        return;
    }
    if one.is_empty() {
        let first = first.into();
        status.insert("podIP".into(), first);
    } else {
        status.insert("podIPs".into(), json!([{"ip": one}]));
    }
}

/// Checks the addresses of a new status.
pub fn addresses(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("status");
    one_of_each_family(new, old, "podIPs", errors);
    if let Some(first) = list(new, &["status", "hostIPs"]).first()
        && text(first, &["ip"]) != text(new, &["status", "hostIP"])
    {
        let path = path.child("hostIPs").index(0).child("ip");
        errors.push(FieldError::invalid_str(&path, text(first, &["ip"]), "must be equal to `hostIP`"));
    }
    one_of_each_family(new, old, "hostIPs", errors);
}

/// Checks a list of addresses. What was there before may stay, whatever it is.
fn one_of_each_family(new: &Value, old: &Value, key: &str, errors: &mut Vec<FieldError>) {
    let path = Path::new("status").child(key);
    let ips = |object| list(object, &["status", key]).iter().map(|ip| text(ip, &["ip"])).collect::<Vec<_>>();
    let (now, before) = (ips(new), ips(old));
    for (i, ip) in now.iter().enumerate().filter(|(_, ip)| !before.contains(ip)) {
        field::push_all(errors, &path.index(i), ip, field::ip(ip));
    }
    let families: Vec<bool> = now.iter().filter_map(|ip| field::parse_ip(ip)).map(|ip: IpAddr| ip.is_ipv6()).collect();
    if now.len() > 1 && (now.len() > 2 || families.first() == families.get(1)) {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(&path, at(new, &["status", key]), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: Value) -> Vec<String> {
        let mut errors = Vec::new();
        addresses(&json!({"status": status}), &json!({"status": {"podIPs": [{"ip": "kept"}]}}), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_valid_and_of_two_families() {
        let invalid = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        assert_eq!(
            refused(json!({"podIPs": [{"ip": "x"}]})),
            [format!("status.podIPs[0]: Invalid value: \"x\": {invalid}")]
        );
        assert_eq!(refused(json!({"podIPs": [{"ip": "kept"}]})), [] as [&str; 0]);
        assert_eq!(refused(json!({"podIPs": [{"ip": "1.2.3.4"}, {"ip": "fd00::1"}]})), [] as [&str; 0]);
        let alike = "status.podIPs: Invalid value: [{\"ip\":\"1.2.3.4\"},{\"ip\":\"1.2.3.5\"}]: may specify no more than one IP for each IP family";
        assert_eq!(refused(json!({"podIPs": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.5"}]})), [alike]);
        assert_eq!(
            refused(json!({"hostIP": "1.2.3.4", "hostIPs": [{"ip": "1.2.3.5"}]})),
            ["status.hostIPs[0].ip: Invalid value: \"1.2.3.5\": must be equal to `hostIP`"]
        );
    }

    #[test]
    fn the_older_field_mirrors_the_first_address() {
        for (given, becomes) in [
            (json!({"podIP": "1.2.3.4"}), json!({"podIP": "1.2.3.4", "podIPs": [{"ip": "1.2.3.4"}]})),
            (json!({"podIPs": [{"ip": "1.2.3.4"}]}), json!({"podIP": "1.2.3.4", "podIPs": [{"ip": "1.2.3.4"}]})),
            (
                json!({"podIP": "1.2.3.4", "podIPs": [{"ip": "1.2.3.5"}]}),
                json!({"podIP": "1.2.3.4", "podIPs": [{"ip": "1.2.3.4"}]}),
            ),
            (json!({}), json!({})),
        ] {
            let mut status = given.clone();
            mirror_address(status.as_object_mut().expect("an object"));
            assert_eq!(status, becomes, "{given}");
        }
    }
}
