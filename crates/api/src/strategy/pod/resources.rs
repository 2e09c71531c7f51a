//! What a pod requests as a whole, its limits, and the quality of service that follows from them.
//! <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#pod-level-resource-specification>

use coracle_values::pods::{Qos, Sizes, may_be_of_pod, together};
use serde_json::Value;

use crate::amounts::Amounts;
use crate::meta::{list, text};
use crate::quantity::Quantity;

/// Requests or limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// What is set aside.
    Requests,
    /// What is not exceeded.
    Limits,
}

impl Which {
    /// The field of a list of resources.
    pub fn key(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }

    /// What a container, or the spec of a pod for all of it, says.
    pub fn of(self, said_by: &Value) -> Amounts {
        Amounts::of(&said_by["resources"][self.key()])
    }
}

/// The containers of a pod's spec, and its init containers.
pub fn containers(spec: &Value) -> [&[Value]; 2] {
    ["containers", "initContainers"].map(|group| list(spec, &[group]))
}

/// What containers and init containers say together, when each says what `of` tells.
pub fn of_containers([containers, init_containers]: [&[Value]; 2], of: impl Fn(&Value) -> Amounts) -> Amounts {
    let is_sidecar = |container: &Value| container["restartPolicy"] == "Always";
    let init_containers = init_containers.iter().map(|container| (of(container), is_sidecar(container)));
    together(containers.iter().map(&of), init_containers)
}

/// What a pod's spec says for the pod as a whole; this takes the place of what its containers say together.
pub fn of_whole(spec: &Value, which: Which) -> Amounts {
    which.of(spec).only(may_be_of_pod)
}

/// The quality of service class of a pod: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let has_own = [Which::Requests, Which::Limits].into_iter().any(|which| !of_whole(spec, which).0.is_empty());
    let class =
        if has_own { Qos::of([sizes(spec)]) } else { Qos::of(containers(spec).into_iter().flatten().map(sizes)) };
    class.as_str()
}

fn sizes(said_by: &Value) -> Sizes {
    let [requests, limits] = ["requests", "limits"].map(|which| {
        let amount = |name: &str| text(said_by, &["resources", which, name]).parse::<Quantity>().unwrap_or_default();
        ["cpu", "memory"].map(amount)
    });
    Sizes { requests, limits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_class_is_that_of_the_whole_pod_where_it_has_resources() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let container = json!({"resources": {"requests": both, "limits": both}});
        let mut pod = json!({"spec": {"containers": [container, {}]}});
        assert_eq!(qos_class(&pod), "Burstable");
        pod["spec"]["resources"] = json!({"requests": both, "limits": both});
        assert_eq!(qos_class(&pod), "Guaranteed");
        pod["spec"]["resources"] = json!({"requests": both});
        pod["spec"]["containers"] = json!([container]);
        assert_eq!(qos_class(&pod), "Burstable");
        pod["spec"]["resources"] = json!({});
        assert_eq!(qos_class(&pod), "Guaranteed");
        pod["spec"]["resources"] = json!({"limits": {"memory": "1Gi"}});
        pod["spec"]["containers"] = json!([{}]);
        assert_eq!(qos_class(&pod), "Burstable");
    }
}
