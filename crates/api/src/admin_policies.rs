//! The definitions of AdminNetworkPolicy and BaselineAdminNetworkPolicy, with which a new cluster begins.
//! <https://network-policy-api.sigs.k8s.io/reference/spec/>
//!
//! They are those of the experimental channel of v1alpha1, without `domainNames`. Besides, they refuse what could not be
//! followed: unknown protocols and operators, ranges of ports that end before they begin, and more conditions than a node
//! looks at.

use serde_json::{Value, json};

const GROUP: &str = "policy.networking.k8s.io";
/// Where the group's name was approved.
const APPROVED: &str = "https://github.com/kubernetes-sigs/network-policy-api/pull/300";
/// How many peers and ports the rules of one direction may have, of each of which a node makes a condition: all numbers of a
/// protocol are one.
const CONDITIONS: u32 = 2000;

/// Both definitions.
pub fn definitions() -> Vec<Value> {
    let priority = json!({
        "type": "integer", "format": "int32", "minimum": 0, "maximum": 1000,
        "description": "When the policy is asked: the one with the lowest number first. Of two with the same number, either may be.",
    });
    let (admin, baseline) = (spec(&["Allow", "Deny", "Pass"], Some(priority)), spec(&["Allow", "Deny"], None));
    let priority = json!({"name": "Priority", "type": "string", "jsonPath": ".spec.priority"});
    let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
    let only_default = json!([{"rule": "self.metadata.name == 'default'",
        "message": "a cluster has one BaselineAdminNetworkPolicy, which is called \"default\""}]);
    vec![
        definition("AdminNetworkPolicy", "anp", schema(ADMIN, admin), json!([priority, age])),
        definition(
            "BaselineAdminNetworkPolicy",
            "banp",
            {
                let mut schema = schema(BASELINE, baseline);
                schema["x-kubernetes-validations"] = only_default;
                schema
            },
            json!([age]),
        ),
    ]
}

const ADMIN: &str = "What an administrator allows and denies pods of the whole cluster, before their namespaces' network policies are asked.";
const BASELINE: &str =
    "What an administrator allows and denies pods of the whole cluster that no network policy is about.";

fn definition(kind: &str, short: &str, schema: Value, columns: Value) -> Value {
    let singular = kind.to_lowercase();
    let plural = singular.replace("policy", "policies");
    let version = json!({
        "name": "v1alpha1", "served": true, "storage": true, "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{GROUP}"),
            "annotations": {"api-approved.kubernetes.io": APPROVED},
        },
        "spec": {
            "group": GROUP, "scope": "Cluster", "versions": [version],
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": singular, "shortNames": [short],
            },
        },
    })
}

fn schema(description: &str, spec: Value) -> Value {
    let text = json!({"type": "string"});
    let properties = json!({
        "apiVersion": text, "kind": text, "metadata": {"type": "object"}, "spec": spec, "status": status(),
    });
    json!({"type": "object", "description": description, "properties": properties, "required": ["metadata", "spec"]})
}

