//! What a chain made: addresses, and the result as plugins of other versions write it.
//! <https://www.cni.dev/docs/spec/#add-success>

use std::net::IpAddr;

use coracle_values::addresses::Family;
use ipnet::IpNet;
use serde_json::Value;

use crate::version::Version;

/// Most addresses that are looked at.
const MAX_ADDRESSES: usize = 1024;

/// The addresses of a pod's link by a result: the first of each family, in the order of the result. Those that belong to
/// other links, or to one of the node, are none of the pod's.
///
/// # Errors
/// It is no result, or has no address.
pub fn addresses(result: &Value, link: &str) -> Result<Vec<IpAddr>, String> {
    let interfaces = match &result["interfaces"] {
        Value::Null => &[][..],
        Value::Array(interfaces) => interfaces,
        _ => return Err("its interfaces are not a list".into()),
    };
    let ips = match &result["ips"] {
        Value::Null => &[][..],
        Value::Array(ips) if ips.len() <= MAX_ADDRESSES => ips,
        _ => return Err("its ips are not a list, or too many".into()),
    };
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in ips {
        let text = ip["address"].as_str().unwrap_or_default();
        let address = text.parse::<IpNet>().map_err(|_| format!("{text:?} is no address with a prefix"))?.addr();
        let is_ours = match &ip["interface"] {
            // Plugins of addresses alone do not know of links.
            Value::Null => true,
            index => {
                let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
                let interface = index.and_then(|index| interfaces.get(index));
                let interface = interface.ok_or_else(|| format!("{text} is of an interface that is not listed"))?;
                interface["name"] == link && interface["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty())
            }
        };
        let is_usable = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
        if is_ours && !is_usable {
            return Err(format!("{text} is no address that a pod can have"));
        }
        if is_ours && !found.iter().any(|known| Family::of(*known) == Family::of(address)) {
            found.push(address);
        }
    }
    if found.is_empty() { Err(format!("it has no address of {link}")) } else { Ok(found) }
}

/// A result in a version of the specification.
///
/// # Errors
/// It is no result, or of a version that is not known.
pub fn in_version(mut result: Value, version: Version) -> Result<Value, String> {
    let Some(object) = result.as_object_mut() else { return Err("it is not a JSON object".into()) };
    // One that says nothing is as it was asked for.
    if let Some(named) = object.get("cniVersion").filter(|named| !named.is_null()) {
        let known = named.as_str().and_then(Version::parse);
        known.ok_or_else(|| format!("it is of the version {named}, which is not spoken here"))?;
    }
    object.insert("cniVersion".into(), version.as_str().into());
    for ip in object.get_mut("ips").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(ip) = ip.as_object_mut() else { continue };
        if !version.names_ip_versions() {
            ip.remove("version");
        } else if !ip.contains_key("version") {
            let is_v6 = ip.get("address").and_then(Value::as_str).is_some_and(|address| address.contains(':'));
            ip.insert("version".into(), if is_v6 { "6" } else { "4" }.into());
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn of(result: Value) -> Result<Vec<String>, String> {
        Ok(addresses(&result, "eth0")?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_pod_has_the_first_address_of_each_family_of_its_link() {
        let interfaces = json!([
            {"name": "cni0", "mac": "00:11:22:33:44:55"}, {"name": "veth1"},
            {"name": "eth0", "sandbox": "/run/netns/a"}, {"name": "net1", "sandbox": "/run/netns/a"},
        ]);
        let ips = json!([
            {"address": "10.9.0.1/24", "interface": 0}, {"address": "192.168.1.9/24", "interface": 3},
            {"address": "fd00::5/64", "gateway": "fd00::1", "interface": 2}, {"address": "10.1.0.5/16", "interface": 2},
            {"address": "10.1.0.6/16", "interface": 2},
        ]);
        assert_eq!(of(json!({"interfaces": interfaces, "ips": ips})).unwrap(), ["fd00::5", "10.1.0.5"]);
        // As plugins of 0.3 write it, and those that know of no links.
        let old = json!({"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.1.0.5/16"}]});
        assert_eq!(of(old).unwrap(), ["10.1.0.5"]);
    }

    #[test]
    fn what_is_no_result_is_refused_with_what_is_wrong() {
        let link = json!([{"name": "eth0", "sandbox": "/n"}, {"name": "eth0"}]);
        let cases = [
            (json!({}), "no address of eth0"),
            (json!([]), "no address of eth0"),
            (json!({"ips": {}}), "not a list"),
            (json!({"ips": [], "interfaces": 5}), "not a list"),
            (json!({"ips": [{}]}), "no address with a prefix"),
            (json!({"ips": [{"address": "10.0.0.1"}]}), "no address with a prefix"),
            (json!({"ips": [{"address": "10.0.0.1/24", "interface": 7}]}), "not listed"),
            (json!({"ips": [{"address": "10.0.0.1/24", "interface": -1}]}), "not listed"),
            (json!({"ips": [{"address": "10.0.0.1/24", "interface": 1}], "interfaces": link}), "no address of eth0"),
            (json!({"ips": [{"address": "127.0.0.1/8"}]}), "no address that a pod can have"),
            (json!({"ips": [{"address": "0.0.0.0/0"}]}), "no address that a pod can have"),
        ];
        for (result, why) in cases {
            let told = of(result.clone()).unwrap_err();
            assert!(told.contains(why), "{result}: {told}");
        }
        let many: Vec<_> = (0..=MAX_ADDRESSES).map(|_| json!({"address": "10.0.0.1/24"})).collect();
        assert!(of(json!({ "ips": many })).unwrap_err().contains("too many"));
    }

    #[test]
    fn a_result_is_told_in_the_version_of_its_network() {
        let plain = json!({"ips": [{"address": "10.0.0.1/24"}, {"address": "fd00::1/64"}], "dns": {"domain": "a"}});
        let old = json!({"cniVersion": "0.4.0", "dns": {"domain": "a"},
            "ips": [{"address": "10.0.0.1/24", "version": "4"}, {"address": "fd00::1/64", "version": "6"}]});
        assert_eq!(in_version(plain.clone(), Version::V0_4_0).unwrap(), old);
        let new = in_version(old, Version::V1_1_0).unwrap();
        assert_eq!((&new["ips"], &new["cniVersion"]), (&plain["ips"], &json!("1.1.0")));
        assert!(in_version(json!({"cniVersion": "2.0.0"}), Version::V1_0_0).unwrap_err().contains("2.0.0"));
        assert!(in_version(json!("text"), Version::V1_0_0).is_err());
    }

    proptest! {
        #[test]
        fn no_text_of_a_plugin_makes_it_panic(text in "[\\[\\]{}:,\"a-z0-9./]{0,80}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _ = addresses(&value, "eth0");
                let _ = in_version(value, Version::V0_3_1);
            }
        }
    }
}
