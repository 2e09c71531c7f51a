//! Checks of services.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::Needs;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{int, list, text};
use crate::strategy::common::one_of;
use crate::strategy::{endpoints, pod};

type Errors = Vec<FieldError>;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];

/// Checks a service.
pub(super) fn service(obj: &Value) -> Errors {
    let mut errors = Vec::new();
    let (path, spec) = (Path::new("spec"), &obj["spec"]);
    let (kind, needs) = (text(spec, &["type"]), Needs::of(obj));
    let given = list(spec, &["ports"]);
    let headless = text(spec, &["clusterIP"]) == "None";
    if given.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    if headless && needs.node_ports {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid_str(&path.child("clusterIPs").index(0), "None", detail));
    }
    if kind == "ExternalName" {
        external_name(spec, &path, &mut errors);
    }
    ports(given, kind, &path.child("ports"), &mut errors);
    crate::labels::labels(&spec["selector"], &path.child("selector"), &mut errors);
    affinity(spec, &path, &mut errors);
    addresses(spec, &path, &mut errors);
    one_of(&mut errors, &path.child("type"), &spec["type"], &TYPES, true);
    node_ports(given, kind, &path.child("ports"), &mut errors);
    load_balancer(spec, &needs, &path, &mut errors);
    traffic(spec, &needs, &path, &mut errors);
    errors
}

/// Checks a change of a service.
pub(super) fn update(new: &Value, old: &Value) -> Errors {
    let mut errors = Vec::new();
    let path = Path::new("spec");
    let (has, had) = (Needs::of(new), Needs::of(old));
    let (now, before) = (text(new, &["spec", "clusterIP"]), text(old, &["spec", "clusterIP"]));
    if has.cluster_ip && had.cluster_ip && !before.is_empty() && now != before {
        let path = path.child("clusterIPs").index(0);
        errors.push(FieldError::invalid(&path, &json!([now]), "may not change once set"));
    }
    let families = |o: &Value| list(o, &["spec", "ipFamilies"]).first().cloned().unwrap_or_default();
    if has.cluster_ip && had.cluster_ip && !families(old).is_null() && families(new) != families(old) {
        let path = path.child("ipFamilies").index(0);
        errors.push(FieldError::invalid(&path, &new["spec"]["ipFamilies"], "may not change once set"));
    }
    let class = |o: &Value| text(o, &["spec", "loadBalancerClass"]).to_owned();
    if has.load_balancer && had.load_balancer && class(new) != class(old) {
        let path = path.child("loadBalancerClass");
        errors.push(FieldError::invalid_str(&path, &class(new), "may not change once set"));
    }
    let port = |o: &Value| int(o, &["spec", "healthCheckNodePort"]).unwrap_or(0);
    if has.health_check && had.health_check && port(new) != port(old) {
        errors.push(FieldError::forbidden(&path.child("healthCheckNodePort"), "field is immutable"));
    }
    errors
}

fn external_name(spec: &Value, path: &Path, errors: &mut Errors) {
    for key in ["clusterIPs", "ipFamilies"] {
        if !list(spec, &[key]).is_empty() {
            errors.push(FieldError::forbidden(&path.child(key), "may not be set for ExternalName services"));
        }
    }
    if !spec["ipFamilyPolicy"].is_null() {
        let detail = "may not be set for ExternalName services";
        errors.push(FieldError::forbidden(&path.child("ipFamilyPolicy"), detail));
    }
    let name = text(spec, &["externalName"]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("externalName"), ""));
    } else {
        push_all(errors, &path.child("externalName"), name, field::dns1123_subdomain(name));
    }
}

fn ports(ports: &[Value], kind: &str, path: &Path, errors: &mut Errors) {
    let mut names: HashSet<&str> = HashSet::new();
    let mut numbers: HashSet<(&str, i64)> = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            push_all(errors, &path.child("name"), name, field::dns1123_label(name));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), &port["name"]));
            }
        }
        let number = int(port, &["port"]).unwrap_or(0);
        for message in field::port_number(number) {
            errors.push(FieldError::invalid(&path.child("port"), &number.into(), message));
        }
        one_of(errors, &path.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"], true);
        if kind != "ExternalName" {
            pod::validate::port_number_or_name(&port["targetPort"], &path.child("targetPort"), errors);
        }
        if let Some(protocol) = port["appProtocol"].as_str() {
            push_all(errors, &path.child("appProtocol"), protocol, field::qualified_name(protocol));
        }
        if !numbers.insert((text(port, &["protocol"]), number)) {
            let value = json!({"port": number, "protocol": text(port, &["protocol"])});
            errors.push(FieldError::duplicate(&path, &value));
        }
    }
}