fn spec(actions: &[&str], priority: Option<Value>) -> Value {
    let subject = one_of(
        "The pods that the policy is about. Those in the network of their node are none.",
        json!({"namespaces": selector("All pods of these namespaces."), "pods": pods()}),
    );
    let mut properties = json!({
        "subject": subject,
        "ingress": rules(actions, "from", json!({"namespaces": selector("All pods of these namespaces."), "pods": pods()})),
        "egress": rules(actions, "to", json!({
            "namespaces": selector("All pods of these namespaces."), "pods": pods(),
            "nodes": selector("The addresses of these nodes, as their statuses have them."),
            "networks": networks(),
        })),
    });
    let mut required = vec!["subject"];
    if let Some(priority) = priority {
        properties["priority"] = priority;
        required.push("priority");
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// An object with exactly one of these properties.
fn one_of(description: &str, properties: Value) -> Value {
    json!({"type": "object", "description": description, "properties": properties, "minProperties": 1, "maxProperties": 1})
}

fn rules(actions: &[&str], peers: &str, kinds: Value) -> Value {
    let mut rule = json!({
        "type": "object", "required": ["action", peers],
        "properties": {
            "name": {"type": "string", "maxLength": 100, "description": "For who reads the policy."},
            "action": {"type": "string", "enum": actions, "description": "What becomes of a connection that the rule is about."},
            "ports": list(port(), "Ports of the side that is connected to; all of all protocols if there are none."),
        },
    });
    let with = match peers {
        "from" => "With whom connections begin.",
        _ => "With whom connections are begun.",
    };
    rule["properties"][peers] = list(one_of("A set of peers.", kinds), with);
    if peers == "to" {
        rule["x-kubernetes-validations"] = json!([{
            "rule": "!(self.to.exists(peer, has(peer.networks) || has(peer.nodes)) && has(self.ports) && self.ports.exists(port, has(port.namedPort)))",
            "message": "only pods have named ports, and networks and nodes are no pods",
        }]);
    }
    let conditions = format!(
        "self.map(rule, size(rule.{peers}) + (has(rule.ports) ? 3 + size(rule.ports.filter(port, has(port.namedPort))) : 1)).sum() <= {CONDITIONS}"
    );
    json!({
        "type": "array", "maxItems": 100, "items": rule,
        "description": "The first rule that is about a connection decides.",
        "x-kubernetes-validations": [{
            "rule": conditions, "message": format!("the rules have more than {CONDITIONS} peers and named ports"),
        }],
    })
}

fn list(items: Value, description: &str) -> Value {
    json!({"type": "array", "minItems": 1, "maxItems": 100, "items": items, "description": description})
}

fn pods() -> Value {
    json!({
        "type": "object", "description": "Pods of namespaces.", "required": ["namespaceSelector", "podSelector"],
        "properties": {
            "namespaceSelector": selector("Which namespaces; all if it is empty."),
            "podSelector": selector("Which pods of these; all if it is empty."),
        },
    })
}

fn networks() -> Value {
    json!({
        "type": "array", "minItems": 1, "maxItems": 25, "x-kubernetes-list-type": "set",
        "description": "Ranges of addresses. Those of pods and nodes are no exceptions.",
        "items": {
            "type": "string", "maxLength": 43,
            "x-kubernetes-validations": [{"rule": "isCIDR(self)", "message": "it is no range of addresses, as 10.0.0.0/8 is one"}],
        },
    })
}

fn port() -> Value {
    let number = || json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535});
    let protocol = || json!({"type": "string", "enum": ["TCP", "UDP", "SCTP"], "default": "TCP"});
    one_of(
        "A port, or several.",
        json!({
            "portNumber": {
                "type": "object", "required": ["port", "protocol"],
                "properties": {"port": number(), "protocol": protocol()},
            },
            "portRange": {
                "type": "object", "required": ["start", "end"],
                "properties": {"start": number(), "end": number(), "protocol": protocol()},
                "x-kubernetes-validations": [{"rule": "self.start <= self.end", "message": "the range ends before it begins"}],
            },
            "namedPort": {"type": "string", "description": "Of the containers of the pods that are connected to, of any protocol."},
        }),
    )
}

fn selector(description: &str) -> Value {
    let operators = ["In", "NotIn", "Exists", "DoesNotExist"];
    json!({
        "type": "object", "description": description, "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
            "matchExpressions": {
                "type": "array", "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object", "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string"},
                        "operator": {"type": "string", "enum": operators},
                        "values": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
                    },
                },
            },
        },
    })
}

fn status() -> Value {
    json!({
        "type": "object", "required": ["conditions"],
        "properties": {"conditions": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object", "required": ["lastTransitionTime", "message", "reason", "status", "type"],
                "properties": {
                    "type": {"type": "string", "maxLength": 316},
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                    "message": {"type": "string", "maxLength": 32768},
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                    "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                },
            },
        }},
    })
}
