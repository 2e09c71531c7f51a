//! Service.

use std::borrow::Cow;

mod cluster_ips;
mod validate;

use std::collections::HashSet;

use coracle_values::limits::SERVICES;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{self, age, default_text, default_to, items_mut, or, spec_mut};
use super::{AGE, Column, NAME, Strategy, column, masked, wide};
use crate::field::{self, FieldError};
use crate::meta::{self, at, int, list, text};

/// A Service.
pub struct Service;

static COLUMNS: &[Column] =
    &[NAME, column("Type"), column("Cluster-IP"), column("External-IP"), column("Port(s)"), AGE, wide("Selector")];

impl Strategy for Service {
    fn warnings(&self, obj: &Value) -> Vec<String> {
        let spec = &obj["spec"];
        let (kind, mut out) = (text(spec, &["type"]), Vec::new());
        if spec["clusterIP"] == "None" && spec["sessionAffinity"] == "ClientIP" {
            out.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
        if !text(spec, &["externalName"]).is_empty() && kind != "ExternalName" {
            out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
        }
        if !list(spec, &["externalIPs"]).is_empty() && kind == "ExternalName" {
            out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
        }
        let addresses =
            list(spec, &["externalIPs"]).len().saturating_add(list(spec, &["loadBalancerSourceRanges"]).len());
        if list(spec, &["ports"]).len().saturating_mul(addresses.saturating_add(1)) > SERVICES {
            out.push(format!(
                "spec: with more than {SERVICES} ports times addresses and source ranges, no node serves the service"
            ));
        }
        out
    }

    fn is_answered_when_deleted(&self) -> bool {
        true
    }

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
    }

    fn has_status(&self) -> bool {
        true
    }

    fn empty_status(&self) -> Value {
        json!({"loadBalancer": {}})
    }

