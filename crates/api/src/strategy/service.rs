//! Service.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, items_mut, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, masked, wide};
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{self, at, int, list, text};

/// A Service.
pub struct Service;

static COLUMNS: &[Column] =
    &[NAME, column("Type"), column("Cluster-IP"), column("External-IP"), column("Port(s)"), AGE, wide("Selector")];

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

impl Strategy for Service {
    fn default(&self, obj: &mut Value) {
        let Some(spec) = spec_mut(obj) else { return };
        default_text(spec, "type", "ClusterIP");
        default_text(spec, "sessionAffinity", "None");
        if spec["sessionAffinity"] == "None" {
            spec.remove("sessionAffinityConfig");
        } else {
            default_to(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10_800}}));
        }
        let external_name = spec["type"] == "ExternalName";
        let external = spec["type"] == "NodePort" || spec["type"] == "LoadBalancer";
        if external || spec.get("externalIPs").is_some() {
            default_text(spec, "externalTrafficPolicy", "Cluster");
        }
        if !external_name {
            default_text(spec, "internalTrafficPolicy", "Cluster");
        }
        if spec["type"] == "LoadBalancer" {
            default_to(spec, "allocateLoadBalancerNodePorts", true);
        }
        for port in items_mut(spec, "ports") {
            default_text(port, "protocol", "TCP");
            let number = port.get("port").cloned().unwrap_or(Value::Null);
            let unset = port.get("targetPort").is_none_or(|t| *t == 0 || *t == "");
            if unset && !number.is_null() {
                port.insert("targetPort".into(), number);
            }
        }
        mirror_cluster_ip(obj);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, obj: &mut Value) {
        meta::as_object(obj).insert("status".into(), json!({"loadBalancer": {}}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        super::prepare_update(self, new, old);
        let now = text(new, &["spec", "type"]).to_owned();
        let before = text(old, &["spec", "type"]).to_owned();
        let Some(spec) = spec_mut(new) else { return };
        if now == "ExternalName" {
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
                spec.remove(key);
            }
        } else if before != "ExternalName" {
            // What the server allocated stays when the client leaves it out.
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
                let missing = spec.get(key).is_none_or(|v| v.is_null() || *v == "");
                let value = at(old, &["spec", key]);
                if missing && !value.is_null() {
                    spec.insert(key.into(), value.clone());
                }
            }
        }
        keep_node_ports(new, old);
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        field::dns1035_label(&masked(name, prefix))
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let spec = &obj["spec"];
        let kind = text(spec, &["type"]);
        let ip = text(spec, &["clusterIP"]);
        common::one_of(&mut errors, &path.child("type"), &spec["type"], &TYPES, true);
        let ports = list(spec, &["ports"]);
        if ports.is_empty() && ip != "None" && kind != "ExternalName" {
            errors.push(FieldError::required(&path.child("ports"), ""));
        }
        match kind {
            "LoadBalancer" if ip == "None" => {
                errors.push(FieldError::invalid_str(
                    &path.child("clusterIPs").index(0),
                    ip,
                    "may not be set to 'None' for LoadBalancer services",
                ));
            }
            "NodePort" if ip == "None" => {
                errors.push(FieldError::invalid_str(
                    &path.child("clusterIPs").index(0),
                    ip,
                    "may not be set to 'None' for NodePort services",
                ));
            }
            "ExternalName" => {
                let name = text(spec, &["externalName"]).trim_end_matches('.');
                if name.is_empty() {
                    errors.push(FieldError::required(&path.child("externalName"), ""));
                } else {
                    push_all(&mut errors, &path.child("externalName"), name, field::dns1123_subdomain(name));
                }
                if !ip.is_empty() {
                    let detail = "may not be set for ExternalName services";
                    errors.push(FieldError::forbidden(&path.child("clusterIPs"), detail));
                }
            }
            _ => {}
        }
        self::ports(ports, kind, &path.child("ports"), &mut errors);
        crate::meta_validate::labels(&spec["selector"], &path.child("selector"), &mut errors);
        let affinities = ["ClientIP", "None"];
        common::one_of(&mut errors, &path.child("sessionAffinity"), &spec["sessionAffinity"], &affinities, true);
        if let Some(seconds) = int(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"])
            && !(1..=86_400).contains(&seconds)
        {
            let path = path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
            errors.push(FieldError::invalid(&path, &seconds.into(), "must be greater than 0 and less than 86400"));
        }
        if !ip.is_empty() && ip != "None" {
            push_all(&mut errors, &path.child("clusterIPs").index(0), ip, field::ip(ip));
        }
        for (i, ip) in list(spec, &["externalIPs"]).iter().filter_map(Value::as_str).enumerate() {
            push_all(&mut errors, &path.child("externalIPs").index(i), ip, super::endpoints::endpoint_ip(ip));
        }
        let policies = ["Cluster", "Local"];
        for key in ["externalTrafficPolicy", "internalTrafficPolicy"] {
            common::one_of(&mut errors, &path.child(key), &spec[key], &policies, false);
        }
        let families = ["SingleStack", "PreferDualStack", "RequireDualStack"];
        common::one_of(&mut errors, &path.child("ipFamilyPolicy"), &spec["ipFamilyPolicy"], &families, false);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let kinds = (text(new, &["spec", "type"]), text(old, &["spec", "type"]));
        let (now, before) = (text(new, &["spec", "clusterIP"]), text(old, &["spec", "clusterIP"]));
        if kinds.0 != "ExternalName" && kinds.1 != "ExternalName" && !before.is_empty() && now != before {
            let path = Path::new("spec").child("clusterIPs").index(0);
            errors.push(FieldError::invalid(&path, &serde_json::json!([now]), "may not change once set"));
        }
        errors
    }

    fn selectable_fields(&self, obj: &Value) -> Vec<(&'static str, String)> {
        vec![
            ("spec.clusterIP", text(obj, &["spec", "clusterIP"]).to_owned()),
            ("spec.type", text(obj, &["spec", "type"]).to_owned()),
        ]
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &obj["spec"];
        let ports: Vec<String> = list(spec, &["ports"])
            .iter()
            .map(|p| {
                let (port, protocol) = (int(p, &["port"]).unwrap_or(0), text(p, &["protocol"]));
                match int(p, &["nodePort"]).filter(|n| *n > 0) {
                    Some(node) => format!("{port}:{node}/{protocol}"),
                    None => format!("{port}/{protocol}"),
                }
            })
            .collect();
        vec![
            meta::name(obj).into(),
            text(spec, &["type"]).into(),
            or(text(spec, &["clusterIP"]), "<none>"),
            external_ip(obj).into(),
            or(&ports.join(","), "<none>"),
            age(obj, now),
            common::labels(&spec["selector"]),
        ]
    }
}

