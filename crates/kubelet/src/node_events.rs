//! What a kubelet tells by events of a node that changed.

use k8s_openapi::api::core::v1::Node;

/// Conditions, with the reasons of the events that tell of them when they come to be `True`, and `False`.
const CONDITIONS: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"),
    ("Ready", "NodeReady", "NodeNotReady"),
];

/// The reasons of the events of a node that was `old` and is `new`: of conditions, and of whether pods may be put there.
/// None tells of a condition that nobody knows (`Unknown`), as the node lifecycle controller does that.
pub(crate) fn reasons(old: &Node, new: &Node) -> Vec<&'static str> {
    let unschedulable = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let schedulable = match (unschedulable(old), unschedulable(new)) {
        (false, true) => Some("NodeNotSchedulable"),
        (true, false) => Some("NodeSchedulable"),
        _ => None,
    };
    let conditions = CONDITIONS.into_iter().filter_map(|(kind, yes, no)| {
        let now = value(new, kind).filter(|now| Some(*now) != value(old, kind))?;
        match now {
            "True" => Some(yes),
            "False" => Some(no),
            _ => None,
        }
    });
    conditions.chain(schedulable).collect()
}

fn value<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == kind).map(|condition| &*condition.status)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(unschedulable: bool, memory: &str, ready: &str) -> Node {
        let condition = |kind, status| json!({"type": kind, "status": status});
        serde_json::from_value(json!({
            "metadata": {"name": "n"}, "spec": {"unschedulable": unschedulable},
            "status": {"conditions": [condition("MemoryPressure", memory), condition("Ready", ready)]},
        }))
        .unwrap()
    }

    #[test]
    fn what_changed_of_a_node_is_told_and_nothing_else() {
        let usual = node(false, "False", "True");
        assert_eq!(reasons(&usual, &usual), [""; 0]);
        assert_eq!(reasons(&usual, &node(true, "False", "True")), ["NodeNotSchedulable"]);
        assert_eq!(reasons(&node(true, "False", "True"), &usual), ["NodeSchedulable"]);
        assert_eq!(reasons(&usual, &node(false, "True", "False")), ["NodeHasInsufficientMemory", "NodeNotReady"]);
        assert_eq!(reasons(&usual, &node(false, "Unknown", "Unknown")), [""; 0]);
        assert_eq!(
            reasons(&node(false, "Unknown", "Unknown"), &usual),
            ["NodeHasSufficientMemory", "NodeReady"],
            "heard of again"
        );
    }
}
