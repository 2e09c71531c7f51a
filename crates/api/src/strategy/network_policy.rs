//! NetworkPolicy.

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, items_mut, spec_mut};
use super::{AGE, Column, NAME, Strategy, column};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, list, text};

/// A NetworkPolicy.
pub struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        for (group, key) in [("ingress", "ports"), ("egress", "ports")] {
            for rule in items_mut(spec, group) {
                for port in items_mut(rule, key) {
                    default_text(port, "protocol", "TCP");
                }
            }
        }
        if spec.get("policyTypes").is_none() {
            let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
            let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            spec.insert("policyTypes".into(), types);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let selector = at(obj, &["spec", "podSelector"]);
        crate::labels::label_selector(selector, &path.child("podSelector"), &mut errors);
        let types = list(obj, &["spec", "policyTypes"]);
        if types.len() > 2 {
            let detail = "may not specify more than two policyTypes";
            errors.push(FieldError::invalid(&path.child("policyTypes"), at(obj, &["spec", "policyTypes"]), detail));
        }
        for (i, kind) in types.iter().enumerate() {
            common::one_of(&mut errors, &path.child("policyTypes").index(i), kind, &["Ingress", "Egress"], true);
        }
        for (group, key) in [("ingress", "from"), ("egress", "to")] {
            for (i, rule) in list(obj, &["spec", group]).iter().enumerate() {
                let path = path.child(group).index(i);
                for (j, port) in list(rule, &["ports"]).iter().enumerate() {
                    self::port(port, &path.child("ports").index(j), &mut errors);
                }
                for (j, peer) in list(rule, &[key]).iter().enumerate() {
                    self::peer(peer, &path.child(key).index(j), &mut errors);
                }
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Pod-Selector"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), common::selector(at(obj, &["spec", "podSelector"])), age(obj, now)]
    }
}

fn port(port: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    common::one_of(errors, &path.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"], false);
    let (given, end) = (&port["port"], port["endPort"].as_i64());
    let end_path = path.child("endPort");
    if !given.is_null() {
        super::pod::validate::port_number_or_name(given, &path.child("port"), errors);
    }
    match (given.as_i64(), end) {
        (Some(start), Some(end)) => {
            if end < start {
                let detail = "must be greater than or equal to `port`";
                errors.push(FieldError::invalid(&end_path, &end.into(), detail));
            }
            for message in field::port_number(end) {
                errors.push(FieldError::invalid(&end_path, &end.into(), message));
            }
        }
        (None, Some(end)) => {
            let detail = match given.is_null() {
                true => "may not be specified when `port` is not specified",
                false => "may not be specified when `port` is non-numeric",
            };
            errors.push(FieldError::invalid(&end_path, &end.into(), detail));
        }
        (_, None) => {}
    }
}

fn peer(peer: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut peers = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if !peer[key].is_null() {
            peers += 1;
            crate::labels::label_selector(&peer[key], &path.child(key), errors);
        }
    }
    let block = &peer["ipBlock"];
    if !block.is_null() {
        ip_block(block, &path.child("ipBlock"), errors);
    }
    match (peers, block.is_null()) {
        (0, true) => errors.push(FieldError::required(path, "must specify a peer")),
        (1.., false) => errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer")),
        _ => {}
    }
}

fn ip_block(block: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let cidr = text(block, &["cidr"]);
    if cidr.is_empty() {
        return errors.push(FieldError::required(&path.child("cidr"), ""));
    }
    push_all(errors, &path.child("cidr"), cidr, field::cidr(cidr));
    let outer = cidr.parse::<IpNet>().ok();
    for (i, except) in list(block, &["except"]).iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("except").index(i);
        push_all(errors, &path, except, field::cidr(except));
        let (Some(outer), Ok(inner)) = (outer, except.parse::<IpNet>()) else { continue };
        if !outer.contains(&inner) || outer.prefix_len() == inner.prefix_len() {
            errors.push(FieldError::invalid_str(&path, except, "must be a strict subset of `cidr`"));
        }
    }
}