fn node_ports(ports: &[Value], kind: &str, path: &Path, errors: &mut Errors) {
    let mut seen: HashSet<(&str, i64)> = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let Some(number) = int(port, &["nodePort"]).filter(|number| *number != 0) else { continue };
        let path = path.index(i).child("nodePort");
        if kind == "ClusterIP" {
            errors.push(FieldError::forbidden(&path, "may not be used when `type` is 'ClusterIP'"));
        }
        if !seen.insert((text(port, &["protocol"]), number)) {
            errors.push(FieldError::duplicate(&path, &number.into()));
        }
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut Errors) {
    one_of(errors, &path.child("sessionAffinity"), &spec["sessionAffinity"], &["ClientIP", "None"], true);
    let config = &spec["sessionAffinityConfig"];
    if spec["sessionAffinity"] != "ClientIP" {
        return;
    }
    const DETAIL: &str = "when session affinity type is ClientIP";
    let path = path.child("sessionAffinityConfig");
    if config.is_null() {
        return errors.push(FieldError::required(&path, DETAIL));
    }
    if config["clientIP"].is_null() {
        return errors.push(FieldError::required(&path.child("clientIP"), DETAIL));
    }
    let path = path.child("clientIP").child("timeoutSeconds");
    match int(config, &["clientIP", "timeoutSeconds"]) {
        None => errors.push(FieldError::required(&path, DETAIL)),
        Some(1..=86_400) => {}
        Some(seconds) => {
            errors.push(FieldError::invalid(&path, &seconds.into(), "must be greater than 0 and less than 86400"));
        }
    }
}

fn addresses(spec: &Value, path: &Path, errors: &mut Errors) {
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    one_of(errors, &path.child("ipFamilyPolicy"), &spec["ipFamilyPolicy"], &policies, false);
    let mut families: HashSet<&Value> = HashSet::new();
    for (i, family) in list(spec, &["ipFamilies"]).iter().enumerate() {
        let path = path.child("ipFamilies").index(i);
        one_of(errors, &path, family, &["IPv4", "IPv6"], true);
        if !families.insert(family) {
            errors.push(FieldError::duplicate(&path, family));
        }
    }
    let cluster_ips = list(spec, &["clusterIPs"]);
    if let Some(first) = cluster_ips.first().filter(|first| **first != spec["clusterIP"]) {
        let detail = "first value must match `clusterIP`";
        errors.push(FieldError::invalid(&path.child("clusterIPs"), &json!([first]), detail));
    }
    for (i, ip) in cluster_ips.iter().filter_map(Value::as_str).enumerate().filter(|(_, ip)| *ip != "None") {
        push_all(errors, &path.child("clusterIPs").index(i), ip, field::ip(ip));
    }
    for (i, ip) in list(spec, &["externalIPs"]).iter().filter_map(Value::as_str).enumerate() {
        push_all(errors, &path.child("externalIPs").index(i), ip, endpoints::endpoint_ip(ip));
    }
}

fn load_balancer(spec: &Value, needs: &Needs, path: &Path, errors: &mut Errors) {
    const DETAIL: &str = "may only be used when `type` is 'LoadBalancer'";
    let ranges = list(spec, &["loadBalancerSourceRanges"]);
    // Upstream writes the field with a capital here.
    let ranges_path = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && !needs.load_balancer {
        errors.push(FieldError::forbidden(&ranges_path, DETAIL));
    }
    for (i, range) in ranges.iter().filter_map(Value::as_str).map(str::trim).enumerate() {
        push_all(errors, &ranges_path.index(i), range, field::cidr(range));
    }
    if !spec["allocateLoadBalancerNodePorts"].is_null() && !needs.load_balancer {
        errors.push(FieldError::forbidden(&path.child("allocateLoadBalancerNodePorts"), DETAIL));
    }
    if let Some(class) = spec["loadBalancerClass"].as_str() {
        let path = path.child("loadBalancerClass");
        if needs.load_balancer {
            push_all(errors, &path, class, field::qualified_name(class));
        } else {
            errors.push(FieldError::forbidden(&path, DETAIL));
        }
    }
}

fn traffic(spec: &Value, needs: &Needs, path: &Path, errors: &mut Errors) {
    let (external, policy) = (path.child("externalTrafficPolicy"), &spec["externalTrafficPolicy"]);
    if needs.external_policy {
        one_of(errors, &external, policy, &POLICIES, true);
    } else if !policy.is_null() && policy != "" {
        errors.push(FieldError::invalid(&external, policy, "may only be set for externally-accessible services"));
    }
    let port = int(spec, &["healthCheckNodePort"]).filter(|port| *port != 0);
    let health = path.child("healthCheckNodePort");
    match (port, needs.health_check) {
        (Some(port), false) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&health, &port.into(), detail));
        }
        (Some(port), true) => {
            for message in field::port_number(port) {
                errors.push(FieldError::invalid(&health, &port.into(), message));
            }
        }
        (None, true) => errors.push(FieldError::required(&health, "")),
        (None, false) => {}
    }
    let internal = path.child("internalTrafficPolicy");
    one_of(errors, &internal, &spec["internalTrafficPolicy"], &POLICIES, needs.cluster_ip);
    let supported = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    one_of(errors, &path.child("trafficDistribution"), &spec["trafficDistribution"], &supported, false);
}
