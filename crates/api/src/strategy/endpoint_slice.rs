//! EndpointSlice.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age, default_text, default_to, items_mut};
use super::{AGE, Column, NAME, Strategy, column, immutable};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, int, list, text};

/// An EndpointSlice.
pub struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(map) = obj.as_object_mut() else { return };
        for port in items_mut(map, "ports") {
            default_to(port, "name", "");
            default_text(port, "protocol", "TCP");
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let kinds = ["IPv4", "IPv6", "FQDN"];
        let kind = text(obj, &["addressType"]);
        common::one_of(&mut errors, &Path::new("addressType"), &obj["addressType"], &kinds, true);
        let endpoints = list(obj, &["endpoints"]);
        if endpoints.len() > 1000 {
            errors.push(FieldError::too_many(&Path::new("endpoints"), endpoints.len(), 1000));
        }
        for (i, endpoint) in endpoints.iter().enumerate() {
            let path = Path::new("endpoints").index(i).child("addresses");
            let addresses = list(endpoint, &["addresses"]);
            if addresses.is_empty() {
                errors.push(FieldError::required(&path, "must contain at least 1 address"));
            } else if addresses.len() > 100 {
                errors.push(FieldError::too_many(&path, addresses.len(), 100));
            }
            for (j, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
                let path = path.index(j);
                let parsed = field::parse_ip(address);
                let messages = match kind {
                    "IPv4" if !parsed.is_some_and(|i| i.is_ipv4()) => vec!["must be an IPv4 address".to_owned()],
                    "IPv6" if !parsed.is_some_and(|i| i.is_ipv6()) => vec!["must be an IPv6 address".to_owned()],
                    "IPv4" | "IPv6" => super::endpoints::endpoint_ip(address),
                    "FQDN" => field::dns1123_subdomain(address),
                    _ => Vec::new(),
                };
                push_all(&mut errors, &path, address, messages);
            }
        }
        let ports = list(obj, &["ports"]);
        if ports.len() > 20_000 {
            errors.push(FieldError::too_many(&Path::new("ports"), ports.len(), 20_000));
        }
        let mut names: HashSet<&str> = HashSet::new();
        for (i, port) in ports.iter().enumerate() {
            let path = Path::new("ports").index(i);
            let name = text(port, &["name"]);
            if !name.is_empty() {
                push_all(&mut errors, &path.child("name"), name, field::dns1123_label(name));
            }
            if !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), &port["name"]));
            }
            common::one_of(&mut errors, &path.child("protocol"), &port["protocol"], &["TCP", "UDP", "SCTP"], true);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(&mut errors, &Path::new("addressType"), &new["addressType"], &old["addressType"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("AddressType"), column("Ports"), column("Endpoints"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            text(obj, &["addressType"]).into(),
            ports(obj).into(),
            endpoints(obj).into(),
            age(obj, now),
        ]
    }
}

/// At most this many items are shown.
const SHOWN: usize = 3;

fn joined(all: &[String], none: &str) -> String {
    match all.len() {
        0 => none.into(),
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN),
        _ => all.join(","),
    }
}

fn ports(obj: &Value) -> String {
    let all: Vec<String> = list(obj, &["ports"])
        .iter()
        .map(|p| int(p, &["port"]).map_or_else(|| text(p, &["name"]).to_owned(), |n| n.to_string()))
        .collect();
    joined(&all, "<unset>")
}

fn endpoints(obj: &Value) -> String {
    let all: Vec<String> = list(obj, &["endpoints"])
        .iter()
        .flat_map(|e| list(e, &["addresses"]))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    joined(&all, "<unset>")
}