/// `clusterIP` mirrors the first of `clusterIPs`.
fn mirror_cluster_ip(obj: &mut Value) {
    let Some(spec) = spec_mut(obj) else { return };
    let one = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    let first = spec.get("clusterIPs").and_then(|c| c.get(0)).and_then(Value::as_str).map(str::to_owned);
    match first {
        Some(first) if one.is_empty() => {
            spec.insert("clusterIP".into(), first.into());
        }
        None if !one.is_empty() => {
            spec.insert("clusterIPs".into(), json!([one]));
        }
        _ => {}
    }
}

/// A port keeps its node port when the client leaves it out.
fn keep_node_ports(new: &mut Value, old: &Value) {
    let external = |o: &Value| matches!(text(o, &["spec", "type"]), "NodePort" | "LoadBalancer");
    let both = external(new) && external(old);
    let Some(spec) = spec_mut(new) else { return };
    let mut used: HashSet<i64> =
        items_mut(spec, "ports").filter_map(|p| p.get("nodePort").and_then(Value::as_i64)).collect();
    for port in items_mut(spec, "ports") {
        if !both || port.get("nodePort").and_then(Value::as_i64).is_some_and(|n| n != 0) {
            continue;
        }
        let same = |p: &&Value| p.get("port") == port.get("port") && p.get("protocol") == port.get("protocol");
        let found = list(old, &["spec", "ports"]).iter().find(same).and_then(|p| int(p, &["nodePort"]));
        if let Some(number) = found.filter(|n| *n != 0 && used.insert(*n)) {
            port.insert("nodePort".into(), number.into());
        }
    }
}

fn ports(ports: &[Value], kind: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let mut names: HashSet<&str> = HashSet::new();
    let mut numbers: HashSet<(&str, i64)> = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = text(port, &["name"]);
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(&path.child("name"), ""));
            }
        } else {
            push_all(errors, &path.child("name"), name, field::dns1123_label(name));
            if !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), &port["name"]));
            }
        }
        let number = int(port, &["port"]).unwrap_or(0);
        for message in field::port_number(number) {
            errors.push(FieldError::invalid(&path.child("port"), &number.into(), message));
        }
        let protocols = ["SCTP", "TCP", "UDP"];
        common::one_of(errors, &path.child("protocol"), &port["protocol"], &protocols, true);
        if kind != "ExternalName" {
            super::pod::validate::port_number_or_name(&port["targetPort"], &path.child("targetPort"), errors);
        }
        if int(port, &["nodePort"]).unwrap_or(0) != 0 && matches!(kind, "ClusterIP" | "ExternalName") {
            let detail = format!("may not be used when `type` is '{kind}'");
            errors.push(FieldError::forbidden(&path.child("nodePort"), detail));
        }
        if !numbers.insert((text(port, &["protocol"]), number)) {
            let value = json!({"port": number, "protocol": text(port, &["protocol"])});
            errors.push(FieldError::duplicate(&path, &value));
        }
    }
}

fn external_ip(obj: &Value) -> String {
    let spec = &obj["spec"];
    let mut all: Vec<String> = Vec::new();
    match text(spec, &["type"]) {
        "ExternalName" => return text(spec, &["externalName"]).to_owned(),
        "LoadBalancer" => {
            for ingress in list(obj, &["status", "loadBalancer", "ingress"]) {
                let ip = text(ingress, &["ip"]);
                all.push(if ip.is_empty() { text(ingress, &["hostname"]) } else { ip }.to_owned());
            }
            let external = list(spec, &["externalIPs"]).iter().filter_map(Value::as_str);
            all.extend(external.map(str::to_owned));
            if all.is_empty() {
                return "<pending>".into();
            }
        }
        _ => all.extend(list(spec, &["externalIPs"]).iter().filter_map(Value::as_str).map(str::to_owned)),
    }
    if all.is_empty() { "<none>".into() } else { all.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_validation_and_updates() {
        let mut obj = json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        Service.default(&mut obj);
        assert_eq!(obj["spec"]["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
        assert_eq!(obj["spec"]["sessionAffinity"], "None");
        assert!(Service.validate(&obj).is_empty(), "{:?}", Service.validate(&obj));
        let mut old = obj.clone();
        old["spec"]["clusterIP"] = "10.0.0.1".into();
        old["spec"]["ports"][0]["nodePort"] = 30_000.into();
        Service.prepare_update(&mut obj, &old);
        assert_eq!(obj["spec"]["clusterIP"], "10.0.0.1");
        assert_eq!(obj["spec"]["ports"][0]["nodePort"], 30_000);
        obj["spec"]["clusterIP"] = "10.0.0.2".into();
        assert_eq!(
            Service.validate_update(&obj, &old)[0].to_string(),
            "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"
        );
    }
}
