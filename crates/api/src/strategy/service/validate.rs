//! Checks of services.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::Needs;
use crate::addresses::Family;
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
    errors.extend(cluster_addresses(obj));
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
    let is_headless = |service: &Value| text(service, &["spec", "clusterIP"]) == "None";
    if has.cluster_ip && had.cluster_ip && !(is_headless(new) && is_headless(old)) {
        let policy = &new["spec"]["ipFamilyPolicy"];
        for (key, one) in [("clusterIPs", "clusterIP"), ("ipFamilies", "ipFamily")] {
            released_or_added(list(new, &["spec", key]), list(old, &["spec", key]), (key, one, policy), &mut errors);
        }
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

/// The first address or family stays; the second one comes and goes with the policy.
fn released_or_added(now: &[Value], before: &[Value], (key, one, policy): (&str, &str, &Value), errors: &mut Errors) {
    let (path, value) = (Path::new("spec").child(key), json!(now));
    if before.len() > now.len() {
        if now.is_empty() {
            errors.push(FieldError::invalid(&path.index(0), &value, format!("primary {one} can not be unset")));
        }
        if now.len() == 1 && policy != "SingleStack" {
            let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
            errors.push(FieldError::invalid(&Path::new("spec").child("ipFamilyPolicy"), policy, detail));
        }
    }
    // Of lists of two lengths the first is compared.
    let compared = if now.len() == before.len() { now.len() } else { 1 };
    for (i, (now, before)) in now.iter().zip(before).enumerate().take(compared) {
        if now != before {
            errors.push(FieldError::invalid(&path.index(i), &value, "may not change once set"));
        }
    }
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

/// What is said of the addresses within the cluster and their families.
pub(super) fn cluster_addresses(service: &Value) -> Errors {
    let (spec, path, mut errors) = (&service["spec"], Path::new("spec"), Vec::new());
    if Needs::of(service).cluster_ip {
        singular_and_plural(spec, &path, &mut errors);
        families(spec, &path, &mut errors);
        if !has_invalid(spec, &path, &mut errors) {
            one_of_each_family(spec, &path, &mut errors);
        }
    }
    errors
}

fn singular_and_plural(spec: &Value, path: &Path, errors: &mut Errors) {
    let (one, all) = (text(spec, &["clusterIP"]), list(spec, &["clusterIPs"]));
    let path = path.child("clusterIPs");
    match all.first() {
        None if !one.is_empty() => errors.push(FieldError::required(&path, "")),
        Some(_) if one.is_empty() => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(&path, &json!(all), detail));
        }
        Some(first) if first != one => {
            errors.push(FieldError::invalid(&path, &json!(all), "first value must match `clusterIP`"));
        }
        _ => {}
    }
}

fn families(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut families: HashSet<&Value> = HashSet::new();
    for (i, family) in list(spec, &["ipFamilies"]).iter().enumerate() {
        let path = path.child("ipFamilies").index(i);
        one_of(errors, &path, family, &["IPv4", "IPv6"], true);
        if !families.insert(family) {
            errors.push(FieldError::duplicate(&path, family));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    one_of(errors, &path.child("ipFamilyPolicy"), &spec["ipFamilyPolicy"], &policies, false);
}

/// Checks each address alone; whether one is none, of which more cannot be said.
fn has_invalid(spec: &Value, path: &Path, errors: &mut Errors) -> bool {
    let (path, all, before) = (path.child("clusterIPs"), list(spec, &["clusterIPs"]), errors.len());
    for (i, ip) in all.iter().enumerate() {
        let ip = ip.as_str().unwrap_or_default();
        if i == 0 && ip == "None" {
            if all.len() > 1 {
                let detail = "'None' must be the first and only value";
                errors.push(FieldError::invalid(&path, &json!(all), detail));
            }
            continue;
        }
        push_all(errors, &path.index(i), ip, field::ip(ip));
    }
    let has_invalid = errors.len() > before;
    if all.len() > 2 {
        errors.push(FieldError::invalid(&path, &json!(all), "may only hold up to 2 values"));
    }
    has_invalid
}

fn one_of_each_family(spec: &Value, path: &Path, errors: &mut Errors) {
    let (path, all) = (path.child("clusterIPs"), list(spec, &["clusterIPs"]));
    let family = |ip: &Value| Some(Family::of(ip.as_str()?.parse().ok()?));
    let found: Vec<Family> = all.iter().filter_map(family).collect();
    let is_dual = matches!(&*found, [first, second] if first != second);
    if all.len() > 1 && !is_dual {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(&path, &json!(all), detail));
    }
    for (i, (found, named)) in found.iter().zip(list(spec, &["ipFamilies"])).enumerate() {
        let Some(expected) = named.as_str().and_then(Family::named).filter(|expected| expected != found) else {
            continue;
        };
        let detail = format!("expected an {} value as indicated by `ipFamilies[{i}]`", expected.name());
        errors.push(FieldError::invalid(&path.index(i), all.get(i).unwrap_or(&Value::Null), detail));
    }
}

fn addresses(spec: &Value, path: &Path, errors: &mut Errors) {
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
