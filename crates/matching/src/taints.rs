//! Tolerations: which pods a node's taints do not keep off.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// The taint by which somebody says that a node is down for good: nothing of its pods runs there any more.
/// <https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown>
pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Whether one of the tolerations is for a taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

/// Whether a toleration is for a taint.
pub fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => {
                !key.is_empty() && text(&toleration.value) == taint.value.as_deref().unwrap_or_default()
            }
            Some(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_cover_taints_by_key_value_and_effect() {
        let taint: Taint = serde_json::from_value(json!({"key": "a", "value": "b", "effect": "NoSchedule"})).unwrap();
        let covers = |toleration| tolerates(&[serde_json::from_value(toleration).unwrap()], &taint);
        assert!(covers(json!({"operator": "Exists"})));
        assert!(covers(json!({"key": "a", "operator": "Exists"})));
        assert!(covers(json!({"key": "a", "value": "b", "effect": "NoSchedule"})));
        assert!(!covers(json!({"key": "a", "value": "c"})));
        assert!(!covers(json!({"key": "a", "value": "b", "effect": "NoExecute"})));
        assert!(!covers(json!({"key": "b", "operator": "Exists"})));
    }
}
