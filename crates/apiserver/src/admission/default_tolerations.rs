//! Pods outlive a short failure of their node.

use serde_json::{Value, json};

use super::{Plugin, Request, Verdict, at_once, makes};
use crate::operation::{Operation, Verb};

pub(super) struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    /// Who replaces the tolerations of a pod keeps these, which could not go.
    fn handles(&self, op: &Operation) -> bool {
        makes(op, "", "Pod") || (op.verb == Verb::Update && op.subresource.is_empty() && op.kind.is("", "Pod"))
    }

    fn admit<'a>(&'a self, _request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        default_tolerations(object);
        at_once(Ok(()))
    }
}

fn default_tolerations(pod: &mut Value) {
    if !pod["spec"]["tolerations"].is_array() {
        pod["spec"]["tolerations"] = json!([]);
    }
    let Some(tolerations) = pod["spec"]["tolerations"].as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            let (own, effect) =
                (toleration["key"].as_str().unwrap_or_default(), toleration["effect"].as_str().unwrap_or_default());
            (own == key || own.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !tolerations.iter().any(covers) {
            tolerations
                .push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}
