//! NetworkPolicy.

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
        crate::meta_validate::label_selector(selector, &path.child("podSelector"), &mut errors);
        for (i, kind) in list(obj, &["spec", "policyTypes"]).iter().enumerate() {
            common::one_of(&mut errors, &path.child("policyTypes").index(i), kind, &["Ingress", "Egress"], true);
        }
        for (group, key) in [("ingress", "from"), ("egress", "to")] {
            for (i, rule) in list(obj, &["spec", group]).iter().enumerate() {
                for (j, peer) in list(rule, &[key]).iter().enumerate() {
                    let path = path.child(group).index(i).child(key).index(j);
                    let block = &peer["ipBlock"];
                    if peer.as_object().is_none_or(|p| p.is_empty()) {
                        errors.push(FieldError::required(&path, "must specify a peer"));
                    }
                    if block.is_object() {
                        let cidr = text(block, &["cidr"]);
                        push_all(&mut errors, &path.child("ipBlock").child("cidr"), cidr, field::cidr(cidr));
                    }
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