    fn prepare_create(&self, obj: &mut Value) {
        super::prepare_create(self, obj);
        cluster_ips::fill(obj);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        super::prepare_update(self, new, old);
        cluster_ips::keep(new, old);
        let (has, had) = (Needs::of(new), Needs::of(old));
        let Some(spec) = spec_mut(new) else { return };
        for ((key, has), (_, had)) in has.fields().zip(had.fields()) {
            let before = at(old, &["spec", key]);
            let now = spec.get(key).filter(|v| **v != "" && **v != 0);
            // What the server allocated stays when the client leaves it out, and what the type does not have goes when
            // the client leaves it as it was.
            if has && had && now.is_none() && !before.is_null() && ALLOCATED.contains(&key) {
                spec.insert(key.into(), before.clone());
            } else if !has && now == Some(before) {
                spec.remove(key);
            }
        }
        cluster_ips::trim(new, old);
        keep_node_ports(new, old);
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        field::dns1035_label(&masked(name, prefix))
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        validate::service(obj)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validate::update(new, old)
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        vec![text(obj, &["spec", "clusterIP"]).into(), text(obj, &["spec", "type"]).into()]
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

/// Checks what a service says of its addresses and their families; of one with a name elsewhere nothing.
pub fn validate_addresses(service: &Value) -> Vec<FieldError> {
    validate::cluster_addresses(service)
}

/// Fields that the server fills in, besides the addresses.
const ALLOCATED: [&str; 3] = ["ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"];

/// Which fields belong to the type of a service.
pub(super) struct Needs {
    /// An address of its own, or none on purpose.
    pub cluster_ip: bool,
    /// Ports of nodes.
    pub node_ports: bool,
    /// Something outside the cluster that balances load.
    pub load_balancer: bool,
    /// A port of nodes that tells whether they have endpoints.
    pub health_check: bool,
    /// A policy for traffic from outside.
    pub external_policy: bool,
}

impl Needs {
    pub fn of(service: &Value) -> Needs {
        let spec = &service["spec"];
        let kind = text(spec, &["type"]);
        let load_balancer = kind == "LoadBalancer";
        let node_ports = load_balancer || kind == "NodePort";
        let addressed = kind == "ClusterIP" && !list(spec, &["externalIPs"]).is_empty();
        Needs {
            cluster_ip: kind != "ExternalName",
            node_ports,
            load_balancer,
            health_check: load_balancer && spec["externalTrafficPolicy"] == "Local",
            external_policy: node_ports || addressed,
        }
    }

    /// The fields, and whether the type has them.
    fn fields(&self) -> impl Iterator<Item = (&'static str, bool)> + use<> {
        [
            ("clusterIP", self.cluster_ip),
            ("clusterIPs", self.cluster_ip),
            ("ipFamilies", self.cluster_ip),
            ("ipFamilyPolicy", self.cluster_ip),
            ("internalTrafficPolicy", self.cluster_ip),
            ("healthCheckNodePort", self.health_check),
            ("allocateLoadBalancerNodePorts", self.load_balancer),
            ("loadBalancerClass", self.load_balancer),
            ("externalTrafficPolicy", self.external_policy),
        ]
        .into_iter()
    }
}

/// A port keeps its node port when the client leaves it out, and loses it with the type that had it.
fn keep_node_ports(new: &mut Value, old: &Value) {
    let (has, had) = (Needs::of(new).node_ports, Needs::of(old).node_ports);
    let before = list(old, &["spec", "ports"]);
    let Some(spec) = spec_mut(new) else { return };
    let number = |port: &serde_json::Map<String, Value>| {
        port.get("nodePort").and_then(Value::as_i64).filter(|number| *number != 0)
    };
    let mut used: HashSet<i64> = items_mut(spec, "ports").filter_map(|port| number(port)).collect();
    let known = |number: &i64| before.iter().any(|port| int(port, &["nodePort"]) == Some(*number));
    if had && !has && used.iter().all(known) {
        items_mut(spec, "ports").for_each(|port| {
            port.remove("nodePort");
        });
    }
    for port in items_mut(spec, "ports").filter(|_| has && had) {
        if number(port).is_some() {
            continue;
        }
        let same = |p: &&Value| p.get("port") == port.get("port") && p.get("protocol") == port.get("protocol");
        let found = before.iter().find(same).and_then(|p| int(p, &["nodePort"]));
        if let Some(number) = found.filter(|n| *n != 0 && used.insert(*n)) {
            port.insert("nodePort".into(), number.into());
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
    fn what_an_older_version_left_on_a_service_goes_with_its_next_change() {
        let mut old = json!({"metadata": {"name": "a"}, "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1",
            "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true, "ports": [{"port": 80}]}});
        Service.default(&mut old);
        let mut new = old.clone();
        new["spec"]["selector"] = json!({"a": "b"});
        Service.prepare_update(&mut new, &old);
        assert!(Service.validate(&new).is_empty(), "{:?}", Service.validate(&new));
    }

    #[test]
    fn whoever_asks_for_more_than_nodes_serve_is_told() {
        let of = |ports: usize| {
            let (ports, addresses) = (vec![json!({"port": 80}); ports], vec!["192.0.2.1"; 999]);
            Service.warnings(&json!({"spec": {"ports": ports, "externalIPs": addresses}}))
        };
        assert!(of(200).is_empty());
        assert_eq!(
            of(201),
            ["spec: with more than 200000 ports times addresses and source ranges, no node serves the service"]
        );
    }

    #[test]
    fn a_service_that_changes_its_type_loses_what_the_old_one_had() {
        let mut old = json!({"metadata": {"name": "a"}, "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1",
            "ports": [{"port": 80, "nodePort": 30_001}]}});
        Service.default(&mut old);
        assert_eq!(old["spec"]["allocateLoadBalancerNodePorts"], true);
        let mut new = old.clone();
        new["spec"]["type"] = "ClusterIP".into();
        Service.default(&mut new);
        Service.prepare_update(&mut new, &old);
        assert!(Service.validate(&new).is_empty(), "{:?}", Service.validate(&new));
        for key in ["allocateLoadBalancerNodePorts", "externalTrafficPolicy"] {
            assert_eq!(new["spec"].get(key), None, "{key}");
        }
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
        let mut named = new.clone();
        named["spec"]["type"] = "ExternalName".into();
        named["spec"]["externalName"] = "a.b".into();
        Service.default(&mut named);
        Service.prepare_update(&mut named, &new);
        assert!(Service.validate(&named).is_empty(), "{:?}", Service.validate(&named));
        assert_eq!(named["spec"].get("clusterIP"), None);
    }

    #[test]
    fn defaults_validation_and_updates() {
        let mut obj = json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        Service.default(&mut obj);
        assert_eq!(obj["spec"]["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
        assert_eq!(obj["spec"]["sessionAffinity"], "None");
        assert!(Service.validate(&obj).is_empty(), "{:?}", Service.validate(&obj));
        let mut old = obj.clone();
        old["spec"]["clusterIP"] = "10.0.0.1".into();
        old["spec"]["clusterIPs"] = json!(["10.0.0.1"]);
        old["spec"]["ports"][0]["nodePort"] = 30_000.into();
        Service.prepare_update(&mut obj, &old);
        assert_eq!(obj["spec"]["clusterIP"], "10.0.0.1");
        assert_eq!(obj["spec"]["ports"][0]["nodePort"], 30_000);
        obj["spec"]["clusterIP"] = "10.0.0.2".into();
        Service.prepare_update(&mut obj, &old);
        assert_eq!(
            Service.validate_update(&obj, &old)[0].to_string(),
            "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"
        );
    }
}
